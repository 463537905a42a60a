//! Frames of the protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::wire(data);
});
