//! A communication graph whose vertices show the classes that each agent holds.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use super::{Ink, Picture, Sample, Tile, Tone, escape, heading};

/// A graph in a unit square.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) title: String,
    /// Place of each agent.
    pub(crate) points: Vec<[f64; 2]>,
    /// Lines from place to place.
    pub(crate) segments: Vec<[f64; 4]>,
    /// Whether lines carry one way only.
    pub(crate) directed: bool,
    /// `[agent]`: how many samples of which class; may be empty.
    pub(crate) labels: Vec<Vec<(usize, u64)>>,
    /// Names of classes.
    pub(crate) classes: usize,
    /// Drawn with a ring in the colour of faults.
    pub(crate) struck: Vec<usize>,
}

const SIDE: f64 = 420.0;
const MARGIN: f64 = 34.0;
const TOP: f64 = 22.0;
/// More classes than this have no entry each in the legend.
const NAMED: usize = 12;

impl Network {
    /// The graph in this ink.
    pub(crate) fn draw(&self, ink: Ink) -> Picture {
        let radius = (420.0 / self.points.len().max(1) as f64).clamp(2.5, 17.0);
        let place = |[x, y]: [f64; 2]| (MARGIN + x * (SIDE - 2.0 * MARGIN), TOP + MARGIN + y * (SIDE - 2.0 * MARGIN));
        let mut body = String::new();
        heading(&mut body, MARGIN / 2.0, &self.title);
        self.draw_segments(&mut body, ink, radius, &place);
        for (agent, point) in self.points.iter().enumerate() {
            self.draw_agent(&mut body, ink, agent, place(*point), radius);
        }
        let labelled = self.labels.iter().any(|labels| !labels.is_empty());
        let legend = if labelled && self.classes <= NAMED {
            let entry = |index| (format!("class {index}"), Sample::Box(Tone::Class { index, of: self.classes }));
            (0..self.classes).map(entry).collect()
        } else {
            Vec::new()
        };
        let tile = Tile { title: self.title.clone(), width: SIDE, height: SIDE + TOP, body };
        Picture { ink, tiles: vec![tile], legend }
    }

    fn draw_segments(&self, svg: &mut String, ink: Ink, radius: f64, place: &dyn Fn([f64; 2]) -> (f64, f64)) {
        let colour = ink.of(Tone::Axis);
        let opacity = if self.segments.len() > 400 { 0.3 } else { 0.6 };
        let _ = writeln!(svg, "<g stroke=\"{colour}\" stroke-width=\"1.3\" stroke-opacity=\"{opacity}\">");
        for [x1, y1, x2, y2] in &self.segments {
            let ((x1, y1), (x2, y2)) = (place([*x1, *y1]), place([*x2, *y2]));
            let length = (x2 - x1).hypot(y2 - y1).max(f64::MIN_POSITIVE);
            let (along_x, along_y) = ((x2 - x1) / length, (y2 - y1) / length);
            // An arrow ends at the rim of its vertex, not under it.
            let rim = if self.directed { radius + 1.0 } else { 0.0 };
            let (x2, y2) = (x2 - rim * along_x, y2 - rim * along_y);
            let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
            if self.directed {
                let (back_x, back_y) = (x2 - 7.0 * along_x, y2 - 7.0 * along_y);
                let (side_x, side_y) = (3.2 * along_y, -3.2 * along_x);
                let _ = writeln!(
                    svg,
                    "<path d=\"M{x2:.1} {y2:.1}L{:.1} {:.1}L{:.1} {:.1}Z\" fill=\"{colour}\"/>",
                    back_x + side_x,
                    back_y + side_y,
                    back_x - side_x,
                    back_y - side_y
                );
            }
        }
        svg.push_str("</g>\n");
    }

    /// A disc with a ring of the agent's classes around its number.
    fn draw_agent(&self, svg: &mut String, ink: Ink, agent: usize, (x, y): (f64, f64), radius: f64) {
        let labels = self.labels.get(agent).map_or(&[][..], Vec::as_slice);
        let total: u64 = labels.iter().map(|(_, count)| count).sum();
        let hint = if total > 0 {
            let each: Vec<String> = labels.iter().map(|(class, count)| format!("class {class}: {count}")).collect();
            format!("agent {agent}: {}", each.join(", "))
        } else {
            format!("agent {agent}")
        };
        let _ = writeln!(svg, "<g><title>{}</title>", escape(&hint));
        let ground = if total > 0 { ink.of(Tone::Background) } else { ink.of(Tone::Series(0)) };
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{ground}\"/>");
        let mut from = 0.0;
        for (class, count) in labels {
            let share = *count as f64 / total as f64;
            let colour = ink.of(Tone::Class { index: *class, of: self.classes });
            sector(svg, (x, y), radius, (from, from + share), &colour);
            from += share;
        }
        let inner = radius * 0.66;
        if total > 0 && radius >= 9.0 {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{inner:.1}\" fill=\"{}\"/>",
                ink.of(Tone::Background)
            );
        }
        if self.struck.contains(&agent) {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\" \
                 stroke-dasharray=\"4 3\"/>",
                radius + 4.0,
                ink.of(Tone::Fault)
            );
        }
        if radius >= 9.0 {
            let colour = if total > 0 { ink.of(Tone::Text) } else { ink.of(Tone::Background) };
            let size = radius * 0.7;
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size:.1}\" text-anchor=\"middle\" fill=\"{colour}\">{}</text>",
                y + 0.35 * size,
                agent
            );
        }
        svg.push_str("</g>\n");
    }
}

/// A piece of a disc, from one share of the turn to another.
fn sector(svg: &mut String, (x, y): (f64, f64), radius: f64, (from, to): (f64, f64), colour: &str) {
    if to - from > 0.9999 {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\"/>");
        return;
    }
    let at = |share: f64| (x + radius * (TAU * share).sin(), y - radius * (TAU * share).cos());
    let ((x1, y1), (x2, y2)) = (at(from), at(to));
    let large = u8::from(to - from > 0.5);
    let _ = writeln!(
        svg,
        "<path d=\"M{x:.1} {y:.1}L{x1:.2} {y1:.2}A{radius:.1} {radius:.1} 0 {large} 1 {x2:.2} {y2:.2}Z\" fill=\"{colour}\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_is_drawn_with_a_sector_a_class() {
        let network = Network {
            title: "ring of 3".into(),
            points: vec![[0.5, 0.0], [0.0, 1.0], [1.0, 1.0]],
            segments: vec![[0.5, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]],
            directed: true,
            labels: vec![vec![(0, 3), (1, 1)], vec![(1, 4)], vec![]],
            classes: 2,
            struck: vec![2],
        };
        let svg = network.draw(Ink::Paper).document();
        assert!(svg.contains("agent 0: class 0: 3, class 1: 1"));
        assert_eq!(svg.matches("<title>agent ").count(), 3);
        assert_eq!(svg.matches("<line ").count(), 2);
        assert_eq!(svg.matches("stroke-dasharray=\"4 3\"").count(), 1);
        // Two sectors for the first agent; a single class is a whole disc.
        assert_eq!(svg.matches("A17.0 17.0").count(), 2);
    }
}
