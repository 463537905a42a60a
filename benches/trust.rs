//! The price of not trusting: signatures, the gate, memberships, and taking back after a removal.
//!
//! `cargo bench --bench trust`.

use std::hint::black_box;
use std::path::Path;

use driftless::access::{Action, Commit, Cut, Invite, InviteKind, Leaf, Log, Slot, Statement};
use driftless::doc::{self, Document, Entity, Kind, KindOf, Made, gate};
use driftless::id::{ActorId, CollectionName, Incarnation, Origin, Oseq};
use driftless::identity::{Identity, Purpose, verify};
use driftless::{EntityId, Role, Space, SpaceEvent, SpaceId, Timestamp};
use ed25519_dalek::{Signer, SigningKey};

mod support;

use support::table::{Table, Times, ms};
use support::{Job, Outcome, fill, floor, measuring, node, now, soon, until_equal};

const TIMES: usize = 1_000;
const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);
const LATER: Timestamp = Timestamp::from_unix_ms(2_000_000);
const EXPORTER: [u8; 32] = [5; 32];
const SIGNATURE_BYTES: usize = 64;

fn main() -> Outcome<()> {
    if !measuring() {
        return Ok(());
    }
    let bare = signatures()?;
    edits(&bare)?;
    for entities in [1, 100] {
        first_sync(entities, &bare)?;
    }
    for changes in [20, 200, 2_000] {
        gated(changes)?;
    }
    for statements in [100, 1_000, 10_000] {
        membership(statements, &bare)?;
    }
    let dir = tempfile::tempdir()?;
    for entities in [100, 1_000] {
        let path = dir.path().join(entities.to_string());
        support::runtime()?.block_on(taken_back(&path, entities))?;
    }
    Ok(())
}

/// Ed25519 by itself, in this run.
struct Bare {
    sign: Times,
    verify: Times,
}

/// Times a piece of work that may fail.
fn times<T>(count: usize, mut work: impl FnMut() -> Outcome<T>) -> Outcome<Times> {
    let mut times = Times::default();
    for _ in 0..count {
        let start = now();
        black_box(work()?);
        times.add(start.elapsed());
    }
    Ok(times)
}

fn signatures() -> Outcome<Bare> {
    let table = Table::begin("signatures of 200 B (p50 / p99)");
    let (identity, space, message) = (Identity::from_seed([1; 32]), SpaceId::new([2; 32]), [7; 200]);
    let key = SigningKey::from_bytes(&[1; 32]);
    let bare_sign = times(TIMES, || Ok(key.sign(&message)))?;
    let signature = key.sign(&message);
    let public = key.verifying_key();
    let bare_verify = times(TIMES, || Ok(public.verify_strict(&message, &signature)?))?;
    let sign = times(TIMES, || Ok(identity.sign(Purpose::Commit, &space, &message)))?;
    let signed = identity.sign(Purpose::Commit, &space, &message);
    let peer = identity.peer();
    let verified = times(TIMES, || Ok(verify(&peer, Purpose::Commit, &space, &message, &signed)?))?;
    table.times("sign", TIMES, &sign, &format!("{} ms", ms(bare_sign.middle())), "0.013 ms");
    table.times("verify", TIMES, &verified, &format!("{} ms", ms(bare_verify.middle())), "0.030 ms");
    Ok(Bare { sign: bare_sign, verify: bare_verify })
}

