//! Steps allocate nothing once a thread is warm. Alone in its binary, since it counts every allocation of the process.
#![allow(missing_docs)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use kith_core::{AgentId, Head, Matrix, Network};
use kith_engine::{Chart, Engine, Point, Slot, Visit};
use support::{Cycle, Data, basis, block_of, engine, geometry, noise};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator; the count is beside the point of memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Holds one hundred steps of a visit to the allocations of one.
fn steps_allocate_nothing(network: &Network, charts: Vec<Chart>, batch: usize) {
    let engine = engine(network, 1);
    let geometry = geometry(network, charts, 0);
    let mut base = block_of(&engine, &noise(1, network.layout().expect("it fits").len()));
    let mut rows = engine.block(1, geometry.layout.len());
    engine.enter(&geometry, &mut base, &mut rows);
    let batches = Cycle { data: Data::random(3, network.inputs(), 10, 100), size: batch };
    let mut allocations = |steps: u64| {
        let before = COUNT.load(Ordering::Relaxed);
        engine.visit(&geometry, &[AgentId(0)], &mut [&mut rows, &mut base], 1, |visit| {
            let at = Point { row: Slot::Block(0), base: Some(Slot::Block(1)) };
            for step in 0..steps {
                visit.accumulate_gradient(at, Slot::Scratch(0), 0.0, 1.0, &batches, step);
                visit.clip(Slot::Scratch(0), 1.0);
                visit.axpy(Slot::Block(0), -0.1, Slot::Scratch(0));
            }
        });
        COUNT.load(Ordering::Relaxed) - before
    };
    allocations(2);
    assert_eq!(allocations(20), allocations(1));
}

// One test, so that no other allocates meanwhile.
#[test]
fn a_long_visit_allocates_no_more_than_a_short_one() {
    let network = Network::mlp(64, &[48, 32], 10, true, Head::Shared, 1);
    let charts = vec![
        Chart::Projected { basis: basis(1, 64, 20).0, importance: None },
        Chart::Coordinates { span: basis(2, 48, 30).0, gain: None },
        Chart::Whole,
    ];
    steps_allocate_nothing(&network, charts, 10);

    let colour = [3, 32, 32];
    let alexnet = Network::of(colour, Network::alexnet(colour, 16), Head::Shared, 10, false, 1);
    let layout = alexnet.layout().expect("it fits");
    for hold in [Held::Whole, Held::Projected, Held::Confined, Held::Coordinates] {
        let sizes: Vec<usize> = layout.projected().map(|tensor| tensor.cols).collect();
        let charts = sizes.into_iter().zip(1..).map(|(d, label)| hold.chart(d, label)).collect();
        steps_allocate_nothing(&alexnet, charts, 4);
    }

    let grey = [1, 28, 28];
    let lenet = Network::of(grey, Network::lenet5(grey, true), Head::Shared, 10, true, 1);
    let charts = lenet.layout().expect("it fits").projected().map(|_| Chart::Whole).collect();
    steps_allocate_nothing(&lenet, charts, 32);
}

/// How all layers are held.
#[derive(Clone, Copy)]
enum Held {
    Whole,
    Projected,
    Confined,
    Coordinates,
}

impl Held {
    fn chart(self, d: usize, label: u64) -> Chart {
        // Random directions that are orthonormal cost as much time as the rest of the tests; unit vectors do here.
        let unit =
            |cols| Matrix::from_fn(d, cols, |row, col| if row == (col + label as usize) % d { 1.0 } else { 0.0 });
        match self {
            Self::Whole => Chart::Whole,
            Self::Projected => Chart::Projected { basis: unit(d / 3), importance: Some(vec![0.5; d / 3]) },
            Self::Confined => Chart::Confined { span: unit(d / 4) },
            Self::Coordinates => Chart::Coordinates { span: unit(d / 2), gain: None },
        }
    }
}
