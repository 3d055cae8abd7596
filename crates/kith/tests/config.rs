//! Experiment files: what resolves, and the exact words about what does not.

use kith::config::{Experiment, Overrides, parse};

const BASE: &str = r#"name = "ring"
method = "codec"
seed = 3

[graph]
family = "ring"
agents = 8
weights = "uniform"

[data]
dataset = "mnist"
tasks = { kind = "permuted", count = 5 }

[memory]
energy_threshold = [0.95, 0.99, 0.99]
samples = 300
"#;

const ARMS: &str = r#"
[[arm]]
name = "codec"
[[arm]]
name = "baseline"
method = "d-psgd"
"#;

fn overrides(set: &[&str]) -> Overrides {
    Overrides { set: set.iter().map(|text| (*text).to_owned()).collect(), ..Overrides::default() }
}

fn resolve(text: &str, set: &[&str]) -> Experiment {
    match parse("experiments/x.toml", text, &overrides(set)) {
        Ok(loaded) => loaded.experiment,
        Err(error) => panic!("{error}"),
    }
}

/// The message for a file; the file must be refused.
fn message(text: &str, set: &[&str]) -> String {
    match parse("experiments/x.toml", text, &overrides(set)) {
        Ok(_) => format!("accepted, though it should not be:\n{text}\n{set:?}"),
        Err(error) => error.to_string(),
    }
}

/// Messages for the base file with one replacement each.
fn replaced(cases: &[(&str, &str)]) -> String {
    let shown = cases.iter().map(|(from, to)| {
        assert!(BASE.contains(from), "{from} is not in the base file");
        message(&BASE.replace(from, to), &[])
    });
    shown.collect::<Vec<_>>().join("\n\n---\n\n")
}

/// Messages for the base file with one flag each.
fn flagged(flags: &[&str]) -> String {
    flags.iter().map(|flag| message(BASE, &[flag])).collect::<Vec<_>>().join("\n\n---\n\n")
}

/// Messages for the base file with tables added.
fn added(texts: &[&str]) -> String {
    texts.iter().map(|text| message(&format!("{BASE}\n{text}"), &[])).collect::<Vec<_>>().join("\n\n---\n\n")
}

#[test]
fn syntax_keys_and_types_are_refused_with_their_line() {
    insta::assert_snapshot!(replaced(&[
        ("[graph]", "[graph"),
        ("seed = 3", "sed = 3"),
        ("seed = 3", "xyzzy = 3"),
        ("seed = 3", "seed = \"three\""),
        ("seed = 3", "seed = -3"),
        ("seed = 3", "seed = 99999999999999999999"),
        ("name = \"ring\"\n", ""),
        ("name = \"ring\"", "name = \"../ring\""),
        ("method = \"codec\"\n", ""),
        ("method = \"codec\"", "method = \"codek\""),
        ("method = \"codec\"", "method = 5"),
        ("agents = 8", "agent = 8"),
        ("family = \"ring\"", "family = \"rign\""),
        ("samples = 300", "smaples = 300"),
        ("samples = 300", "samples = \"many\""),
        ("dataset = \"mnist\"", "dataset = \"minst\""),
        ("count = 5 }", "cuont = 5 }"),
    ]));
}

#[test]
fn values_outside_their_range_are_refused_with_the_range() {
    insta::assert_snapshot!(flagged(&[
        "memory.energy_threshold=1.2",
        "memory.energy_threshold=[0.9, 0, 0.9]",
        "memory.energy_threshold=[0.9, 0.9]",
        "memory.samples=[300, 300, 300, 300]",
        "memory.samples=0",
        "memory.energy_increment=0.02",
        "memory.leader=8",
        "exchange.averaging_rate=0",
        "exchange.averaging_rate=1.01",
        "exchange.averaging_rate=fast",
        "exchange.averaging_rate={kind=\"linear\", start=0.9, slope=0.1, clock=\"task\"}",
        "train.learning_rate=-0.1",
        "train.learning_rate={kind=\"multi-step\", start=0.1, factor=0.1, milestones=[0.7, 0.5]}",
        "train.local_steps=0",
        "train.batch_size=0",
        "train.epochs_per_task=0",
        "links.loss=1.0",
        "links.latency_ms=-1",
        "links.deadline_ms=0",
        "data.holdout=1",
        "data.partition=dirichlet",
        "data.alpha=0.1",
        "data.tasks.kind=single",
        "network.hidden=[100, 0]",
    ]));
}

