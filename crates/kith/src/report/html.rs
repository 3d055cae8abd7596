//! The report as one page that needs nothing else: style and pictures stand in it.

use std::fmt::Write as _;
use std::time::Duration;

use super::compare::{self, Titled};
use super::figures::{self, Art, Figure};
use super::study::{Group, State, Study};
use super::text;
use crate::metric::Metric;
use crate::plot::{Ink, SERIES, SERIES_DARK, escape};

/// The page's style, without the colours of series.
const STYLE: &str = include_str!("page.css");

/// The style, with the palette that pictures on paper have too.
fn style() -> String {
    let variables = |palette: [&str; 7]| {
        let each = palette.iter().enumerate().map(|(index, colour)| format!("--s{index}: {colour};"));
        each.collect::<Vec<_>>().join(" ")
    };
    STYLE.replace("/* series */", &variables(SERIES)).replace("/* series-dark */", &variables(SERIES_DARK))
}

/// The page. With `refresh`, a browser that shows it reads it again after so long.
pub(super) fn page(study: &Study, baseline: &Group, refresh: Option<Duration>) -> String {
    let title = study.experiments().join(", ");
    let refresh = refresh.map_or_else(String::new, |every| {
        format!("<meta http-equiv=\"refresh\" content=\"{}\">\n", every.as_secs().max(1))
    });
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"kith {}\">\n{refresh}<title>{} · kith report</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n",
        env!("CARGO_PKG_VERSION"),
        escape(&title),
        style()
    );
    let figures = figures::all(study);
    let tables = [Some(compare::overview(study)), compare::paired(study, baseline)];
    let details = [compare::settings(study), Some(compare::runs(study))];
    header(&mut html, study, &title);
    let before = tables.iter().flatten().map(|table| (table.name, table.title));
    let middle = figures.iter().map(|figure| (figure.name, figure.title));
    let after = details.iter().flatten().map(|table| (table.name, table.title));
    html.push_str("<nav aria-label=\"Contents\">");
    for (name, title) in before.chain(middle).chain(after) {
        let _ = write!(html, "<a href=\"#{name}\">{title}</a>");
    }
    html.push_str("</nav>\n</header>\n<main>\n");
    for table in tables.iter().flatten() {
        section(&mut html, table);
    }
    for figure in &figures {
        figure_section(&mut html, figure);
    }
    for table in details.iter().flatten() {
        section(&mut html, table);
    }
    html.push_str("</main>\n");
    footer(&mut html, study);
    html.push_str("</body>\n</html>\n");
    html
}

fn header(html: &mut String, study: &Study, title: &str) {
    let _ = writeln!(html, "<header>\n<h1>{}</h1>", escape(title));
    let mut descriptions: Vec<&str> = study.runs.iter().filter_map(|run| run.description.as_deref()).collect();
    descriptions.dedup();
    if let [description] = descriptions.as_slice() {
        let _ = writeln!(html, "<p>{}</p>", escape(description));
    }
    html.push_str("<ul class=\"facts\">\n");
    let mut fact = |name: &str, value: &str, note: &str| {
        let _ = writeln!(
            html,
            "<li><span>{}</span><b>{}</b><small>{}</small></li>",
            escape(name),
            escape(value),
            escape(note)
        );
    };
    for (key, unit) in [("average_accuracy", " %"), ("backward_transfer", " %"), ("compression_ratio", "×")] {
        let Some(metric) = Metric::of(key) else { continue };
        let means = study.groups.iter().filter_map(|group| Some((group, study.spread(group, metric)?.mean)));
        if let Some((group, mean)) = means.max_by(|one, other| one.1.total_cmp(&other.1)) {
            let name = if study.groups.len() > 1 { format!("best {}", plain(metric)) } else { plain(metric) };
            fact(&name, &format!("{}{unit}", metric.show(Some(mean))), &group.label);
        }
    }
    let seeds: usize = study.groups.iter().map(|group| group.trials.len()).sum();
    let finished = study.trials.iter().filter(|trial| trial.state == State::Finished).count();
    let noun = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let note = format!("{} shown, {finished} of {} finished", noun(seeds, "trial"), study.trials.len());
    fact("compared", &noun(study.groups.len(), "arm"), &note);
    html.push_str("</ul>\n");
    if !study.notes.is_empty() {
        html.push_str("<ul class=\"notes\">\n");
        for note in &study.notes {
            let _ = writeln!(html, "<li>{}</li>", escape(note));
        }
        html.push_str("</ul>\n");
    }
}

/// A metric's name without its unit.
fn plain(metric: &Metric) -> String {
    metric.name.split(" (").next().unwrap_or(metric.name).to_owned()
}

fn section(html: &mut String, titled: &Titled) {
    let Titled { name, title, caption, .. } = titled;
    let _ = write!(
        html,
        "<section id=\"{name}\">\n<h2>{title}</h2>\n<p>{}</p>\n{}</section>\n",
        escape(caption),
        text::html(titled)
    );
}

/// A figure of one tile up to this width shares its row with the next.
const HALF: f64 = 520.0;

fn figure_section(html: &mut String, figure: &Figure) {
    let Figure { name, title, caption, .. } = figure;
    let picture = figure.draw(Ink::Page);
    let class = match picture.tiles.as_slice() {
        [tile] if tile.width <= HALF => " class=\"half\"",
        _ => "",
    };
    let mut drawn = picture.figure();
    // Cells keep their size: a wider page shows more maps, not larger ones.
    if matches!(figure.art, Art::Heat(_) | Art::Networks(_)) {
        drawn = drawn.replacen("class=\"tiles\"", "class=\"tiles heat\"", 1);
    }
    let caption = escape(caption);
    let _ = write!(html, "<section id=\"{name}\"{class}>\n<h2>{title}</h2>\n<p>{caption}</p>\n{drawn}</section>\n");
}

fn footer(html: &mut String, study: &Study) {
    html.push_str("<footer>\n");
    let mut lines: Vec<String> = Vec::new();
    for run in &study.runs {
        let text = |key: &str| run.manifest[key].as_str().unwrap_or("unknown");
        let line = format!(
            "kith {}, commit {}, grade {}, device {}, {}, {}",
            text("kith_version"),
            text("commit").chars().take(12).collect::<String>(),
            text("grade"),
            text("device"),
            text("host_os"),
            text("rustc"),
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for line in lines {
        let _ = writeln!(html, "<p>{}</p>", escape(&line));
    }
    let _ = writeln!(html, "<p>Drawn from {} by kith {}.</p>", count(study.runs.len()), env!("CARGO_PKG_VERSION"));
    html.push_str("</footer>\n");
}

fn count(runs: usize) -> String {
    if runs == 1 { "one run directory".to_owned() } else { format!("{runs} run directories") }
}
