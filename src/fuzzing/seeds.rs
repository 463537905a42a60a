//! Inputs that honest devices make, and inputs that are known to have killed: the beginning of every corpus.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Note, device, note, shared, write};
use crate::access::{Commit, Invite, InviteKind, JoinReply, Leaf, Refusal};
use crate::codec::Encode;
use crate::doc::{Edit, delete, update};
use crate::id::{CollectionName, EntityId, Incarnation, Origin, Oseq, PeerId, Vector};
use crate::time::Timestamp;

/// One input: its door, its name, its bytes.
type Seed = (&'static str, String, Vec<u8>);

/// Returns the inputs. One whose name begins with `valid` is accepted by its door, the others are not.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = changes();
    seeds.extend(killers());
    seeds.extend(statements());
    seeds.extend(commits());
    seeds.extend(invites());
    seeds.extend(joins());
    seeds.extend(vectors());
    seeds.extend(frames());
    seeds.extend(scripts());
    seeds
}

fn seed(door: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    (door, name.into(), bytes.into())
}

/// Changes of another device that saw the note that the gate's document holds.
fn changes() -> Vec<Seed> {
    let edits: [(&str, Edit); 6] = [
        ("valid-title", update(|note: &mut Note| note.title = "other".to_owned())),
        ("valid-text", update(|note: &mut Note| note.body.splice(1, 1, "ords and w"))),
        ("valid-count", update(|note: &mut Note| note.count.increment(-5))),
        ("valid-list", update(|note: &mut Note| note.tags.insert(0, "first".to_owned()))),
        ("valid-map", update(|note: &mut Note| note.more.clear())),
        ("valid-delete", delete()),
    ];
    let edits = edits.into_iter();
    edits.map(|(name, edit)| seed("gate", name, write(&mut note().0, 3, edit).bytes)).collect()
}

/// What killed a process or made a document unusable when Automerge was given it.
fn killers() -> Vec<Seed> {
    let text = |text: &str| text.as_bytes().to_vec();
    let bloom = vec![0x42, 0, 0, 1, 0, 3, 1, 0, 7, 0];
    let title = write(&mut note().0, 3, update(|note: &mut Note| note.title.push('x'))).bytes;
    let base = note().1.bytes;
    vec![
        seed("gate", "bad-sync-message", bloom),
        seed("gate", "bad-empty", Vec::new()),
        seed("gate", "bad-text", text("not a change")),
        seed("gate", "bad-again", base),
        seed("gate", "bad-seq-gap", with_seq(&title, 2)),
        seed("gate", "bad-seq-zero", with_seq(&title, 0)),
        seed("gate", "bad-ten-million-ops", bomb(10_000_000)),
        seed("gate", "bad-ops-of-all-counts", bomb(i64::MAX)),
        seed("gate", "bad-document-chunk", with_type(&title, 0)),
        seed("gate", "bad-compressed-chunk", with_type(&title, 2)),
        seed("gate", "bad-two-chunks", [title.clone(), title.clone()].concat()),
        seed("gate", "bad-trailing", [title, vec![0]].concat()),
        seed("wire", "bad-length-of-4-gib", vec![14, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        seed("wire", "bad-even-type", vec![98, 0]),
        seed("vectors", "bad-count", vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        seed("tickets", "bad-text", text("driftless")),
    ]
}

/// The chunk with another sequence number of its actor; both take one byte.
fn with_seq(chunk: &[u8], seq: u8) -> Vec<u8> {
    let actor = [&[16][..], &[3; 16]].concat();
    let at = chunk.windows(17).position(|window| window == actor).map(|at| at + 17);
    let mut chunk = chunk.to_vec();
    if let Some(byte) = at.and_then(|at| chunk.get_mut(at)) {
        *byte = seq;
    }
    checked(chunk)
}

fn with_type(chunk: &[u8], kind: u8) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    if let Some(byte) = chunk.get_mut(8) {
        *byte = kind;
    }
    checked(chunk)
}

/// A change of one run-length that claims so many operations.
fn bomb(ops: i64) -> Vec<u8> {
    let mut count = Vec::new();
    signed_leb(ops, &mut count);
    // Actions: so many times "set".
    let actions = [count.clone(), vec![1]].concat();
    let mut content = vec![0, 16];
    content.extend([3; 16]);
    content.extend([1, 7, 0, 0, 0]);
    // One column, the actions, of specification 0x42.
    content.extend([1, 0x42, actions.len() as u8]);
    content.extend(actions);
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1, content.len() as u8];
    chunk.extend(content);
    checked(chunk)
}

fn signed_leb(mut value: i64, out: &mut Vec<u8>) {
    while value > 0x3f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Puts the right checksum into a chunk.
fn checked(mut chunk: Vec<u8>) -> Vec<u8> {
    let hash = Sha256::digest(chunk.get(8..).unwrap_or_default());
    chunk.iter_mut().skip(4).zip(hash).take(4).for_each(|(byte, right)| *byte = right);
    chunk
}

fn statements() -> Vec<Seed> {
    let statements = shared().statements().enumerate();
    let mut seeds: Vec<Seed> = statements
        .map(|(number, statement)| seed("statements", format!("valid-{number}"), statement.bytes()))
        .collect();
    if let Some((_, _, bytes)) = seeds.first().cloned() {
        let short = bytes.get(..bytes.len() / 2).unwrap_or_default();
        seeds.push(seed("statements", "bad-half", short));
        seeds.push(seed("statements", "bad-trailing", [bytes, vec![0]].concat()));
    }
    seeds
}

fn commits() -> Vec<Seed> {
    let change = note().1;
    let author = device(1);
    let leaf = Leaf {
        collection: CollectionName::new("notes").expect("the name is one"),
        entity: EntityId::new([1; 16]),
        oseq: Oseq(1),
        prev: None,
        salt: None,
        of: 1,
        seq: change.seq,
        head: change.hash,
    };
    let origin = Origin { peer: author.peer(), incarnation: Incarnation(1) };
    let commit = Commit::sign(&author, super::space(), origin, Vec::new(), vec![(leaf, change.bytes)]);
    let bytes = commit.expect("one small change is signed").encode();
    let longer = [bytes.clone(), vec![0]].concat();
    vec![seed("commits", "valid-insert", bytes), seed("commits", "bad-trailing", longer)]
}

fn invites() -> Vec<Seed> {
    let expiry = Timestamp::from_unix_ms(1_800_000_000_000);
    let addresses = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 4_000))];
    let invite =
        Invite::new(InviteKind::Member, shared().space(), device(1).peer(), addresses, [3; 16], expiry);
    let text = invite.expect("one address fits").to_string();
    let short = text.get(..text.len() - 1).unwrap_or_default().to_owned();
    vec![seed("tickets", "valid-member", text), seed("tickets", "bad-short", short)]
}