/// What one live edit costs at each of its stations that does not touch the store.
fn edits(bare: &Bare) -> Outcome<()> {
    let (space, entity) = (SpaceId::new([2; 32]), EntityId::new([3; 16]));
    let identity = Identity::from_seed([1; 32]);
    let (log, _) = Log::found(&identity, "Bench", "member", "device", [9; 32])?;
    let membership = log.membership();
    let origin = Origin { peer: identity.peer(), incarnation: Incarnation(1) };
    let actor = ActorId::derive(&space, &entity, &origin);
    let collection = CollectionName::new(Job::COLLECTION)?;
    let kind = KindOf::<Job>::new()?;

    let mut here = Document::new();
    let first = doc::insert(Job::numbered(1))(&mut here, &actor, NOW)?.ok_or("nothing was made")?;
    let mut there = Document::load(None, &[&first.bytes])?;
    let mut stations: [Times; 8] = Default::default();
    let mut bytes = (0, 0);
    for number in 0..TIMES {
        let [edit, row, sign, decode, check, may, scan, admit] = &mut stations;
        let start = now();
        // As the replica does: the edit is made on a copy of the cached document.
        let mut copy = here.clone();
        let change = doc::update(move |job: &mut Job| job.estimate = number as i64);
        let Made { hash, seq, bytes: chunk } = change(&mut copy, &actor, NOW)?.ok_or("nothing was made")?;
        edit.add(start.elapsed());
        here = copy;
        let start = now();
        black_box(kind.row(&here)?);
        row.add(start.elapsed());
        let leaf = Leaf {
            collection: collection.clone(),
            entity,
            oseq: Oseq(number as u64 + 2),
            prev: None,
            salt: None,
            of: 1,
            seq,
            head: hash,
        };
        let content = chunk.len();
        let start = now();
        let at = membership.heads().to_vec();
        let commit = Commit::sign(&identity, space, origin, at, vec![(leaf, chunk)])?.encode();
        sign.add(start.elapsed());
        bytes = (commit.len(), content);
        let start = now();
        let commit = Commit::decode(space, &commit)?;
        decode.add(start.elapsed());
        let start = now();
        commit.verify()?;
        check.add(start.elapsed());
        let start = now();
        membership.may_at(&origin.peer, Action::Write, &collection, &commit.at)?;
        may.add(start.elapsed());
        let Some(Slot::Open { change, .. }) = commit.slots.first() else {
            return Err("a commit has a leaf".into());
        };
        let start = now();
        let header = gate::prescan(change)?;
        scan.add(start.elapsed());
        let start = now();
        let mut copy = there.clone();
        let admitted = copy.admit(&[(header, change.as_slice())], Some(&kind));
        admit.add(start.elapsed());
        if !admitted.refused.is_empty() {
            return Err("the gate refused an honest change".into());
        }
        there = copy;
    }
    show(&stations, bytes, bare)
}

/// Shows the times of the stations, beside Automerge's own.
fn show(stations: &[Times; 8], (bytes, content): (usize, usize), bare: &Bare) -> Outcome<()> {
    let (bare_commit, bare_apply) = floor::automerge_edit(TIMES)?;
    let table = Table::begin("the stations of a live edit of 12 fields (p50 / p99)");
    let [edit, row, sign, decode, check, may, scan, admit] = stations;
    let floor = |floor: &Times| format!("{} ms", ms(floor.middle()));
    table.times("edit a copy, field by field", TIMES, edit, &floor(&bare_commit), "");
    table.times("read the row of the document", TIMES, row, "", "");
    table.times("make the commit and sign it", TIMES, sign, &floor(&bare.sign), "");
    table.times("read the commit", TIMES, decode, "", "");
    table.times("verify the commit", TIMES, check, &floor(&bare.verify), "");
    table.times("judge whether its author might", TIMES, may, "", "");
    table.times("prescan the change", TIMES, scan, "", "0.001 ms");
    table.times("the gate: check, apply on a copy, prove", TIMES, admit, &floor(&bare_apply), "");
    table.row("bytes of the commit", TIMES, &format!("{bytes} B"), &format!("{content} B of change"), "");
    table.row("  of them the signature", TIMES, &format!("{SIGNATURE_BYTES} B"), "", "");
    let about = bytes - content - SIGNATURE_BYTES;
    table.row("  and what it says of origin, place and change", TIMES, &format!("{about} B"), "", "");
    Ok(())
}

