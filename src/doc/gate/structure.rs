//! What the operations of a change refer to, checked one by one against what its author had seen.
//!
//! A change is judged by itself and by its ancestors alone, so that every device judges it alike, whatever else
//! it holds. Allowed is what Automerge writes for an honest device:
//!
//! | operation | in a map | in a list | in a text |
//! |---|---|---|---|
//! | put, make | at a key, over earlier values of that key | inserted, or over earlier values of an element | only characters, inserted |
//! | delete | of values of that key | of values of an element | of a character |
//! | increment | of counters of that key | of counters of an element | - |
//!
//! An operation that is referred to is found by its name in the change that made it, which is read with the same
//! parser. The cost is that of the change and of the changes it refers to, not that of the document.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use automerge::{ObjId, ROOT, ReadDoc};

use super::super::document::{Document, automerge_hash, guarded, object};
use super::super::error::GateError;
use super::chunk::{Chunk, Header};
use super::lineage::{Ancestry, Lineage};
use super::ops::{Action, Container, Key, Op, OpId, Scalar};
use crate::id::{ActorId, ChangeHash};
use crate::limits::{COUNTER_MAX, INCREMENT_MAX, KEY_BYTES_MAX, NESTING_DEPTH_MAX, VALUE_BYTES_MAX};

/// The name of an operation anywhere.
pub(super) type Name = (ActorId, u64);

/// Judges a change that was made here as other devices will, with the document as it was before.
pub(in super::super) fn judge(before: &Document, header: &Header, bytes: &[u8]) -> Result<(), GateError> {
    Past::new(before).follow(header, bytes)
}

/// Where a change does something to what may have a value: a key of a map, or, without one, any element of a list or
/// text that it does not insert.
pub(in super::super) type Place = (ObjId, Option<String>);

/// Returns the places at which a change puts, counts or deletes something.
pub(in super::super) fn places(header: &Header, bytes: &[u8]) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    let Ok(chunk) = Chunk::parse(bytes) else { return places };
    let actors: Vec<ActorId> = chunk.actors().collect();
    let mut ops = chunk.ops(header.ops);
    while let Ok(Some(op)) = ops.next(|_| Ok(())) {
        let key = match op.key {
            Key::Map(key) => Some(key.to_owned()),
            Key::Head | Key::Element(_) if op.insert => continue,
            Key::Head | Key::Element(_) => None,
        };
        let around = op.object.map(|id| name(&actors, id)).transpose();
        let Ok(around) = around else { return places };
        places.insert((around.map_or(ROOT, |(actor, counter)| object(counter, &actor)), key));
    }
    places
}

