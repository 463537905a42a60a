//! Two engines under everything that can happen to them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::events(data);
});
