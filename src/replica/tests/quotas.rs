//! What one member may take of the room that all share.

use super::clash::Liar;
use super::*;
use crate::exchange::EntityClock;
use crate::id::{Incarnation, Salt};
use crate::limits::{
    COLLECTIONS_OF_ADMINS, COLLECTIONS_PER_MEMBER_MAX, COLLECTIONS_PER_SPACE_MAX, CUT_HASHES_MAX,
    ORIGINS_KEPT, ORIGINS_OF_STRANGERS_MAX, ORIGINS_PER_MEMBER_MAX, VECTOR_ORIGINS_MAX,
};

/// Adversarial 48, a device that writes under a thousand actors: each incarnation takes a place in the version
/// vector, which has an end. Seen failing with a `Room::lets_in` that knows the end of the vector alone.
#[test]
fn attack_48_a_device_with_a_thousand_incarnations_leaves_room_for_others() {
    const OVER: usize = 6;
    let (mut a, b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    let commits = lives(&b, space, 0..(ORIGINS_PER_MEMBER_MAX + OVER) as u64);

    let got = give(&mut a, &b, space, &commits);
    c.commit(space, vec![insert(id(9), "by another")]);
    c.send(space, &mut a);

    assert_eq!(got, Received { applied: ORIGINS_PER_MEMBER_MAX, left_out: OVER, ..Received::default() });
    assert_eq!(title(a.note(space, id(9))).as_deref(), Some("by another"));
    // What was left out does not count as received, and comes again when there is room.
    let again = a.receive(space, &b, vec![commits.last().expect("many").clone()]);
    assert_eq!(again, Received { left_out: 1, ..Received::default() });
    assert_consistent(&mut a, space);
}

/// Adversarial 48: a member enrols as many devices as it likes, and each of them had a share. Eight filled the vector:
/// other members were left out, and the owner's own commit failed. Seen failing with a `Room::of` that counts one
/// device.
#[test]
fn attack_48_a_member_with_many_devices_keeps_nobody_out() {
    let (mut a, b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    let mut first = joined(&mut a, 20, space, Role::Writer);
    let mut devices: Vec<Device> = (21..28).map(|seed| second(&mut first, seed, space)).collect();
    first.teach(space, &mut a);
    devices.iter_mut().for_each(|device| a.teach(space, device));
    devices.push(first);
    a.teach(space, &mut c);

    let mut got = 0;
    for device in &devices {
        got += give(&mut a, &b, space, &lives(device, space, 0..(VECTOR_ORIGINS_MAX / 8) as u64)).applied;
    }
    c.commit(space, vec![insert(id(9), "by another")]);
    c.send(space, &mut a);
    a.commit(space, vec![insert(id(8), "own")]);
    let mut after_a_crash = c.killed();
    after_a_crash.commit(space, vec![retitle(id(9), "in another life")]);
    after_a_crash.send(space, &mut a);

    assert_eq!(got, ORIGINS_PER_MEMBER_MAX, "all its devices together");
    assert_eq!(title(a.note(space, id(9))).as_deref(), Some("in another life"));
    assert_eq!(title(a.note(space, id(8))).as_deref(), Some("own"));
}

/// Keys that nobody enrolled cost nothing, and what they sign may be a member's some day: it is held, and counts as
/// received. Seen failing without [`ORIGINS_OF_STRANGERS_MAX`]: all of them were.
#[test]
fn attack_48_strangers_whose_commits_are_held_leave_room_for_members() {
    let (mut a, b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    // Where no statement that is known here enrols it.
    let at = vec![crate::id::StatementHash::new([9; 32])];
    let strangers = (0..ORIGINS_OF_STRANGERS_MAX as u64 + 3).map(|number| {
        let mut seed = [77; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::from_seed(seed);
        let origin = Origin { peer: identity.peer(), incarnation: Incarnation(1) };
        signed(&identity, (space, notes()), origin, at.clone())
    });

    let got = give(&mut a, &b, space, &strangers.collect::<Vec<_>>());
    c.commit(space, vec![insert(id(9), "a member's")]);
    c.send(space, &mut a);

    assert_eq!((got.held, got.left_out), (ORIGINS_OF_STRANGERS_MAX, 3));
    assert_eq!(title(a.note(space, id(9))).as_deref(), Some("a member's"));
}

/// Two devices that a liar showed different lives of its own fed each other without end what the other left out, and
/// honest work on top of one of them never arrived, not after the liar's removal either. Seen failing without the look
/// at the peer's room in `Replica::feed` (many commits went in every round), without the question in
/// `Room::lets_in` whether others built on it (the honest work did not arrive), and without `Replica::free_room` (the
/// share stayed taken).
#[test]
fn attack_48_devices_that_were_filled_differently_stop_and_agree_after_the_removal() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    let liar = joined(&mut a, 20, space, Role::Writer);
    a.teach(space, &mut b);
    a.teach(space, &mut c);
    let most = ORIGINS_PER_MEMBER_MAX as u64 + 10;
    give(&mut a, &c, space, &lives(&liar, space, 0..most));
    give(&mut b, &c, space, &lives(&liar, space, most..2 * most));
    let (shown, other) = (entity_of(&liar, 0), entity_of(&liar, most));
    a.commit(space, vec![retitle(shown, "honest work")]);
    b.commit(space, vec![retitle(other, "more of it")]);

    let sent: Vec<usize> = (0..5).map(|_| both_ways(&mut a, &mut b, space)).collect();
    for device in [&a, &b] {
        assert_eq!(title(device.note(space, shown)).as_deref(), Some("honest work"));
        assert_eq!(title(device.note(space, other)).as_deref(), Some("more of it"));
    }
    assert!(sent.iter().sum::<usize>() < 20 && sent[3..] == [0, 0], "{sent:?}: the work and what it is on");

    a.replica.remove_device(now(), space, liar.replica.peer()).expect("an owner may");
    let sent: Vec<usize> = (0..5).map(|_| both_ways(&mut a, &mut b, space)).collect();
    assert_eq!(sent[3..], [0, 0], "{sent:?}");
    assert_eq!(a.roots(space), b.roots(space));
    both_ways(&mut a, &mut c, space);
    both_ways(&mut b, &mut c, space);
    assert_eq!(a.roots(space), c.roots(space));
    for device in [&mut a, &mut b, &mut c] {
        assert_eq!(title(device.note(space, shown)).as_deref(), Some("honest work"));
        assert_eq!(title(device.note(space, other)).as_deref(), Some("more of it"));
        assert!(device.vectors(space)[&notes()].len() < 2 * ORIGINS_KEPT + 100, "the share is free again");
        assert_consistent(device, space);
    }
}

/// Adversarial 48: a thousand commits of one writer took every name of a space, and nobody else could begin a collection,
/// not the owner with its first commit. Seen failing with a `Names::may_begin` that knows the number of all names alone.
#[test]
fn attack_48_a_member_that_names_a_thousand_collections_leaves_names_to_others() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    let liar = joined(&mut a, 20, space, Role::Writer);
    a.teach(space, &mut b);
    a.teach(space, &mut c);
    let most = COLLECTIONS_PER_SPACE_MAX as u64;

    let got =
        give(&mut a, &c, space, &(0..most).map(|number| naming(&liar, space, number)).collect::<Vec<_>>());
    give(&mut b, &c, space, &(most..2 * most).map(|number| naming(&liar, space, number)).collect::<Vec<_>>());
    c.commit(space, vec![insert(id(9), "by another")]);
    c.send(space, &mut a);
    a.commit(space, vec![task(id(8), true)]);
    let sent: Vec<usize> = (0..3).map(|_| both_ways(&mut a, &mut b, space)).collect();

    let over = COLLECTIONS_PER_SPACE_MAX - COLLECTIONS_PER_MEMBER_MAX;
    assert_eq!((got.applied, got.left_out), (COLLECTIONS_PER_MEMBER_MAX, over));
    assert_eq!(title(a.note(space, id(9))).as_deref(), Some("by another"));
    assert_eq!(title(b.note(space, id(9))).as_deref(), Some("by another"));
    assert_eq!(sent[1..], [0, 0], "{sent:?}: nobody sends what the other has no name for");
    a.replica.remove_device(now(), space, liar.replica.peer()).expect("an owner may");
    let sent: Vec<usize> = (0..3).map(|_| both_ways(&mut a, &mut b, space)).collect();
    assert_eq!(sent[1..], [0, 0], "{sent:?}");
    assert_eq!(roots_that_are(&a, space), roots_that_are(&b, space));
    let left = CUT_HASHES_MAX + 2;
    assert!(a.roots(space).len() <= left && b.roots(space).len() <= left, "the names are free again");
    let (mut a, mut b) = (a.reopened(), b.reopened());
    assert!(a.roots(space).len() <= left && b.roots(space).len() <= left, "and stay so");
    assert_consistent(&mut a, space);
    assert_consistent(&mut b, space);
}

/// Two that write to each other's collections have as many names as if each wrote to its own. Seen failing with a
/// `Names::part_of` that counts what a member alone writes to: they took all that is not for admins.
#[test]
fn attack_48_friends_that_write_to_each_others_collections_have_no_more_names() {
    let (mut a, b, space) = pair(Role::Writer);
    let friends = [20, 21].map(|seed| joined(&mut a, seed, space, Role::Writer));

    for number in 0..COLLECTIONS_PER_SPACE_MAX as u64 {
        let commits: Vec<Vec<u8>> = friends.iter().map(|friend| naming(friend, space, number)).collect();
        give(&mut a, &b, space, &commits);
    }

    assert_eq!(a.roots(space).len(), 2 * COLLECTIONS_PER_MEMBER_MAX);
}

/// What others would leave out is refused where it is written. Admins may begin as many as there may be, and what they
/// write to is nobody's. Seen failing with a `Names::may_begin` that knows the number of all names alone.
#[test]
fn who_begins_too_many_collections_is_told_so() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let writes = |numbers: std::ops::Range<usize>| -> Vec<Write> {
        let insert = |number| Write { collection: name(number as u64), ..insert(id(1), "first") };
        numbers.map(insert).collect()
    };
    let (most, all) = (COLLECTIONS_PER_MEMBER_MAX, COLLECTIONS_PER_SPACE_MAX);
    let too_many = |got: Result<Committed, ReplicaError>| match got {
        Err(ReplicaError::TooMany { count, max, .. }) => Some((count, max)),
        Ok(_) | Err(_) => None,
    };

    let one_more = b.replica.commit(now(), space, writes(0..most + 1));
    b.commit(space, writes(0..most));
    b.send(space, &mut a);
    a.commit(
        space,
        (0..most)
            .map(|number| Write { collection: name(number as u64), ..insert(id(2), "an admin's") })
            .collect(),
    );
    a.send(space, &mut b);
    b.commit(space, writes(most..most + 1));
    b.send(space, &mut a);
    a.commit(space, writes(most + 1..all));
    let beyond_all = a.replica.commit(now(), space, writes(all..all + 1));

    assert_eq!(too_many(one_more), Some((most + 1, most)));
    assert_eq!(too_many(beyond_all), Some((all + 1, all)));
    // The last names are for admins, and where there is a rule.
    let mut c = Device::new(4);
    let space = founded(&mut c);
    let mut d = joined(&mut c, 5, space, Role::Writer);
    c.commit(space, writes(0..all - COLLECTIONS_OF_ADMINS));
    c.replica.set_rule(now(), space, &name(all as u64), Role::Reader, Role::Writer).expect("an owner may");
    c.send(space, &mut d);
    let last = d.replica.commit(now(), space, writes(all - 1..all));
    d.commit(space, writes(all..all + 1));
    let taken = all - COLLECTIONS_OF_ADMINS;
    assert_eq!(too_many(last), Some((taken + 1, taken)));
}

/// What a verdict dropped never counts, and finds what room those of its batch leave that count, though it stands before
/// them. Seen failing with what is held staged where it stands, in `Replica::apply`: both began a collection, one more
/// than the member may.
#[test]
fn what_does_not_count_takes_no_name_from_what_comes_behind_it() {
    let (mut a, b, space) = pair(Role::Writer);
    let device = joined(&mut a, 20, space, Role::Writer);
    let at = a.replica.membership(&space).expect("here").heads().to_vec();
    let says = |of: &Device| Liar { identity: Arc::clone(&of.identity), space, at: at.clone() };
    let liar = says(&device);
    let unsent = says(&b).says(1, None, id(1), &[], "never sent");
    let kept = liar.says(1, None, id(1), &[&unsent], "kept, and waits");
    let most = COLLECTIONS_PER_MEMBER_MAX as u64;
    let places = [notes(), name(most)];
    let dropped = first(&device.identity, (space, &places), liar.origin(), at.clone());
    let part = dropped.blinded(&|collection| *collection == notes()).expect("of two collections");
    clash::take(&mut a, &b, &kept);
    clash::take(&mut a, &b, &part);
    let verdict = a.replica.settle(now(), space, liar.identity.peer(), [kept.hash(), dropped.hash()]);
    verdict.expect("an owner may");
    let others: Vec<Vec<u8>> = (0..most - 2).map(|number| naming(&device, space, number)).collect();
    assert_eq!(give(&mut a, &b, space, &others).applied, others.len());
    assert_eq!(a.vectors(space).len() as u64, most - 1, "one name is left to it");

    let got = a.receive(space, &b, vec![dropped.encode(), naming(&device, space, most + 1)]);

    assert_eq!(got, Received { applied: 1, left_out: 1, ..Received::default() });
    assert_eq!(a.vectors(space).len() as u64, most);
    assert_consistent(&mut a, space);
}

fn name(number: u64) -> CollectionName {
    CollectionName::new(&format!("x{number}")).expect("a name")
}

/// The first commit of a device in a collection of its own.
fn naming(device: &Device, space: SpaceId, number: u64) -> Vec<u8> {
    let at = device.replica.membership(&space).expect("here").heads().to_vec();
    signed(&device.identity, (space, name(number)), device.replica.origin(), at)
}

fn roots_that_are(device: &Device, space: SpaceId) -> BTreeMap<CollectionName, crate::id::Root> {
    let mut roots = device.roots(space);
    roots.retain(|_, root| *root != crate::id::Root::EMPTY);
    roots
}

/// Both send what the other lacks, by the vectors and then by the clocks. Returns how many commits went.
fn both_ways(a: &mut Device, b: &mut Device, space: SpaceId) -> usize {
    let mut sent = 0;
    for mend in [false, true] {
        sent += one_way(a, b, space, mend) + one_way(b, a, space, mend);
    }
    sent
}

fn one_way(from: &mut Device, to: &mut Device, space: SpaceId, mend: bool) -> usize {
    from.teach(space, to);
    let mut sent = 0;
    let mut clocks = if mend { clocks_of_differing(from, to, space) } else { Vec::new() };
    for _ in 0..200 {
        let (commits, complete) = if mend {
            let (peer, have, scope) = (to.replica.peer(), to.vectors(space), Scope::default());
            let ask = Ask::Lacking {
                space,
                collection: notes(),
                to: peer,
                have,
                scope,
                clocks: std::mem::take(&mut clocks),
                bytes_max: FEED_BYTES,
            };
            let Answer::Lacking { commits, rest } = from.replica.answer(now(), ask) else {
                panic!("commits were asked for")
            };
            clocks = rest;
            (commits, clocks.is_empty())
        } else {
            from.feed(space, to, FEED_BYTES)
        };
        sent += commits.len();
        to.receive(space, from, commits.iter().map(|packed| packed.bytes.to_vec()).collect());
        if complete {
            break;
        }
    }
    sent
}

/// The receiver's clocks of what is not the same at the other.
fn clocks_of_differing(from: &mut Device, to: &mut Device, space: SpaceId) -> Vec<EntityClock> {
    let theirs: BTreeSet<_> = heads(to, space).into_iter().collect();
    let differing = heads(from, space).into_iter().filter(|entry| !theirs.contains(entry));
    let entities = differing.map(|(entity, _)| entity).collect();
    let ask = Ask::Clocks { space, collection: notes(), entities };
    let Answer::Clocks(clocks) = to.replica.answer(now(), ask) else { panic!("clocks were asked for") };
    clocks
}

fn heads(device: &mut Device, space: SpaceId) -> Vec<(EntityId, [u8; 8])> {
    let mut all: Vec<(EntityId, [u8; 8])> = Vec::new();
    loop {
        let after = all.last().map(|(entity, _)| *entity);
        let ask = Ask::Heads { space, collection: notes(), key: [7; 32], after, count_max: 1_000 };
        let Answer::Heads { entries, complete } = device.replica.answer(now(), ask) else { panic!("heads") };
        all.extend(entries);
        if complete {
            return all;
        }
    }
}

/// Sends commits as they are, in pages.
fn give(to: &mut Device, from: &Device, space: SpaceId, commits: &[Vec<u8>]) -> Received {
    let mut got = Received::default();
    for page in commits.chunks(512) {
        let page = to.receive(space, from, page.to_vec());
        got.applied += page.applied;
        got.left_out += page.left_out;
        got.held += page.held;
        got.refused += page.refused;
    }
    got
}

/// Another device of the same member.
fn second(first: &mut Device, seed: u8, space: SpaceId) -> Device {
    let mut joiner = Device::new(seed);
    let invite = first.replica.invite_device(now(), space, Vec::new(), 1_000).expect("its own device");
    let exporter = [7; 32];
    let request = joiner.replica.join_request(&invite, "Bob", "phone", &exporter).expect("names are short");
    let ask = Ask::Redeem { joiner: joiner.replica.peer(), exporter, request };
    let Answer::Redeemed(reply) = first.replica.answer(now(), ask) else { panic!("redeemed") };
    let from = first.replica.peer();
    joiner.replica.answer(now(), Ask::Joined { from, reply: reply.concat() });
    joiner
}

/// The commits of a device in some of its lives, each of an entity of its own.
fn lives(device: &Device, space: SpaceId, lives: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let at = device.replica.membership(&space).expect("here").heads().to_vec();
    let origin = |life| Origin { incarnation: Incarnation(life + 1_000_000), ..device.replica.origin() };
    lives.map(|life| signed(&device.identity, (space, notes()), origin(life), at.clone())).collect()
}

/// The entity that a life of a device makes.
fn entity_of(device: &Device, life: u64) -> EntityId {
    entity_by(&Origin { incarnation: Incarnation(life + 1_000_000), ..device.replica.origin() })
}

fn entity_by(origin: &Origin) -> EntityId {
    let life = origin.incarnation.0.to_be_bytes();
    EntityId::from_key("life", &[life.as_slice(), origin.peer.as_bytes()].concat())
}

/// The first commit of an origin, in one collection.
fn signed(
    identity: &Identity,
    (space, collection): (SpaceId, CollectionName),
    origin: Origin,
    at: Vec<crate::id::StatementHash>,
) -> Vec<u8> {
    first(identity, (space, &[collection]), origin, at).encode()
}

/// The first commit of an origin, of an entity in each of some collections.
fn first(
    identity: &Identity,
    (space, collections): (SpaceId, &[CollectionName]),
    origin: Origin,
    at: Vec<crate::id::StatementHash>,
) -> Commit {
    let entity = entity_by(&origin);
    let note = Note { title: "t".to_owned(), count: Counter::default() };
    let actor = ActorId::derive(&space, &entity, &origin);
    let made =
        doc::insert(note)(&mut Document::new(), &actor, now().wall).expect("inserts").expect("changes");
    let (oseq, prev, of) = (Oseq(1), None, 1);
    let salt = (collections.len() > 1).then_some(Salt::new([7; 16]));
    let leaf = |collection: &CollectionName| Leaf {
        collection: collection.clone(),
        entity,
        oseq,
        prev,
        salt,
        of,
        seq: made.seq,
        head: made.hash,
    };
    let leaves = collections.iter().map(|collection| (leaf(collection), made.bytes.clone())).collect();
    Commit::sign(identity, space, origin, at, leaves).expect("signs")
}

/// A removal takes back more than the quarantine holds of one author; when it turns out void, all of it comes back. Seen
/// failing with what counted here taking room as what never did: 166 of 240 came back, on the author's device too.
#[test]
fn what_a_void_removal_took_comes_back_however_much_it_is() {
    const COUNT: u8 = 240;
    let (mut owner, mut stays, space) = pair(Role::Writer);
    let mut admin = joined(&mut owner, 4, space, Role::Admin);
    let mut worker = joined(&mut owner, 6, space, Role::Writer);
    for device in [&mut stays, &mut admin, &mut worker] {
        owner.teach(space, device);
    }
    for number in 0..COUNT {
        worker.commit(space, vec![insert(id(number), &"x".repeat(100_000))]);
    }
    assert!(usize::from(COUNT) * 100_000 > crate::limits::QUARANTINE_AUTHOR_BYTES_MAX);
    worker.send(space, &mut owner);
    worker.send(space, &mut stays);
    let before = owner.roots(space);
    let heads = owner.replica.membership(&space).expect("here").heads().to_vec();
    // It has none of that, so its cut names nothing.
    admin.replica.remove_device(now(), space, worker.replica.peer()).expect("it is junior");
    for device in [&mut owner, &mut stays, &mut worker] {
        admin.teach(space, device);
    }
    assert_eq!(title(owner.note(space, id(0))), None);

    let known = owner.replica.spaces.get(&space).expect("here");
    let member = known.membership.member_of(&admin.replica.peer()).expect("a member").id;
    let cut = crate::access::Cut::default();
    let removal = known.log.remove_member_at(&owner.identity, member, &heads, cut).expect("an owner may");
    let (from, statements) = (owner.replica.peer(), vec![removal.bytes().to_vec()]);
    owner.replica.answer(now(), Ask::Learn { space, from, statements });
    owner.teach(space, &mut stays);
    owner.teach(space, &mut worker);

    for device in [&mut owner, &mut stays, &mut worker] {
        assert_eq!(device.roots(space), before);
        assert_consistent(device, space);
    }
}

/// What is held of a commit counts as received. When more of it came, for which there was no room, that was dropped too:
/// nobody sent it again, and what it waited for did not bring it. So was what was tried again though its origin had been
/// taken out of the vector.
///
/// Seen failing with what is held dropped where there is no room: in `Replica::hold`, of what came and of what is tried
/// again, and in `Replica::leave_out`.
#[test]
fn what_is_held_stays_when_there_is_no_room_for_more_of_it() {
    for (freed, unheard) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut a, mut b, space) = pair(Role::Admin);
        let mut c = joined(&mut a, 3, space, Role::Writer);
        a.teach(space, &mut b);
        let ground = b.commit(space, vec![insert(id(1), "ground")]);
        b.send(space, &mut c);
        if unheard {
            // It waits for a statement, and not for what it builds on.
            b.replica
                .set_rule(now(), space, &name(1), Role::Admin, Role::Admin)
                .expect("an admin sets rules");
            b.send(space, &mut c);
        }
        c.commit(space, vec![retitle(id(1), "on it"), task(id(2), true)]);
        let (sent, _) = c.feed(space, &mut a, FEED_BYTES);
        let wide = sent.iter().find(|packed| packed.key != ground).expect("its own").bytes.to_vec();
        let commit = Commit::decode(space, &wide).expect("decodes");
        let narrow = commit.blinded(&|name| *name == notes()).expect("it has notes").encode();
        assert_eq!(a.receive(space, &c, vec![narrow]), held(1));

        // Its member has used up its share of the places.
        let state = a.replica.spaces.get_mut(&space).expect("here");
        let of_lives = |life| Origin { incarnation: Incarnation(life), ..commit.origin };
        let mut full = crate::id::Vector::new();
        for life in 1..=ORIGINS_PER_MEMBER_MAX as u64 {
            full.insert(of_lives(life), Oseq(1)).expect("fits");
        }
        state.collections.entry(tasks()).or_default().vector = full.clone();
        if freed {
            state.collections.entry(notes()).or_default().vector = full;
            a.replica.retry(space, &crate::store::keyspaces::HeldCause::MAY_PASS).expect("tries");
        } else {
            assert_eq!(a.receive(space, &c, vec![wide]), Received { left_out: 1, ..Received::default() });
        }

        assert_eq!(a.replica.reader().quarantine(&space).expect("reads").len(), 1);
        a.replica.spaces.get_mut(&space).expect("here").collections.remove(&tasks());
        a.replica.spaces.get_mut(&space).expect("here").collections.remove(&notes());
        b.send(space, &mut a);
        assert_eq!(title(a.note(space, id(1))).as_deref(), Some("on it"), "{freed} {unheard}");
    }
}

