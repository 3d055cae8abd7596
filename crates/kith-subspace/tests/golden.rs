//! Ranks, projectors and importances against independent numbers: see `tests/golden/README.md` of the workspace.

use faer::Mat;
use kith_subspace::{LayerMemory, Rule};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// On the entries of projectors; the numbers are printed with ten digits.
const TOLERANCE: f64 = 1e-6;

#[derive(Deserialize)]
struct Golden {
    alpha: f64,
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    energy_threshold: Vec<f64>,
    representation: Vec<Vec<Vec<f64>>>,
    gpm: Vec<Gpm>,
    sgp: Vec<Sgp>,
}

#[derive(Deserialize)]
struct Gpm {
    rank: usize,
    projector: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Sgp {
    rank: usize,
    importance_sorted: Vec<f64>,
    scaled_projector: Vec<Vec<f64>>,
}

/// Every file of this shape in the workspace's golden folder and in `KITH_GOLDEN_DIR`.
fn golden_files() -> Vec<(PathBuf, Golden)> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let more = std::env::var_os("KITH_GOLDEN_DIR").map(PathBuf::from);
    let mut files = Vec::new();
    for folder in std::iter::once(shipped).chain(more) {
        let entries = std::fs::read_dir(&folder).expect("the golden folder can be listed");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let text = std::fs::read_to_string(&path).expect("a golden file can be read");
            let value: serde_json::Value = serde_json::from_str(&text).expect("a golden file is JSON");
            let first = value.get("tasks").and_then(|tasks| tasks.get(0));
            if first.is_some_and(|task| task.get("gpm").is_some() && task.get("sgp").is_some()) {
                files.push((path, serde_json::from_value(value).expect("the shape is the known one")));
            }
        }
    }
    assert!(!files.is_empty(), "no golden file of the memory's shape was found");
    files
}

fn matrix(rows: &[Vec<f64>]) -> Mat<f64> {
    Mat::from_fn(rows.len(), rows.first().map_or(0, Vec::len), |row, col| rows[row][col])
}

fn distance(found: &Mat<f64>, expected: &[Vec<f64>]) -> f64 {
    (found - matrix(expected)).norm_max()
}

fn memories(golden: &Golden) -> Vec<LayerMemory> {
    golden.tasks[0].representation.iter().map(|layer| LayerMemory::new(layer.len())).collect()
}

fn learn(memory: &mut LayerMemory, task: &Task, layer: usize, rule: Rule) {
    let representation = matrix(&task.representation[layer]);
    let growth =
        memory.propose_f64(representation.as_ref(), task.energy_threshold[layer], rule).expect("it can be proposed");
    memory.grow(&growth).expect("what was proposed fits");
}

#[test]
fn gpm_has_the_ranks_and_projectors_of_the_reference() {
    for (path, golden) in golden_files() {
        let mut memories = memories(&golden);
        for (t, task) in golden.tasks.iter().enumerate() {
            for (layer, memory) in memories.iter_mut().enumerate() {
                learn(memory, task, layer, Rule::Gpm);
                let at = format!("{}, task {t}, layer {layer}", path.display());
                assert_eq!(memory.rank(), task.gpm[layer].rank, "{at}");
                let off = distance(&memory.projector(), &task.gpm[layer].projector);
                assert!(off < TOLERANCE, "{at}: projector is off by {off:e}");
                assert!(memory.importance().iter().all(|&value| value == 1.0), "{at}");
            }
        }
    }
}

#[test]
fn sgp_has_the_ranks_importances_and_projectors_of_the_reference() {
    for (path, golden) in golden_files() {
        let mut memories = memories(&golden);
        let rule = Rule::Sgp { alpha: golden.alpha };
        for (t, task) in golden.tasks.iter().enumerate() {
            for (layer, memory) in memories.iter_mut().enumerate() {
                learn(memory, task, layer, rule);
                let at = format!("{}, task {t}, layer {layer}", path.display());
                let expected = &task.sgp[layer];
                assert_eq!(memory.rank(), expected.rank, "{at}");
                let off = distance(&memory.scaled_projector(), &expected.scaled_projector);
                assert!(off < TOLERANCE, "{at}: scaled projector is off by {off:e}");
                let mut importance = memory.importance();
                importance.sort_by(|a, b| b.total_cmp(a));
                assert_eq!(importance.len(), expected.importance_sorted.len(), "{at}");
                for (found, expected) in importance.iter().zip(&expected.importance_sorted) {
                    assert!((f64::from(*found) - expected).abs() < TOLERANCE, "{at}: {found} against {expected}");
                }
            }
        }
    }
}