/// What trust adds to each entity of a first sync, when so many were made by one commit.
fn first_sync(entities: usize, bare: &Bare) -> Outcome<()> {
    let table = Table::begin(&format!("an entity of a first sync, {entities} in a commit"));
    let space = SpaceId::new([2; 32]);
    let identity = Identity::from_seed([1; 32]);
    let origin = Origin { peer: identity.peer(), incarnation: Incarnation(1) };
    let collection = CollectionName::new(Job::COLLECTION)?;
    let at = vec![driftless::id::StatementHash::new([5; 32])];
    let commits = TIMES / entities;
    let (mut sign, mut verify, mut decode) = (Times::default(), Times::default(), Times::default());
    let (mut all, mut content) = (0, 0);
    for number in 0..commits {
        let mut leaves = Vec::with_capacity(entities);
        for place in 0..entities {
            let entity = EntityId::from_key("job", &(number * entities + place).to_le_bytes());
            let actor = ActorId::derive(&space, &entity, &origin);
            let made = doc::insert(Job::numbered(place))(&mut Document::new(), &actor, NOW)?;
            let Made { hash, seq, bytes } = made.ok_or("nothing was made")?;
            content += bytes.len();
            let (oseq, of) = (Oseq(number as u64 + 1), entities as u32);
            let collection = collection.clone();
            leaves.push((
                Leaf { collection, entity, oseq, prev: None, salt: None, of, seq, head: hash },
                bytes,
            ));
        }
        let start = now();
        let commit = Commit::sign(&identity, space, origin, at.clone(), leaves)?;
        sign.add(start.elapsed() / entities as u32);
        let commit = commit.encode();
        all += commit.len();
        let start = now();
        let commit = Commit::decode(space, &commit)?;
        decode.add(start.elapsed() / entities as u32);
        let start = now();
        commit.verify()?;
        verify.add(start.elapsed() / entities as u32);
    }
    let count = commits * entities;
    let floor = |bare: &Times| format!("{} ms a commit", ms(bare.middle()));
    table.times("make the commit and sign it, for each entity", count, &sign, &floor(&bare.sign), "");
    table.times("read it, for each entity", count, &decode, "", "");
    table.times("verify it, for each entity", count, &verify, &floor(&bare.verify), "");
    let each = |bytes: usize| format!("{:.1} B", bytes as f64 / count as f64);
    table.row("bytes for each entity", count, &each(all), &format!("{} of change", each(content)), "");
    table.row("  of them the signature", count, &each(commits * SIGNATURE_BYTES), "", "");
    let about = all - content - commits * SIGNATURE_BYTES;
    table.row("  and what it says of origin, place and change", count, &each(about), "", "");
    Ok(())
}

/// What the gate costs at a history of so many changes, beside Automerge alone: all of them at once, and one more.
fn gated(changes: usize) -> Outcome<()> {
    let table = Table::begin(&format!("the gate at {changes} changes (p50 / p99)"));
    let (kind, actor) = (KindOf::<Job>::new()?, ActorId::new([1; 16]));
    let mut here = Document::new();
    let first = doc::insert(Job::numbered(1))(&mut here, &actor, NOW)?.ok_or("nothing was made")?;
    let mut history = vec![first.bytes];
    for number in 1..=changes {
        let change = doc::update(move |job: &mut Job| job.estimate = number as i64);
        history.push(change(&mut here, &actor, NOW)?.ok_or("nothing was made")?.bytes);
    }
    let next = history.pop().ok_or("there are several")?;

    let rounds = (20_000 / changes).clamp(5, 200);
    let let_in = |document: &mut Document, changes: &[Vec<u8>]| -> Outcome<()> {
        let mut scanned = Vec::with_capacity(changes.len());
        for bytes in changes {
            scanned.push((gate::prescan(bytes)?, bytes.as_slice()));
        }
        let admitted = document.admit(&scanned, Some(&kind));
        if admitted.refused.is_empty() { Ok(()) } else { Err("the gate refused an honest change".into()) }
    };
    let at_once = times(rounds, || {
        let mut document = Document::new();
        let_in(&mut document, &history)?;
        Ok(document)
    })?;
    let bare_at_once = times(rounds, || floor::automerge_apply(&mut automerge::Automerge::new(), &history))?;
    let floor = |bare: &Times| format!("{} ms", ms(bare.middle()));
    table.times("all at once, into an empty document", rounds, &at_once, &floor(&bare_at_once), "");

    let mut there = Document::new();
    let_in(&mut there, &history)?;
    let one_more = times(200, || {
        let mut copy = there.clone();
        let_in(&mut copy, std::slice::from_ref(&next))?;
        Ok(copy)
    })?;
    let mut bare = automerge::Automerge::new();
    floor::automerge_apply(&mut bare, &history)?;
    let bare_one_more = times(200, || {
        let mut copy = bare.clone();
        floor::automerge_apply(&mut copy, std::slice::from_ref(&next))?;
        Ok(copy)
    })?;
    table.times("one more", 200, &one_more, &floor(&bare_one_more), "");
    Ok(())
}

