//! The world keeps to what a real one would do.

use super::*;
use crate::sim::Notes;
use crate::sim::network::Transit;
use crate::sync::Lane;

/// Frames of one lane never overtake each other, also where the end of all trouble wakes who meant to sleep on.
#[test]
fn what_came_to_a_sleeper_comes_first_when_it_is_woken_early() {
    let options = Options::default();
    let mut world = World::new(1, &options, Box::new(Notes::new()));
    world.start(1);
    let (conn, _) = world.network.connect(0, 1);
    let transit = Transit { conn, end: 1, lane: Lane::Bulk, frame: vec![1], at_ms: 0 };

    world.sleep(1, 90_000);
    world.happen(Happening::Arrive(transit));
    assert!(world.network.send(10, conn, 0, Lane::Bulk, vec![2]).is_none(), "it waits for the sleeper");
    world.now = 40_000;
    world.end_all_trouble();
    world.wake(1);

    let frames = world.queue.iter().filter_map(|((at, _), happening)| {
        let Happening::Arrive(transit) = happening else { return None };
        Some((*at >= 40_000, transit.frame.clone()))
    });
    assert_eq!(frames.collect::<Vec<_>>(), [(true, vec![1]), (true, vec![2])]);
}
