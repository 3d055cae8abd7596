//! Tables, and how a terminal shows them.

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Whether a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    #[default]
    Plain,
    /// The best of its column: bold, where the form has bold.
    Best,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) weight: Weight,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), weight: Weight::Plain }
    }
}

/// A table with a heading line and a rule under it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    heading: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(heading: &[(&str, Align)]) -> Self {
        Self { heading: heading.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Names and sides of the columns.
    pub(crate) fn heading(&self) -> &[(String, Align)] {
        &self.heading
    }

    /// The cells, row by row; a row may be short.
    pub(crate) fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// The table; every line ends with a line feed and carries no space at its end.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .heading
            .iter()
            .enumerate()
            .map(|(column, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
                cells.max().unwrap_or(0).max(name.chars().count())
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|(name, _)| name.clone()).collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let mut text = String::new();
        let texts = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
        for cells in [heading, rule].into_iter().chain(self.rows.iter().map(texts)) {
            let mut line = String::new();
            for (column, width) in widths.iter().enumerate() {
                let cell = cells.get(column).map_or("", String::as_str);
                let pad = " ".repeat(width - cell.chars().count());
                let gap = if column == 0 { "" } else { "  " };
                line += gap;
                match self.heading[column].1 {
                    Align::Left => line += &(cell.to_owned() + &pad),
                    Align::Right => line += &(pad + cell),
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A fraction as a percentage: `91.42 %`; a dash where there is none.
pub(crate) fn percent(fraction: Option<f64>) -> String {
    fraction.map_or_else(dash, |fraction| format!("{:.2} %", fraction * 100.0))
}

/// Bytes as megabytes (10⁶).
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.2}", bytes / 1e6)
}

/// A count with thin groups: `12 345`.
pub(crate) fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a person says them.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 100.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// What stands for a missing value.
pub(crate) fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("arm", Align::Left), ("γ", Align::Right)]);
        table.row(["codec", "1"]);
        table.row(["d", "0.25"]);
        assert_eq!(table.render(), "arm       γ\n─────  ────\ncodec     1\nd      0.25\n");
    }

    #[test]
    fn counts_are_grouped_and_seconds_are_named() {
        assert_eq!(grouped(1_234_567.0), "1 234 567");
        assert_eq!(grouped(123.4), "123");
        assert_eq!(
            (seconds(12.34), seconds(125.0), seconds(7265.0)),
            ("12.3 s".into(), "2 min 05 s".into(), "2 h 01 min".into())
        );
    }
}
