//! Files that hand a sweep, or the agents of a run, to a cluster. Scheduling is the cluster's: each of its tasks runs one shard, or one
//! process of agents.

mod agents;
mod kubernetes;
mod slurm;

pub use agents::{AgentsJob, KubernetesAgents, SlurmAgents};
pub use kubernetes::{KubernetesJob, graph_files};
pub use slurm::SlurmJob;

/// What every cluster is told of a sweep.
#[derive(Clone, Debug)]
pub struct SweepJob {
    /// The experiment's name.
    pub name: String,
    /// Runs of the sweep.
    pub runs: usize,
    /// Parts that it is cut into.
    pub shards: usize,
    /// Processor cores of a part.
    pub cpus: usize,
    /// Memory of a part, in the cluster's words.
    pub memory: Option<String>,
    /// Flags of `kith sweep` that say what runs there are.
    pub flags: Vec<String>,
}

impl SweepJob {
    /// The flags, quoted for a shell, each after a space.
    fn quoted_flags(&self) -> String {
        self.flags.iter().map(|flag| format!(" {}", quoted(flag))).collect()
    }
}

/// A word that a POSIX shell reads as this text.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain", "", "sweep.seeds=[1, 2]", "it's \"$HOME\" `x` \\ *", "two\nlines"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .expect("there is a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }
}