#[test]
fn methods_that_do_not_add_up_are_refused_with_the_reason() {
    insta::assert_snapshot!(
        flagged(&[
            "chain=[\"project\", {weight-decay=0.1}]",
            "chain=[{weight-decay=0.1}, \"project\"]",
            "chain=[{clip=1.0}, \"project\"]",
            "chain=[]",
            "chain=[\"project\", \"project\"]",
            "chain=[\"project\", {momentum={beta=1.0}}]",
            "chain=[\"project\", {momentun={beta=0.9}}]",
            "chain=[\"project\", \"clip\"]",
            "memory.agreement=own",
            "exchange.kind=none",
            "graph.agents=1",
        ]) + "\n\n---\n\n"
            + &replaced(&[("method = \"codec\"", "method = \"d-psgd\"")])
    );
}

/// A decentralized method on a ring of nine.
const METHOD: &str = "name = \"m\"\nmethod = \"d-psgd\"\n[graph]\nfamily = \"ring\"\nagents = 9\n";

#[test]
fn decentralized_methods_that_do_not_add_up_are_refused_with_the_reason() {
    let lossy = "links.loss=0.1";
    let cases: [&[&str]; 23] = [
        &["method=relay-sgd"],
        &["method=relay-sgd", "graph.family=chain", lossy],
        &["method=ada-gossip", "exchange.adaptive=1.0"],
        &["method=d2", "graph.family=chain", "exchange.adaptive=0.9"],
        &["method=ngm", "exchange.gradient_compressor={kind=\"scaled-sign\"}"],
        &["method=comp-ngc", lossy],
        &["method=deep-squeeze", "exchange.compressor={kind=\"random-k\", share=0.1, bias=\"unbiased\"}"],
        &["method=q-saddle", "oracle.climbs=\"loss-and-decay\""],
        &["exchange.compressor={kind=\"low-rank\", rank=0}"],
        &["method=q-saddle", "oracle.radius=-0.1"],
        &["chain=[\"track\"]", "exchange.kind=difference"],
        &["method=gut", "chain=[{quasi-global={beta=0.9}}]"],
        &["chain=[{quasi-global={beta=0.9}}, {momentum={beta=0.9}}]"],
        &["method=gut", lossy],
        &["method=d2", lossy],
        &["method=d2", "graph.agents=7", "links.latency_ms=40", "links.deadline_ms=30"],
        &["method=d2", "graph.agents=8"],
        &["method=gut", "exchange.compressor={kind=\"scaled-sign\"}"],
        &["method=deep-squeeze", "exchange.compressor={kind=\"quantised\", bits=3}"],
        &["exchange.feedback=error"],
        &["exchange.tracking=0.5"],
        &["method=ngc", "train.local_steps=2"],
        &["method=gut", "chain=[\"project\"]"],
    ];
    let shown: Vec<String> = cases.iter().map(|set| message(METHOD, set)).collect();
    insta::assert_snapshot!(shown.join("\n\n---\n\n"));
}

#[test]
fn one_way_edges_of_different_degrees_are_refused_without_push_sum() {
    let uneven = METHOD.replace(
        "family = \"ring\"\nagents = 9",
        "family = \"edges\"\ndirected = true\nedges = [[0, 1], [1, 2], [2, 0], [0, 2]]",
    );
    for set in [&["method=d-psgd"][..], &["method=choco"], &["method=d-psgd", "graph.weights=out-degree"]] {
        let refused = message(&uneven, set);
        assert!(refused.contains("without push-sum agents would not agree on the mean"), "{refused}");
        assert!(refused.contains("method = \"push-sum\""), "{refused}");
    }
    let kind = |set: &[&str]| resolve(&uneven, set).arms[0].exchange.kind;
    assert_eq!(kind(&["method=push-sum"]), kith_method::ExchangeKind::PushSum);
    assert_eq!(kind(&["method=push-sum", "links.loss=0.1"]), kith_method::ExchangeKind::PushSum);
    assert!(message(&uneven, &["method=d-psgd", "links.loss=0.1"]).contains("method = \"push-sum\""));
}

