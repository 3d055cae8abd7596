//! When what went wrong: rows over an axis, spans on them.

use std::fmt::Write as _;

use super::scale::{Scale, label};
use super::{Ink, Picture, Sample, Tile, Tone, escape, heading};

/// What a span says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// An agent is gone.
    Down,
    /// A link is cut.
    Cut,
    /// An agent computes slower.
    Slow,
}

impl SpanKind {
    const ALL: [Self; 3] = [Self::Down, Self::Cut, Self::Slow];

    const fn name(self) -> &'static str {
        match self {
            Self::Down => "agent down",
            Self::Cut => "link down",
            Self::Slow => "slower",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Down => Tone::Series(1),
            Self::Cut => Tone::Series(4),
            Self::Slow => Tone::Series(5),
        }
    }
}

/// Something that lasted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) row: String,
    pub(crate) kind: SpanKind,
    pub(crate) from: f64,
    /// None: until the end.
    pub(crate) to: Option<f64>,
    pub(crate) hint: String,
}

/// Spans over an axis from 0 to `end`.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) title: String,
    pub(crate) x_title: String,
    pub(crate) end: f64,
    pub(crate) spans: Vec<Span>,
    /// Dotted verticals.
    pub(crate) marks: Vec<f64>,
}

const WIDE: f64 = 620.0;
const ROW: f64 = 24.0;
const TOP: f64 = 26.0;

impl Timeline {
    /// The time line in this ink.
    pub(crate) fn draw(&self, ink: Ink) -> Picture {
        let mut rows: Vec<&str> = Vec::new();
        for span in &self.spans {
            if !rows.contains(&span.row.as_str()) {
                rows.push(&span.row);
            }
        }
        let longest = rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let left = (7.2 * longest as f64 + 14.0).clamp(60.0, 260.0);
        let scale = Scale::linear(0.0, self.end);
        let place = |value: f64| left + WIDE * scale.share(value).unwrap_or(0.0).clamp(0.0, 1.0);
        let bottom = TOP + ROW * rows.len() as f64;
        let mut body = String::new();
        heading(&mut body, left, &self.title);
        let (grid, faint) = (ink.of(Tone::Grid), ink.of(Tone::Faint));
        for value in scale.ticks(6.0) {
            let at = place(value);
            let _ = writeln!(
                body,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{grid}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{faint}\">{}</text>",
                bottom + 16.0,
                label(value)
            );
        }
        for mark in &self.marks {
            let at = place(*mark);
            let _ = writeln!(
                body,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{faint}\" \
                 stroke-dasharray=\"1 4\"/>"
            );
        }
        for (index, name) in rows.iter().enumerate() {
            let y = TOP + ROW * (index as f64 + 0.5) + 4.0;
            let _ = writeln!(
                body,
                "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                escape(name)
            );
        }
        for span in &self.spans {
            let row = rows.iter().position(|name| *name == span.row).unwrap_or(0);
            let (start, end) = (place(span.from), place(span.to.unwrap_or(self.end)));
            let _ = writeln!(
                body,
                "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"{}\">\
                 <title>{}</title></rect>",
                TOP + ROW * row as f64 + 4.0,
                (end - start).max(2.0),
                ROW - 8.0,
                ink.of(span.kind.tone()),
                escape(&span.hint)
            );
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left + WIDE / 2.0,
            bottom + 36.0,
            escape(&self.x_title)
        );
        let present = SpanKind::ALL.into_iter().filter(|kind| self.spans.iter().any(|span| span.kind == *kind));
        let legend = present.map(|kind| (kind.name().to_owned(), Sample::Box(kind.tone()))).collect();
        let tile = Tile { title: self.title.clone(), width: left + WIDE + 24.0, height: bottom + 46.0, body };
        Picture { ink, tiles: vec![tile], legend }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_an_end_lasts_to_the_end() {
        let span = |row: &str, kind, from, to| Span { row: row.into(), kind, from, to, hint: row.into() };
        let spans = vec![
            span("agent 1", SpanKind::Down, 50.0, None),
            span("1 – 2", SpanKind::Cut, 0.0, Some(25.0)),
            span("agent 1", SpanKind::Slow, 0.0, Some(10.0)),
        ];
        let line = Timeline { title: String::new(), x_title: "round".into(), end: 100.0, spans, marks: vec![] };
        let svg = line.draw(Ink::Paper).document();
        // 7.2 pixels a letter of the longest name and 14 more.
        assert!(svg.contains("x=\"374.4\" y=\"30.0\" width=\"310.0\""), "{svg}");
        assert!(svg.contains("x=\"64.4\" y=\"54.0\" width=\"155.0\""), "{svg}");
        assert!(svg.contains("agent down") && svg.contains("link down") && svg.contains("slower"));
    }
}