/// Tells whether a change does nothing but put values and count at keys of maps.
pub(super) fn is_plain(header: &Header, bytes: &[u8]) -> bool {
    let Ok(chunk) = Chunk::parse(bytes) else { return false };
    let mut ops = chunk.ops(header.ops);
    loop {
        match ops.next(|_| Ok(())) {
            Ok(Some(op)) => {
                let at_key = matches!(op.key, Key::Map(_)) && !op.insert;
                if !at_key || !matches!(op.action, Action::Put(_) | Action::Increment(_)) {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// A document and the changes that are about to follow it, as far as the check needs them.
#[derive(Debug)]
pub(super) struct Past<'a> {
    document: &'a Document,
    /// Changes found fit so far.
    batch: Lineage<'a>,
    /// Operations that were looked up, with the change that each is of.
    facts: BTreeMap<Name, (Fact, ChangeHash)>,
    /// Which changes of the document are not among the ancestors of these, kept for the next change of the batch.
    unseen: Option<(Rc<BTreeSet<ChangeHash>>, Unseen)>,
}

#[derive(Debug)]
struct Step<'a> {
    header: &'a Header,
    bytes: &'a [u8],
    ancestry: Ancestry,
}

/// The changes of the document that the author of a change had not seen.
#[derive(Debug)]
enum Unseen {
    All,
    These(BTreeSet<ChangeHash>),
}

/// What an operation is, as far as others may refer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    object: Option<Name>,
    field: Field,
    insert: bool,
    what: What,
}

/// A key of a map or an element of a list or text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Map(String),
    Head,
    Element(Name),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Holds(Container),
    Counter,
    Value,
    /// A deletion or an increment: nothing can follow it.
    Nothing,
}

/// A dependency as the causal checks need it.
#[derive(Clone, Copy, Debug)]
struct Dep {
    actor: ActorId,
    seq: u64,
    max_op: u64,
}

impl<'a> Past<'a> {
    pub(super) const fn new(document: &'a Document) -> Self {
        Self { document, batch: Lineage::new(), facts: BTreeMap::new(), unseen: None }
    }

    /// Checks a change; when it is fit, later ones may build on it.
    pub(super) fn follow(&mut self, header: &'a Header, bytes: &'a [u8]) -> Result<(), GateError> {
        self.check_causality(header)?;
        let step = Step { header, bytes, ancestry: self.batch.ancestry(header) };
        guarded(|| self.check_operations(&step)).map_err(|reason| GateError::Unusable { reason })??;
        self.batch.push(header, bytes, step.ancestry);
        Ok(())
    }

    /// Tells whether a change is in the document or was found fit.
    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        self.batch.get(hash).is_some() || self.document.has(hash)
    }

    /// Dependencies known; next number of its actor, whose previous change is a direct dependency; operations
    /// counted on from the dependencies.
    fn check_causality(&self, header: &Header) -> Result<(), GateError> {
        let mut missing = Vec::new();
        let mut max_op = 0;
        let mut follows = header.seq == 1;
        for hash in &header.deps {
            let Some(dep) = self.dep(hash) else {
                missing.push(*hash);
                continue;
            };
            max_op = dep.max_op.max(max_op);
            follows |= dep.actor == header.actor && dep.seq.checked_add(1) == Some(header.seq);
        }
        if !missing.is_empty() {
            return Err(GateError::Missing { missing });
        }
        let last = self.last_seq(&header.actor);
        if follows && last.checked_add(1) == Some(header.seq) && max_op + 1 == header.start_op {
            return Ok(());
        }
        Err(GateError::Causality)
    }

    fn dep(&self, hash: &ChangeHash) -> Option<Dep> {
        if let Some(header) = self.batch.get(hash) {
            return Some(Dep { actor: header.actor, seq: header.seq, max_op: header.max_op() });
        }
        let meta = self.document.inner.get_change_meta_by_hash(&automerge_hash(hash))?;
        let actor = super::super::document::actor_id(&meta.actor)?;
        Some(Dep { actor, seq: meta.seq, max_op: meta.max_op })
    }

    fn last_seq(&self, actor: &ActorId) -> u64 {
        self.batch.last(actor).map_or_else(|| self.document.last_seq(actor), |header| header.seq)
    }

    fn check_operations(&mut self, step: &Step<'a>) -> Result<(), GateError> {
        let chunk = Chunk::parse(step.bytes)?;
        let actors: Vec<ActorId> = chunk.actors().collect();
        self.look_up(step, &chunk, &actors)?;
        self.find_unseen(step);
        let mut own = Own { start: step.header.start_op, facts: Vec::new(), fields: BTreeMap::new() };
        let mut ops = chunk.ops(step.header.ops);
        let mut predecessors = Vec::new();
        let mut index = 0;
        loop {
            predecessors.clear();
            let op = ops.next(|id| {
                predecessors.push(name(&actors, id)?);
                Ok(())
            })?;
            let Some(op) = op else { return Ok(()) };
            let fact = Fact::of(&op, &actors)?;
            let check = Check { past: self, step, own: &own };
            check.operation(&op, &fact, &predecessors).map_err(|wrong| wrong.at(index))?;
            own.add(step.header.actor, fact);
            index += 1;
        }
    }

    /// Reads every operation that the change refers to and that is not its own, each change of the past once.
    fn look_up(&mut self, step: &Step<'a>, chunk: &Chunk<'_>, actors: &[ActorId]) -> Result<(), GateError> {
        let mut wanted = BTreeSet::new();
        let own = |(actor, counter): Name| actor == step.header.actor && counter >= step.header.start_op;
        let mut want = |id: OpId| {
            let name = name(actors, id)?;
            if !own(name) {
                wanted.insert(name);
            }
            Ok(())
        };
        let mut ops = chunk.ops(step.header.ops);
        while let Some(op) = ops.next(&mut want)? {
            op.object.map_or(Ok(()), &mut want)?;
            if let Key::Element(element) = op.key {
                want(element)?;
            }
        }
        // The objects around an object are needed for its depth.
        while !wanted.is_empty() {
            self.read(step, &wanted)?;
            let facts = wanted.iter().filter_map(|name| self.facts.get(name));
            let around: BTreeSet<Name> = facts.filter_map(|(fact, _)| fact.object).collect();
            wanted = around.into_iter().filter(|name| !self.facts.contains_key(name)).collect();
        }
        Ok(())
    }

    /// Reads operations of the past into `facts`; those that are not there stay out.
    fn read(&mut self, step: &Step<'a>, wanted: &BTreeSet<Name>) -> Result<(), GateError> {
        let mut wanted = wanted.iter().filter(|name| !self.facts.contains_key(name)).copied().peekable();
        let mut found = Vec::new();
        while let Some((actor, counter)) = wanted.peek().copied() {
            let Some((hash, bytes)) = self.change_of(step, &actor, counter) else {
                wanted.next();
                continue;
            };
            let chunk = Chunk::parse(&bytes)?;
            let actors: Vec<ActorId> = chunk.actors().collect();
            let mut ops = chunk.ops(chunk.count()?);
            let mut at = chunk.start_op;
            // The names are in order, so one pass through the change finds all that are of it.
            while let Some(op) = ops.next(|_| Ok(()))? {
                if wanted.next_if_eq(&(actor, at)).is_some() {
                    found.push(((actor, at), (Fact::of(&op, &actors)?, hash)));
                }
                at += 1;
            }
            // Names between two changes of an actor belong to none.
            while wanted.next_if(|(a, c)| *a == actor && *c < at).is_some() {}
        }
        self.facts.extend(found);
        Ok(())
    }

    /// Finds out which changes of the document are no ancestors of the change: none of them, mostly.
    fn find_unseen(&mut self, step: &Step<'a>) {
        let document_heads = step.ancestry.document_heads();
        if self.unseen.as_ref().is_some_and(|(heads, _)| heads == document_heads) {
            return;
        }
        let heads: Vec<_> = document_heads.iter().map(automerge_hash).collect();
        let unseen = if heads.is_empty() {
            Unseen::All
        } else {
            let changes = self.document.inner.get_changes_meta(&heads);
            Unseen::These(changes.iter().map(|change| ChangeHash::new(change.hash.0)).collect())
        };
        self.unseen = Some((Rc::clone(document_heads), unseen));
    }

    /// Returns what an operation of the past is, if the author of the change had seen it.
    fn seen(&self, step: &Step<'a>, name: Name) -> Option<&Fact> {
        let (fact, hash) = self.facts.get(&name)?;
        let seen = match (self.batch.is_ancestor(&step.ancestry, hash), &self.unseen) {
            (Some(ancestor), _) => ancestor,
            (None, Some((_, Unseen::These(unseen)))) => !unseen.contains(hash),
            (None, Some((_, Unseen::All)) | None) => false,
        };
        seen.then_some(fact)
    }

    /// Finds the change that made an operation: among the ancestors in the batch, or in the document.
    fn change_of(
        &self,
        step: &Step<'a>,
        actor: &ActorId,
        counter: u64,
    ) -> Option<(ChangeHash, std::borrow::Cow<'a, [u8]>)> {
        if let Some((hash, bytes)) = self.batch.maker(&step.ancestry, actor, counter) {
            return Some((hash, bytes.into()));
        }
        let hash = self.document.inner.hash_for_opid(&object(counter, actor))?;
        let change = self.document.inner.get_change_by_hash(&hash)?;
        let range = change.start_op().get()..=change.max_op();
        (super::super::document::actor_id(change.actor_id()) == Some(*actor) && range.contains(&counter))
            .then(|| (ChangeHash::new(hash.0), change.raw_bytes().to_vec().into()))
    }
}

