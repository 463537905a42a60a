//! Tests of documents, with the entity and the writer of crafted changes that they share.

mod admitting;
mod craft;
mod crafted;
mod editing;
mod merging;
mod mutants;
pub(crate) mod samples;

use std::collections::BTreeMap;

use autosurgeon::{Hydrate, Reconcile};
use serde::{Deserialize, Serialize};

use super::{Admitted, Counter, Document, Edit, Entity, Header, Made, Text, gate};
use crate::id::ActorId;
use crate::time::Timestamp;

/// An entity of twelve fields with everything that merges in its own way.
#[derive(Clone, Debug, Default, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) notes: Text,
    pub(crate) minutes: Counter,
    pub(crate) price: u64,
    pub(crate) balance: i64,
    pub(crate) weight: f64,
    pub(crate) open: bool,
    pub(crate) assignee: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) parts: Vec<Part>,
}

/// A thing in a list.
#[derive(Clone, Debug, Default, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Part {
    #[key]
    pub(crate) number: u64,
    pub(crate) note: Text,
    pub(crate) count: Counter,
}

impl Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

pub(super) fn actor(number: u8) -> ActorId {
    ActorId::new([number; 16])
}

pub(crate) fn ticket(title: &str) -> Ticket {
    let part = Part { number: 1, note: Text::from("brass"), count: Counter::from(2) };
    Ticket {
        title: title.to_owned(),
        status: "open".to_owned(),
        notes: Text::from("no gas"),
        minutes: Counter::from(30),
        labels: BTreeMap::from([("color".to_owned(), "red".to_owned())]),
        tags: vec!["urgent".to_owned()],
        parts: vec![part],
        ..Ticket::default()
    }
}

/// Makes an edit by an actor.
pub(super) fn edit(document: &mut Document, by: u8, edit: Edit) -> Made {
    let made = edit(document, &actor(by), Timestamp::from_unix_ms(1_700_000_000_000));
    made.expect("the edit is fit").expect("the edit changes something")
}

pub(super) fn update(
    document: &mut Document,
    by: u8,
    change: impl FnOnce(&mut Ticket) + Send + 'static,
) -> Made {
    edit(document, by, super::update(change))
}

/// Lets changes in as they would come from a peer.
pub(super) fn admit(document: &mut Document, changes: &[Vec<u8>]) -> Admitted {
    let scanned: Vec<(Header, &[u8])> = changes
        .iter()
        .map(|bytes| (gate::prescan(bytes).expect("the prescan accepts it"), bytes.as_slice()))
        .collect();
    document.admit(&scanned, None)
}

/// A document with one ticket, by actor 1, and the change that made it.
pub(super) fn with_ticket() -> (Document, Made) {
    let mut document = Document::new();
    let made = edit(&mut document, 1, super::insert(ticket("tap")));
    (document, made)
}

/// A change that does the same and replaces nothing: the values that its maker saw stay beside its own.
pub(crate) fn without_predecessors(change: &[u8]) -> Vec<u8> {
    let mut honest = automerge::Change::try_from(change).expect("a change").decode();
    honest.hash = None;
    honest.operations.iter_mut().for_each(|op| op.pred = Vec::new().into());
    automerge::Change::from(honest).raw_bytes().to_vec()
}
