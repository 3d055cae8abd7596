//! Quadratic objectives with known trajectories, on which decentralized methods are checked without noise.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use crate::DataError;

/// The format that files must name.
const FORMAT: &str = "quadratic-trajectory/1";

/// Agent `i` minimises `½ ‖A_i x − b_i‖²`.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// A, `[rows, dimensions]`.
    pub a: Vec<Vec<f64>>,
    /// b, `[rows]`.
    pub b: Vec<f64>,
}

/// A method, its hyperparameters and the states it goes through.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuadraticCase {
    /// The method's name, as the file writes it.
    pub algorithm: String,
    /// Its hyperparameters by name.
    pub hyperparameters: BTreeMap<String, f64>,
    /// X after every round: `[round][agent][dimension]`.
    pub states: Vec<Vec<Vec<f64>>>,
}

/// A file of quadratic objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratics {
    /// W, `[agents, agents]`, with self weights.
    pub mixing: Vec<Vec<f64>>,
    /// X before the first round: `[agents, dimensions]`.
    pub initial: Vec<Vec<f64>>,
    /// What each agent minimises.
    pub objectives: Vec<Objective>,
    /// Trajectories to compare with; may be empty.
    pub cases: Vec<QuadraticCase>,
}

/// The file as it is written; keys that only describe it (seed, graph) are read over.
#[derive(Deserialize)]
struct Raw {
    format: String,
    mixing: Vec<Vec<f64>>,
    a: Vec<Vec<Vec<f64>>>,
    b: Vec<Vec<f64>>,
    initial: Vec<Vec<f64>>,
    #[serde(default)]
    cases: Vec<QuadraticCase>,
}

impl Quadratics {
    /// Reads a file of the format `quadratic-trajectory/1`.
    ///
    /// # Errors
    /// If it cannot be read, is of another format, or its arrays do not fit together.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::io("open", path))?;
        let raw: Raw = serde_json::from_reader(BufReader::new(file))
            .map_err(|error| DataError::format(path, format!("JSON of the format {FORMAT}"), error.to_string()))?;
        if raw.format != FORMAT {
            return Err(DataError::format(path, format!("format {FORMAT:?}"), format!("{:?}", raw.format)));
        }
        raw.check(path)?;
        let objectives = raw.a.into_iter().zip(raw.b).map(|(a, b)| Objective { a, b }).collect();
        Ok(Self { mixing: raw.mixing, initial: raw.initial, objectives, cases: raw.cases })
    }

    /// Length of an agent's state.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.initial.first().map_or(0, Vec::len)
    }
}

impl Raw {
    fn check(&self, path: &Path) -> Result<(), DataError> {
        let (agents, dimensions) = (self.initial.len(), self.initial.first().map_or(0, Vec::len));
        if agents == 0 || dimensions == 0 {
            return Err(DataError::format(path, "initial with a row an agent", format!("{agents} x {dimensions}")));
        }
        let matrix = |what: String, matrix: &[Vec<f64>], rows: usize, cols: usize| {
            if matrix.len() == rows && matrix.iter().all(|row| row.len() == cols) {
                return Ok(());
            }
            let found =
                format!("{} rows of {:?} numbers", matrix.len(), matrix.iter().map(Vec::len).collect::<Vec<_>>());
            Err(DataError::format(path, format!("{what} of {rows} rows of {cols} numbers"), found))
        };
        matrix("initial".to_owned(), &self.initial, agents, dimensions)?;
        matrix("mixing".to_owned(), &self.mixing, agents, agents)?;
        if self.a.len() != agents || self.b.len() != agents {
            let found = format!("{} and {}", self.a.len(), self.b.len());
            return Err(DataError::format(path, format!("{agents} entries in a and in b"), found));
        }
        for (agent, (a, b)) in self.a.iter().zip(&self.b).enumerate() {
            matrix(format!("a[{agent}]"), a, b.len(), dimensions)?;
        }
        for case in &self.cases {
            for (round, state) in case.states.iter().enumerate() {
                matrix(format!("{}: states[{round}]", case.algorithm), state, agents, dimensions)?;
            }
        }
        Ok(())
    }
}
