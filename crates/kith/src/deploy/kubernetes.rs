//! An indexed Job for Kubernetes, with the experiment file in a ConfigMap.

use super::SweepJob;

/// A sweep as an indexed Job.
#[derive(Clone, Debug)]
pub struct KubernetesJob {
    /// The sweep.
    pub sweep: SweepJob,
    /// The experiment file's text.
    pub experiment: String,
    /// Image with the `kith` binary.
    pub image: String,
    /// Claim of the volume for run directories, which all pods write to.
    pub claim: String,
    /// Claim of the volume with datasets, if they are not in the image.
    pub data_claim: Option<String>,
    /// Pods at the same time; all where none.
    pub parallelism: Option<usize>,
}

impl KubernetesJob {
    /// The manifests, as YAML. Pods that are evicted start again and go on; a run that failed is not tried again by itself.
    #[must_use]
    pub fn manifests(&self) -> String {
        let SweepJob { runs, shards, cpus, memory, .. } = &self.sweep;
        let name = label(&self.sweep.name);
        let command = format!(
            "exec kith sweep /experiment/experiment.toml --shard \"$((JOB_COMPLETION_INDEX + 1))/{shards}\" --jobs {cpus} \
             --threads {cpus} --out /runs{}",
            self.sweep.quoted_flags()
        );
        let memory = memory.as_ref().map(|memory| format!(", memory: {}", scalar(memory))).unwrap_or_default();
        let (data_environment, data_mount, data_volume) =
            self.data_claim.as_ref().map_or_else(Default::default, |claim| {
                (
                    "          env:\n            - { name: KITH_DATA, value: /data }\n".to_owned(),
                    "            - { name: data, mountPath: /data, readOnly: true }\n".to_owned(),
                    format!("        - {{ name: data, persistentVolumeClaim: {{ claimName: {} }} }}\n", scalar(claim)),
                )
            });
        format!(
            "# The sweep {plain}: {runs} runs in {shards} parts. kubectl apply -f this file; deleted and applied again, it goes on.\n\
             # The claim must allow many writers (ReadWriteMany), with file locks. The per-part retry needs Kubernetes 1.33.\n\
             apiVersion: v1\n\
             kind: ConfigMap\n\
             metadata:\n\
             \x20 name: {name}\n\
             data:\n\
             \x20 experiment.toml: {experiment}\n\
             ---\n\
             apiVersion: batch/v1\n\
             kind: Job\n\
             metadata:\n\
             \x20 name: {name}\n\
             spec:\n\
             \x20 completionMode: Indexed\n\
             \x20 completions: {shards}\n\
             \x20 parallelism: {parallelism}\n\
             \x20 backoffLimitPerIndex: 3\n\
             \x20 podFailurePolicy:\n\
             \x20   rules:\n\
             \x20     - action: FailIndex\n\
             \x20       onExitCodes: {{ containerName: kith, operator: In, values: [1, 2] }}\n\
             \x20 template:\n\
             \x20   spec:\n\
             \x20     restartPolicy: Never\n\
             \x20     containers:\n\
             \x20       - name: kith\n\
             \x20         image: {image}\n\
             \x20         command: [\"/bin/sh\", \"-c\", {command}]\n\
             {data_environment}\
             \x20         resources:\n\
             \x20           requests: {{ cpu: {cpus}{memory} }}\n\
             \x20           limits: {{ cpu: {cpus}{memory} }}\n\
             \x20         volumeMounts:\n\
             \x20           - {{ name: experiment, mountPath: /experiment, readOnly: true }}\n\
             \x20           - {{ name: runs, mountPath: /runs }}\n\
             {data_mount}\
             \x20     volumes:\n\
             \x20       - {{ name: experiment, configMap: {{ name: {name} }} }}\n\
             \x20       - {{ name: runs, persistentVolumeClaim: {{ claimName: {claim} }} }}\n\
             {data_volume}",
            plain = self.sweep.name,
            experiment = block(&self.experiment, 4),
            parallelism = self.parallelism.unwrap_or(*shards).min(*shards),
            image = scalar(&self.image),
            command = scalar(&command),
            claim = scalar(&self.claim),
        )
    }
}

/// A text as a YAML scalar in quotes: JSON's quotes are YAML's.
pub(super) fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as a YAML block, which people can read; in quotes where a block cannot hold it.
pub(super) fn block(text: &str, indent: usize) -> String {
    let holds = text.ends_with('\n') && !text.contains(['\r', '\t', '\u{feff}', '\u{85}']);
    if !holds || text.chars().any(|c| c.is_control() && c != '\n') {
        return scalar(text);
    }
    let pad = " ".repeat(indent);
    let lines = text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") });
    // The number says how deep: the first line may itself begin with spaces.
    // With `+`, empty lines at the end are kept.
    let keep = if text.ends_with("\n\n") { "+" } else { "" };
    let body: String = lines.collect();
    format!("|2{keep}\n{}", body.strip_suffix('\n').unwrap_or(&body))
}

/// A name that Kubernetes takes: lower case, digits and `-`, short enough for the suffixes that it adds.
pub(super) fn label(name: &str) -> String {
    let kept: String =
        name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("kith-{}", kept.trim_matches('-')).trim_end_matches('-').to_owned()
}

/// Files that an experiment reads its graphs from: a ConfigMap with the experiment alone would miss them.
#[must_use]
pub fn graph_files(experiment: &str) -> Vec<String> {
    let mut files = Vec::new();
    if let Ok(table) = experiment.parse::<toml::Table>() {
        collect(&toml::Value::Table(table), "", &mut files);
    }
    files
}

fn collect(value: &toml::Value, path: &str, files: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| collect(value, &format!("{path}.{key}"), files));
        }
        toml::Value::Array(items) => items.iter().for_each(|item| collect(item, path, files)),
        toml::Value::String(file) if path.ends_with(".graph.file") => files.push(file.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels_that_kubernetes_takes() {
        assert_eq!(label("Codec_ring.v2"), "kith-codec-ring-v2");
        assert_eq!(label("..."), "kith");
        assert!(label(&"x".repeat(100)).len() <= 52);
    }

    #[test]
    fn graph_files_are_found_wherever_they_are_named() {
        let text = "graph.file = \"a.toml\"\n[[arm]]\nname = \"x\"\n[arm.graph]\nfile = \"b.toml\"\n\
                    [[sweep.grid]]\n\"graph.file\" = [\"c.toml\", \"d.toml\"]\n[data]\nfile = \"no\"\n";
        assert_eq!(graph_files(text), ["b.toml", "a.toml", "c.toml", "d.toml"]);
    }
}
