//! Change chunks offered to a document.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftless::fuzzing::gate(data);
});
