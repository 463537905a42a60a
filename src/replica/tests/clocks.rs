//! Clocks that are wrong by decades.

use super::*;

/// Adversarial 50: what a device with any clock writes lands, and what comes out of it is the same for all
/// clocks, concurrent edits among it. Seen failing without the clamp in `Document::change`: the device with the
/// first clock could not write.
#[test]
fn attack_50_the_clock_of_a_device_decides_nothing_but_what_is_shown() {
    let years = [
        i64::MIN,
        i64::MAX,
        0,
        4_102_444_800_000,
        -62_135_596_800_000,
        253_402_300_799_000,
        1_700_000_000_000,
    ];
    let rows: Vec<_> = years.into_iter().map(|wall| outcome(Timestamp::from_unix_ms(wall))).collect();

    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:?}");
    assert_eq!(rows[0].0.len(), 3);
}

/// What two devices end with, one of which has this clock.
fn outcome(wall: Timestamp) -> (Vec<Option<String>>, usize) {
    let (mut a, mut b, space) = pair(Role::Writer);
    let far = Now { instant: now().instant, wall };
    a.commit(space, vec![insert(id(1), "one")]);
    a.send(space, &mut b);
    b.replica.commit(far, space, vec![insert(id(2), "two")]).expect("a writer may");
    // At the same time, of the same field and of the same entity.
    a.commit(space, vec![retitle(id(1), "here")]);
    b.replica.commit(far, space, vec![retitle(id(1), "there")]).expect("a writer may");
    a.commit(space, vec![insert(id(3), "here")]);
    b.replica.commit(far, space, vec![insert(id(3), "there")]).expect("a writer may");
    a.send(space, &mut b);
    b.send(space, &mut a);

    assert_eq!(a.roots(space), b.roots(space));
    let titles = |device: &Device| (1..=3).map(|number| title(device.note(space, id(number)))).collect();
    let (here, there): (Vec<_>, Vec<_>) = (titles(&a), titles(&b));
    assert_eq!(here, there);
    (here, a.replica.reader().quarantine(&space).expect("reads").len())
}