/// An admin, who has none of a writer's edits, removes it; an owner, who has them all, hears of that and makes every
/// entity again without them.
async fn taken_back(dir: &Path, entities: usize) -> Outcome<()> {
    let table = Table::begin("taking back after a removal");
    let (owner, admin) = (node(&dir.join("owner")).await?, node(&dir.join("admin")).await?);
    let writer = node(&dir.join("writer")).await?;
    let here = owner.create_space("Bench").await?;
    let at_admin = soon("the join", admin.join(&here.invite(Role::Admin).await?)).await??;
    let at_writer = soon("the join", writer.join(&here.invite(Role::Writer).await?)).await??;
    let ids = fill(&here.collection::<Job>()?, entities).await?;
    for (one, other) in [(&writer, &owner), (&owner, &writer), (&admin, &owner), (&owner, &admin)] {
        until_equal(one, other.peer(), &here).await?;
    }
    admin.pause().await?;
    let jobs = at_writer.collection::<Job>()?;
    for id in &ids {
        jobs.update(*id, |job| job.estimate = 1).await?;
    }
    until_equal(&writer, owner.peer(), &here).await?;
    until_equal(&owner, writer.peer(), &here).await?;
    let of_writer =
        |member: &driftless::Member| member.devices.iter().any(|device| device.peer == writer.peer());
    let member = at_admin.members().into_iter().find(of_writer).ok_or("the writer is a member")?.id;
    at_admin.remove_member(member).await?;

    let mut events = here.events();
    let start = now();
    admin.resume().await?;
    let commits = soon("the news", back(&mut events)).await??;
    let took = start.elapsed();
    if commits != entities {
        return Err(format!("{commits} of {entities} commits were taken back").into());
    }
    check_restored(&here, &ids).await?;
    let loads = floor::automerge_loads(entities)?;
    let floor = format!("{} ms to load them", ms(loads));
    table.row(
        "until it is done, from the first packet on",
        entities,
        &format!("{} ms", ms(took)),
        &floor,
        "",
    );
    let each = format!("{} ms", ms(took / entities as u32));
    table.row("  for each entity", entities, &each, &format!("{} ms", ms(loads / entities as u32)), "");
    for node in [writer, admin, owner] {
        node.close().await?;
    }
    Ok(())
}

/// How many commits were taken back.
async fn back(events: &mut driftless::Events) -> Outcome<usize> {
    loop {
        match events.next().await {
            Some(SpaceEvent::TakenBack { commits, .. }) => return Ok(commits),
            Some(_) => {}
            None => return Err("the node was closed".into()),
        }
    }
}

/// The entities are as they were before the edits that went.
async fn check_restored(space: &Space, ids: &[EntityId]) -> Outcome<()> {
    let jobs = space.collection::<Job>()?;
    for id in ids {
        if jobs.get(*id).await?.is_none_or(|job| job.estimate == 1) {
            return Err("an edit that was taken back is still there".into());
        }
    }
    Ok(())
}

