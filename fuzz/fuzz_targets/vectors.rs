//! Version vectors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::vectors(data);
});
