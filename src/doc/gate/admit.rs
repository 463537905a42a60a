//! Letting checked changes into a document: steps 4 and 5 of the gate.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{Automerge, Change, ReadDoc};

use super::super::conflict::{Conflict, Fields};
use super::super::document::{Document, guarded};
use super::super::error::{DocError, GateError};
use super::super::kind::Kind;
use super::Header;
use super::structure::{Past, is_plain};
use crate::id::ChangeHash;
use crate::limits::{CONFLICTS_PER_FIELD_MAX, HEADS_MAX, PROOF_OPS};

/// What became of a batch of foreign changes.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// # let (bob, mut other) = (ActorId::new([2; 16]), document.clone());
/// # doc::update(|ticket: &mut Ticket| ticket.title = "sink".into())(&mut document, &ada, now)?;
/// # let edit = doc::update(|ticket: &mut Ticket| ticket.title = "pump".into());
/// # let made = edit(&mut other, &bob, now)?.ok_or("no change")?;
/// let admitted = document.admit(&[(doc::gate::prescan(&made.bytes)?, &made.bytes)], None);
/// assert_eq!(admitted.accepted, [made.hash]);
/// assert_eq!(admitted.refused, []);
/// assert_eq!(admitted.conflicts.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admitted {
    /// Those that the document holds, those that it held before among them, in the order given.
    pub accepted: Vec<ChangeHash>,
    /// Those that it refused, and why, in the order given.
    pub refused: Vec<(ChangeHash, GateError)>,
    /// Fields to which the batch brought concurrent values, with all their values.
    pub conflicts: Vec<Conflict>,
    /// The row of the document with what landed, where a kind was given and something landed; absent when it
    /// could not be read before either.
    pub row: Option<Vec<u8>>,
}

/// A change of the batch that is fit, as Automerge reads it.
#[derive(Debug)]
struct Fit<'a> {
    header: &'a Header,
    bytes: &'a [u8],
    change: Change,
}

impl<'a> Fit<'a> {
    fn raw(&self) -> (&'a Header, &'a [u8]) {
        (self.header, self.bytes)
    }
}

/// What one is to become of a change, by its hash.
type Verdicts = BTreeMap<ChangeHash, Result<(), GateError>>;

