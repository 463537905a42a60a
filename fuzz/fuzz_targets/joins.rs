//! Requests to join a space, and the replies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::joins(data);
});
