//! Problems of an experiment file, shown with their line.

use std::fmt;
use std::ops::Range;

/// One problem, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `experiments/x.toml:12:8` or the flag.
    place: String,
    /// Dotted key path; empty for the file as a whole.
    path: String,
    /// What is wrong.
    message: String,
    /// The arm, where the file has several.
    arm: Option<String>,
    excerpt: Option<Excerpt>,
    /// What would be accepted.
    accepted: Vec<String>,
}

/// The line of the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: usize,
    text: String,
    /// Characters from the start of the line.
    column: usize,
    width: usize,
}

/// A problem before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Dotted key path.
    pub(crate) path: String,
    pub(crate) message: String,
    /// What would be accepted; empty where the message says it.
    pub(crate) accepted: Vec<String>,
}

impl Problem {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), accepted: Vec::new() }
    }

    pub(crate) fn accept(mut self, accepted: impl Into<String>) -> Self {
        self.accepted.push(accepted.into());
        self
    }
}

/// A file's text and name.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Diagnostic {
    /// A problem at a place in the file.
    pub(crate) fn in_file(source: &Source, span: &Range<usize>, problem: Problem, arm: Option<&str>) -> Self {
        let start = floor(&source.text, span.start);
        let line_start = source.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = source.text[start..].find('\n').map_or(source.text.len(), |newline| start + newline);
        let text = source.text[line_start..line_end].trim_end().to_owned();
        let line = source.text[..start].matches('\n').count() + 1;
        let column = source.text[line_start..start].chars().count();
        let end = floor(&source.text, span.end.clamp(start, line_end));
        let width = source.text[start..end].trim_end().chars().count().max(1);
        let place = format!("{}:{line}:{}", source.name, column + 1);
        let excerpt = Some(Excerpt { line, text, column, width });
        Self::assemble(place, problem, arm, excerpt)
    }

    /// A problem of a flag, or of the file as a whole.
    pub(crate) fn at(place: impl Into<String>, problem: Problem, arm: Option<&str>) -> Self {
        Self::assemble(place.into(), problem, arm, None)
    }

    /// Whether two problems are one, seen from two arms.
    pub(crate) fn same_but_arm(&self, other: &Self) -> bool {
        (&self.place, &self.path, &self.message) == (&other.place, &other.path, &other.message)
    }

    /// Adds a line below.
    pub(crate) fn note(&mut self, line: String) {
        self.accepted.push(line);
    }

    fn assemble(place: String, problem: Problem, arm: Option<&str>, excerpt: Option<Excerpt>) -> Self {
        let Problem { path, message, accepted } = problem;
        Self { place, path, message, arm: arm.map(str::to_owned), excerpt, accepted }
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.message)?;
        if let Some(arm) = &self.arm {
            write!(f, " (arm `{arm}`)")?;
        }
        let gutter = self.excerpt.as_ref().map_or(1, |excerpt| excerpt.line.to_string().len());
        if let Some(Excerpt { line, text, column, width }) = &self.excerpt {
            // Tabs keep their width under the caret only if they are repeated there.
            let indent: String = text.chars().take(*column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n{:gutter$} |\n{line} | {text}\n{:gutter$} | {indent}{}", "", "", "^".repeat(*width))?;
        }
        for accepted in &self.accepted {
            write!(f, "\n{:gutter$} = {accepted}", "")?;
        }
        Ok(())
    }
}

/// The choice that a mistyped word most likely meant.
pub(crate) fn closest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + 1;
    choices
        .into_iter()
        .map(|choice| (distance(&word.replace('_', "-").to_lowercase(), &choice.replace('_', "-")), choice))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, choice)| choice)
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(distance("raet", "rate"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_word_far_from_every_choice_has_no_closest() {
        assert_eq!(closest("learning-rate", ["learning_rate", "loss"]), Some("learning_rate"));
        assert_eq!(closest("xyzzy", ["learning_rate", "loss"]), None);
    }

    #[test]
    fn the_caret_stands_under_the_value_after_wide_characters() {
        let source = Source { name: "x.toml".into(), text: "a = \"é\"\nb = 12\n".into() };
        let at = source.text.find("12").expect("it is there");
        let shown = Diagnostic::in_file(&source, &(at..at + 2), Problem::new("b", "no"), None).to_string();
        assert_eq!(shown, "x.toml:2:5: b: no\n  |\n2 | b = 12\n  |     ^^");
    }
}
