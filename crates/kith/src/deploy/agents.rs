//! The agents of a run as processes of a cluster. Each process makes its own key and says where it is; the list of all follows from that.

use super::kubernetes::{block, label, scalar};
use super::quoted;

/// What every cluster is told of a run in processes.
#[derive(Clone, Debug)]
pub struct AgentsJob {
    /// The experiment's name.
    pub name: String,
    /// The arm.
    pub arm: String,
    /// The agents of each process, consecutive.
    pub cohorts: Vec<std::ops::RangeInclusive<u32>>,
    /// Port of the first process; the others take those after it where they share a host.
    pub port: u16,
    /// Processor cores of a process.
    pub cpus: usize,
    /// Memory, in the cluster's words.
    pub memory: Option<String>,
    /// Flags of `kith agent` that say what experiment it is.
    pub flags: Vec<String>,
}

impl AgentsJob {
    fn flags(&self) -> String {
        self.flags.iter().map(|flag| format!(" {}", quoted(flag))).collect()
    }

    fn agents(&self) -> u32 {
        self.cohorts.iter().map(|cohort| cohort.end() - cohort.start() + 1).sum()
    }

    /// Words of a shell, one a process: the agents as `kith agent` takes them.
    fn ranges(&self) -> String {
        let range = |cohort: &std::ops::RangeInclusive<u32>| format!("{}..{}", cohort.start(), cohort.end());
        self.cohorts.iter().map(range).collect::<Vec<_>>().join(" ")
    }

    /// Words of a shell, one a process: the agents as `peers.toml` has them.
    fn lists(&self) -> String {
        let list = |cohort: &std::ops::RangeInclusive<u32>| {
            cohort.clone().map(|agent| agent.to_string()).collect::<Vec<_>>().join(",")
        };
        self.cohorts.iter().map(list).collect::<Vec<_>>().join(" ")
    }
}

/// The agents as tasks of a batch job for Slurm.
#[derive(Clone, Debug)]
pub struct SlurmAgents {
    /// The agents.
    pub job: AgentsJob,
    /// The experiment file, as the nodes see it.
    pub file: String,
    /// Folder for run directories, as all nodes see it.
    pub out: String,
    /// Time limit, in Slurm's form.
    pub time: Option<String>,
    /// Partition.
    pub partition: Option<String>,
}

impl SlurmAgents {
    /// The batch script. A minute before the time is over the processes are asked to stop, and write what there is.
    #[must_use]
    pub fn script(&self) -> String {
        let AgentsJob { name, arm, cohorts, port, cpus, memory, .. } = &self.job;
        let option = |flag: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("#SBATCH --{flag}={value}\n")).unwrap_or_default()
        };
        let out = quoted(&format!("{}/{name}", self.out));
        format!(
            r#"#!/usr/bin/env bash
#SBATCH --job-name=kith-{name}
#SBATCH --ntasks={count}
#SBATCH --cpus-per-task={cpus}
{memory}{time}{partition}#SBATCH --signal=TERM@60
#SBATCH --output=kith-{name}-%j.log
# The {agents} agents of {name}, arm {arm}, in {count} processes that speak over TCP. Submit it with sbatch.
# The folder of the runs must be one that all nodes see, and each node must know the others by their host names.
set -euo pipefail
cd "${{SLURM_SUBMIT_DIR:-.}}"
run={out}/slurm-${{SLURM_JOB_ID:?is set by sbatch}}
umask 077
mkdir -p "$run/keys"
# Every process makes its key and says on which host it is. Both steps have the same tasks on the same nodes.
srun --ntasks={count} bash -c 'cd "$0"; p=$SLURM_PROCID; kith identity new "$p.key" > "$p.id"; hostname > "$p.host"' "$run/keys"
lists=({lists})
for ((p = 0; p < {count}; p++)); do
    printf '[[peer]]\nagents = [%s]\nid = "%s"\naddress = "/dns4/%s/tcp/%s"\n' \
        "${{lists[p]}}" "$(cat "$run/keys/$p.id")" "$(cat "$run/keys/$p.host")" $(({port} + p))
done > "$run/peers.toml"
# A process that fails does not end the others.
code=0
srun --ntasks={count} --kill-on-bad-exit=0 bash -c '
    run=$0; p=$SLURM_PROCID; ranges=("$@")
    exec kith agent --quiet --experiment {file} --arm {arm_word}{flags} --agents "${{ranges[p]}}" --identity "$run/keys/$p.key" \
        --listen "/ip4/0.0.0.0/tcp/$(({port} + p))" --peers "$run/peers.toml" --threads "${{SLURM_CPUS_PER_TASK:-{cpus}}}" \
        --out "$run/processes/$p"' "$run" {ranges} || code=$?
# One run directory of all.
kith gather "$run/processes" --out "$run"
exit "$code"
"#,
            count = cohorts.len(),
            agents = self.job.agents(),
            memory = option("mem", memory),
            time = option("time", &self.time),
            partition = option("partition", &self.partition),
            lists = self.job.lists(),
            ranges = self.job.ranges(),
            // Within a script in quotes.
            file = within(&quoted(&self.file)),
            arm_word = within(&quoted(arm)),
            flags = within(&self.job.flags()),
        )
    }
}

/// A text within single quotes of a shell.
fn within(text: &str) -> String {
    text.replace('\'', r"'\''")
}

