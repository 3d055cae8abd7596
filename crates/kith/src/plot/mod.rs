//! Pictures in SVG: line charts, heat maps, bars, networks and time lines. All figures of runs and reports are drawn here.
//!
//! A picture is a few tiles and one legend. As a [document](Picture::document) the tiles stand in rows and colours are fixed;
//! on a [page](Picture::figure) each tile is an image of its own, so that they flow, and colours are the page's variables.

mod bars;
mod heat;
mod ink;
mod lines;
mod network;
mod scale;
mod timeline;

use std::fmt::Write as _;

pub(crate) use bars::{Bar, Bars};
pub(crate) use heat::{Cell, HeatMap, HeatPanel};
pub(crate) use ink::{Ink, SERIES, SERIES_DARK, Tone, escape};
pub(crate) use lines::{Chart, Line, Panel, Point, Vertical};
pub(crate) use network::Network;
pub(crate) use timeline::{Span, SpanKind, Timeline};

/// A tile: something drawn in a box of its own.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub(crate) title: String,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// SVG elements, the origin at the upper left of the box.
    pub(crate) body: String,
}

/// What a sample in a legend looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    /// A line with its marker, of the series of this number.
    Series(usize),
    /// A filled box.
    Box(Tone),
}

/// A picture in one kind of ink.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) ink: Ink,
    pub(crate) tiles: Vec<Tile>,
    pub(crate) legend: Vec<(String, Sample)>,
}

const GAP: f64 = 20.0;
const MARGIN: f64 = 12.0;
const LEGEND_ROW: f64 = 20.0;
/// Tiles in one row of a document.
const ACROSS: usize = 3;
const FONT: &str = "font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"12\"";

impl Picture {
    /// All of it as a self-contained SVG document.
    pub(crate) fn document(&self) -> String {
        let mut placed = Vec::new();
        let (mut y, mut width) = (MARGIN, 240.0_f64);
        for row in self.tiles.chunks(ACROSS) {
            let mut x = MARGIN;
            for tile in row {
                placed.push((x, y));
                x += tile.width + GAP;
            }
            width = width.max(x - GAP + MARGIN);
            y += row.iter().map(|tile| tile.height).fold(0.0, f64::max) + GAP;
        }
        let entries = self.entries(width - 2.0 * MARGIN);
        let rows = entries.last().map_or(0.0, |(_, row)| row + 1.0);
        let height = y + rows * LEGEND_ROW;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" {FONT} fill=\"{}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
            self.ink.of(Tone::Text),
            self.ink.of(Tone::Background)
        );
        for (tile, (x, y)) in self.tiles.iter().zip(placed) {
            let _ = writeln!(svg, "<g transform=\"translate({x:.1} {y:.1})\">\n{}</g>", tile.body);
        }
        for ((name, sample), (x, row)) in self.legend.iter().zip(entries) {
            let (x, middle) = (MARGIN + x, y + row * LEGEND_ROW + 2.0);
            self.sample(&mut svg, *sample, x, middle);
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 34.0, middle + 4.0, escape(name));
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// Where each entry of the legend stands: x and row.
    fn entries(&self, width: f64) -> Vec<(f64, f64)> {
        let (mut x, mut row) = (0.0, 0.0);
        let place = |(name, _): &(String, Sample)| {
            let needed = 34.0 + 7.2 * name.chars().count() as f64 + 18.0;
            if x > 0.0 && x + needed > width {
                x = 0.0;
                row += 1.0;
            }
            x += needed;
            (x - needed, row)
        };
        self.legend.iter().map(place).collect()
    }

    fn sample(&self, svg: &mut String, sample: Sample, x: f64, middle: f64) {
        match sample {
            Sample::Series(index) => lines::sample(svg, self.ink, index, x, middle),
            Sample::Box(tone) => {
                let (top, colour) = (middle - 6.0, self.ink.of(tone));
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"26\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>"
                );
            }
        }
    }

    /// Tiles and legend as HTML: an image a tile, the legend as text beside samples.
    pub(crate) fn figure(&self) -> String {
        let mut html = String::from("<div class=\"tiles\">\n");
        for tile in &self.tiles {
            let Tile { title, width, height, body } = tile;
            let name = if title.is_empty() { "figure".to_owned() } else { escape(title) };
            let _ = writeln!(
                html,
                "<svg role=\"img\" aria-label=\"{name}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
                 style=\"max-width:{:.0}px;flex-basis:{width:.0}px\" {FONT} fill=\"{}\">\n{body}</svg>",
                width * 1.15,
                self.ink.of(Tone::Text)
            );
        }
        html.push_str("</div>\n");
        if !self.legend.is_empty() {
            html.push_str("<ul class=\"legend\">");
            for (name, sample) in &self.legend {
                let mut mark = String::new();
                self.sample(&mut mark, *sample, 1.0, 8.0);
                let _ = write!(
                    html,
                    "<li><svg aria-hidden=\"true\" width=\"28\" height=\"16\" viewBox=\"0 0 28 16\">{}</svg>{}</li>",
                    mark.trim_end(),
                    escape(name)
                );
            }
            html.push_str("</ul>\n");
        }
        html
    }
}

/// A tile's title, above its axes.
fn heading(svg: &mut String, x: f64, title: &str) {
    if !title.is_empty() {
        let text = escape(title);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"14\" font-size=\"13\" font-weight=\"bold\">{text}</text>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_tiles_is_still_a_document() {
        let svg = Picture { ink: Ink::Paper, tiles: vec![], legend: vec![] }.document();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn a_legend_breaks_into_rows_where_it_is_too_wide() {
        let legend = (0..4).map(|index| ("twenty letters a name".to_owned(), Sample::Series(index))).collect();
        let picture = Picture { ink: Ink::Paper, tiles: vec![], legend };
        let rows: Vec<f64> = picture.entries(420.0).iter().map(|(_, row)| *row).collect();
        assert_eq!(rows, [0.0, 0.0, 1.0, 1.0]);
    }
}
