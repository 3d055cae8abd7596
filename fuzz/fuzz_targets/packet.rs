//! Bytes of a stream that another process opened: hellos, frames, state, and whatever else.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kith_net::is_packet(bytes, 1 << 16, 1 << 17);
});
