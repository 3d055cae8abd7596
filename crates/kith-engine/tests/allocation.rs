//! Steps allocate nothing once a thread is warm. Alone in its binary, since it counts every allocation of the process.
#![allow(missing_docs)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use kith_core::{AgentId, Head, Network};
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

#[test]
fn a_long_visit_allocates_no_more_than_a_short_one() {
    let network = Network::mlp(64, &[48, 32], 10, true, Head::Shared, 1);
    let engine = engine(&network, 1);
    let charts = vec![
        Chart::Projected { basis: basis(1, 64, 20).0, importance: None },
        Chart::Coordinates { span: basis(2, 48, 30).0, gain: None },
        Chart::Whole,
    ];
    let geometry = geometry(&network, charts, 0);
    let mut base = block_of(&engine, &noise(1, network.layout().expect("it fits").len()));
    let mut rows = engine.block(1, geometry.layout.len());
    engine.enter(&geometry, &mut base, &mut rows);
    let batches = Cycle { data: Data::random(3, 64, 10, 100), size: 10 };
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
    assert_eq!(allocations(100), allocations(1));
}