impl Fact {
    fn of(op: &Op<'_>, actors: &[ActorId]) -> Result<Self, GateError> {
        let object = op.object.map(|id| name(actors, id)).transpose()?;
        let field = match op.key {
            Key::Map(key) => Field::Map(key.to_owned()),
            Key::Head => Field::Head,
            Key::Element(id) => Field::Element(name(actors, id)?),
        };
        let what = match op.action {
            Action::Make(container) => What::Holds(container),
            Action::Put(Scalar::Counter(_)) => What::Counter,
            Action::Put(Scalar::Text(_) | Scalar::Bytes(_) | Scalar::Other) => What::Value,
            Action::Delete | Action::Increment(_) => What::Nothing,
        };
        Ok(Self { object, field, insert: op.insert, what })
    }

    /// Which element an operation on a list or text is about: an inserted one is named by its insertion.
    fn element(&self, name: Name) -> Option<Name> {
        match &self.field {
            Field::Map(_) => None,
            Field::Head => self.insert.then_some(name),
            Field::Element(_) if self.insert => Some(name),
            Field::Element(element) => Some(*element),
        }
    }
}

/// The operations of the change itself, up to the one that is being checked.
#[derive(Debug)]
struct Own {
    start: u64,
    facts: Vec<Fact>,
    /// The last value that the change put at a field, which a later one must replace.
    fields: BTreeMap<(Option<Name>, Field), Name>,
}

