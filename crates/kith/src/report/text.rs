//! Tables in Markdown, LaTeX and HTML.

use std::fmt::Write as _;

use super::compare::Titled;
use crate::plot::escape;
use crate::table::{Align, Cell, Weight};

/// Markdown with pipes.
pub(super) fn markdown(titled: &Titled) -> String {
    let Titled { title, caption, table, .. } = titled;
    let clean =
        |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace('*', "\\*").replace(['\n', '\r'], " ");
    let names: Vec<String> = table.heading().iter().map(|(name, _)| clean(name)).collect();
    let rule: Vec<&str> =
        table.heading().iter().map(|(_, align)| if *align == Align::Left { ":--" } else { "--:" }).collect();
    let mut text = format!("### {title}\n\n{caption}\n\n| {} |\n|{}|\n", names.join(" | "), rule.join("|"));
    let show = |cell: &Cell| match cell.weight {
        Weight::Plain => clean(&cell.text),
        Weight::Best => format!("**{}**", clean(&cell.text)),
    };
    for row in table.rows() {
        let cells: Vec<String> = row.iter().map(show).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// A `table` environment for the `booktabs` package.
pub(super) fn latex(titled: &Titled) -> String {
    let Titled { name, caption, table, .. } = titled;
    let columns: String =
        table.heading().iter().map(|(_, align)| if *align == Align::Left { 'l' } else { 'r' }).collect();
    let names: Vec<String> = table.heading().iter().map(|(name, _)| tex(name)).collect();
    let mut text = format!(
        "\\begin{{table}}[t]\n  \\centering\n  \\caption{{{}}}\n  \\label{{tab:{name}}}\n  \\begin{{tabular}}{{{columns}}}\n    \
         \\toprule\n    {} \\\\\n    \\midrule\n",
        tex(caption),
        names.join(" & ")
    );
    for row in table.rows() {
        let show = |cell: &Cell| match cell.weight {
            Weight::Plain => tex(&cell.text),
            Weight::Best => format!("\\textbf{{{}}}", tex(&cell.text)),
        };
        let cells: Vec<String> = row.iter().map(show).collect();
        let _ = writeln!(text, "    {} \\\\", cells.join(" & "));
    }
    text.push_str("    \\bottomrule\n  \\end{tabular}\n\\end{table}\n");
    text
}

/// Text that LaTeX sets as it stands. What its standard fonts lack is named by its code.
fn tex(text: &str) -> String {
    let mut set = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                set.push('\\');
                set.push(character);
            }
            '\\' => set.push_str("\\textbackslash{}"),
            '~' => set.push_str("\\textasciitilde{}"),
            '^' => set.push_str("\\textasciicircum{}"),
            '<' => set.push_str("\\textless{}"),
            '>' => set.push_str("\\textgreater{}"),
            '|' => set.push_str("\\textbar{}"),
            '"' => set.push_str("''"),
            '±' => set.push_str("$\\pm$"),
            '×' => set.push_str("$\\times$"),
            '−' => set.push_str("$-$"),
            '–' => set.push_str("--"),
            '…' => set.push_str("\\dots{}"),
            'γ' => set.push_str("$\\gamma$"),
            'ρ' => set.push_str("$\\rho$"),
            'η' => set.push_str("$\\eta$"),
            ' '..='~' => set.push(character),
            control if control.is_control() => set.push(' '),
            other => {
                let _ = write!(set, "[U+{:04X}]", u32::from(other));
            }
        }
    }
    set
}

/// An HTML table that can be scrolled sideways where it is too wide.
pub(super) fn html(titled: &Titled) -> String {
    let table = &titled.table;
    let side = |column: usize| match table.heading().get(column) {
        Some((_, Align::Right)) => " class=\"n\"",
        _ => "",
    };
    let mut text = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    for (column, (name, _)) in table.heading().iter().enumerate() {
        let _ = write!(text, "<th scope=\"col\"{}>{}</th>", side(column), escape(name));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in table.rows() {
        text.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let shown = match cell.weight {
                Weight::Plain => escape(&cell.text),
                Weight::Best => format!("<b>{}</b>", escape(&cell.text)),
            };
            let (open, close) = if column == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            let _ = write!(text, "<{open}{}>{shown}</{close}>", side(column));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    fn titled() -> Titled {
        let mut table = Table::new(&[("arm", Align::Left), ("50 % of γ", Align::Right)]);
        table.row([Cell::from("a_b|<c>"), Cell { text: "1 ± 2".into(), weight: Weight::Best }]);
        Titled { name: "t", title: "T", caption: "C & D".into(), table }
    }

    #[test]
    fn every_form_escapes_its_own_signs_and_marks_the_best() {
        assert_eq!(
            markdown(&titled()),
            "### T\n\nC & D\n\n| arm | 50 % of γ |\n|:--|--:|\n| a_b\\|<c> | **1 ± 2** |\n"
        );
        let latex = latex(&titled());
        assert!(latex.contains("\\caption{C \\& D}") && latex.contains("\\begin{tabular}{lr}"), "{latex}");
        assert!(latex.contains("arm & 50 \\% of $\\gamma$ \\\\"), "{latex}");
        assert!(latex.contains("a\\_b\\textbar{}\\textless{}c\\textgreater{} & \\textbf{1 $\\pm$ 2} \\\\"), "{latex}");
        let html = html(&titled());
        assert!(html.contains("a_b|&lt;c&gt;") && html.contains("<td class=\"n\"><b>1 ± 2</b></td>"), "{html}");
    }

    #[test]
    fn letters_that_latex_lacks_are_named_by_their_code() {
        assert_eq!(tex("Ж\t~"), "[U+0416] \\textasciitilde{}");
    }
}
