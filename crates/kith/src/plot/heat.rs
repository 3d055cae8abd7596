//! Heat maps: a table whose cells are shaded.

use std::fmt::Write as _;

use super::{Ink, Picture, Tile, Tone, escape, heading};

/// A shaded cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    /// How dark, 0 to 1.
    pub(crate) share: f64,
    /// What stands in it, where there is room.
    pub(crate) text: String,
    /// What it says when pointed at.
    pub(crate) hint: String,
}

/// One map.
#[derive(Clone, Debug)]
pub(crate) struct HeatPanel {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    /// Name and cells of each row; a row may be shorter than the heading, and a cell may be missing.
    pub(crate) rows: Vec<(String, Vec<Option<Cell>>)>,
}

/// Maps side by side.
#[derive(Clone, Debug)]
pub(crate) struct HeatMap {
    pub(crate) x_title: String,
    pub(crate) y_title: String,
    pub(crate) panels: Vec<HeatPanel>,
}

const LEFT: f64 = 62.0;
const TOP: f64 = 46.0;
const WIDE: f64 = 372.0;
const TALL: f64 = 300.0;

/// Sides of a cell: as large as there is room for, within reason.
fn sides(panel: &HeatPanel) -> (f64, f64) {
    let columns = panel.columns.len().max(1) as f64;
    let rows = panel.rows.len().max(1) as f64;
    ((WIDE / columns).min(58.0), (TALL / rows).clamp(3.0, 34.0))
}

impl HeatMap {
    /// Whether anything is drawn in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.panels.iter().all(|panel| panel.rows.is_empty())
    }

    /// The maps in this ink.
    pub(crate) fn draw(&self, ink: Ink) -> Picture {
        Picture { ink, tiles: self.panels.iter().map(|panel| self.tile(ink, panel)).collect(), legend: Vec::new() }
    }

    fn tile(&self, ink: Ink, panel: &HeatPanel) -> Tile {
        let (wide, tall) = sides(panel);
        let mut body = String::new();
        heading(&mut body, LEFT, &panel.title);
        let faint = ink.of(Tone::Faint);
        let (across, down) = (wide * panel.columns.len() as f64, tall * panel.rows.len() as f64);
        let every = |side: f64| (16.0 / side).ceil().max(1.0) as usize;
        for (index, name) in panel.columns.iter().enumerate().step_by(every(wide)) {
            let x = LEFT + wide * (index as f64 + 0.5);
            let _ = writeln!(
                body,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{faint}\">{}</text>",
                TOP - 6.0,
                escape(name)
            );
        }
        for (index, (name, cells)) in panel.rows.iter().enumerate() {
            let y = TOP + tall * index as f64;
            if index % every(tall) == 0 {
                let _ = writeln!(
                    body,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{faint}\">{}</text>",
                    LEFT - 7.0,
                    y + tall / 2.0 + 4.0,
                    escape(name)
                );
            }
            for (column, cell) in cells.iter().enumerate() {
                if let Some(cell) = cell {
                    draw_cell(&mut body, ink, cell, (LEFT + wide * column as f64, y), (wide, tall));
                }
            }
        }
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + across / 2.0,
            TOP + down + 20.0,
            escape(&self.x_title),
            TOP + down / 2.0,
            escape(&self.y_title)
        );
        let title_width = 7.8 * panel.title.chars().count() as f64;
        let width = LEFT + across.max(120.0).max(title_width) + 16.0;
        Tile { title: panel.title.clone(), width, height: (TOP + down + 30.0).max(TOP + 96.0), body }
    }
}

fn draw_cell(svg: &mut String, ink: Ink, cell: &Cell, (x, y): (f64, f64), (wide, tall): (f64, f64)) {
    // Large cells stand apart by a thin line of ground; small ones touch.
    let gap = if wide > 10.0 && tall > 10.0 { 1.0 } else { 0.0 };
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" style=\"fill:{}\"><title>{}</title></rect>",
        wide - gap,
        tall - gap,
        ink.of(Tone::heat(cell.share)),
        escape(&cell.hint)
    );
    let size = (wide / (0.62 * cell.text.chars().count().max(1) as f64)).min(12.0).min(tall - 3.0);
    if size >= 7.0 && !cell.text.is_empty() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"{size:.1}\" pointer-events=\"none\" \
             fill=\"{}\">{}</text>",
            x + (wide - gap) / 2.0,
            y + tall / 2.0 + 0.35 * size,
            ink.of(Tone::on_heat(cell.share)),
            escape(&cell.text)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_drawn_and_small_ones_carry_no_text() {
        let cell = |share| Some(Cell { share, text: "0.50".into(), hint: "half".into() });
        let map = |count: usize| HeatMap {
            x_title: "x".into(),
            y_title: "y".into(),
            panels: vec![HeatPanel {
                title: "t".into(),
                columns: (0..count).map(|index| index.to_string()).collect(),
                rows: (0..count).map(|index| (index.to_string(), vec![cell(0.5); index + 1])).collect(),
            }],
        };
        let small = map(3).draw(Ink::Paper).document();
        assert_eq!(small.matches("<title>half</title>").count(), 6);
        assert_eq!(small.matches(">0.50<").count(), 6);
        let large = map(64).draw(Ink::Paper).document();
        assert_eq!(large.matches("<title>half</title>").count(), 64 * 65 / 2);
        assert_eq!(large.matches(">0.50<").count(), 0);
    }
}
