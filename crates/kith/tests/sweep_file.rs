//! `[sweep]` tables: which runs they stand for, and the exact words about what does not stand for any.

use std::collections::BTreeSet;

use kith::config::{ConfigError, Filter, Overrides, SweepPlan, load_sweep, parse, parse_sweep};

const BASE: &str = r#"name = "ring"
seed = 3
graph = { family = "ring", agents = 4 }
data = { dataset = "synthetic", tasks = { kind = "permuted", count = 2 } }
memory = { samples = 20 }

[[arm]]
name = "codec"
method = "codec"

[[arm]]
name = "baseline"
method = "d-psgd"

[expect.codec]
average_accuracy = { min = 0.1 }
"#;

fn planned(sweep: &str, overrides: &Overrides) -> Result<SweepPlan, ConfigError> {
    parse_sweep("experiments/x.toml", &format!("{BASE}\n{sweep}"), overrides)
}

fn plan(sweep: &str) -> SweepPlan {
    planned(sweep, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn labels(plan: &SweepPlan) -> Vec<String> {
    plan.runs.iter().map(|run| run.label()).collect()
}

fn set(texts: &[&str]) -> Overrides {
    Overrides { set: texts.iter().map(|text| (*text).to_owned()).collect(), ..Overrides::default() }
}

#[test]
fn a_grid_meets_every_value_with_every_other_and_a_zip_the_first_with_the_first() {
    let plan = plan(
        "[sweep]\nseeds = { from = 5, count = 2 }\narms = [\"baseline\"]\n\
         [sweep.grid]\ntrain.batch_size = [10, 20]\n\
         [sweep.zip]\n\"graph.agents\" = [4, 8]\n\"train.learning_rate\" = [0.1, { kind = \"linear\", start = 0.2, slope = -0.001, clock = \"round\" }]\n",
    );
    let schedule = r#"{"clock":"round","kind":"linear","slope":-0.001,"start":0.2}"#;
    let mut expected = Vec::new();
    for (batch, agents, rate) in [(10, 4, "0.1"), (10, 8, schedule), (20, 4, "0.1"), (20, 8, schedule)] {
        for seed in [5, 6] {
            expected.push(format!(
                "baseline graph.agents={agents}, train.batch_size={batch}, train.learning_rate={rate} seed {seed}"
            ));
        }
    }
    assert_eq!(labels(&plan), expected);
    let last = &plan.runs[7].experiment.arms[0];
    assert_eq!((last.seed, last.train.batch_size, plan.runs[7].seed), (6, 20, 6));
    assert_eq!(last.build_graph().expect("it was built before").agents(), 8);
    let hashes: BTreeSet<_> = plan.runs.iter().map(|run| run.hash).collect();
    assert_eq!(hashes.len(), plan.runs.len());
}

#[test]
fn a_block_with_a_condition_leaves_other_runs_as_they_are() {
    let plan = plan(
        "[[sweep.grid]]\n\"graph.agents\" = [4, 8]\n\
         [[sweep.grid]]\nwhen = { arm = \"codec\", \"graph.agents\" = [8, 16] }\n\"memory.samples\" = [10, 20]\n",
    );
    let expected = [
        "codec graph.agents=4 seed 3",
        "codec graph.agents=8, memory.samples=10 seed 3",
        "codec graph.agents=8, memory.samples=20 seed 3",
        "baseline graph.agents=4 seed 3",
        "baseline graph.agents=8 seed 3",
    ];
    assert_eq!(labels(&plan), expected);
}

#[test]
fn conditions_see_what_the_preset_says() {
    let plan = plan("[sweep.grid]\nwhen = { exchange.payload = \"coefficients\" }\n\"train.batch_size\" = [10, 20]\n");
    let expected = ["codec train.batch_size=10 seed 3", "codec train.batch_size=20 seed 3", "baseline seed 3"];
    assert_eq!(labels(&plan), expected);
}

#[test]
fn an_arm_without_memory_is_not_multiplied_by_the_memorys_settings() {
    let plan = plan("[sweep.grid]\n\"memory.samples\" = [10, 20]\n\"train.batch_size\" = [10]\n");
    let expected = [
        "codec memory.samples=10, train.batch_size=10 seed 3",
        "codec memory.samples=20, train.batch_size=10 seed 3",
        "baseline train.batch_size=10 seed 3",
    ];
    assert_eq!(labels(&plan), expected);
    assert!(plan.runs[2].experiment.arms[0].memory.is_none());
}

#[test]
fn skipped_runs_are_left_out_by_any_key_that_they_have() {
    let plan = plan(
        "[sweep]\nseeds = [1, 2]\nskip = [{ arm = \"baseline\", seed = 2 }, { \"train.batch_size\" = 20, arm = \"codec\" }]\n\
         [sweep.grid]\n\"train.batch_size\" = [10, 20]\n",
    );
    let expected = [
        "codec train.batch_size=10 seed 1",
        "codec train.batch_size=10 seed 2",
        "baseline train.batch_size=10 seed 1",
        "baseline train.batch_size=20 seed 1",
    ];
    assert_eq!(labels(&plan), expected);
}

#[test]
fn a_run_is_the_experiment_that_the_flags_would_make() {
    let plan = plan("[sweep]\nseeds = [7]\n[sweep.grid]\n\"train.batch_size\" = [20]\n");
    let overrides = Overrides { arms: vec!["codec".to_owned()], seed: Some(7), ..set(&["train.batch_size=20"]) };
    let alone = parse("experiments/x.toml", BASE, &overrides).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan.runs[0].experiment, alone.experiment);
    let again = parse("again.toml", &plan.runs[0].experiment.to_toml().expect("TOML"), &Overrides::default());
    let again = again.unwrap_or_else(|error| panic!("{error}")).experiment;
    assert_eq!(again.hash().expect("a hash"), plan.runs[0].hash, "what is stored has the address that it is stored at");
}

#[test]
fn expectations_are_judged_where_the_sweep_sets_only_the_seed() {
    let judged = |plan: &SweepPlan| plan.runs.iter().map(|run| run.experiment.expect.len()).collect::<Vec<_>>();
    assert_eq!(judged(&plan("[sweep]\nseeds = [1, 2]\n")), [1, 1, 0, 0]);
    assert_eq!(judged(&plan("[sweep.grid]\n\"train.batch_size\" = [10]\n")), [0, 0]);
}

#[test]
fn flags_make_and_change_a_sweep() {
    let overrides = set(&["sweep.seeds=[1,2]", "train.batch_size=20"]);
    let plan = planned("", &overrides).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(labels(&plan), ["codec seed 1", "codec seed 2", "baseline seed 1", "baseline seed 2"]);
    assert!(plan.runs.iter().all(|run| run.experiment.arms[0].train.batch_size == 20));
}

#[test]
fn a_run_of_the_file_as_it_stands_does_not_care_for_the_sweep_but_for_its_shape() {
    let with = format!("{BASE}\n[sweep.grid]\n\"train.batch_size\" = [0]\n");
    let loaded = parse("x.toml", &with, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    let plain = parse("x.toml", BASE, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(loaded.has_sweep() && !plain.has_sweep());
    assert_eq!(loaded.experiment, plain.experiment);
    assert!(parse("x.toml", &format!("{BASE}\n[sweep.gird]\n"), &Overrides::default()).is_err());
}

#[test]
fn filters_keep_the_runs_that_fit_all_keys() {
    let sweep = "[sweep]\nseeds = [1, 2, 3]\n[sweep.grid]\n\"train.learning_rate\" = [0.01, 0.1]\n";
    let count = |texts: &[&str]| {
        let mut plan = plan(sweep);
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let filtered = Filter::parse(&texts).and_then(|filter| filter.apply(&mut plan));
        filtered.map(|()| plan.runs.len()).map_err(|error| error.to_string())
    };
    assert_eq!(count(&[]), Ok(12));
    assert_eq!(count(&["arm=codec"]), Ok(6));
    assert_eq!(count(&["arm=codec", "seed=[1,3]", "train.learning_rate=0.1"]), Ok(2));
    assert_eq!(count(&["seed=1", "seed=2", "graph.agents=4"]), Ok(8));
    let refused: Vec<String> = [&["seed=4"][..], &["arm=codek"], &["train.rate=1"], &["seed"], &["seed=[1"]]
        .iter()
        .map(|texts| count(texts).expect_err("no run passes"))
        .collect();
    insta::assert_snapshot!(refused.join("\n\n---\n\n"));
}

#[test]
fn sweeps_that_do_not_add_up_are_refused_at_their_line() {
    let cases = [
        "",
        "[[sweep]]\nseeds = [1]",
        "[sweep]\nsedes = [1]",
        "[sweep]\nseeds = []",
        "[sweep]\nseeds = [1, 1]",
        "[sweep]\nseeds = { from = 1, count = 0 }",
        "[sweep]\narms = [\"codek\"]",
        "[sweep]\ngrid = 3",
        "[sweep.grid]\n\"train.batch_size\" = 10",
        "[sweep.grid]\n\"train.batch_size\" = []",
        "[sweep.grid]\n\"trian.batch_size\" = [10]",
        "[sweep.grid]\nseed = [1, 2]",
        "[sweep.grid]\nwhen = { arm = \"codec\" }",
        "[sweep.grid]\nwhen = \"codec\"\n\"train.batch_size\" = [10]",
        "[sweep.grid]\nwhen = { ram = \"codec\" }\n\"train.batch_size\" = [10]",
        "[sweep.grid]\nwhen = { arm = \"codek\" }\n\"train.batch_size\" = [10]",
        "[sweep]\nskip = [{ \"train.batch_size\" = 999 }]",
        "[sweep]\nskip = [{ arm = [\"codec\", \"baseline\"] }]",
        "[sweep.zip]\n\"train.batch_size\" = [10, 20]\n\"graph.agents\" = [4]",
        "[[sweep.grid]]\n\"train.batch_size\" = [10]\n[[sweep.zip]]\n\"train.batch_size\" = [20]",
        "[sweep.grid]\n\"train.batch_size\" = [10, 0]",
        "[sweep.grid]\n\"train.batch_size\" = [10, \"ten\"]",
        "[sweep.grid]\n\"train.batch_szie\" = [10]",
        "[sweep.grid]\n\"train.learning_rate\" = [1, 1.0]",
    ];
    let message = |sweep: &str, overrides: &Overrides| match planned(sweep, overrides) {
        Ok(plan) => format!("accepted, though it should not be: {sweep}\n{:?}", labels(&plan)),
        Err(error) => error.to_string(),
    };
    let mut shown: Vec<String> = cases.iter().map(|sweep| message(sweep, &Overrides::default())).collect();
    let grid = "[sweep]\nseeds = [1]\n[sweep.grid]\n\"train.batch_size\" = [10]";
    shown.push(message(grid, &set(&["train.batch_size=20"])));
    shown.push(message(grid, &set(&["arm.codec.train.batch_size=20"])));
    shown.push(message(grid, &Overrides { seed: Some(5), ..Overrides::default() }));
    shown.push(message(grid, &Overrides { arms: vec!["codek".to_owned()], ..Overrides::default() }));
    let many: Vec<String> = (1..=400).map(|value| value.to_string()).collect();
    let many = many.join(",");
    let huge =
        format!("[sweep]\nseeds = [1]\ngrid = {{ \"train.batch_size\" = [{many}], \"graph.agents\" = [{many}] }}");
    shown.push(message(&huge, &Overrides::default()));
    insta::assert_snapshot!(shown.join("\n\n---\n\n"));
}

#[test]
fn the_example_sweep_has_the_runs_that_it_says() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/quickstart-sweep.toml");
    let plan = load_sweep(&file, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan.runs.len(), 18);
}