#[test]
fn a_method_without_memory_set_by_a_flag_leaves_the_files_memory_alone() {
    let memory = |text: &str, set: &[&str]| resolve(text, set).arms[0].memory.clone();
    assert!(memory(BASE, &[]).is_some());
    assert_eq!(memory(BASE, &["method=d-psgd"]), None);
    assert_eq!(memory(&format!("{BASE}{ARMS}"), &["method=d-psgd"]), None);
    assert!(memory(BASE, &["method=codec-sgp"]).is_some());
    assert!(memory(BASE, &["method=d-psgd", "chain=[\"project\"]"]).is_some());
    let refused = message(BASE, &["method=d-psgd", "memory.samples=20"]);
    assert!(refused.contains("a memory that no link of the chain uses"), "{refused}");
}

#[test]
fn a_compressor_of_another_kind_replaces_the_one_of_the_preset() {
    let compressor = |flag| resolve(METHOD, &["method=choco", flag]).arms[0].exchange.compressor;
    let bits = compressor("exchange.compressor={kind=\"quantised\", bits=4}");
    assert_eq!(bits, Some(kith_method::Compressor::Quantised { bits: 4 }));
    let share = compressor("exchange.compressor.share=0.5");
    assert_eq!(share, Some(kith_method::Compressor::TopK { share: 0.5 }));
}

#[test]
fn what_every_preset_can_stand_is_what_it_says_and_what_it_cannot_is_refused_with_its_reason() {
    use kith_method::{ExchangeKind, Loss, Preset};
    let mut refused = [0; 3];
    for preset in Preset::ALL {
        let exchange = preset.parts().exchange;
        let family = if exchange.kind == ExchangeKind::Relay { "chain" } else { "ring" };
        let with = |set: &str| {
            message(METHOD, &[&format!("method={}", preset.name()), &format!("graph.family={family}"), set])
        };
        let loss = match exchange.loss() {
            Loss::Settles | Loss::Absent => None,
            Loss::Refused(why) => Some(why),
        };
        let (steps, changes) = (exchange.several_steps().err(), exchange.changing_neighbours().err());
        let limits = [("links.loss=0.1", loss), ("train.local_steps=2", steps), ("train.participation=0.5", changes)];
        for ((set, why), count) in limits.into_iter().zip(&mut refused) {
            let said = with(set);
            match why {
                None => assert!(said.starts_with("accepted"), "{preset:?} {set}: {said}"),
                Some(why) => assert!(said.contains(why), "{preset:?} {set}: {said}"),
            }
            *count += u32::from(why.is_some());
        }
    }
    assert!(refused.iter().all(|count| *count > 3), "{refused:?}");
}

#[test]
fn every_preset_resolves_and_its_resolved_form_resolves_to_itself() {
    for preset in kith_method::Preset::ALL {
        let family = if preset == kith_method::Preset::RelaySgd { "chain" } else { "ring" };
        let resolved = resolve(METHOD, &[&format!("method={}", preset.name()), &format!("graph.family={family}")]);
        let again = resolve(&resolved.to_toml().expect("it is written"), &[]);
        assert_eq!(resolved, again, "{}", preset.name());
    }
}

#[test]
fn graphs_that_cannot_be_are_refused_at_their_key() {
    insta::assert_snapshot!(
        flagged(&["graph.agents=2", "graph.family=torus", "graph.file=no.toml"])
            + "\n\n---\n\n"
            + &message(BASE, &["graph.directed=true", "links.loss=0.1"])
            + "\n\n---\n\n"
            + &replaced(&[
                ("family = \"ring\"", "family = \"torus\"\nrows = 4\ncolumns = 4"),
                ("family = \"ring\"", "family = \"torus\"\nrows = 2\ncolumns = 4"),
                ("family = \"ring\"", "family = \"star\""),
            ])
    );
}

#[test]
fn faults_and_links_that_cannot_happen_are_refused() {
    insta::assert_snapshot!(added(&[
        "[[faults]]\nkind = \"crash\"\nround = 5\nagent = 8",
        "[[faults]]\nkind = \"restart\"\nround = 5\nagent = 2",
        "[[faults]]\nkind = \"link-down\"\nround = 5\nagent = 2",
        "[[faults]]\nkind = \"link-down\"\nround = 5\nagent = 2\npeer = 5",
        "[[faults]]\nkind = \"straggler\"\nround = 5\nagent = 2",
        "[[faults]]\nkind = \"crash\"\nround = 5\nagent = 2\nfactor = 3",
        "[[links.rules]]\nfrom = 9\nloss = 0.5",
        "[[links.rules]]\nfirst_round = 9\nlast_round = 3",
        "[train]\nepochs_per_task = 1\nrounds_per_task = 10",
    ]));
}

