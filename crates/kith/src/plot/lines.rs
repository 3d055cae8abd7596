//! Line charts: axes, grid, lines with a spread around them.

use std::fmt::Write as _;

use super::scale::{Scale, label};
use super::{Ink, Picture, Sample, Tile, Tone, escape, heading};

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Half the height of the band around it; 0 where there is none.
    pub(crate) spread: f64,
}

impl Point {
    /// A point without a spread.
    pub(crate) const fn new(x: f64, y: f64) -> Self {
        Self { x, y, spread: 0.0 }
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Which series it is: its colour, marker and dashes, the same in every chart of a report.
    pub(crate) series: usize,
    pub(crate) points: Vec<Point>,
}

/// One set of axes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
    /// Dotted verticals.
    pub(crate) marks: Vec<f64>,
    /// In place of the chart's.
    pub(crate) y_title: Option<String>,
}

/// What the vertical axis spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vertical {
    /// Shares: up to 1, down to a tenth below the data. One axis for all panels.
    Share,
    /// From 0, or the lowest value where it is negative; a panel at a time.
    FromZero,
    /// Powers of ten, one axis for all panels.
    Log,
}

/// A chart: panels with one legend.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) x_title: String,
    pub(crate) y_title: String,
    pub(crate) vertical: Vertical,
    pub(crate) panels: Vec<Panel>,
}

const PLOT: (f64, f64) = (372.0, 250.0);
const LEFT: f64 = 62.0;
const TOP: f64 = 28.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Lines with more points than this have no markers.
const MARKED: usize = 24;
/// After the colours are used up, lines are told apart by their dashes.
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

fn dash(index: usize) -> String {
    match DASHES[index / super::ink::SERIES.len() % DASHES.len()] {
        "" => String::new(),
        dash => format!(" stroke-dasharray=\"{dash}\""),
    }
}

/// A marker: its shape tells series apart without colour.
fn marker(svg: &mut String, index: usize, (x, y): (f64, f64), colour: &str, hint: &str) {
    let shape = match index % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\""),
        1 => format!("<path d=\"M{:.1} {:.1}h5.4v5.4h-5.4z\"", x - 2.7, y - 2.7),
        2 => format!("<path d=\"M{x:.1} {:.1}l3.5 6h-7z\"", y - 3.8),
        _ => format!("<path d=\"M{x:.1} {:.1}l3.7 3.7-3.7 3.7-3.7-3.7z\"", y - 3.7),
    };
    if hint.is_empty() {
        let _ = writeln!(svg, "{shape} fill=\"{colour}\"/>");
    } else {
        let tag = if shape.starts_with("<circle") { "circle" } else { "path" };
        let _ = writeln!(svg, "{shape} fill=\"{colour}\"><title>{}</title></{tag}>", escape(hint));
    }
}

/// A sample for a legend, its middle at this height.
pub(super) fn sample(svg: &mut String, ink: Ink, index: usize, x: f64, middle: f64) {
    let colour = ink.of(Tone::Series(index));
    let _ = write!(
        svg,
        "<line x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"{colour}\" \
         stroke-width=\"2.5\"{}/>",
        x + 26.0,
        dash(index)
    );
    marker(svg, index, (x + 13.0, middle), &colour, "");
}

