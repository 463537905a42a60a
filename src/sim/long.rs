//! A day in the life of four devices, in which nothing may grow that has no reason to.

use super::{Notes, Options, run};
use crate::sync::Sizes;

const HOURS: u64 = 24;
const DEVICES: usize = 4;
/// Spaces that they share.
const SPACES: usize = 2;

#[test]
fn what_engines_hold_in_a_day_does_not_grow() {
    let options = Options {
        devices: (DEVICES, DEVICES),
        spaces: (SPACES, SPACES),
        duration_ms: HOURS * 3_600_000,
        commits: 480,
        faults: 240,
        ..Options::default()
    };
    let outcome = run(24, &options, Box::new(Notes::new()));

    assert_eq!(outcome.violations, []);
    assert!(outcome.samples.len() >= HOURS as usize - 1);
    let ends = DEVICES * (DEVICES - 1);
    for (hour, sample) in outcome.samples.iter().enumerate() {
        let Sizes { conns, sessions, bases, requests, undurable, inbox_bytes, .. } = sample.engines;
        assert!(conns <= 2 * ends && sessions <= 2 * ends * SPACES, "hour {hour}: {sample:?}");
        assert!(bases <= ends * SPACES && requests <= 2 * sessions + 8, "hour {hour}: {sample:?}");
        assert!(undurable <= 64 && inbox_bytes <= 64 * 1024, "hour {hour}: {sample:?}");
    }
    assert_eq!(outcome.samples.last().map(|sample| sample.held), Some(0));
}
