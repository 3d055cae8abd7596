//! Prints how many minibatch updates the native engine does a second.
//!
//! `cargo run --release -p kith-engine --example steps [THREADS [SECONDS [NAME]]]`; one line a shape whose name contains NAME.

use std::time::Instant;

use kith_core::{AgentId, Batches, Head, Matrix, Network, Purpose, Samples, Seeds, TaskId};
use kith_engine::{Chart, Engine, Geometry, MixingPlan, NativeEngine, Objective, Point, Slot, Visit};
use rand::Rng;

/// Random images: 64 of them, all in cache, so that the engine is timed and not the data.
struct Noise {
    inputs: Vec<f32>,
    width: usize,
    batch: usize,
}

impl Samples for Noise {
    fn input_len(&self) -> usize {
        self.width
    }
    fn len(&self) -> usize {
        self.inputs.len() / self.width
    }
    fn read(&self, index: u32, out: &mut [f32]) {
        out.copy_from_slice(&self.inputs[index as usize * self.width..][..self.width]);
    }
    fn label(&self, index: u32) -> u32 {
        index % 10
    }
}

impl Batches for Noise {
    fn samples(&self) -> &dyn Samples {
        self
    }
    fn indices(&self, agent: AgentId, step: u64, out: &mut Vec<u32>) {
        out.clear();
        let first = agent.index() + usize::try_from(step).unwrap_or(0) * self.batch;
        out.extend((first..first + self.batch).map(|index| u32::try_from(index % self.len()).unwrap_or(0)));
    }
}

/// What is timed.
struct Case {
    name: String,
    network: Network,
    batch: usize,
    agents: usize,
    /// Local steps between exchanges; no exchange where there is one agent.
    local_steps: u64,
    /// Rank of the projection in each layer, if any.
    ranks: Option<[usize; 3]>,
}

fn mlp(hidden: [usize; 2], bias: bool) -> Network {
    Network::mlp(784, &hidden, 10, bias, Head::Shared, 1)
}

/// LeNet-5 and the AlexNet of gradient projection memory on one agent, as `scripts/torch_conv.py` times them.
fn convolutions() -> impl Iterator<Item = Case> {
    let (grey, colour) = ([1, 28, 28], [3, 32, 32]);
    let networks = [
        ("LeNet-5 28 × 28", Network::of(grey, Network::lenet5(grey, true), Head::Shared, 10, true, 1)),
        ("AlexNet-GPM 32 × 32", Network::of(colour, Network::alexnet(colour, 64), Head::Shared, 10, false, 1)),
    ];
    let batches = |(name, network): (&'static str, Network)| {
        [10, 32, 128].map(|batch| Case {
            name: format!("{name}, batch {batch}, 1 agent"),
            network: network.clone(),
            batch,
            agents: 1,
            local_steps: 1,
            ranks: None,
        })
    };
    networks.into_iter().flat_map(batches)
}

/// The first `cols` unit vectors, which is as good a basis as any for timing.
fn basis(rows: usize, cols: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| if row == col { 1.0 } else { 0.0 })
}

fn ring(agents: usize) -> MixingPlan {
    let mut plan = MixingPlan::default();
    for agent in 0..agents {
        let mut terms = [(agent + agents - 1) % agents, agent, (agent + 1) % agents];
        terms.sort_unstable();
        plan.push(AgentId::from(agent), terms.map(|other| (AgentId::from(other), 1.0 / 3.0)));
    }
    plan
}

