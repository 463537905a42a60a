//! The doors through which untrusted bytes come in, one function each, for fuzzers and for the replay of their
//! corpus. No part of the public interface.
//!
//! Each function panics when a promise is broken, and tells whether the input was accepted.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::access::{Commit, Invite, InviteKind, JoinReply, JoinRequest, Log, Membership, Role, Statement};
use crate::codec::{Decode, Encode};
use crate::doc::gate::prescan;
use crate::doc::{Counter, Document, Entity, Hydrate, KindOf, Made, Reconcile, Text};
use crate::doc::{insert, restore, update};
use crate::id::{ActorId, PeerId, SpaceId, Vector};
use crate::identity::Identity;
use crate::time::Timestamp;
use crate::wire::Message;

mod events;
mod seeds;
pub mod world;

pub use events::events;
pub use seeds::seeds;

/// An entity with one field of each kind that merges in its own way.
#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct Note {
    title: String,
    body: Text,
    count: Counter,
    tags: Vec<String>,
    more: BTreeMap<String, i64>,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// Offers a change chunk to a document, as it is and with its checksum made right.
///
/// Whatever the chunk holds, the document stays loadable, readable and writable, and changes only when the
/// chunk was accepted.
pub fn gate(chunk: &[u8]) -> bool {
    let accepted = offer(chunk);
    let repaired = repaired(chunk).filter(|repaired| repaired != chunk);
    repaired.map_or(accepted, |chunk| offer(&chunk) || accepted)
}

/// Reads a frame. What was read is the same after writing and reading it again.
pub fn wire(frame: &[u8]) -> bool {
    let Ok(Some(message)) = Message::from_frame(frame) else {
        return false;
    };
    assert_eq!(Message::from_frame(&message.to_frame()), Ok(Some(message)), "a message reads back");
    true
}

/// Reads a statement and adds it to a membership log. Its bytes are the only ones that mean it.
///
/// One that names a device whose key is here is signed by it as well, so that more is tried than the signature.
pub fn statements(bytes: &[u8]) -> bool {
    let Ok(statement) = Statement::decode(bytes) else {
        return false;
    };
    assert_eq!(statement.bytes(), bytes, "a statement has one encoding");
    if let Some(signed) = signed(&statement) {
        let founder = |membership: &Membership| membership.role(&peer(1));
        let (before, after) = (shared().membership(), add(shared(), signed));
        let is_the_founders = statement.signer() == peer(1);
        assert!(
            is_the_founders || founder(&after) == founder(&before),
            "a writer takes nothing from the founder"
        );
    }
    let _members = add(alone(), statement);
    true
}

/// Reads a commit. Its bytes are the only ones that mean it.
pub fn commits(bytes: &[u8]) -> bool {
    let Ok(commit) = Commit::decode(space(), bytes) else {
        return false;
    };
    assert_eq!(commit.encode(), bytes, "a commit has one encoding");
    // Most are signed by nobody, and that is all the same here.
    let _verified = commit.verify().is_ok();
    let _nothing_open = commit.blinded(&|_| false);
    true
}

/// Reads a version vector. Its bytes are the only ones that mean it.
pub fn vectors(bytes: &[u8]) -> bool {
    let Ok(vector) = Vector::from_bytes(bytes) else {
        return false;
    };
    assert_eq!(vector.to_bytes(), bytes, "a vector has one encoding");
    assert!(vector.covers(&vector), "a vector covers itself");
    true
}

/// Reads an invite. Its text is the only one that means it.
pub fn tickets(bytes: &[u8]) -> bool {
    let Ok(Ok(invite)) = std::str::from_utf8(bytes).map(str::parse::<Invite>) else {
        return false;
    };
    let text = invite.to_string();
    assert_eq!(text.parse::<Invite>().ok().as_ref(), Some(&invite), "an invite reads back");
    true
}

/// Reads a request to join, or the replies to one. A reply that ends is read whole.
pub fn joins(bytes: &[u8]) -> bool {
    let request = JoinRequest::decode(bytes);
    let replies = JoinReply::decode_all(bytes);
    assert_eq!(JoinReply::ends(bytes).is_ok(), replies.is_ok(), "what can be read can be judged");
    if let Ok(request) = &request {
        // Nobody invited it, and no key proves anything: it is refused.
        let by_nobody = alone().redeem(&device(1), bytes, peer(2), &[0; 32], Timestamp::from_unix_ms(0));
        assert!(by_nobody.is_err() || alone().space() == request.space(), "an invite is of one space");
    }
    request.is_ok() || replies.is_ok_and(|replies| !replies.is_empty())
}

/// A door: takes bytes, and tells whether it accepted them.
pub type Door = fn(&[u8]) -> bool;

/// The doors by name.
pub const DOORS: [(&str, Door); 8] = [
    ("commits", commits),
    ("events", events),
    ("gate", gate),
    ("joins", joins),
    ("statements", statements),
    ("tickets", tickets),
    ("vectors", vectors),
    ("wire", wire),
];

