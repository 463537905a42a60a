//! Invites as people paste them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::tickets(data);
});
