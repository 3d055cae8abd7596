//! Stacked bars, lying.

use std::fmt::Write as _;

use super::scale::{Scale, label};
use super::{Ink, Picture, Sample, Tile, Tone, escape};

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    /// Lengths, one a part.
    pub(crate) parts: Vec<f64>,
}

/// Bars over one axis from 0.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) x_title: String,
    /// What the parts are.
    pub(crate) parts: Vec<String>,
    pub(crate) bars: Vec<Bar>,
}

const WIDE: f64 = 620.0;
const ROW: f64 = 30.0;
const TOP: f64 = 6.0;

impl Bars {
    /// Whether anything is drawn in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bars.iter().flat_map(|bar| &bar.parts).all(|part| *part <= 0.0)
    }

    /// The bars in this ink.
    pub(crate) fn draw(&self, ink: Ink) -> Picture {
        let longest = self.bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0);
        let left = (7.2 * longest as f64 + 14.0).clamp(60.0, 320.0);
        let totals = self.bars.iter().map(|bar| bar.parts.iter().sum::<f64>());
        let scale = Scale::linear(0.0, totals.fold(0.0, f64::max));
        let place = |value: f64| left + WIDE * scale.share(value).unwrap_or(0.0);
        let bottom = TOP + ROW * self.bars.len() as f64;
        let mut body = String::new();
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
        for (index, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * index as f64;
            self.draw_bar(&mut body, ink, bar, (left, y), &place);
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left + WIDE / 2.0,
            bottom + 36.0,
            escape(&self.x_title)
        );
        let legend = self.parts.iter().enumerate();
        let legend = legend.map(|(index, name)| (name.clone(), Sample::Box(Tone::Series(index)))).collect();
        let tile = Tile { title: self.x_title.clone(), width: left + WIDE + 24.0, height: bottom + 46.0, body };
        Picture { ink, tiles: vec![tile], legend }
    }

    fn draw_bar(&self, svg: &mut String, ink: Ink, bar: &Bar, (left, y): (f64, f64), place: &dyn Fn(f64) -> f64) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + ROW / 2.0 + 4.0,
            escape(&bar.name)
        );
        let mut from = 0.0;
        for (index, part) in bar.parts.iter().enumerate().filter(|(_, part)| part.is_finite() && **part > 0.0) {
            let (start, end) = (place(from), place(from + part));
            from += part;
            let name = self.parts.get(index).map_or("", String::as_str);
            let _ = writeln!(
                svg,
                "<rect x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\">\
                 <title>{}: {name} {}</title></rect>",
                y + 5.0,
                (end - start).max(0.5),
                ROW - 10.0,
                ink.of(Tone::Series(index)),
                escape(&bar.name),
                label(*part)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_the_longest_bar_fills_the_axis() {
        let bar = |name: &str, parts: &[f64]| Bar { name: name.into(), parts: parts.to_vec() };
        let bars = vec![bar("a", &[1.0, 3.0]), bar("b", &[2.0, 0.0])];
        let svg = Bars { x_title: "s".into(), parts: vec!["p".into(), "q".into()], bars }.draw(Ink::Paper).document();
        assert!(svg.contains("x=\"60.0\" y=\"11.0\" width=\"155.0\""), "{svg}");
        assert!(svg.contains("x=\"215.0\" y=\"11.0\" width=\"465.0\""), "{svg}");
        assert_eq!(svg.matches("height=\"20.0\"").count(), 3, "a part of no length is not drawn");
    }
}