impl Chart {
    /// Whether anything is drawn in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.points().next().is_none()
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points)
    }

    /// The chart in this ink.
    pub(crate) fn draw(&self, ink: Ink) -> Picture {
        let shared = match self.vertical {
            Vertical::Share => {
                let lowest = self.points().map(|point| point.y - point.spread).filter(|y| y.is_finite());
                // Down to the next full tenth below the data: enough room, and no false zero.
                let floor = ((lowest.fold(1.0_f64, f64::min) - 0.02) * 10.0).floor().max(0.0) / 10.0;
                Some(Scale::linear(floor, 1.0))
            }
            Vertical::Log => Some(Scale::log(self.points().map(|point| point.y))),
            Vertical::FromZero => None,
        };
        let tiles = self.panels.iter().map(|panel| {
            let vertical = shared.unwrap_or_else(|| panel.vertical_from_zero());
            self.tile(ink, panel, &Frame { horizontal: panel.horizontal(), vertical })
        });
        let tiles = tiles.collect();
        let legend = self.names().into_iter().map(|(name, series)| (name, Sample::Series(series)));
        Picture { ink, tiles, legend: legend.collect() }
    }

    /// Names of lines that show something, in the order in which they first appear.
    fn names(&self) -> Vec<(String, usize)> {
        let mut names: Vec<(String, usize)> = Vec::new();
        for line in self.panels.iter().flat_map(|panel| &panel.lines).filter(|line| !line.points.is_empty()) {
            if !names.iter().any(|(name, series)| (name, *series) == (&line.name, line.series)) {
                names.push((line.name.clone(), line.series));
            }
        }
        names
    }

    fn tile(&self, ink: Ink, panel: &Panel, frame: &Frame) -> Tile {
        let mut body = String::new();
        heading(&mut body, LEFT, &panel.title);
        frame.axes(&mut body, ink, &self.x_title, panel.y_title.as_ref().unwrap_or(&self.y_title));
        for mark in &panel.marks {
            let Some(at) = frame.x(*mark) else { continue };
            let (bottom, colour) = (TOP + PLOT.1, ink.of(Tone::Faint));
            let _ = writeln!(
                body,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{colour}\" \
                 stroke-dasharray=\"1 4\"/>"
            );
        }
        for layer in [Layer::Band, Layer::Line] {
            for line in &panel.lines {
                match layer {
                    Layer::Band => band(&mut body, ink, line, frame),
                    Layer::Line => draw_line(&mut body, ink, line, frame),
                }
            }
        }
        let (width, height) = (LEFT + PLOT.0 + RIGHT, TOP + PLOT.1 + BOTTOM);
        Tile { title: panel.title.clone(), width, height, body }
    }
}

fn draw_line(svg: &mut String, ink: Ink, line: &Line, frame: &Frame) {
    let placed: Vec<(f64, f64, &Point)> =
        line.points.iter().filter_map(|point| Some((frame.x(point.x)?, frame.y(point.y)?, point))).collect();
    if placed.is_empty() {
        return;
    }
    let path: Vec<String> = placed.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
    let colour = ink.of(Tone::Series(line.series));
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-linejoin=\"round\"{}><title>{}</title></polyline>",
        path.join(" "),
        dash(line.series),
        escape(&line.name)
    );
    if placed.len() <= MARKED {
        for (x, y, point) in placed {
            let spread = if point.spread > 0.0 { format!(" ± {}", label(point.spread)) } else { String::new() };
            let hint = format!("{}: {} at {}{spread}", line.name, label(point.y), label(point.x));
            marker(svg, line.series, (x, y), &colour, &hint);
        }
    }
}

/// What lies under what.
#[derive(Clone, Copy)]
enum Layer {
    Band,
    Line,
}

fn band(svg: &mut String, ink: Ink, line: &Line, frame: &Frame) {
    if line.points.iter().all(|point| point.spread <= 0.0) {
        return;
    }
    let at = |point: &Point, side: f64| {
        // On a logarithmic axis a band may reach below zero: it ends at the axis.
        let y = frame.y(point.y + side * point.spread).unwrap_or(TOP + PLOT.1);
        Some(format!("{:.1},{:.1}", frame.x(point.x)?, y.clamp(TOP, TOP + PLOT.1)))
    };
    let upper = line.points.iter().filter_map(|point| at(point, 1.0));
    let lower = line.points.iter().rev().filter_map(|point| at(point, -1.0));
    let outline: Vec<String> = upper.chain(lower).collect();
    let colour = ink.of(Tone::Series(line.series));
    let _ = writeln!(svg, "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.16\"/>", outline.join(" "));
    if let [point] = line.points.as_slice()
        && let (Some(x), Some(high), Some(low)) =
            (frame.x(point.x), frame.y(point.y + point.spread), frame.y(point.y - point.spread))
    {
        let _ = writeln!(svg, "<path d=\"M{x:.1} {high:.1}V{low:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>");
    }
}