impl Own {
    fn get(&self, author: ActorId, (actor, counter): Name) -> Option<&Fact> {
        let index = counter.checked_sub(self.start)?;
        if actor != author {
            return None;
        }
        self.facts.get(usize::try_from(index).ok()?)
    }

    /// Takes an operation that was found fit in.
    fn add(&mut self, author: ActorId, fact: Fact) {
        let name = (author, self.start + self.facts.len() as u64);
        let place = (fact.object, fact.field.clone());
        match fact.what {
            _ if fact.insert => {}
            What::Holds(_) | What::Counter | What::Value => {
                self.fields.insert(place, name);
            }
            What::Nothing => {}
        }
        self.facts.push(fact);
    }
}

/// What is wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Refers(&'static str),
    Large { what: &'static str, count: u64, max: u64 },
}

impl Wrong {
    const fn at(self, index: u64) -> GateError {
        match self {
            Self::Refers(what) => GateError::Operation { index, what },
            Self::Large { what, count, max } => GateError::TooLarge { what, count, max },
        }
    }
}

/// The check of one operation.
#[derive(Debug)]
struct Check<'c, 'a> {
    past: &'c Past<'a>,
    step: &'c Step<'a>,
    own: &'c Own,
}

impl Check<'_, '_> {
    fn operation(&self, op: &Op<'_>, fact: &Fact, predecessors: &[Name]) -> Result<(), Wrong> {
        within(op)?;
        let container = self.container(fact)?;
        if !predecessors.is_sorted_by(|(l_actor, l), (r_actor, r)| (l, l_actor) < (r, r_actor)) {
            return Err(Wrong::Refers("has predecessors out of order"));
        }
        match (container, &fact.field) {
            (Container::Map, Field::Map(_)) if !op.insert => self.on_field(op, fact, predecessors),
            (Container::List | Container::Text, Field::Head | Field::Element(_)) => {
                self.on_sequence(op, fact, predecessors, container)
            }
            (Container::Map | Container::List | Container::Text, _) => {
                Err(Wrong::Refers("has a key that its object does not take"))
            }
        }
    }

    /// Finds out what the object of an operation is, and that it is not nested too deep.
    fn container(&self, fact: &Fact) -> Result<Container, Wrong> {
        let mut container = None;
        let mut object = fact.object;
        let mut depth = u64::from(matches!(fact.what, What::Holds(_)));
        while let Some(name) = object {
            let around = self.get(name).ok_or(Wrong::Refers("is in an unknown object"))?;
            let What::Holds(holds) = around.what else {
                return Err(Wrong::Refers("is in something that is no object"));
            };
            container.get_or_insert(holds);
            object = around.object;
            depth += 1;
            if depth > NESTING_DEPTH_MAX as u64 {
                return Err(Wrong::Large { what: "nesting", count: depth, max: NESTING_DEPTH_MAX as u64 });
            }
        }
        Ok(container.unwrap_or(Container::Map))
    }

