//! `--filter`: a part of a sweep.

use super::condition::Term;
use super::{PlannedRun, SweepPlan};
use crate::config::ConfigError;
use crate::config::render::{Diagnostic, Problem};
use crate::config::spans::{self, Node, Origin, Value};
use crate::config::written::parse_flag;

/// Which runs of a sweep are meant: `arm=codec`, `seed=[1,2]`, `train.batch_size=10`. The same key twice means either value,
/// different keys mean both.
#[derive(Clone, Default)]
pub struct Filter {
    terms: Vec<(String, Term)>,
}

impl Filter {
    /// Reads the texts of `--filter`.
    ///
    /// # Errors
    /// A text that is not `key=value`.
    pub fn parse(texts: &[String]) -> Result<Self, ConfigError> {
        let mut filter = Self::default();
        for text in texts {
            let refuse = |message: String| {
                let problem = Problem::new("", message)
                    .accept("accepted: --filter key.path=value, e.g. --filter arm=codec --filter seed=[1,2]");
                ConfigError::one(Diagnostic::at(format!("--filter {text}"), problem, None))
            };
            let table = parse_flag(text, &|_| Origin::Default).map_err(refuse)?;
            let mut terms = Vec::new();
            Term::read(&[], &Node { value: Value::Table(table), origin: Origin::Default }, &mut terms);
            for term in terms {
                match filter.terms.iter_mut().find(|(_, other)| other.path == term.path) {
                    Some((_, other)) => other.accepted.extend(term.accepted),
                    None => filter.terms.push((text.clone(), term)),
                }
            }
        }
        Ok(filter)
    }

    /// Keeps the runs that are meant.
    ///
    /// # Errors
    /// A filter that no run passes, with the values that there are.
    pub fn apply(&self, plan: &mut SweepPlan) -> Result<(), ConfigError> {
        for (text, term) in &self.terms {
            let trees = plan.runs.iter().map(tree).collect::<Result<Vec<_>, _>>()?;
            let keep: Vec<bool> = plan.runs.iter().zip(&trees).map(|(run, tree)| term.holds(&run.arm, tree)).collect();
            if !keep.contains(&true) {
                return Err(nothing_left(text, term, plan, &trees));
            }
            let mut keep = keep.into_iter();
            plan.runs.retain(|_| keep.next().unwrap_or(false));
        }
        Ok(())
    }
}

fn tree(run: &PlannedRun) -> Result<Node, ConfigError> {
    let arm = run.experiment.arms.first();
    arm.map_or_else(
        || Ok(Node { value: Value::Table(spans::Table::default()), origin: Origin::Default }),
        |arm| Node::from_value(arm).map_err(ConfigError::Write),
    )
}

fn nothing_left(text: &str, term: &Term, plan: &SweepPlan, trees: &[Node]) -> ConfigError {
    let mut values: Vec<String> = Vec::new();
    for (run, tree) in plan.runs.iter().zip(trees) {
        let value = if term.path == ["arm"] {
            Some(run.arm.clone())
        } else {
            crate::config::value_at(tree, &term.path).map(|node| node.to_json().to_string())
        };
        values.extend(value.filter(|value| !values.contains(value)));
    }
    let problem = Problem::new("", "no run passes").accept(if values.is_empty() {
        let mut keys = vec!["arm".to_owned(), "seed".to_owned()];
        let set = plan.runs.iter().flat_map(|run| run.setting.keys());
        for key in set {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        format!("runs have no such key; they differ in {}", keys.join(", "))
    } else {
        format!("accepted: {}", values.join(", "))
    });
    ConfigError::one(Diagnostic::at(format!("--filter {text}"), problem, None))
}