/// Agent-steps a second: by the clock, and by the main thread's time on the processor.
fn time(case: &Case, threads: usize, seconds: f64) -> Result<(f64, Option<f64>), Box<dyn std::error::Error>> {
    let engine = NativeEngine::new(Objective::Network(case.network.clone()), threads)?;
    let width = case.network.inputs();
    let layout = engine.layout().clone();
    let chart = |layer: usize, d: usize| match case.ranks {
        Some(ranks) => Chart::Projected { basis: basis(d, ranks[layer]), importance: None },
        None => Chart::Whole,
    };
    let charts = layout.projected().enumerate().map(|(layer, tensor)| chart(layer, tensor.cols)).collect();
    let geometry = Geometry { layout: layout.clone(), charts, task: TaskId(0) };
    let mut rng = Seeds::new(1).shared(Purpose::Synthetic, 0);
    let inputs =
        (0..64 * width).map(|_| f32::from(u16::try_from(rng.next_u32() >> 16).unwrap_or(0)) / 65536.0).collect();
    let batches = Noise { inputs, width, batch: case.batch };
    let mut x = engine.block(case.agents, layout.len());
    let mut row = vec![0.0; layout.len()];
    engine.initial_row(&mut rng, &mut row);
    let agents: Vec<_> = (0..case.agents).map(AgentId::from).collect();
    agents.iter().for_each(|&agent| engine.upload(&mut x, agent, &row));
    let plan = ring(case.agents.max(3));
    let (mut steps, mut started, mut used) = (0, Instant::now(), computed());
    let mut warm = false;
    loop {
        let work = |visit: &mut <NativeEngine as Engine>::Visit<'_>| {
            let at = Point { row: Slot::Block(0), base: None };
            for step in 0..case.local_steps {
                visit.accumulate_gradient(at, Slot::Block(0), 1.0, -0.01, &batches, steps + step);
            }
        };
        if case.agents > 1 {
            engine.visit_and_mix(&geometry, &agents, &mut [&mut x], 0, work, (0, &plan));
        } else {
            engine.visit(&geometry, &agents, &mut [&mut x], 0, work);
        }
        steps += case.local_steps;
        let elapsed = started.elapsed().as_secs_f64();
        if !warm && elapsed > 0.1 * seconds {
            (steps, started, used, warm) = (0, Instant::now(), computed(), true);
        } else if elapsed > seconds {
            let done = (steps * case.agents as u64) as f64;
            return Ok((done / elapsed, used.zip(computed()).map(|(before, after)| done / (after - before))));
        }
    }
}

/// Seconds that the main thread computed, where the system tells: what is fair to compare on a busy machine.
fn computed() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds * 1e-9)
}

/// What the machine's matrix product reaches where nothing holds it up.
const PRODUCT: &str = "GFLOP/s: product of two matrices of 1024 x 1024";

/// Billions of operations a second of the general matrix product on one thread: the best of many.
fn product(seconds: f64) -> f64 {
    const N: usize = 1024;
    let (a, b, mut c) = (vec![0.5_f32; N * N], vec![0.25_f32; N * N], vec![0.0_f32; N * N]);
    let (begun, mut best) = (Instant::now(), f64::INFINITY);
    while begun.elapsed().as_secs_f64() < seconds {
        let started = Instant::now();
        let (out, n) = (c.as_mut_ptr(), N as isize);
        // SAFETY: three matrices of N rows and columns, the output apart from the others.
        unsafe {
            gemm::gemm(
                N,
                N,
                N,
                out,
                1,
                n,
                false,
                a.as_ptr(),
                1,
                n,
                b.as_ptr(),
                1,
                n,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        best = best.min(started.elapsed().as_secs_f64());
    }
    assert!(c.iter().all(|&sum| sum == 128.0), "1024 times an eighth");
    2.0 * (N as f64).powi(3) / best * 1e-9
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
    let wanted = arguments.next().unwrap_or_default();
    let small = |name: &str, agents, local_steps, ranks| Case {
        name: name.to_owned(),
        network: mlp([100, 100], false),
        batch: 10,
        agents,
        local_steps,
        ranks,
    };
    let cases = [
        small("784-100-100-10, batch 10, 1 agent", 1, 100, None),
        small("784-100-100-10, batch 10, 64 agents, ring, 1 local step", 64, 1, None),
        small("784-100-100-10, batch 10, 1024 agents, ring, 1 local step", 1024, 1, None),
        small("784-100-100-10, batch 10, 1024 agents, ring, 10 local steps", 1024, 10, None),
        small("784-100-100-10, batch 10, 1 agent, projected at ranks 300, 60, 60", 1, 100, Some([300, 60, 60])),
        Case {
            name: "784-256-128-10 with biases, batch 32, 16 agents, ring, 1 local step".to_owned(),
            network: mlp([256, 128], true),
            batch: 32,
            agents: 16,
            local_steps: 1,
            ranks: None,
        },
    ];
    println!("   clock      cpu  agent-steps per second on {threads} threads");
    for case in cases.into_iter().chain(convolutions()).filter(|case| case.name.contains(&wanted)) {
        let (clock, processor) = time(&case, threads, seconds)?;
        // With several threads the main one only waits.
        let processor = processor.filter(|_| threads == 1).map_or_else(String::new, |rate| format!("{rate:>8.1}"));
        println!("{clock:>8.1} {processor:>8}  {}", case.name);
    }
    if PRODUCT.contains(&wanted) {
        println!("{:>8.1} {:>8}  {PRODUCT}", product(seconds), "");
    }
    Ok(())
}
