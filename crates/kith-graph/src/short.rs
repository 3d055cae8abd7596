//! Specs from text: short forms for the command line, TOML for files.

use std::path::Path;

use crate::{Family, GraphError, Spec};

const ACCEPTED: &str = "ring:N, ring:N:directed, torus:ROWSxCOLUMNS, chain:N, star:N, complete:N, hypercube:N, \
                        exponential:N, exponential:N:directed, erdos-renyi:N:PROBABILITY, random-regular:N:DEGREE, \
                        petersen, dyck";

impl Spec {
    /// Reads a short form: `ring:16`, `ring:16:directed`, `torus:4x4`, `erdos-renyi:16:0.3`, `petersen` and the like.
    ///
    /// # Errors
    /// If the text is none of the forms; the error lists them.
    pub fn parse_short(text: &str) -> Result<Self, GraphError> {
        parse(text).map_err(|reason| GraphError::ShortForm { given: text.to_owned(), reason, accepted: ACCEPTED })
    }

    /// Reads a graph as a file in `topologies/` says it.
    ///
    /// # Errors
    /// If the text is not TOML of this form; the error shows the line.
    pub fn from_toml(text: &str) -> Result<Self, GraphError> {
        toml::from_str(text).map_err(|source| GraphError::Toml { source: Box::new(source) })
    }

    /// The spec with its `file`, if it names one, read from `base_dir`; `weights` beside `file` go before the file's.
    ///
    /// # Errors
    /// If another key stands beside `file`; if the file cannot be read, is not of the form, or names a file itself.
    pub fn resolve_file(&self, base_dir: &Path) -> Result<Self, GraphError> {
        let Some(file) = &self.file else {
            return Ok(self.clone());
        };
        if let Some(key) = self.given_key(|key| ["tree", "weights"].contains(&key)) {
            return Err(GraphError::KeyBesideFile { file: file.clone(), key });
        }
        let path = base_dir.join(file);
        let text = std::fs::read_to_string(&path).map_err(|source| GraphError::Read { path: path.clone(), source })?;
        let read: Self = toml::from_str(&text)
            .map_err(|source| GraphError::File { path: path.clone(), source: Box::new(source) })?;
        match read.file {
            Some(inner) => Err(GraphError::NestedFile { path, inner }),
            None => Ok(Self { tree: self.tree.or(read.tree), weights: self.weights.or(read.weights), ..read }),
        }
    }
}

fn parse(text: &str) -> Result<Spec, String> {
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) => (name, rest.split(':').collect()),
        None => (text, Vec::new()),
    };
    let family = match name {
        "ring" => Family::Ring,
        "torus" => Family::Torus,
        "chain" => Family::Chain,
        "star" => Family::Star,
        "complete" => Family::Complete,
        "hypercube" => Family::Hypercube,
        "exponential" => Family::Exponential,
        "erdos-renyi" => Family::ErdosRenyi,
        "random-regular" => Family::RandomRegular,
        "petersen" => Family::Petersen,
        "dyck" => Family::Dyck,
        "edges" => return Err("an edge list stands in a file only".to_owned()),
        _ => return Err(format!("there is no family \"{name}\"")),
    };
    let spec = Spec { family: Some(family), ..Spec::default() };
    match (family, rest.as_slice()) {
        (Family::Petersen | Family::Dyck, []) => Ok(spec),
        (Family::Petersen | Family::Dyck, _) => Err(format!("{name} has one size and takes nothing more")),
        (Family::Torus, [sides]) => {
            let (rows, columns) = sides.split_once('x').ok_or_else(|| format!("\"{sides}\" is not ROWSxCOLUMNS"))?;
            Ok(Spec { rows: Some(whole(rows)?), columns: Some(whole(columns)?), ..spec })
        }
        (Family::Torus, _) => Err("a torus takes ROWSxCOLUMNS".to_owned()),
        (Family::ErdosRenyi, [agents, probability]) => {
            let given = probability.parse().map_err(|_| format!("\"{probability}\" is not a number"))?;
            Ok(Spec { agents: Some(whole(agents)?), probability: Some(given), ..spec })
        }
        (Family::ErdosRenyi, _) => Err("erdos-renyi takes N:PROBABILITY".to_owned()),
        (Family::RandomRegular, [agents, degree]) => {
            Ok(Spec { agents: Some(whole(agents)?), degree: Some(whole(degree)?), ..spec })
        }
        (Family::RandomRegular, _) => Err("random-regular takes N:DEGREE".to_owned()),
        (Family::Ring | Family::Exponential, [agents, "directed"]) => {
            Ok(Spec { agents: Some(whole(agents)?), directed: Some(true), ..spec })
        }
        (_, [agents]) => Ok(Spec { agents: Some(whole(agents)?), ..spec }),
        (_, []) => Err(format!("{name} needs a number of agents")),
        (_, [_, more, ..]) => Err(format!("{name} does not take \"{more}\"")),
    }
}

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))
}
