//! What must hold when the trouble is over and everybody says that it is in sync.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::whole::Whole;
use super::{Oracle, Place, first_missing_of};
use crate::access::{Action, Commit, Statement};
use crate::doc::Kind;
use crate::exchange::{Answer, Ask, CommitKey, ShortsKey, SpaceState, Vectors};
use crate::id::{
    ChangeHash, CollectionName, CommitHash, EntityId, Missing, Origin, Oseq, PeerId, SpaceId, StatementHash,
    Vector,
};
use crate::replica::{Held, HeldReason, Reader, Replica};
use crate::sim::device::rows;
use crate::sim::malice;
use crate::sim::violation::Rule;
use crate::sim::{Device, Settled, Workload};
use crate::time::Now;

/// A device at the end of a run.
pub(in crate::sim) struct Final<'a> {
    pub(in crate::sim) number: usize,
    pub(in crate::sim) now: Now,
    pub(in crate::sim) replica: &'a mut Replica,
    pub(in crate::sim) reader: &'a Reader,
}

/// One collection of one commit.
type Part = (Origin, CollectionName, Oseq);

/// What was read of a device.
pub(super) struct Read {
    pub(super) number: usize,
    pub(super) state: SpaceState,
    readable: BTreeSet<CollectionName>,
    /// Those of them that reach it from the founder by way of devices that may read them too.
    pub(super) agreed: BTreeSet<CollectionName>,
    pub(super) whole: Whole,
    /// Who is proven to equivocate, and by which commits.
    pub(super) proofs: Vec<(PeerId, [CommitHash; 2])>,
    /// What is in quarantine.
    held: BTreeSet<Part>,
    /// Commits there whose statements are not here: their authors, and what they name.
    unplaced: Vec<(PeerId, Vec<StatementHash>)>,
    statements: BTreeSet<StatementHash>,
}

/// What is not sent on: what is in quarantine, and what was there of a rogue that filled it, and had to go.
struct Unsent {
    held: BTreeSet<Part>,
    /// What anybody shows.
    shown: BTreeSet<Part>,
    rogues: BTreeSet<PeerId>,
}

impl Unsent {
    fn contains(&self, part: &Part) -> bool {
        self.held.contains(part) || self.rogues.contains(&part.0.peer) && !self.shown.contains(part)
    }

    /// Whether any of the numbers is sent on.
    fn lacks_any(&self, collection: &CollectionName, missing: &Missing) -> bool {
        let mut numbers = (missing.first.0..=missing.last.0).map(Oseq);
        numbers.any(|oseq| !self.contains(&(missing.origin, collection.clone(), oseq)))
    }
}

/// What any device holds of what others build on.
struct Anywhere {
    changes: BTreeSet<ChangeHash>,
    statements: BTreeSet<StatementHash>,
}

impl Anywhere {
    fn of(reads: &[Read]) -> Self {
        Self {
            changes: reads.iter().flat_map(|read| read.whole.deps.keys()).copied().collect(),
            statements: reads.iter().flat_map(|read| &read.statements).copied().collect(),
        }
    }

    /// What a commit in quarantine builds on, the only device that had it lost to damage or by going back to a copy, or
    /// took along when it went. Whoever promised to keep it still must have it: see `check_promises`.
    fn lost(&self, held: &Held, read: &Read) -> bool {
        match held.reason {
            HeldReason::MissingDependency => {
                !held.missing.is_empty() && held.missing.iter().all(|change| !self.changes.contains(change))
            }
            HeldReason::UnknownPosition => {
                let mut named = read.unplaced.iter().filter(|(author, _)| *author == held.author).peekable();
                named.peek().is_some()
                    && named.all(|(_, at)| at.iter().any(|statement| !self.statements.contains(statement)))
            }
            HeldReason::NotAllowed
            | HeldReason::AfterCut
            | HeldReason::Equivocation
            | HeldReason::Malformed => false,
        }
    }
}