    fn on_sequence(
        &self,
        op: &Op<'_>,
        fact: &Fact,
        predecessors: &[Name],
        container: Container,
    ) -> Result<(), Wrong> {
        if let Field::Element(element) = fact.field {
            let inserted = self.get(element).ok_or(Wrong::Refers("is about an unknown element"))?;
            if !inserted.insert || inserted.object != fact.object {
                return Err(Wrong::Refers("is about an element of something else"));
            }
        }
        let character = matches!(op.action, Action::Put(Scalar::Text(_)));
        match (op.insert, container, op.action) {
            (true, _, Action::Delete | Action::Increment(_)) => Err(Wrong::Refers("inserts nothing")),
            (true, _, _) if !predecessors.is_empty() => Err(Wrong::Refers("inserts over something")),
            (true, Container::Text, _) if !character => {
                Err(Wrong::Refers("inserts no character into a text"))
            }
            (true, _, _) => Ok(()),
            (false, _, _) if fact.field == Field::Head => Err(Wrong::Refers("is about no element")),
            (false, Container::Text, Action::Make(_) | Action::Put(_) | Action::Increment(_)) => {
                Err(Wrong::Refers("changes a character"))
            }
            (false, _, _) if predecessors.is_empty() => Err(Wrong::Refers("is about no value")),
            (false, _, _) => self.on_field(op, fact, predecessors),
        }
    }

    /// Checks the predecessors of an operation at a key or an element: values of that very place.
    fn on_field(&self, op: &Op<'_>, fact: &Fact, predecessors: &[Name]) -> Result<(), Wrong> {
        if predecessors.is_empty() && matches!(op.action, Action::Delete | Action::Increment(_)) {
            return Err(Wrong::Refers("is about no value"));
        }
        for name in predecessors {
            let before = self.get(*name).ok_or(Wrong::Refers("follows an unknown operation"))?;
            let same_place = match &fact.field {
                Field::Map(_) => before.field == fact.field,
                Field::Element(element) => before.element(*name) == Some(*element),
                Field::Head => false,
            };
            if !same_place || before.object != fact.object {
                return Err(Wrong::Refers("follows an operation elsewhere"));
            }
            match (op.action, before.what) {
                (_, What::Nothing) => return Err(Wrong::Refers("follows an operation that leaves nothing")),
                (Action::Increment(_), What::Holds(_) | What::Value) => {
                    return Err(Wrong::Refers("increments what is no counter"));
                }
                (_, What::Holds(_) | What::Counter | What::Value) => {}
            }
        }
        // One change leaves one value at a field; concurrent values take changes that do not know each other.
        let place = (fact.object, fact.field.clone());
        match self.own.fields.get(&place) {
            Some(last) if !predecessors.contains(last) => {
                Err(Wrong::Refers("stands beside a value of its own"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn get(&self, name: Name) -> Option<&Fact> {
        self.own.get(self.step.header.actor, name).or_else(|| self.past.seen(self.step, name))
    }
}

/// Checks the sizes of an operation.
fn within(op: &Op<'_>) -> Result<(), Wrong> {
    let at_most = |what, count: u64, max: u64| {
        if count > max { Err(Wrong::Large { what, count, max }) } else { Ok(()) }
    };
    if let Key::Map(key) = op.key {
        at_most("key bytes", key.len() as u64, KEY_BYTES_MAX as u64)?;
    }
    match op.action {
        Action::Put(Scalar::Text(text)) => at_most("value bytes", text.len() as u64, VALUE_BYTES_MAX as u64),
        Action::Put(Scalar::Bytes(bytes)) => {
            at_most("value bytes", bytes.len() as u64, VALUE_BYTES_MAX as u64)
        }
        Action::Put(Scalar::Counter(value)) => {
            at_most("counter", value.unsigned_abs(), COUNTER_MAX.unsigned_abs())
        }
        Action::Increment(by) => at_most("increment", by.unsigned_abs(), INCREMENT_MAX.unsigned_abs()),
        Action::Put(Scalar::Other) | Action::Make(_) | Action::Delete => Ok(()),
    }
}

/// Returns the name of an operation anywhere, from its name within a change.
fn name(actors: &[ActorId], id: OpId) -> Result<Name, GateError> {
    let actor = actors.get(id.actor).ok_or(GateError::Malformed { what: "unknown actor" })?;
    Ok((*actor, id.counter))
}