fn offer(chunk: &[u8]) -> bool {
    let Ok(header) = prescan(chunk) else {
        return false;
    };
    let (base, made) = base();
    let kind = KindOf::<Note>::new().expect("the name is one");
    let (mut document, hash) = (base.clone(), header.hash);

    let admitted = document.admit(&[(header, chunk)], Some(&kind));

    let accepted = admitted.accepted.contains(&hash) && hash != made.hash;
    assert_eq!(document.heads() == [made.hash], !accepted, "a document changes when a change was accepted");
    assert_eq!(document.clock() == base.clock(), !accepted, "and so does its clock");
    // What was refused left the document that was proven before; a few are proven again all the same.
    if accepted || hash.as_bytes().first().is_some_and(|byte| byte % 64 == 0) {
        prove(document);
    }
    accepted
}

/// A document that the gate left behind can be saved, loaded, read and written.
fn prove(mut document: Document) {
    let loaded = Document::load(Some(&document.save()), &[]).expect("what the gate admits can be loaded");
    assert_eq!(loaded.heads(), document.heads(), "a document loads as it was saved");
    if document.is_deleted() {
        write(&mut document, 2, restore());
    }
    write(&mut document, 2, update(|note: &mut Note| note.title.push('!')));
    document.hydrate::<Note>().expect("what the gate admits can be read");
}

/// The note that changes are offered to, made once: to make it costs more than to refuse a change.
fn base() -> &'static (Document, Made) {
    static BASE: OnceLock<(Document, Made)> = OnceLock::new();
    BASE.get_or_init(note)
}

/// A note, and the change that made it.
fn note() -> (Document, Made) {
    let mut document = Document::new();
    let note = Note {
        title: "one".to_owned(),
        body: Text::from("two"),
        count: Counter::from(3),
        tags: vec!["four".to_owned()],
        more: BTreeMap::from([("five".to_owned(), 6)]),
    };
    let made = write(&mut document, 1, insert(note));
    (document, made)
}

fn write(document: &mut Document, actor: u8, edit: crate::doc::Edit) -> Made {
    let made = edit(document, &ActorId::new([actor; 16]), Timestamp::from_unix_ms(0));
    made.expect("the document can be written").expect("the edit changes something")
}

/// The chunk with the checksum that belongs to it.
fn repaired(chunk: &[u8]) -> Option<Vec<u8>> {
    let (magic, rest) = chunk.split_first_chunk::<4>()?;
    let (_, hashed) = rest.split_first_chunk::<4>()?;
    let hash = Sha256::digest(hashed);
    Some([magic, hash.get(..4)?, hashed].concat())
}

/// Adds a statement to a log, and returns who belongs to the space then.
fn add(log: &Log, statement: Statement) -> Arc<Membership> {
    let mut log = log.clone();
    let before = (log.digest(), log.statements().count());
    match log.insert(statement.clone()) {
        Ok(true) => assert_eq!(log.insert(statement), Ok(false), "a statement is taken once"),
        Ok(false) | Err(_) => assert_eq!((log.digest(), log.statements().count()), before),
    }
    log.membership()
}

/// The statement as the device would have signed it that it says it is from.
fn signed(statement: &Statement) -> Option<Statement> {
    let number = [1, 2].into_iter().find(|number| peer(*number) == statement.signer())?;
    let (prev, body) = (statement.prev().to_vec(), statement.body().clone());
    Statement::sign(&device(number), &shared().space(), statement.lamport(), prev, body).ok()
}

fn device(number: u8) -> Identity {
    Identity::from_seed([number; 32])
}

/// The peers that devices 0 to 2 are: to derive a public key takes longer than most of what is done with it.
fn peer(number: u8) -> PeerId {
    static PEERS: OnceLock<[PeerId; 3]> = OnceLock::new();
    let peers = PEERS.get_or_init(|| [0, 1, 2].map(|number| device(number).peer()));
    peers.get(usize::from(number)).copied().unwrap_or_else(|| device(number).peer())
}

fn founded() -> Log {
    let (log, _) = Log::found(&device(1), "space", "one", "device", [0; 32]).expect("the names are short");
    log
}

/// The log of a space of one device, with its membership worked out.
fn alone() -> &'static Log {
    static ALONE: OnceLock<Log> = OnceLock::new();
    ALONE.get_or_init(|| {
        let log = founded();
        let _resolved = log.membership();
        log
    })
}

/// The log of a space that devices 1 and 2 belong to.
fn shared() -> &'static Log {
    static SHARED: OnceLock<Log> = OnceLock::new();
    SHARED.get_or_init(found_and_join)
}

fn found_and_join() -> Log {
    let mut log = founded();
    let (inviter, joiner, exporter) = (device(1), device(2), [0; 32]);
    let expiry = Timestamp::from_unix_ms(1);
    let invite = Invite::new(InviteKind::Member, log.space(), inviter.peer(), Vec::new(), [3; 16], expiry)
        .expect("the addresses are few");
    let invited = log.invite(&inviter, Role::Writer, invite.key(), expiry).expect("the founder may invite");
    log.insert(invited).expect("the founder signed it");
    let request = invite.request(&joiner, "two", "device", &exporter).expect("the names are short");
    let added = log
        .redeem(&inviter, &request, joiner.peer(), &exporter, Timestamp::from_unix_ms(0))
        .expect("the invite is unused");
    log.insert(added).expect("the inviter signed it");
    log
}

fn space() -> SpaceId {
    SpaceId::new([7; 32])
}