#[test]
fn arms_flags_and_expectations_name_what_is_missing() {
    let arms = format!("{BASE}{ARMS}");
    let with = |flag: &str| message(&arms, &[flag]);
    let only = Overrides { arms: vec!["codecs".to_owned()], ..Overrides::default() };
    let only = parse("experiments/x.toml", &arms, &only).err().map(|error| error.to_string()).unwrap_or_default();
    let shown = [
        with("arm.codek.seed=1"),
        with("arm=codec"),
        with("seed"),
        with("train.batch_size=[1"),
        with("trian.batch_size=1"),
        with("arm.codec.memory.energy_threshold=7"),
        with("memory.energy_threshold=7"),
        with("expect.codec.average_accurac={min=0.5}"),
        with("expect.codec.average_accuracy={min=0.5, max=0.4}"),
        with("expect.codex.average_accuracy={min=0.5}"),
        only,
        message(&arms.replace("name = \"baseline\"", "name = \"codec\""), &[]),
        message(&arms.replace("method = \"d-psgd\"", "metod = \"d-psgd\""), &[]),
        message(&arms.replace("name = \"baseline\"\n", ""), &[]),
    ];
    insta::assert_snapshot!(shown.join("\n\n---\n\n"));
}

#[test]
fn a_file_without_arms_has_one_named_after_its_method() {
    let experiment = resolve(BASE, &[]);
    assert_eq!(experiment.arms.len(), 1);
    let arm = &experiment.arms[0];
    assert_eq!((arm.name.as_str(), arm.seed), ("codec", 3));
    assert_eq!(arm.train.epochs_per_task, Some(1));
    assert_eq!(arm.memory.as_ref().map(|memory| memory.consensus_rounds), Some(51));
}

#[test]
fn a_memory_for_all_arms_is_for_those_that_have_one() {
    let experiment = resolve(&format!("{BASE}{ARMS}"), &["memory.samples=125"]);
    let memory = |arm: usize| experiment.arms[arm].memory.clone();
    assert_eq!(memory(0).map(|memory| memory.samples), Some(kith_method::PerLayer::All(125)));
    assert_eq!(memory(1), None);
}

#[test]
fn flags_win_over_arms_and_the_last_flag_wins() {
    let arms = format!("{BASE}{ARMS}[arm.train]\nbatch_size = 7\n");
    let sizes = |set: &[&str]| resolve(&arms, set).arms.iter().map(|arm| arm.train.batch_size).collect::<Vec<_>>();
    assert_eq!(sizes(&[]), [10, 7]);
    assert_eq!(sizes(&["train.batch_size=32"]), [32, 32]);
    assert_eq!(sizes(&["train.batch_size=32", "arm.baseline.train.batch_size=5"]), [32, 5]);
    assert_eq!(sizes(&["train.batch_size=32", "train.batch_size=33"]), [33, 33]);
}

#[test]
fn bare_words_and_single_places_of_a_list_can_be_set() {
    let set = ["data.dataset=fashion-mnist", "graph.family=ring", "network.hidden.1=64"];
    let arm = resolve(&format!("{BASE}\n[network]\nhidden = [100, 100]\n"), &set).arms.remove(0);
    assert_eq!(arm.data.dataset, "fashion-mnist");
    assert_eq!(arm.network.hidden.as_deref(), Some(&[100, 64][..]));
}

#[test]
fn a_schedule_replaces_a_number_and_a_number_replaces_a_schedule() {
    let cosine = "exchange.averaging_rate={kind=\"cosine\", start=0.08, end=1.0}";
    let moving = resolve(BASE, &[cosine]).arms.remove(0).exchange.averaging_rate;
    assert!(matches!(moving, kith_core::Schedule::Moving(kith_core::Moving::Cosine { .. })), "{moving:?}");
    let constant = resolve(BASE, &[cosine, "exchange.averaging_rate=0.5"]).arms.remove(0).exchange.averaging_rate;
    assert_eq!(constant, kith_core::Schedule::Constant(0.5));
}

