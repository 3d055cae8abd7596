//! Bytes from the wire: whatever they are, reading them neither panics nor takes more memory than it may. Alone in its
//! binary, since it measures every allocation of a test's thread.
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kith_core::{AgentId, Digest, Head, Network, Purpose, Round, Seeds, TaskId};
use kith_protocol::{FrameKind, Header, Hello, PROTOCOL_VERSION, encode_header};
use rand::RngExt as _;

struct Measuring;

thread_local! {
    // Tests run beside each other: each counts for itself. What another thread frees may take the count below zero.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn hold(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: everything is handed on to the system's allocator; the counts are beside the point of memory.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size() as isize);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// Most bytes that were held at once meanwhile, beyond those before.
fn peak<T>(of: impl FnOnce() -> T) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    drop(of());
    (PEAK.get() - before) as usize
}

const BODY: u32 = 1 << 16;
const STATE: u32 = 1 << 17;

/// One good packet of each kind.
fn corpus() -> Vec<Vec<u8>> {
    let agents = (0..9).map(AgentId).collect();
    let hello = Hello::new(Digest::of(b"a run"), 3, "cpu".to_owned(), agents).encode().expect("it encodes");
    let hello = [&[0], &(hello.len() as u32).to_le_bytes()[..], &hello].concat();
    let header = Header {
        version: PROTOCOL_VERSION,
        kind: FrameKind::Payload,
        run: 7,
        round: Round(3),
        task: TaskId(1),
        basis: 5,
        next: Round(4),
        body_len: 800,
    };
    let head = encode_header(&header).expect("it encodes");
    let frame = [&[1, 2, 0, 0, 0, 9, 0, 0, 0][..], &head, &[1; 800]].concat();
    let state = [&[5][..], &9_u64.to_le_bytes(), &400_u32.to_le_bytes(), &[1; 400]].concat();
    let number = |kind: u8| [&[kind][..], &9_u64.to_le_bytes()].concat();
    let other = |kind: FrameKind, len: u32| {
        let head = encode_header(&Header { kind, body_len: len, ..header }).expect("it encodes");
        [&[1, 9, 0, 0, 0, 2, 0, 0, 0][..], &head, &vec![255; len as usize]].concat()
    };
    let under_way = Hello::new(Digest::of(b"a run"), 4, "cpu".to_owned(), vec![AgentId(u32::MAX)]);
    let under_way = under_way.knowing(Some(Round(u64::MAX)), Some(0)).encode().expect("it encodes");
    let under_way = [&[0], &(under_way.len() as u32).to_le_bytes()[..], &under_way].concat();
    vec![
        hello,
        frame,
        vec![2],
        number(3),
        vec![4, 1, 0, 0, 0],
        state,
        number(6),
        other(FrameKind::Ack, 0),
        other(FrameKind::Decline, 0),
        other(FrameKind::Absolute, BODY),
        other(FrameKind::Basis, 16),
        other(FrameKind::BasisAck, 0),
        vec![4, 255, 255, 255, 255],
        [&[5][..], &9_u64.to_le_bytes(), &[0; 4]].concat(),
        under_way,
    ]
}

#[test]
fn no_bytes_make_a_reader_panic_or_take_more_memory_than_their_limit() {
    let corpus = corpus();
    for packet in &corpus {
        assert!(kith_net::is_packet(packet, BODY, STATE), "{packet:?}");
    }
    let layout = Network::mlp(20, &[8], 3, false, Head::Shared, 1).layout().expect("it fits together");
    let mut random = Seeds::new(3).shared(Purpose::Fault, 0);
    let mut good = 0;
    for case in 0..30_000 {
        let mut bytes = corpus[case % corpus.len()].clone();
        match random.random_range(0..4) {
            0 => bytes.truncate(random.random_range(0..=bytes.len())),
            1 => bytes = (0..random.random_range(0..300)).map(|_| random.random()).collect(),
            _ => {}
        }
        for _ in 0..random.random_range(0..6) {
            if !bytes.is_empty() {
                // Lengths and kinds stand at the front.
                let place = random.random_range(0..bytes.len().min(64));
                bytes[place] = [0, 1, 127, 255, random.random()][random.random_range(0..5)];
            }
        }
        let mut is_packet = false;
        let taken = peak(|| is_packet = kith_net::is_packet(&bytes, BODY, STATE));
        // A body is held twice while it is put where several may share it. For the lists of a hello serde reserves a mebibyte at most,
        // whatever length they announce.
        let most = if bytes.first() == Some(&0) { 1 << 20 } else { 2 * STATE as usize };
        assert!(taken <= most + (1 << 14), "{taken} bytes for {bytes:?}");
        let taken = peak(|| kith_method::decode_basis(&layout, &bytes).is_ok());
        assert!(taken <= 64 * bytes.len() + (1 << 13), "{taken} bytes for {bytes:?}");
        good += usize::from(is_packet);
    }
    assert!((3_000..25_000).contains(&good), "{good} of the packets are still good");
}

#[test]
fn memory_is_taken_for_what_arrives_and_a_piece_ahead() {
    for (mut announces, limits) in [(corpus()[1].clone(), (1 << 30, 1)), (corpus()[5].clone(), (1, u32::MAX))] {
        let place = announces.len() - 4 - if announces[0] == 1 { 800 } else { 400 };
        announces[place..place + 4].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        let taken = peak(|| assert!(!kith_net::is_packet(&announces, limits.0, limits.1)));
        assert!(taken < 3 << 20, "{taken} bytes for a gigabyte that does not come");
    }
}
