//! Times `LayerMemory::propose`, `grow` and `residual` on one thread at the sizes that networks of the field have: the best of
//! five, since other work on the machine only adds. `scripts/bench_engine.py` puts NumPy beside it.
//!
//! `cargo run --release -p kith-subspace --example propose_time`

use kith_core::Matrix;
use kith_subspace::{LayerMemory, Rule};
use std::time::Instant;

/// Rectified values around a decaying spectrum, like activations: `[n, d]`.
fn activations(n: usize, d: usize, salt: u64) -> Matrix {
    let mut state = salt;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    Matrix::from_fn(n, d, |_, col| next().max(0.0) / (1.0 + col as f32).sqrt())
}

/// What `work` returns, and the fewest milliseconds that it took.
fn timed<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut once = || {
        let start = Instant::now();
        let value = work();
        (value, start.elapsed().as_secs_f64() * 1e3)
    };
    let (value, first) = once();
    (value, (1..5).map(|_| once().1).fold(first, f64::min))
}

fn main() {
    println!("{:>5} {:>6} {:>5} {:>12} {:>9} {:>12}", "d", "n", "r", "propose ms", "grow ms", "residual ms");
    for (d, n) in [(784, 300), (784, 1200), (784, 1600), (1152, 10_000), (2048, 125), (48, 24_000)] {
        let mut memory = LayerMemory::new(d);
        for task in 0..3 {
            let representation = activations(n, d, 7 + task);
            let rank = memory.rank();
            let (growth, proposed) =
                timed(|| memory.propose(&representation, 0.97, Rule::Gpm).expect("numbers are finite").rounded());
            let (grown, grow) = timed(|| {
                let mut memory = memory.clone();
                memory.grow(&growth).expect("the growth fits");
                memory
            });
            memory = grown;
            let (free, residual) = timed(|| memory.residual().cols());
            assert_eq!(free, d - memory.rank());
            println!("{d:>5} {n:>6} {rank:>5} {proposed:>12.1} {grow:>9.1} {residual:>12.1}");
        }
    }
}
