//! A store that is opened with a gate that lets in more than the last one.

use super::hostile::{encoded, reasons};
use super::*;
use crate::doc::gate;
use crate::replica::HeldReason;
use crate::replica::held::HeldChanges;
use crate::store::keyspaces::{Batch, HeldCause, HeldRecord, META_GATE, MetaKey, Raw, Since};

/// A type that is registered late.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Late {
    done: bool,
}

impl Entity for Late {
    const COLLECTION: &'static str = "lates";
    const VERSION: u32 = 1;
}

/// Notes as another program would write them.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct OddNote {
    title: u64,
}

impl Entity for OddNote {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// What an older version of the library had refused stayed in quarantine, though the one that opened the store lets it
/// in, and devices that received it later did not agree with this one. Seen failing without `regate` in `register`.
#[test]
fn what_an_older_gate_refused_counts_when_a_newer_one_opens_the_store() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "both"), task(id(2), true)]);
    let commits = encoded(&mut a, space, &mut b);
    hold(&mut b, space, &commits[0]);

    let b = b.reopened();
    assert_eq!(reasons(&b, space), [HeldReason::Malformed], "this gate has refused it");
    note_gate(&b, gate::VERSION - 1);
    let mut b = b.reopened();

    assert_eq!((title(b.note(space, id(1))), reasons(&b, space)), (Some("both".to_owned()), vec![]));
    b.receive(space, &a, commits);
    assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)));
    assert_eq!(noted_gate(&b), Some(gate::VERSION));
    assert_consistent(&mut b, space);
}

/// Seen failing with `regate_in` taking every commit for typed: it was let in by a gate that had no type to look at.
#[test]
fn what_does_not_fit_its_type_stays_held_by_any_gate() {
    let (mut a, b, space) = pair(Role::Writer);
    let actor = ActorId::derive(&space, &id(1), &b.replica.origin());
    let made = doc::insert(OddNote { title: 5 })(&mut Document::new(), &actor, now().wall);
    let made = made.expect("inserts").expect("changes");
    let (collection, entity, prev) = (notes(), id(1), None);
    let (oseq, salt, of) = (Oseq(1), None, 1);
    let leaf = Leaf { collection, entity, oseq, prev, salt, of, seq: made.seq, head: made.hash };
    let heads = b.replica.membership(&space).expect("here").heads().to_vec();
    let commit = Commit::sign(&b.identity, space, b.replica.origin(), heads, vec![(leaf, made.bytes)]);
    assert_eq!(a.receive(space, &b, vec![commit.expect("signs").encode()]), held(1));
    note_gate(&a, gate::VERSION - 1);

    let a = a.reopened();

    assert_eq!(reasons(&a, space), [HeldReason::Malformed]);
    assert_eq!(noted_gate(&a), Some(gate::VERSION));
}

/// Seen failing with the note written whatever waits.
#[test]
fn what_waits_for_a_type_is_judged_with_the_last_that_it_needs() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let collection = CollectionName::new("lates").expect("a name");
    let edit = doc::insert(Late { done: true });
    let late = Write { collection, entity: id(2), intent: Intent::Create, edit };
    a.commit(space, vec![insert(id(1), "with a late one"), late]);
    let commits = encoded(&mut a, space, &mut b);
    hold(&mut b, space, &commits[0]);
    note_gate(&b, gate::VERSION - 1);

    let mut b = b.reopened().reopened();
    assert_eq!(reasons(&b, space), [HeldReason::Malformed]);
    b.replica.register(Arc::new(KindOf::<Late>::new().expect("a name"))).expect("registers");

    assert_eq!((reasons(&b, space), a.roots(space)), (vec![], b.roots(space)));
    assert_eq!(noted_gate(&b), Some(gate::VERSION));
}

/// Seen failing without `regate` in `release`.
#[test]
fn a_hub_judges_again_when_it_is_opened() {
    let (mut a, mut hub) = (Device::new(1), Device::new(7));
    let space = founded(&mut a);
    hub.replica.set_hub(true).expect("a fresh store");
    join(&mut a, &mut hub, space, Role::Reader);
    a.commit(space, vec![insert(id(1), "first")]);
    let commits = encoded(&mut a, space, &mut hub);
    hold(&mut hub, space, &commits[0]);
    note_gate(&hub, gate::VERSION - 1);

    let hub = hub.reopened();

    assert_eq!((reasons(&hub, space), a.roots(space)), (vec![], hub.roots(space)));
}

/// Holds a commit as malformed, as a gate does that does not know what is in it.
fn hold(device: &mut Device, space: SpaceId, bytes: &[u8]) {
    let (mut batch, mut changes) = (Batch::new(), HeldChanges::default());
    let commit = Commit::decode(space, bytes).expect("a commit");
    let (cause, from, missing) = (HeldCause::Malformed, commit.origin.peer, Vec::new());
    let commit_bytes = bytes.to_vec();
    let record = HeldRecord {
        cause,
        arrived: now().wall,
        from,
        since: Since::OpenMs(0),
        missing,
        commit: commit_bytes,
    };
    let held = &mut device.replica.spaces.get_mut(&space).expect("here").held;
    assert!(held.stage_put((&commit, commit.hash()), None, &record, &mut changes, &mut batch));
    held.apply(changes);
    device.replica.store.write(batch).expect("writes");
}

fn note_gate(device: &Device, version: u64) {
    let mut batch = Batch::new();
    batch.put(&MetaKey(META_GATE.to_owned()), &Raw(version.to_le_bytes().to_vec()));
    device.replica.store.write(batch).expect("writes");
}

fn noted_gate(device: &Device) -> Option<u64> {
    let noted = device.replica.store.get(&MetaKey(META_GATE.to_owned())).expect("reads");
    noted.map(|Raw(bytes)| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}