/// A log of one founder who invited everybody: an invite and its redemption of each member.
fn membership(count: usize, bare: &Bare) -> Outcome<()> {
    let table = Table::begin(&format!("a log of {count} statements (p50 / p99)"));
    let founder = Identity::from_seed([1; 32]);
    let (mut log, _) = Log::found(&founder, "Bench", "member", "device", [9; 32])?;
    let admin = join(&mut log, &founder, 0, Role::Admin)?;
    let mut number = 0;
    while log.statements().count() + 2 <= count {
        number += 1;
        join(&mut log, &founder, number, Role::Writer)?;
    }
    let statements: Vec<_> = log.statements().cloned().collect();
    let (space, heads) = (log.space(), log.membership().heads().to_vec());
    let all = times(3, || Ok(Log::from_statements(space, statements.clone())?.membership()))?;
    let floor = format!("{} ms to verify", ms(bare.verify.middle() * statements.len() as u32));
    table.times("verify all, judge all at once", 3, &all, &floor, "");
    let one_by_one = times(3, || {
        let (genesis, rest) = statements.split_first().ok_or("no genesis")?;
        let mut log = Log::from_statements(space, [genesis.clone()])?;
        for statement in rest {
            log.insert(statement.clone())?;
        }
        Ok(log.membership())
    })?;
    table.times("verify and judge one by one", 3, &one_by_one, &floor, "");

    let verifying = times(100, || Ok(Log::from_statements(space, statements.first().cloned())?))?;
    let floor = format!("{} ms", ms(verifying.middle()));
    let naming = log.set_name(&founder, "Bench again")?;
    let named = times(100, || inserted(&log, &naming))?;
    table.times("one more that only its author feels", 100, &named, &floor, "");
    let (mut longer, before) = (log.clone(), log.clone());
    join(&mut longer, &founder, number + 1, Role::Writer)?;
    let new: Vec<_> = longer.statements().filter(|other| !before.holds(&other.hash())).cloned().collect();
    let [invite, redemption] = new.as_slice() else { return Err("an invite and its redemption".into()) };
    let mut invited = before;
    invited.insert(invite.clone())?;
    let _shown = invited.membership();
    let joined = times(100, || inserted(&invited, redemption))?;
    table.times("one more member", 100, &joined, &floor, "");

    // What the admin says behind the back of its removal falls with it, so everything is judged anew.
    let mut spoken = log.clone();
    spoken.insert(log.set_name(&admin, "Not for long")?)?;
    let _shown = spoken.membership();
    let member = log.membership().member_of(&admin.peer()).ok_or("no member")?.id;
    let removal = spoken.remove_member_at(&founder, member, &heads, Cut::default())?;
    let removed = times(20, || inserted(&spoken, &removal))?;
    table.times("one more that takes from others: judge all anew", 20, &removed, &floor, "");

    let membership = log.membership();
    let collection = CollectionName::new(Job::COLLECTION)?;
    let may = times(TIMES, || Ok(membership.may(&founder.peer(), Action::Write, &collection)))?;
    table.times("may a device write?", TIMES, &may, "", "");
    Ok(())
}

/// A copy of a log with one statement more, judged and shown.
fn inserted(log: &Log, statement: &Statement) -> Outcome<Log> {
    let mut log = log.clone();
    if !log.insert(statement.clone())? || !log.membership().counts(&statement.hash()) {
        return Err("a statement that counts was new".into());
    }
    Ok(log)
}

/// Invites a device and lets it in.
fn join(log: &mut Log, founder: &Identity, number: usize, role: Role) -> Outcome<Identity> {
    let seed = blake3::hash(&number.to_le_bytes());
    let device = Identity::from_seed(*seed.as_bytes());
    let secret = *blake3::hash(seed.as_bytes()).as_bytes().first_chunk().ok_or("no secret")?;
    let invite = Invite::new(InviteKind::Member, log.space(), founder.peer(), Vec::new(), secret, LATER)?;
    log.insert(log.invite(founder, role, invite.key(), LATER)?)?;
    let request = invite.request(&device, "member", "device", &EXPORTER)?;
    log.insert(log.redeem(founder, &request, device.peer(), &EXPORTER, NOW)?)?;
    Ok(device)
}