/// A commit of a removed device is let in as if it counted, until that is known. One for which it left no room was held as
/// malformed when it turned out not to count, and counted as received: nobody sent it again, and nothing tried it again.
///
/// Seen failing with those that find no room held all the same, in `Replica::apply`.
#[test]
fn attack_48_what_does_not_count_takes_no_room_from_what_came_with_it() {
    let (mut a, b, space) = pair(Role::Writer);
    let c = joined(&mut a, 3, space, Role::Writer);
    let gone = joined(&mut a, 4, space, Role::Writer);
    let (mut of_gone, of_c) = (lives(&gone, space, 0..1), lives(&c, space, 0..1));
    a.commit(space, vec![insert(id(1), "begun")]);
    a.replica.remove_device(now(), space, gone.replica.peer()).expect("an owner may");
    // Both members have more than what is kept for each, and the vector has one place left that all share.
    let state = a.replica.spaces.get_mut(&space).expect("here").collections.get_mut(&notes()).expect("begun");
    for life in 1.. {
        let by = if life <= ORIGINS_KEPT as u64 { &gone } else { &c };
        if state.vector.len() >= crate::limits::ORIGINS_SHARED_MAX - 1 {
            break;
        }
        let by = if life > ORIGINS_KEPT as u64 * 2 { &b } else { by };
        let origin = Origin { incarnation: Incarnation(life), ..by.replica.origin() };
        state.vector.insert(origin, Oseq(1)).expect("fits");
    }

    of_gone.extend(of_c);
    let got = a.receive(space, &b, of_gone);

    assert_eq!(got, Received { applied: 1, left_out: 1, ..Received::default() });
}
