//! Commits as peers send them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::commits(data);
});
