//! A drawing of a graph.

use std::f64::consts::TAU;

use kith_core::AgentId;

use crate::Graph;
use crate::graph::Shape;
use crate::inspect::push;

/// Side of the square drawing, in pixels.
const SIDE: f64 = 480.0;
const MARGIN: f64 = 40.0;

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
    for &(from, to) in graph.edges() {
        edge(&mut text, graph, from, to, radius);
    }
    text.push_str("</g>\n<g fill=\"#1f5fa8\">\n");
    for agent in graph.agent_ids() {
        let (x, y) = place(graph, agent);
        push(&mut text, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>\n"));
    }
    text.push_str("</g>\n");
    // Below this a number does not fit into its vertex.
    if radius >= 6.0 {
        let size = radius * 0.95;
        push(&mut text, format_args!("<g fill=\"#fff\" font-size=\"{size:.1}\" text-anchor=\"middle\">\n"));
        for agent in graph.agent_ids() {
            let (x, y) = place(graph, agent);
            let baseline = y + 0.35 * size;
            push(&mut text, format_args!("<text x=\"{x:.1}\" y=\"{baseline:.1}\">{agent}</text>\n"));
        }
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

/// The centre of an agent's vertex.
fn place(graph: &Graph, agent: AgentId) -> (f64, f64) {
    let middle = SIDE / 2.0;
    let around = |index: usize, of: usize| {
        let angle = TAU * index as f64 / of as f64;
        (middle + (middle - MARGIN) * angle.sin(), middle - (middle - MARGIN) * angle.cos())
    };
    match graph.shape() {
        Shape::Circle if graph.agents() == 1 => (middle, middle),
        Shape::Circle => around(agent.index(), graph.agents()),
        Shape::Star if agent == AgentId(0) => (middle, middle),
        Shape::Star => around(agent.index() - 1, graph.agents() - 1),
        Shape::Grid { rows, columns } => {
            let step = grid_step(rows, columns);
            let (row, column) = (agent.index() / columns, agent.index() % columns);
            let offset = |index: usize, of: usize| middle + step * (index as f64 - (of - 1) as f64 / 2.0);
            (offset(column, columns), offset(row, rows))
        }
    }
}

fn grid_step(rows: usize, columns: usize) -> f64 {
    (SIDE - 2.0 * MARGIN) / (rows.max(columns) - 1) as f64
}

fn edge(text: &mut String, graph: &Graph, from: AgentId, to: AgentId, radius: f64) {
    let ((x1, y1), (x2, y2)) = (place(graph, from), place(graph, to));
    let length = (x2 - x1).hypot(y2 - y1).max(f64::MIN_POSITIVE);
    let (along_x, along_y) = ((x2 - x1) / length, (y2 - y1) / length);
    if let Shape::Grid { rows, columns } = graph.shape()
        && length > 1.5 * grid_step(rows, columns)
    {
        let stub = MARGIN * 0.8;
        segment(text, (x1, y1), (x1 - stub * along_x, y1 - stub * along_y));
        segment(text, (x2, y2), (x2 + stub * along_x, y2 + stub * along_y));
        return;
    }
    // An arrow ends at the rim of its vertex, not under it.
    let end = if graph.is_directed() { radius } else { 0.0 };
    segment(text, (x1, y1), (x2 - end * along_x, y2 - end * along_y));
}

fn segment(text: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    push(text, format_args!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"));
}