impl Oracle {
    /// Checks everything. The first device is the one that may read all.
    pub(in crate::sim) fn check_settled(
        &mut self,
        at_ms: u64,
        place: Place,
        devices: &mut [Final<'_>],
        kinds: &[Arc<dyn Kind>],
        workload: &dyn Workload,
        linked: &dyn Fn(usize, usize) -> bool,
    ) {
        let space = place.id;
        let mut reads = Vec::new();
        for device in devices.iter_mut() {
            match read(space, device) {
                Ok(read) => reads.push(read),
                Err(reason) => self.violate(Rule::Store, at_ms, device.number, reason),
            }
        }
        agree(&mut reads, linked);
        let Some(first) = reads.first() else { return };
        let settled = self.settle(first, &reads);
        // What is in quarantine is not sent on, and nobody takes over a number that nothing backs: one device may
        // have noted it and another not.
        let held = Unsent {
            held: reads.iter().flat_map(|read| read.held.iter().cloned()).collect(),
            shown: reads.iter().flat_map(|read| read.whole.parts()).collect(),
            rogues: self.peers.keys().filter(|peer| self.is_rogue(peer)).copied().collect(),
        };
        self.check_clashes(at_ms, &reads);
        for read in &reads {
            self.check_agreement(at_ms, first, read, &held);
            self.check_promises(at_ms, read, &reads, &held);
        }
        let anywhere = Anywhere::of(&reads);
        for (device, read) in devices.iter().zip(&reads) {
            self.check_rows(at_ms, space, device, read, kinds);
            self.check_whole_at_end(at_ms, space, device, read);
            self.check_quarantine(at_ms, space, device, read, &anywhere);
            self.check_receipts(at_ms, space, device);
            let membership = Some(Arc::clone(&read.state.membership));
            let view = Device::new(device.number, place, device.reader, membership);
            if let Err(text) = workload.check(&view, &settled) {
                self.violate(Rule::App, at_ms, device.number, text);
            }
        }
    }

    /// What came of all steps. The founder may read all, but for what only others hold who cannot reach it.
    fn settle(&self, first: &Read, reads: &[Read]) -> Settled {
        let parts: BTreeSet<Part> = reads.iter().flat_map(|read| read.whole.parts()).collect();
        let mut settled = Settled { deps: first.whole.deps.clone(), ..Settled::default() };
        for made in &self.commits {
            let held = held_parts(&parts, &made.key);
            if !held.is_empty() {
                settled.survived.insert(made.step);
                let parts = made.key.parts.iter().map(|(collection, _)| collection);
                let lost = parts.filter(|collection| !held.contains(collection));
                settled.lost.extend(lost.map(|collection| (made.step, collection.clone())));
            }
            let leaves = made.leaves.iter().filter(|leaf| held.contains(&leaf.collection));
            settled.changes.extend(leaves.map(|leaf| ((leaf.entity, made.step), leaf.head)));
        }
        settled.survived.extend(&self.pretended);
        settled
    }

    fn check_agreement(&mut self, at_ms: u64, first: &Read, read: &Read, held: &Unsent) {
        if first.state.log != read.state.log {
            self.violate(Rule::Convergent, at_ms, read.number, "another membership log".to_owned());
        }
        for collection in &read.agreed {
            let of = |read: &Read| read.state.collections.get(collection).cloned().unwrap_or_default();
            let (ours, theirs) = (of(read), of(first));
            if ours.root != theirs.root {
                let text = format!("{collection}: another root than device {}", first.number);
                self.violate(Rule::Convergent, at_ms, read.number, text);
            }
            let lacks = |a: &Vector, b: &Vector| {
                a.lacks_of(b).iter().any(|missing| held.lacks_any(collection, missing))
            };
            if lacks(&ours.vector, &theirs.vector) || lacks(&theirs.vector, &ours.vector) {
                let text = format!("{collection}: another vector than device {}", first.number);
                self.violate(Rule::Convergent, at_ms, read.number, text);
            }
        }
    }

    /// What any device promised to keep has come to all that may read it. A device that was removed, or may not
    /// read a collection any more, is not heard about it either.
    fn check_promises(&mut self, at_ms: u64, read: &Read, reads: &[Read], unsent: &Unsent) {
        let held = vectors(read);
        let mut lost = Vec::new();
        for (device, promised) in &self.durable {
            let Some(promiser) = reads.iter().find(|other| other.number == *device) else { continue };
            let both = |name: &CollectionName| read.agreed.contains(name) && promiser.agreed.contains(name);
            let wanted = promised.iter().filter(|(collection, _)| both(collection));
            let wanted = wanted.map(|(collection, vector)| (collection.clone(), vector.clone())).collect();
            let counts = |collection: &CollectionName, missing: &Missing| {
                !self.removed.contains(&missing.origin.peer) && unsent.lacks_any(collection, missing)
            };
            lost.extend(
                first_missing_of(&held, &wanted, &counts)
                    .map(|text| format!("device {device} promised {text}")),
            );
        }
        lost.into_iter().for_each(|text| self.violate(Rule::Durable, at_ms, read.number, text));
    }

    /// Rows, roots and subscribers say what the commits say.
    fn check_rows(
        &mut self,
        at_ms: u64,
        space: SpaceId,
        device: &Final<'_>,
        read: &Read,
        kinds: &[Arc<dyn Kind>],
    ) {
        // What a device read before it was forbidden stays as it is.
        for kind in kinds.iter().filter(|kind| read.readable.contains(kind.collection())) {
            let collection = kind.collection();
            let stored = match rows(device.reader, &space, collection) {
                Ok(stored) => stored.into_iter().collect::<BTreeMap<EntityId, Vec<u8>>>(),
                Err(error) => {
                    self.violate(Rule::Store, at_ms, device.number, error.to_string());
                    continue;
                }
            };
            let mut rebuilt = BTreeMap::new();
            let documents = read.whole.documents.iter().filter(|((of, _), _)| of == collection);
            for ((_, entity), document) in documents.filter(|(_, document)| !document.is_deleted()) {
                match kind.row(document) {
                    Ok(row) => drop(rebuilt.insert(*entity, row)),
                    Err(error) => self.violate(Rule::Rows, at_ms, device.number, error.to_string()),
                }
            }
            let all: BTreeSet<&EntityId> = stored.keys().chain(rebuilt.keys()).collect();
            if let Some(entity) = all.into_iter().find(|entity| stored.get(entity) != rebuilt.get(entity)) {
                let text = format!("the row of {} in {collection} is not its document's", entity.short());
                self.violate(Rule::Rows, at_ms, device.number, text);
            }
            let root = read.state.collections.get(collection).map(|state| state.root).unwrap_or_default();
            if root != read.whole.root(&space, collection) {
                let text = format!("the root of {collection} is not the sum of its entities");
                self.violate(Rule::Rows, at_ms, device.number, text);
            }
            let ids: BTreeSet<EntityId> = stored.into_keys().collect();
            self.check_observer(at_ms, device.number, collection, &ids);
        }
    }

    /// No commit of an honest device is held back when anybody has what it builds on.
    fn check_quarantine(
        &mut self,
        at_ms: u64,
        space: SpaceId,
        device: &Final<'_>,
        read: &Read,
        anywhere: &Anywhere,
    ) {
        let membership = &read.state.membership;
        let held = device.reader.quarantine(&space).map(|mut held| {
            held.retain(|held| !self.is_rogue(&held.author) && membership.role(&held.author).is_some());
            held.retain(|held| !anywhere.lost(held, read));
            held
        });
        match held {
            Ok(held) if held.is_empty() => {}
            // What they build on, their author forgot when it went back to an older state; a rogue may be the only one
            // that still has it, and keeps it.
            Ok(held)
                if !self.rogues.is_empty()
                    && held.iter().all(|held| {
                        let author = self.peers.get(&held.author);
                        let forgot = author.is_some_and(|author| self.went_back.contains(author));
                        forgot && held.reason == HeldReason::MissingDependency
                    }) => {}
            Ok(held) => {
                let text = format!("{} commits of honest devices are in quarantine: {held:?}", held.len());
                self.violate(Rule::NotRejected, at_ms, device.number, text);
            }
            Err(error) => self.violate(Rule::Store, at_ms, device.number, error.to_string()),
        }
    }

    fn check_whole_at_end(&mut self, at_ms: u64, space: SpaceId, device: &Final<'_>, read: &Read) {
        let commits = &read.whole.commits;
        let mut forged: Vec<String> =
            commits.iter().filter_map(|commit| self.misattributed(commit)).collect();
        let membership = &read.state.membership;
        let void = commits
            .iter()
            .flat_map(malice::changes)
            .filter(|change| self.void.get(change).is_some_and(|author| membership.role(author).is_none()));
        forged.extend(void.map(|(entity, _)| {
            format!("a change of {} was made after its author was removed", entity.short())
        }));
        forged.into_iter().for_each(|text| self.violate(Rule::Authored, at_ms, device.number, text));
        let parts: BTreeSet<_> = read.whole.parts().collect();
        let mut lacking = Vec::new();
        for made in &self.commits {
            let held = held_parts(&parts, &made.key);
            // A part that came by way of one who may not read the other can outlive it.
            let mut due = made.leaves.iter().filter(|leaf| match self.is_split {
                true => held.contains(&leaf.collection),
                false => !held.is_empty(),
            });
            if !self.rogues.contains(&made.device)
                && due.any(|leaf| super::is_applied(device.reader, &space, leaf) == Some(false))
            {
                lacking.push(made.step);
            }
        }
        for step in lacking {
            self.violate(
                Rule::Atomic,
                at_ms,
                device.number,
                format!("step {step} counts as held and is not there"),
            );
        }
    }

    /// No device believes of a peer what that peer never had on its disk.
    fn check_receipts(&mut self, at_ms: u64, space: SpaceId, device: &Final<'_>) {
        let mut lies = Vec::new();
        for made in self.commits.iter().filter(|made| made.device == device.number) {
            let Ok(peers) = device.reader.stored_by(&space, &made.key) else { continue };
            let honest = peers.iter().filter(|peer| !self.is_rogue(peer));
            for other in honest.filter_map(|peer| self.peers.get(peer)) {
                let had = self.ever.get(other).is_some_and(|ever| {
                    made.key.parts.iter().any(|(collection, oseq)| {
                        ever.get(collection).is_some_and(|vector| vector.contains(&made.key.origin, *oseq))
                    })
                });
                if !had {
                    lies.push(format!("step {} was never on the disk of device {other}", made.step));
                }
            }
        }
        lies.into_iter().for_each(|text| self.violate(Rule::Honest, at_ms, device.number, text));
    }
}

fn read(space: SpaceId, device: &mut Final<'_>) -> Result<Read, String> {
    let now = device.now;
    let answer = device.replica.answer(now, Ask::State { space });
    let Answer::State(Some(state)) = answer else {
        return Err(format!("the state was answered with {answer:?}"));
    };
    let me = device.replica.peer();
    let readable = state.collections.keys().filter(|name| state.membership.may(&me, Action::Read, name));
    let readable = readable.cloned().collect();
    let whole = Whole::read(now, device.replica, space)?;
    let held = device.reader.held_commits(&space).map_err(|error| error.to_string())?;
    let unplaced = held.iter().filter(|(reason, _)| *reason == HeldReason::UnknownPosition);
    let unplaced = unplaced.map(|(_, commit)| (commit.origin.peer, commit.at.clone())).collect();
    let parts = |(_, commit): (_, Commit)| {
        let origin = commit.origin;
        commit.parts().into_iter().map(move |(collection, oseq)| (origin, collection, oseq))
    };
    let held = held.into_iter().flat_map(parts).collect();
    let statements = statements(now, device.replica, space)?;
    let (number, proofs, agreed) = (device.number, device.replica.proofs(space), BTreeSet::new());
    Ok(Read { number, state, readable, agreed, whole, proofs, held, unplaced, statements })
}

fn statements(now: Now, replica: &mut Replica, space: SpaceId) -> Result<BTreeSet<StatementHash>, String> {
    let Answer::Statements(all) = replica.answer(
        now,
        Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: Vec::new() },
    ) else {
        return Err("the statements are not told".to_owned());
    };
    let hash = |bytes: &Vec<u8>| Statement::decode(bytes).map(|statement| statement.hash());
    all.iter().map(hash).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// Finds which collections come from the first device to which others: each goes by way of its readers alone.
fn agree(reads: &mut [Read], linked: &dyn Fn(usize, usize) -> bool) {
    let all: BTreeSet<CollectionName> = reads.iter().flat_map(|read| read.readable.clone()).collect();
    for collection in all {
        let mut reached: BTreeSet<usize> = reads.first().map(|read| read.number).into_iter().collect();
        loop {
            let near = |read: &&mut Read| {
                let joins = reached.iter().any(|other| linked(*other, read.number) || *other == read.number);
                joins && read.readable.contains(&collection) && !read.agreed.contains(&collection)
            };
            let Some(next) = reads.iter_mut().find(near) else { break };
            next.agreed.insert(collection.clone());
            reached.insert(next.number);
        }
    }
}

/// The collections of a commit whose parts are held.
fn held_parts<'a>(parts: &BTreeSet<Part>, key: &'a CommitKey) -> BTreeSet<&'a CollectionName> {
    let held = key.parts.iter().filter(|(name, oseq)| parts.contains(&(key.origin, name.clone(), *oseq)));
    held.map(|(collection, _)| collection).collect()
}

fn vectors(read: &Read) -> Vectors {
    read.state.collections.iter().map(|(name, state)| (name.clone(), state.vector.clone())).collect()
}
