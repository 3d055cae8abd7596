//! A small line chart in SVG: panels with axes, grid, lines and a legend.

use std::fmt::Write as _;

/// Okabe and Ito's palette without yellow, which is too light on white: told apart with any colour vision.
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
/// After the colours are used up, lines are told apart by their dashes.
const DASHES: [&str; 3] = ["", "7 4", "2 3"];

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// One chart with its own x axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
    /// Dotted verticals.
    pub(super) marks: Vec<f64>,
}

/// A figure: panels side by side that share the y axis and the legend.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) x_title: &'static str,
    pub(super) y_title: &'static str,
    pub(super) panels: Vec<Panel>,
}

const PANEL: (f64, f64) = (400.0, 280.0);
const LEFT: f64 = 64.0;
const TOP: f64 = 40.0;
const GAP: f64 = 36.0;
const BOTTOM: f64 = 56.0;
const LEGEND_ROW: f64 = 20.0;
/// Lines with more points than this have no dots.
const DOTS: usize = 12;
/// Panels in one row.
const ACROSS: usize = 3;

/// Even steps of an axis: about `count` of them, each 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = ((high - low) / count).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|unit| unit * power).find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let steps = (last - first).clamp(0.0, 50.0) as u32;
    (0..=steps).map(|index| (first + f64::from(index)) * step).collect()
}

fn label(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e6 {
        format!("{}M", trim(format!("{:.2}", value / 1e6)))
    } else if magnitude >= 1e4 {
        format!("{}k", trim(format!("{:.1}", value / 1e3)))
    } else {
        trim(format!("{value:.3}"))
    }
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn style(index: usize) -> (&'static str, &'static str) {
    (COLOURS[index % COLOURS.len()], DASHES[index / COLOURS.len() % DASHES.len()])
}

impl Figure {
    /// The figure as a self-contained SVG document.
    pub(super) fn render(&self) -> String {
        let names = self.names();
        let across = self.panels.len().clamp(1, ACROSS);
        let down = self.panels.len().max(1).div_ceil(ACROSS);
        let width = LEFT + across as f64 * (PANEL.0 + GAP);
        let legend = Legend::new(&names, width - LEFT - GAP);
        let row = TOP + PANEL.1 + BOTTOM;
        let height = down as f64 * row + legend.height() + 8.0;
        let mut svg = String::new();
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" \
             font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        let (low, high) = self.y_range();
        for (index, panel) in self.panels.iter().enumerate() {
            let (x, y) = (LEFT + (index % ACROSS) as f64 * (PANEL.0 + GAP), TOP + (index / ACROSS) as f64 * row);
            let frame = Frame { x, y, x_range: panel.x_range(), y_range: (low, high) };
            self.draw(&mut svg, panel, &frame, &names);
        }
        legend.draw(&mut svg, LEFT, down as f64 * row + 4.0);
        svg.push_str("</svg>\n");
        svg
    }

    /// Names of lines, in the order in which they first appear.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for line in self.panels.iter().flat_map(|panel| &panel.lines) {
            if !names.contains(&line.name) {
                names.push(line.name.clone());
            }
        }
        names
    }

    fn dots(&self) -> Dots {
        let longest = self.panels.iter().flat_map(|panel| &panel.lines).map(|line| line.points.len()).max();
        if longest.is_some_and(|points| points <= DOTS) { Dots::All } else { Dots::Single }
    }

    fn y_range(&self) -> (f64, f64) {
        let values = self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(|(_, y)| *y);
        let lowest = values.filter(|y| y.is_finite()).fold(1.0_f64, f64::min);
        // Down to the next full tenth below the data: enough room, and no false zero.
        (((lowest - 0.02) * 10.0).floor().max(0.0) / 10.0, 1.0)
    }

    fn draw(&self, svg: &mut String, panel: &Panel, frame: &Frame, names: &[String]) {
        let (left, top, right, bottom) = (frame.x, frame.y, frame.x + PANEL.0, frame.y + PANEL.1);
        let _ = writeln!(
            svg,
            "<text x=\"{left:.1}\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\">{}</text>",
            top - 12.0,
            escape(&panel.title)
        );
        for y in ticks(frame.y_range.0, frame.y_range.1, 5.0) {
            let at = frame.y_of(y);
            let _ = writeln!(
                svg,
                "<line x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e4e4e4\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                label(y)
            );
        }
        for x in ticks(frame.x_range.0, frame.x_range.1, 5.0) {
            let at = frame.x_of(x);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\" stroke=\"#444\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                label(x)
            );
        }
        for mark in &panel.marks {
            let at = frame.x_of(*mark);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\" stroke=\"#999\" \
                 stroke-dasharray=\"1 4\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#444\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, right),
            bottom + 38.0,
            escape(self.x_title)
        );
        if frame.x <= LEFT {
            let middle = f64::midpoint(top, bottom);
            let _ = writeln!(
                svg,
                "<text transform=\"translate(18 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                escape(self.y_title)
            );
        }
        for line in &panel.lines {
            let place = names.iter().position(|name| *name == line.name).unwrap_or(0);
            draw_line(svg, line, frame, style(place), self.dots());
        }
    }
}