/// What a joiner says, and what it is told.
fn joins() -> Vec<Seed> {
    let (log, expiry) = (shared(), Timestamp::from_unix_ms(1));
    let invite = Invite::new(InviteKind::Member, log.space(), device(1).peer(), Vec::new(), [3; 16], expiry);
    let invite = invite.expect("no addresses");
    let request = invite.request(&device(2), "two", "device", &[0; 32]).expect("the names are short");
    let short = request.get(..request.len() / 2).unwrap_or_default().to_vec();
    vec![
        seed("joins", "valid-request", request),
        seed("joins", "bad-half-a-request", short),
        seed("joins", "valid-log", JoinReply::parts(log).concat()),
        seed("joins", "valid-refusal", JoinReply::refuse(Refusal::Expired)),
        seed("joins", "valid-waiting", JoinReply::wait(invite.key(), [4; 32])),
        seed("joins", "bad-parts-of-all-counts", vec![1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]),
    ]
}

fn vectors() -> Vec<Seed> {
    let mut vector = Vector::new();
    for (number, oseq) in [(1, 1), (1, 2), (1, 7), (2, 3)] {
        let origin = Origin { peer: PeerId::new([number; 32]), incarnation: Incarnation(9) };
        vector.insert(origin, Oseq(oseq)).expect("a few fit");
    }
    vec![
        seed("vectors", "valid-holes", vector.to_bytes()),
        seed("vectors", "valid-empty", Vector::new().to_bytes()),
    ]
}

/// One frame of each length that the scripts make two engines send.
fn frames() -> Vec<Seed> {
    let frames = scripts().into_iter().flat_map(|(_, _, script)| super::events::frames(&script));
    let frames: BTreeMap<(u8, usize), Vec<u8>> =
        frames.map(|frame| ((frame.first().copied().unwrap_or_default(), frame.len()), frame)).collect();
    frames
        .into_iter()
        .map(|((kind, bytes), frame)| seed("wire", format!("valid-{kind:02}-{bytes}"), frame))
        .collect()
}

/// Runs of two engines: connect, then deliver and answer by turns, with something happening in between.
fn scripts() -> Vec<Seed> {
    // Deliver to both, answer for both; the byte behind an answer decides what the database of each holds.
    let turns = |count: usize, one: u8, other: u8| [1, 0x81, 7, one, 0x87, other].repeat(count);
    let connect = vec![0, 0];
    let wait = vec![10, 20];
    let live = [&[11, 0, 8][..], &[1; 8], &[0x8b, 1, 4], &[2; 4], &[15, 0x8f]].concat();
    let run = |parts: &[&[u8]]| parts.concat();
    let equal = turns(20, 0, 0);
    let apart = [turns(12, 5, 9), wait.clone(), turns(12, 6, 13), wait.clone(), turns(30, 7, 14)].concat();
    vec![
        seed("events", "bad-nothing", Vec::new()),
        seed("events", "valid-idle", run(&[&connect, &equal])),
        seed("events", "valid-live", run(&[&connect, &equal, &live, &equal, &wait, &equal])),
        seed("events", "valid-commands", run(&[&connect, &equal, &[13, 2, 10, 30, 13, 3], &equal])),
        seed("events", "apart", run(&[&connect, &apart])),
        seed("events", "apart-and-members", run(&[&connect, &turns(4, 0, 3), &[14, 1, 0x8e, 2], &apart])),
        seed("events", "lost-and-cut", vec![0, 0, 4, 0x84, 12, 1, 0, 0, 3, 1, 9]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::DOORS;

    #[test]
    fn every_door_has_an_input_that_passes_and_one_that_does_not() {
        let seeds = seeds();
        for (door, _) in DOORS {
            for start in ["valid", "bad"] {
                let named = |seed: &Seed| seed.0 == door && seed.1.starts_with(start);
                assert!(seeds.iter().any(named), "{door} {start}");
            }
        }
    }
}