impl Document {
    /// Lets a batch of foreign changes in, in whatever order they come; those that are not fit stay out and the
    /// others land.
    ///
    /// `changes` are what [`super::prescan`] said of each, and its bytes. With a `kind`, the document must still
    /// be readable as that kind if it was before. A change that is held already is accepted again. A change whose
    /// dependencies are neither held nor in the batch is refused with [`GateError::Missing`] and can be given
    /// again later. Never panics.
    ///
    /// The cost is that of applying the batch once, and of saving and loading the document when it has grown by a
    /// quarter, or is small and the batch does more than to put values and count at keys of maps.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// # let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// # let made = made.ok_or("no change")?;
    /// let mut elsewhere = Document::new();
    /// let header = doc::gate::prescan(&made.bytes)?;
    /// let admitted = elsewhere.admit(&[(header, &made.bytes)], None);
    /// assert_eq!(admitted.accepted, [made.hash]);
    /// assert_eq!(elsewhere.heads(), document.heads());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn admit(&mut self, changes: &[(Header, &[u8])], kind: Option<&dyn Kind>) -> Admitted {
        let mut verdicts = Verdicts::new();
        let fit = self.fit(changes, &mut verdicts);
        let mut fields = Fields::default();
        let before = guarded(|| fields.collect(self, fit.iter().map(Fit::raw))).is_ok();
        let (landed, mut admitted) = self.settle(changes, &fit, verdicts, kind);
        if let Some(landed) = landed {
            *self = landed;
        }
        if before {
            admitted.conflicts = guarded(|| fields.fresh(self)).unwrap_or_default();
        }
        admitted
    }

    /// As [`Document::admit`], beside the document: returns it with what landed, if anything did. Conflicts are not
    /// looked for.
    pub(crate) fn admitting(
        &self,
        changes: &[(Header, &[u8])],
        kind: Option<&dyn Kind>,
    ) -> (Option<Self>, Admitted) {
        let mut verdicts = Verdicts::new();
        let fit = self.fit(changes, &mut verdicts);
        self.settle(changes, &fit, verdicts, kind)
    }

    fn settle(
        &self,
        changes: &[(Header, &[u8])],
        fit: &[Fit<'_>],
        verdicts: Verdicts,
        kind: Option<&dyn Kind>,
    ) -> (Option<Self>, Admitted) {
        let mut landing = Landing { base: self, landed: None, verdicts, row: None };
        landing.land(&fit.iter().collect::<Vec<_>>(), kind);
        let Landing { landed, verdicts, row, .. } = landing;
        let mut admitted = Admitted { row, ..Admitted::default() };
        for (header, _) in changes {
            match verdicts.get(&header.hash) {
                Some(Ok(())) => admitted.accepted.push(header.hash),
                Some(Err(error)) => admitted.refused.push((header.hash, error.clone())),
                None => admitted.refused.push((header.hash, GateError::Causality)),
            }
        }
        (landed, admitted)
    }

    /// Picks those that are fit by themselves and by their ancestors, each behind its dependencies.
    fn fit<'a>(&self, changes: &'a [(Header, &'a [u8])], verdicts: &mut Verdicts) -> Vec<Fit<'a>> {
        let mut past = Past::new(self);
        let mut fit = Vec::new();
        for (header, bytes) in in_order(changes) {
            if past.has(&header.hash) {
                verdicts.entry(header.hash).or_insert(Ok(()));
                continue;
            }
            match canonical(bytes).and_then(|change| past.follow(header, bytes).map(|()| change)) {
                Ok(change) => fit.push(Fit { header, bytes, change }),
                Err(error) => {
                    verdicts.insert(header.hash, Err(error));
                }
            }
        }
        fit
    }

    /// Applies changes to a clone and tries it out. Returns the clone and its row.
    ///
    /// The operations were checked one by one before, and nothing is known that passes that check and breaks a
    /// document. To save and load it is a second line, whose price is in proportion to the document: every time
    /// would be a third of what a small edit costs its receiver. So it is kept for what builds or reorders, in
    /// small documents, and else for when a document has grown by a quarter.
    fn trial(
        &self,
        changes: &[&Fit<'_>],
        kind: Option<&dyn Kind>,
    ) -> Result<(Self, Option<Vec<u8>>), GateError> {
        let mut draft = self.clone();
        let unusable = |reason| GateError::Unusable { reason };
        guarded(|| draft.take(changes)).map_err(unusable)??;
        guarded(|| draft.check_heads(self, changes)).map_err(unusable)??;
        let row = kind.map(|kind| self.check_row(&draft, kind)).transpose()?.flatten();
        let ops = draft.inner.stats().num_ops;
        let grown = ops >= self.proven_ops.saturating_add(self.proven_ops / 4);
        let plain = || changes.iter().all(|fit| is_plain(fit.header, fit.bytes));
        if grown || (ops <= PROOF_OPS && !plain()) {
            guarded(|| prove(&draft.inner)).map_err(unusable)??;
            draft.proven_ops = ops;
        }
        Ok((draft, row))
    }

    fn take(&mut self, changes: &[&Fit<'_>]) -> Result<(), GateError> {
        let unusable = |reason| GateError::Unusable { reason };
        let parsed: Vec<Change> = changes.iter().map(|fit| fit.change.clone()).collect();
        self.inner.apply_changes(parsed).map_err(|error| unusable(error.to_string()))?;
        for Fit { header, bytes, .. } in changes {
            if !self.has(&header.hash) {
                return Err(unusable("a change is not there after it was applied".to_owned()));
            }
            self.clock.insert(header.actor, header.seq);
            self.content_bytes = self.content_bytes.saturating_add(bytes.len());
        }
        Ok(())
    }

    /// Checks what depends on everything that the document holds: its heads, and the values of the fields that
    /// changed.
    fn check_heads(&self, before: &Self, changes: &[&Fit<'_>]) -> Result<(), GateError> {
        let mut expected: BTreeSet<ChangeHash> = before.heads().into_iter().collect();
        for fit in changes {
            for dep in &fit.header.deps {
                expected.remove(dep);
            }
        }
        let deps: BTreeSet<&ChangeHash> = changes.iter().flat_map(|fit| &fit.header.deps).collect();
        expected.extend(changes.iter().map(|fit| fit.header.hash).filter(|hash| !deps.contains(hash)));
        let heads = self.heads();
        if !heads.iter().eq(&expected) {
            return Err(GateError::Unusable { reason: "the heads are not those expected".to_owned() });
        }
        if heads.len() > HEADS_MAX {
            return Err(GateError::TooLarge {
                what: "heads",
                count: heads.len() as u64,
                max: HEADS_MAX as u64,
            });
        }
        if self.inner.stats().num_ops <= CONFLICTS_PER_FIELD_MAX as u64 {
            // Each value is of an operation of its own, so no field has more.
            return Ok(());
        }
        let mut fields = Fields::default();
        fields.collect(self, changes.iter().map(|fit| fit.raw()));
        let most = fields.most_values();
        if most > CONFLICTS_PER_FIELD_MAX {
            return Err(GateError::TooLarge {
                what: "concurrent values",
                count: most as u64,
                max: CONFLICTS_PER_FIELD_MAX as u64,
            });
        }
        Ok(())
    }

    /// Checks that a document that could be read as a kind still can, and returns its row.
    fn check_row(&self, draft: &Self, kind: &dyn Kind) -> Result<Option<Vec<u8>>, GateError> {
        let row = |document: &Self| guarded(|| kind.row(document));
        match row(draft) {
            Ok(Ok(read)) => Ok(Some(read)),
            Ok(Err(DocError::TooLarge { what, count, max })) => Err(GateError::TooLarge { what, count, max }),
            Err(reason) => Err(GateError::Unusable { reason }),
            Ok(Err(error)) if self.is_empty() || matches!(row(self), Ok(Ok(_))) => {
                Err(GateError::Unusable { reason: error.to_string() })
            }
            Ok(Err(_)) => Ok(None),
        }
    }
}

/// Changes on their way into a document.
struct Landing<'d> {
    base: &'d Document,
    /// The document with those that are in; absent while none is.
    landed: Option<Document>,
    verdicts: Verdicts,
    row: Option<Vec<u8>>,
}

impl Landing<'_> {
    /// Applies changes at once on a draft and takes it over. When that fails, halves are tried by themselves, so
    /// that only those stay out that Automerge cannot take.
    fn land(&mut self, changes: &[&Fit<'_>], kind: Option<&dyn Kind>) {
        let mut ready: Vec<&Fit<'_>> = Vec::with_capacity(changes.len());
        for fit in changes {
            let refused = |dep: &&ChangeHash| matches!(self.verdicts.get(*dep), Some(Err(_)));
            let missing: Vec<ChangeHash> = fit.header.deps.iter().filter(refused).copied().collect();
            if missing.is_empty() {
                ready.push(fit);
            } else {
                self.verdicts.insert(fit.header.hash, Err(GateError::Missing { missing }));
            }
        }
        if ready.is_empty() {
            return;
        }
        match self.landed.as_ref().unwrap_or(self.base).trial(&ready, kind) {
            Ok((draft, read)) => {
                self.landed = Some(draft);
                self.row = read;
                self.verdicts.extend(ready.iter().map(|fit| (fit.header.hash, Ok(()))));
            }
            Err(error) => match ready.as_slice() {
                [fit] => {
                    self.verdicts.insert(fit.header.hash, Err(error));
                }
                several => {
                    let (first, second) = several.split_at(several.len() / 2);
                    self.land(first, kind);
                    self.land(second, kind);
                }
            },
        }
    }
}

/// Saves and loads: what comes back must have the same heads and be readable.
fn prove(document: &Automerge) -> Result<(), GateError> {
    let unusable = |reason| GateError::Unusable { reason };
    let loaded = Automerge::load(&document.save()).map_err(|error| unusable(error.to_string()))?;
    if loaded.get_heads() != document.get_heads() {
        return Err(unusable("the heads differ after saving and loading".to_owned()));
    }
    let _ = loaded.hydrate(None);
    Ok(())
}

/// Reads a change, and checks that Automerge writes it exactly as it came: a saved document keeps only what a change
/// says, and writes it anew when it is loaded.
fn canonical(bytes: &[u8]) -> Result<Change, GateError> {
    let again = guarded(|| {
        let change = Change::try_from(bytes).map_err(|error| error.to_string())?;
        let same = Change::from(change.decode()).raw_bytes() == bytes;
        Ok::<_, String>((change, same))
    });
    match again.flatten() {
        Ok((change, true)) => Ok(change),
        Ok((_, false)) => Err(GateError::Malformed { what: "change is not in canonical form" }),
        Err(reason) => Err(GateError::Unusable { reason }),
    }
}

/// Orders a batch so that each change comes behind those of the batch that it depends on, otherwise as given.
fn in_order<'a>(changes: &'a [(Header, &'a [u8])]) -> Vec<(&'a Header, &'a [u8])> {
    let places: BTreeMap<ChangeHash, usize> =
        changes.iter().enumerate().map(|(place, (header, _))| (header.hash, place)).collect();
    let mut ordered = Vec::with_capacity(changes.len());
    let mut seen = BTreeSet::new();
    for start in 0..changes.len() {
        // Depth first with a stack of our own; a chain may be as long as the batch.
        let mut stack = vec![(start, false)];
        while let Some((place, deps_done)) = stack.pop() {
            let Some((header, bytes)) = changes.get(place) else { continue };
            if deps_done {
                ordered.push((header, *bytes));
            } else if seen.insert(place) {
                stack.push((place, true));
                let deps = header.deps.iter().filter_map(|dep| places.get(dep));
                stack.extend(deps.filter(|dep| !seen.contains(dep)).map(|dep| (*dep, false)));
            }
        }
    }
    ordered
}