fn draw_line(svg: &mut String, line: &Line, frame: &Frame, (colour, dash): (&str, &str), dots: Dots) {
    let points: Vec<(f64, f64)> = line
        .points
        .iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .map(|(x, y)| (frame.x_of(*x), frame.y_of(*y)))
        .collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\" \
         stroke-dasharray=\"{dash}\"/>",
        path.join(" ")
    );
    // A line of one point would not be seen without its dot.
    if dots == Dots::All || points.len() == 1 {
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}

/// Which measurements are dotted: all of a figure, as long as there is room, or none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    All,
    Single,
}

impl Panel {
    fn x_range(&self) -> (f64, f64) {
        let values = self.lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
        let highest = values.chain(self.marks.iter().copied()).filter(|x| x.is_finite()).fold(0.0_f64, f64::max);
        (0.0, if highest > 0.0 { highest } else { 1.0 })
    }
}

/// A panel's place on the page and its axes.
struct Frame {
    x: f64,
    y: f64,
    x_range: (f64, f64),
    y_range: (f64, f64),
}

impl Frame {
    fn x_of(&self, x: f64) -> f64 {
        self.x + PANEL.0 * (x - self.x_range.0) / (self.x_range.1 - self.x_range.0)
    }

    fn y_of(&self, y: f64) -> f64 {
        self.y + PANEL.1 * (1.0 - (y - self.y_range.0) / (self.y_range.1 - self.y_range.0))
    }
}

/// Names beside samples of their lines, in as many rows as they need.
struct Legend<'a> {
    /// Name, x, row.
    entries: Vec<(&'a str, f64, f64)>,
    rows: f64,
}

impl<'a> Legend<'a> {
    fn new(names: &'a [String], width: f64) -> Self {
        let (mut entries, mut x, mut row) = (Vec::new(), 0.0, 0.0);
        for name in names {
            let needed = 34.0 + 7.2 * name.chars().count() as f64 + 18.0;
            if x > 0.0 && x + needed > width {
                x = 0.0;
                row += 1.0;
            }
            entries.push((name.as_str(), x, row));
            x += needed;
        }
        Self { entries, rows: row + 1.0 }
    }

    fn height(&self) -> f64 {
        self.rows * LEGEND_ROW
    }

    fn draw(&self, svg: &mut String, left: f64, top: f64) {
        for (index, (name, x, row)) in self.entries.iter().enumerate() {
            let (colour, dash) = style(index);
            let (x, y) = (left + x, top + row * LEGEND_ROW + 8.0);
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"2.5\" \
                 stroke-dasharray=\"{dash}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 26.0,
                x + 32.0,
                y + 4.0,
                escape(name)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_axis() {
        let shown = |low, high| ticks(low, high, 5.0).into_iter().map(label).collect::<Vec<_>>();
        assert_eq!(shown(0.7, 1.0), ["0.7", "0.8", "0.9", "1"]);
        assert_eq!(shown(0.0, 27_000.0), ["0", "10k", "20k"]);
        assert_eq!(shown(0.0, 3.1), ["0", "1", "2", "3"]);
    }

    #[test]
    fn names_are_escaped_and_lines_beyond_the_palette_are_dashed() {
        let lines =
            (0..8).map(|index| Line { name: format!("<{index}>"), points: vec![(0.0, 0.5), (1.0, 0.9)] }).collect();
        let panel = Panel { title: "a & b".into(), lines, marks: vec![] };
        let svg = Figure { x_title: "x", y_title: "y", panels: vec![panel] }.render();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;7&gt;") && !svg.contains("<7>"));
        assert_eq!(svg.matches("stroke-dasharray=\"7 4\"").count(), 2);
    }

    #[test]
    fn a_figure_without_data_is_still_a_document() {
        let svg = Figure { x_title: "x", y_title: "y", panels: vec![] }.render();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