impl Panel {
    fn values(&self) -> impl Iterator<Item = &Point> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    fn horizontal(&self) -> Scale {
        let all = self.values().map(|point| point.x).chain(self.marks.iter().copied()).filter(|x| x.is_finite());
        Scale::linear(0.0, all.fold(0.0_f64, f64::max))
    }

    fn vertical_from_zero(&self) -> Scale {
        let ends = self.values().flat_map(|point| [point.y - point.spread, point.y + point.spread]);
        let (low, high) = ends.filter(|y| y.is_finite()).fold((0.0_f64, 0.0_f64), |(l, h), y| (l.min(y), h.max(y)));
        let room = 0.06 * (high - low);
        Scale::linear(if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 })
    }
}

/// A panel's axes.
struct Frame {
    horizontal: Scale,
    vertical: Scale,
}

impl Frame {
    fn x(&self, x: f64) -> Option<f64> {
        Some(LEFT + PLOT.0 * self.horizontal.share(x)?)
    }

    fn y(&self, y: f64) -> Option<f64> {
        Some(TOP + PLOT.1 * (1.0 - self.vertical.share(y)?))
    }

    fn axes(&self, svg: &mut String, ink: Ink, x_title: &str, y_title: &str) {
        let (right, bottom) = (LEFT + PLOT.0, TOP + PLOT.1);
        let (grid, axis, faint) = (ink.of(Tone::Grid), ink.of(Tone::Axis), ink.of(Tone::Faint));
        for value in self.vertical.ticks(5.0) {
            let Some(at) = self.y(value) else { continue };
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{grid}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{faint}\">{}</text>",
                LEFT - 7.0,
                at + 4.0,
                label(value)
            );
        }
        for value in self.horizontal.ticks(6.0) {
            let Some(at) = self.x(value) else { continue };
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\" stroke=\"{axis}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{faint}\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                label(value)
            );
        }
        let middle = f64::midpoint(TOP, bottom);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {bottom}H{right}\" fill=\"none\" stroke=\"{axis}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            bottom + 36.0,
            escape(x_title),
            escape(y_title)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(lines: Vec<Line>, vertical: Vertical) -> String {
        let panel = Panel { title: "a & b".into(), lines, ..Panel::default() };
        Chart { x_title: "x".into(), y_title: "y".into(), vertical, panels: vec![panel] }.draw(Ink::Paper).document()
    }

    #[test]
    fn names_are_escaped_and_lines_beyond_the_palette_are_dashed() {
        let points = || vec![Point::new(0.0, 0.5), Point::new(1.0, 0.9)];
        let lines = (0..8).map(|index| Line { name: format!("<{index}>"), series: index, points: points() }).collect();
        let svg = chart(lines, Vertical::Share);
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;7&gt;") && !svg.contains("<7>"));
        assert_eq!(svg.matches("stroke-dasharray=\"7 4\"").count(), 2);
    }

    #[test]
    fn a_spread_is_a_band_of_twice_its_size() {
        let points = vec![Point { x: 0.0, y: 0.5, spread: 0.1 }, Point { x: 1.0, y: 0.5, spread: 0.1 }];
        let svg = chart(vec![Line { name: "a".into(), series: 0, points }], Vertical::FromZero);
        // The axis ends 6 % above 0.6: 0.6 and 0.4 stand at these heights.
        assert!(svg.contains("62.0,42.2 434.0,42.2 434.0,120.8 62.0,120.8"), "{svg}");
    }

    #[test]
    fn values_that_are_no_numbers_leave_no_mark() {
        let points = vec![Point::new(0.0, f64::NAN), Point::new(f64::INFINITY, 0.3), Point::new(1.0, 0.5)];
        for vertical in [Vertical::Share, Vertical::FromZero, Vertical::Log] {
            let svg = chart(vec![Line { name: "a".into(), series: 0, points: points.clone() }], vertical);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
