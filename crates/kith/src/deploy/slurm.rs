//! An array job for Slurm.

use super::{SweepJob, quoted};

/// A sweep as an array job.
#[derive(Clone, Debug)]
pub struct SlurmJob {
    /// The sweep.
    pub sweep: SweepJob,
    /// The experiment file, as the nodes see it.
    pub file: String,
    /// Folder for run directories, as all nodes see it.
    pub out: Option<String>,
    /// Time limit of a task, in Slurm's form.
    pub time: Option<String>,
    /// Partition.
    pub partition: Option<String>,
}

impl SlurmJob {
    /// The batch script. A task asks its runs to stop a minute before its time is over, and goes on where it stopped when the script
    /// is submitted again.
    #[must_use]
    pub fn script(&self) -> String {
        let SweepJob { name, runs, shards, cpus, memory, .. } = &self.sweep;
        let option = |flag: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("#SBATCH --{flag}={value}\n")).unwrap_or_default()
        };
        let out = self.out.as_ref().map(|out| format!(" --out {}", quoted(out))).unwrap_or_default();
        format!(
            "#!/usr/bin/env bash\n\
             #SBATCH --job-name=kith-{name}\n\
             #SBATCH --array=1-{shards}\n\
             #SBATCH --ntasks=1\n\
             #SBATCH --cpus-per-task={cpus}\n\
             {memory}{time}{partition}\
             #SBATCH --signal=B:TERM@60\n\
             #SBATCH --output=kith-{name}-%A_%a.log\n\
             # The sweep {name}: {runs} runs in {shards} parts. Submit it with sbatch; submitted again, it goes on where it stopped.\n\
             # The folder of the runs must be one that all nodes see, with file locks.\n\
             set -euo pipefail\n\
             cd \"${{SLURM_SUBMIT_DIR:-.}}\"\n\
             part=${{SLURM_ARRAY_TASK_ID:?is set by sbatch}}\n\
             cpus=${{SLURM_CPUS_PER_TASK:-{cpus}}}\n\
             # In place of the shell, so that Slurm's signals reach it.\n\
             exec kith sweep {file} --shard \"$part/{shards}\" --jobs \"$cpus\" --threads \"$cpus\"{out}{flags}\n",
            memory = option("mem", memory),
            time = option("time", &self.time),
            partition = option("partition", &self.partition),
            file = quoted(&self.file),
            flags = self.sweep.quoted_flags(),
        )
    }
}
