//! The price of not trusting: signatures, the gate, memberships.
//!
//! `cargo bench --bench trust`.

use std::hint::black_box;

use driftless::access::{Action, Commit, Cut, Invite, InviteKind, Leaf, Log, Slot, Statement};
use driftless::doc::{self, Document, Entity, Kind, KindOf, Made, gate};
use driftless::id::{ActorId, CollectionName, Incarnation, Origin, Oseq};
use driftless::identity::{Identity, Purpose, verify};
use driftless::{EntityId, Role, SpaceId, Timestamp};
use ed25519_dalek::{Signer, SigningKey};

mod support;

use support::table::{Table, Times, ms};
use support::{Job, Outcome, floor, measuring, now};

const TIMES: usize = 1_000;
const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);
const LATER: Timestamp = Timestamp::from_unix_ms(2_000_000);
const EXPORTER: [u8; 32] = [5; 32];

fn main() -> Outcome<()> {
    if !measuring() {
        return Ok(());
    }
    signatures()?;
    edits()?;
    for statements in [100, 1_000, 10_000] {
        membership(statements)?;
    }
    Ok(())
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

fn signatures() -> Outcome<()> {
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
    Ok(())
}

/// What one live edit costs at each of its stations that does not touch the store.
fn edits() -> Outcome<()> {
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
    let mut bytes = 0;
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
            of: 1,
            seq,
            head: hash,
        };
        let start = now();
        let at = membership.heads().to_vec();
        let commit = Commit::sign(&identity, space, origin, at, vec![(leaf, chunk)])?.encode();
        sign.add(start.elapsed());
        bytes = commit.len();
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
    show(&stations, bytes)
}

/// Shows the times of the stations, beside Automerge's own.
fn show(stations: &[Times; 8], bytes: usize) -> Outcome<()> {
    let (bare_commit, bare_apply) = floor::automerge_edit(TIMES)?;
    let table = Table::begin("the stations of a live edit of 12 fields (p50 / p99)");
    let [edit, row, sign, decode, check, may, scan, admit] = stations;
    let floor = |floor: &Times| format!("{} ms", ms(floor.middle()));
    table.times("edit a copy, field by field", TIMES, edit, &floor(&bare_commit), "");
    table.times("read the row of the document", TIMES, row, "", "");
    table.times("make the commit and sign it", TIMES, sign, "", "");
    table.times("read the commit", TIMES, decode, "", "");
    table.times("verify the commit", TIMES, check, "", "");
    table.times("judge whether its author might", TIMES, may, "", "");
    table.times("prescan the change", TIMES, scan, "", "0.001 ms");
    table.times("the gate: check, apply on a copy, prove", TIMES, admit, &floor(&bare_apply), "");
    table.row("bytes of the commit", TIMES, &format!("{bytes} B"), "", "");
    Ok(())
}

/// A log of one founder who invited everybody: an invite and its redemption of each member.
fn membership(count: usize) -> Outcome<()> {
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
    table.times("verify all, judge all at once", 3, &all, "", "");
    let one_by_one = times(3, || {
        let (genesis, rest) = statements.split_first().ok_or("no genesis")?;
        let mut log = Log::from_statements(space, [genesis.clone()])?;
        for statement in rest {
            log.insert(statement.clone())?;
        }
        Ok(log.membership())
    })?;
    table.times("verify and judge one by one", 3, &one_by_one, "", "");

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
