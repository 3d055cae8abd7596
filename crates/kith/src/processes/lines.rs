//! What a process says to the one that started it: a line of JSON each.

use std::io::Write as _;

use kith_core::Round;
use kith_sim::Progress;
use serde::{Deserialize, Serialize};

/// A line on stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// How far it is.
    Progress(Progress),
    /// It stands before this round, before which it is to be killed.
    Crash(Round),
    /// Something that people should know.
    Notice(String),
}

impl Line {
    /// Writes the line. Whoever started this process may be gone: that is seen by the end of stdin.
    pub(crate) fn say(&self) {
        if let Ok(text) = serde_json::to_string(self) {
            let mut stdout = std::io::stdout().lock();
            let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        }
    }
}
