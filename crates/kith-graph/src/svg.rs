//! A drawing of a graph.

use std::f64::consts::TAU;

use kith_core::AgentId;

use crate::Graph;
use crate::graph::Shape;
use crate::inspect::push;

/// Side of the square drawing, in pixels.
const SIDE: f64 = 480.0;
const MARGIN: f64 = 40.0;
/// Length of a wrapping edge's stubs, in sides of the square that agents stand in.
const STUB: f64 = 0.08;

/// A self-contained SVG drawing: agents on a circle, a star around its centre, a torus as a grid.
///
/// Edges that wrap around a torus leave the grid as stubs on both sides.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    let radius = (400.0 / graph.agents() as f64).clamp(2.0, 13.0);
    let mut text = String::new();
    push(
        &mut text,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SIDE} {SIDE}\" font-family=\"sans-serif\">\n\
             <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            graph.label()
        ),
    );
    let mut line = "stroke=\"#7a8ba0\" stroke-width=\"1.5\"";
    if graph.is_directed() {
        text.push_str(
            "<marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"6\" markerHeight=\"6\" \
             orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#7a8ba0\"/></marker>\n",
        );
        line = "stroke=\"#7a8ba0\" stroke-width=\"1.5\" marker-end=\"url(#arrow)\"";
    }
    push(&mut text, format_args!("<g {line}>\n"));
    let Drawing { points, segments } = drawing(graph);
    let rim = if graph.is_directed() { radius } else { 0.0 };
    for ends in segments {
        segment(&mut text, ends, rim);
    }
    text.push_str("</g>\n<g fill=\"#1f5fa8\">\n");
    for point in &points {
        let (x, y) = on_page(*point);
        push(&mut text, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>\n"));
    }
    text.push_str("</g>\n");
    // Below this a number does not fit into its vertex.
    if radius >= 6.0 {
        let size = radius * 0.95;
        push(&mut text, format_args!("<g fill=\"#fff\" font-size=\"{size:.1}\" text-anchor=\"middle\">\n"));
        for (agent, point) in points.iter().enumerate() {
            let (x, y) = on_page(*point);
            let baseline = y + 0.35 * size;
            push(&mut text, format_args!("<text x=\"{x:.1}\" y=\"{baseline:.1}\">{agent}</text>\n"));
        }
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

/// A graph laid out in a unit square, for whoever draws it.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// The place of each agent, x to the right and y down.
    pub points: Vec<[f64; 2]>,
    /// Straight pieces `[x1, y1, x2, y2]`, from sender to receiver where edges go one way. Stubs of edges that wrap around a
    /// torus leave the square by less than a tenth.
    pub segments: Vec<[f64; 4]>,
}

/// Where [`svg`] puts agents and edges.
#[must_use]
pub fn drawing(graph: &Graph) -> Drawing {
    let mut drawing =
        Drawing { points: graph.agent_ids().map(|agent| place(graph, agent)).collect(), segments: Vec::new() };
    for &(from, to) in graph.edges() {
        let ([x1, y1], [x2, y2]) = (drawing.points[from.index()], drawing.points[to.index()]);
        let length = (x2 - x1).hypot(y2 - y1).max(f64::MIN_POSITIVE);
        match graph.shape() {
            Shape::Grid { rows, columns } if length > 1.5 * grid_step(rows, columns) => {
                let (along_x, along_y) = (STUB * (x2 - x1) / length, STUB * (y2 - y1) / length);
                drawing.segments.push([x1, y1, x1 - along_x, y1 - along_y]);
                drawing.segments.push([x2, y2, x2 + along_x, y2 + along_y]);
            }
            _ => drawing.segments.push([x1, y1, x2, y2]),
        }
    }
    drawing
}

/// The centre of an agent's vertex, in the unit square.
fn place(graph: &Graph, agent: AgentId) -> [f64; 2] {
    let around = |index: usize, of: usize| {
        let angle = TAU * index as f64 / of as f64;
        [0.5 + 0.5 * angle.sin(), 0.5 - 0.5 * angle.cos()]
    };
    match graph.shape() {
        Shape::Circle if graph.agents() == 1 => [0.5, 0.5],
        Shape::Circle => around(agent.index(), graph.agents()),
        Shape::Star if agent == AgentId(0) => [0.5, 0.5],
        Shape::Star => around(agent.index() - 1, graph.agents() - 1),
        Shape::Grid { rows, columns } => {
            let step = grid_step(rows, columns);
            let (row, column) = (agent.index() / columns, agent.index() % columns);
            let offset = |index: usize, of: usize| 0.5 + step * (index as f64 - (of - 1) as f64 / 2.0);
            [offset(column, columns), offset(row, rows)]
        }
    }
}

fn grid_step(rows: usize, columns: usize) -> f64 {
    1.0 / (rows.max(columns) - 1).max(1) as f64
}

fn on_page([x, y]: [f64; 2]) -> (f64, f64) {
    let inner = SIDE - 2.0 * MARGIN;
    (MARGIN + inner * x, MARGIN + inner * y)
}

/// An arrow ends at the rim of its vertex, not under it.
fn segment(text: &mut String, [x1, y1, x2, y2]: [f64; 4], rim: f64) {
    let ((x1, y1), (x2, y2)) = (on_page([x1, y1]), on_page([x2, y2]));
    let length = (x2 - x1).hypot(y2 - y1).max(f64::MIN_POSITIVE);
    let (x2, y2) = (x2 - rim * (x2 - x1) / length, y2 - rim * (y2 - y1) / length);
    push(text, format_args!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"));
}
