//! A store that keeps and passes on, and loads no document.

use super::hostile::{encoded, reasons};
use super::*;

fn hub(inviter: &mut Device, space: SpaceId) -> Device {
    let mut hub = Device::new(7);
    hub.replica.set_hub(true).expect("a fresh store");
    join(inviter, &mut hub, space, Role::Reader);
    hub
}

fn loads(device: &Device) -> (u64, u64) {
    (device.metrics().documents_loaded, device.metrics().document_applies)
}

/// The roots of collections with anything in them.
fn roots(device: &Device, space: SpaceId) -> BTreeMap<CollectionName, crate::id::Root> {
    let mut roots = device.roots(space);
    roots.retain(|_, root| *root != crate::id::Root::EMPTY);
    roots
}

#[test]
fn a_hub_takes_commits_in_causal_order_and_gives_them_to_others() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut hub = hub(&mut a, space);
    a.teach(space, &mut b);
    a.commit(space, vec![insert(id(1), "first"), task(id(2), true)]);
    let commits = encoded(&mut a, space, &mut b);
    b.receive(space, &a, commits);
    a.commit(space, vec![retitle(id(1), "by a")]);
    b.commit(space, vec![retitle(id(1), "by b")]);
    let (of_a, of_b) = (encoded(&mut a, space, &mut hub), encoded(&mut b, space, &mut hub));
    let late: Vec<Vec<u8>> = of_b.iter().filter(|commit| !of_a.contains(commit)).cloned().collect();

    let early = hub.receive(space, &b, late.clone());
    assert_eq!((early, reasons(&hub, space)), (held(1), vec![crate::replica::HeldReason::MissingDependency]));
    let taken = hub.receive(space, &a, of_a.clone());
    let again = hub.receive(space, &a, of_a);

    assert_eq!((taken, reasons(&hub, space)), (applied(3), vec![]));
    assert_eq!(again, Received { duplicate: 2, ..Received::default() });
    let mut hub = hub.reopened();
    a.receive(space, &b, late);
    assert_eq!(hub.roots(space), a.roots(space));
    let mut c = joined(&mut a, 3, space, Role::Writer);
    a.teach(space, &mut hub);
    let all = encoded(&mut hub, space, &mut c);
    assert_eq!(c.receive(space, &hub, all), applied(3));
    assert_eq!(c.note(space, id(1)), a.note(space, id(1)));
    assert_eq!(loads(&hub), (0, 0));
}

#[test]
fn a_hub_goes_on_from_its_disk_and_takes_back_what_a_removal_ends() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut hub = hub(&mut a, space);
    a.teach(space, &mut b);
    a.commit(space, vec![insert(id(1), "first")]);
    let commits = encoded(&mut a, space, &mut b);
    b.receive(space, &a, commits.clone());
    hub.receive(space, &a, commits);
    a.replica.remove_device(now(), space, b.replica.peer()).expect("an owner removes");
    b.commit(space, vec![retitle(id(1), "beyond the cut"), task(id(9), true)]);
    let beyond = encoded(&mut b, space, &mut hub);
    let before = roots(&hub, space);
    let mut hub = hub.reopened();
    assert_eq!(hub.receive(space, &b, beyond), applied(1));

    a.teach(space, &mut hub);

    assert_eq!((roots(&hub, space), roots(&hub, space)), (before, roots(&a, space)));
    // Enough that a document would have got a snapshot.
    for number in 0..40 {
        a.commit(space, vec![retitle(id(1), &format!("title {number}"))]);
    }
    let more = encoded(&mut a, space, &mut hub);
    assert_eq!(hub.receive(space, &a, more), applied(40));
    assert!(hub.replica.ledgers.is_empty_of(id(9)), "nothing is left of what was taken back whole");
    while hub.replica.housekeep(now()).expect("the store works") {}
    assert_eq!(roots(&hub, space), roots(&a, space));
    assert_eq!(loads(&hub), (0, 0));
}

#[test]
fn a_hub_neither_writes_nor_takes_types_and_its_store_stays_a_hubs() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut hub = hub(&mut a, space);

    let written = hub.replica.commit(now(), space, vec![insert(id(1), "no")]);
    assert!(matches!(written, Err(ReplicaError::Mode { hub: true })), "{written:?}");
    let typed = hub.replica.register(Arc::new(KindOf::<Note>::new().expect("a name")));
    assert!(matches!(typed, Err(ReplicaError::Mode { hub: true })), "{typed:?}");
    assert!(matches!(hub.replica.set_hub(false), Err(ReplicaError::Mode { hub: true })));
    assert!(matches!(b.replica.set_hub(true), Err(ReplicaError::Mode { hub: false })));
    assert!(hub.reopened().replica.set_hub(true).is_ok());
}