/// The agents as pods of a StatefulSet, which know each other by the names of a headless service.
#[derive(Clone, Debug)]
pub struct KubernetesAgents {
    /// The agents.
    pub job: AgentsJob,
    /// The experiment file's text.
    pub experiment: String,
    /// Image with the `kith` binary.
    pub image: String,
    /// Claim of the volume for run directories, which all pods write to.
    pub claim: String,
    /// Claim of the volume with datasets, if they are not in the image.
    pub data_claim: Option<String>,
}

impl KubernetesAgents {
    /// What a pod does: its number is in its name.
    fn script(&self) -> String {
        let AgentsJob { name, arm, cohorts, port, cpus, .. } = &self.job;
        let service = label(name);
        format!(
            r#"set -eu
umask 077
p=${{HOSTNAME##*-}}
run={run}
mine=$run/processes/$p
mkdir -p "$run/keys" "$run/before" "$run/processes"
idle() {{ trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done; }}
# A pod that is started again after its end has nothing to do.
if [ -e "$mine/done" ]; then idle; fi
if [ -e "$mine" ]; then mv "$mine" "$run/before/$p-$(date +%s)"; fi
cd "$run/keys"
[ -s "$p.id" ] || {{ rm -f "$p.key"; kith identity new "$p.key" > "$p.partial"; mv "$p.partial" "$p.id"; }}
set -- {lists}
until [ "$(ls ./*.id | wc -l)" -eq {count} ]; do sleep 1; done
i=0
for agents; do
  printf '[[peer]]\nagents = [%s]\nid = "%s"\naddress = "/dns4/{service}-%s.{service}/tcp/{port}"\n' "$agents" "$(cat $i.id)" $i
  i=$((i + 1))
done > "$p.peers.toml"
set -- {ranges}
shift "$p"
kith agent --quiet --experiment /experiment/experiment.toml --arm {arm}{flags} --agents "$1" --identity "$p.key" --threads {cpus} \
  --listen /ip4/0.0.0.0/tcp/{port} --peers "$p.peers.toml" --metrics-addr 0.0.0.0:9464 --wait 600 --out "$mine" &
pid=$!
trap 'kill -TERM $pid' TERM
code=0; wait $pid || code=$?
# A signal ends the wait, not the process.
if kill -0 $pid 2> /dev/null; then code=0; wait $pid || code=$?; fi
if [ $code -ne 0 ]; then exit $code; fi
touch "$mine/done"
idle
"#,
            run = quoted(&format!("/runs/{service}")),
            count = cohorts.len(),
            lists = self.job.lists(),
            ranges = self.job.ranges(),
            arm = quoted(arm),
            flags = self.job.flags(),
        )
    }

    /// The manifests, as YAML: the experiment and the script in a ConfigMap, a headless service, the StatefulSet.
    #[must_use]
    pub fn manifests(&self) -> String {
        let AgentsJob { name, arm, cohorts, port, cpus, memory, .. } = &self.job;
        let memory = memory.as_ref().map(|memory| format!(", memory: {}", scalar(memory))).unwrap_or_default();
        let claim = |claim: &String| scalar(claim);
        let data = self.data_claim.as_ref().map(claim);
        let environment = data
            .as_ref()
            .map(|_| "          env:\n            - { name: KITH_DATA, value: /data }\n")
            .unwrap_or_default();
        let mount = data
            .as_ref()
            .map(|_| "            - { name: data, mountPath: /data, readOnly: true }\n")
            .unwrap_or_default();
        let volume = data
            .as_ref()
            .map(|claim| format!("        - {{ name: data, persistentVolumeClaim: {{ claimName: {claim} }} }}\n"))
            .unwrap_or_default();
        format!(
            r#"# The {agents} agents of {name}, arm {arm}, in {count} pods. kubectl apply -f this file; the pods stay when the run is over:
# kith gather has the numbers, kubectl delete -f this file takes the pods away. The claim must allow many writers (ReadWriteMany).
apiVersion: v1
kind: ConfigMap
metadata:
  name: {label}
data:
  experiment.toml: {experiment}
  agent.sh: {script}
---
apiVersion: v1
kind: Service
metadata:
  name: {label}
spec:
  clusterIP: None
  # Pods find each other before the run begins.
  publishNotReadyAddresses: true
  selector: {{ app: {label} }}
  ports:
    - {{ name: kith, port: {port} }}
    - {{ name: metrics, port: 9464 }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {label}
spec:
  serviceName: {label}
  replicas: {count}
  podManagementPolicy: Parallel
  selector:
    matchLabels: {{ app: {label} }}
  template:
    metadata:
      labels: {{ app: {label} }}
    spec:
      terminationGracePeriodSeconds: 120
      containers:
        - name: kith
          image: {image}
          command: ["/bin/sh", "/experiment/agent.sh"]
{environment}          ports:
            - {{ name: kith, containerPort: {port} }}
            - {{ name: metrics, containerPort: 9464 }}
          resources:
            requests: {{ cpu: {cpus}{memory} }}
            limits: {{ cpu: {cpus}{memory} }}
          volumeMounts:
            - {{ name: experiment, mountPath: /experiment, readOnly: true }}
            - {{ name: runs, mountPath: /runs }}
{mount}      volumes:
        - {{ name: experiment, configMap: {{ name: {label} }} }}
        - {{ name: runs, persistentVolumeClaim: {{ claimName: {claim} }} }}
{volume}"#,
            agents = self.job.agents(),
            count = cohorts.len(),
            label = label(name),
            experiment = block(&self.experiment, 4),
            script = block(&self.script(), 4),
            image = scalar(&self.image),
            claim = claim(&self.claim),
        )
    }
}