#[test]
fn the_resolved_form_resolves_to_itself() {
    let faults = "[[faults]]\nkind = \"link-down\"\nround = 5\nagent = 2\npeer = 3\n[links]\nloss = 0.1\n\
                  [[links.rules]]\nfrom = 1\nloss = 0.5\n[expect.codec]\naverage_accuracy = { min = 0.5 }\n";
    let text = format!("{BASE}\n{faults}{ARMS}");
    let chain = "arm.baseline.chain=[{clip=1}, {momentum={beta=0.9}}, {weight-decay=0.01}]";
    let written = resolve(&text, &[chain, "train.learning_rate={kind=\"cosine\", start=0.1, end=0.0}"]);
    let toml = written.to_toml().expect("it can be written");
    let read = resolve(&toml, &[]);
    assert_eq!(read, written, "{toml}");
    assert_eq!(read.hash().expect("it hashes"), written.hash().expect("it hashes"));
}

#[test]
fn the_resolved_form_of_some_arms_stands_alone() {
    let text = format!("{BASE}\n[expect.baseline]\naverage_accuracy = {{ min = 0.5 }}\n{ARMS}");
    let only = Overrides { arms: vec!["codec".to_owned()], ..Overrides::default() };
    let written = parse("experiments/x.toml", &text, &only).map(|loaded| loaded.experiment);
    let written = written.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(written.arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(), ["codec"]);
    assert_eq!(resolve(&written.to_toml().expect("it can be written"), &[]), written);
}

#[test]
fn the_hash_depends_on_what_is_run_and_not_on_how_it_is_written() {
    let hash = |text: &str, set: &[&str]| resolve(text, set).hash().expect("it hashes");
    let plain = hash(BASE, &[]);
    assert_eq!(plain, hash(&BASE.replace("seed = 3\n", ""), &["seed=3"]));
    assert_eq!(plain, hash(BASE, &["output.dir=elsewhere"]));
    assert_eq!(plain, hash(BASE, &["train.epochs_per_task=1"]));
    assert_ne!(plain, hash(BASE, &["seed=4"]));
    assert_ne!(plain, hash(BASE, &["train.learning_rate=0.02"]));
}

#[test]
fn a_list_of_layers_makes_a_network_and_other_families_have_none() {
    let table = "\n[network]\nfamily = \"layers\"\nhead = \"per-task\"\n[[network.layers]]\nkind = \"conv\"\n\
                 in_channels = 1\nout_channels = 4\nkernel = 3\n[[network.layers]]\nkind = \"evo-norm\"\nchannels = 4\ngroups = 2\n";
    let text = BASE.replace("[0.95, 0.99, 0.99]", "[0.95]") + table;
    let network = resolve(&text, &[]).arms[0].network.network([1, 28, 28], 10, 5);
    assert_eq!(network.features(), Ok(4 * 26 * 26));
    assert_eq!(resolve(&text, &[]).arms[0].network.projected_layers(), 1);
    let refused = message(&text, &["network.family=cnn5"]);
    assert!(refused.contains("this family of networks has no layers"), "{refused}");
    let refused = message(&text, &["network.width=8"]);
    assert!(refused.contains("accepted: family = \"resnet-20\" or \"resnet-18\", or no width"), "{refused}");
}

#[test]
fn checkpoints_change_no_hash_and_weights_to_start_from_do_by_what_they_hold() {
    let hash = |set: &[&str]| resolve(BASE, set).hash().expect("it can be hashed");
    assert_eq!(hash(&["checkpoint.every_rounds=3", "checkpoint.keep=0"]), hash(&[]));
    assert_eq!(resolve(BASE, &["checkpoint.task_ends=false"]).checkpoint.keep, 1);
    let folder = tempfile::TempDir::new().expect("there is room");
    let start = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("it can be written");
        hash(&[&format!("train.start_from={}", path.display())])
    };
    let first = start("one.safetensors", b"one");
    assert_eq!(start("the-same.safetensors", b"one"), first);
    assert_ne!(start("other.safetensors", b"other"), first);
    assert_ne!(first, hash(&[]));
}

#[test]
fn checkpoints_and_weights_that_cannot_be_are_refused() {
    let messages = flagged(&["checkpoint.every_rounds=0", "checkpoint.evry_rounds=1", "train.start_from=no-such.file"]);
    for expected in [
        "--set checkpoint.every_rounds=0: checkpoint.every_rounds: 0 is too few",
        "did you mean `every_rounds`?",
        "train.start_from: cannot read",
        "accepted: a safetensors file, its path relative to the experiment file",
    ] {
        assert!(messages.contains(expected), "{expected}: {messages}");
    }
    let changed = message(BASE, &["train.start_from={file=\"/dev/null\", sha256=\"ff\"}"]);
    assert!(changed.contains("a digest is 64 hexadecimal digits"), "{changed}");
}
