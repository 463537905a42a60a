//! One space in memory: its membership, the state of its collections, and its quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accepted::Chains;
use super::clashed::{ClashPlace, Clashed};
use super::contest::Contests;
use super::held::Quarantine;
use super::{ReplicaError, load};
use crate::access::{Body, Log, Membership, Statement, Verdicts};
use crate::exchange::{CollectionState, SpaceState};
use crate::id::{
    CollectionName, CommitHash, Interests, Origin, PeerId, Seen, SpaceId, StatementHash, Vector,
};
use crate::store::keyspaces::{CopyKey, Key, Keyspaces, Prefix, Raw, RootKey, StatementKey, VectorKey};
use crate::store::kv::KvError;

/// What the database keeps in memory of a space. Changed only after the same was written.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) log: Log,
    pub(super) membership: Arc<Membership>,
    pub(super) collections: BTreeMap<CollectionName, CollectionState>,
    pub(super) held: Quarantine,
    pub(super) interests: Arc<Interests>,
    /// The devices that were ever removed, each with the removals that count.
    pub(super) removals: BTreeMap<PeerId, BTreeSet<StatementHash>>,
    /// Of devices among them: what is known here of their chains. Worked out when it is needed.
    pub(super) chains: BTreeMap<PeerId, Chains>,
    /// Where origins equivocate.
    pub(super) clashes: Clashed,
    /// Where of what is applied it is to be looked at whether it counts without the one before it in the chain.
    pub(super) unchained: BTreeSet<ClashPlace>,
    /// Which commits of such origins give way to others.
    pub(super) contests: Contests,
    /// What verdicts say, by device.
    pub(super) verdicts: BTreeMap<PeerId, Verdicts>,
    /// The last commit of this device in a collection. Found in the store when it is not here.
    pub(super) own_last: BTreeMap<CollectionName, CommitHash>,
    /// How many entities the index of a collection lists. Counted when it is needed.
    pub(super) listed: BTreeMap<CollectionName, usize>,
}

impl Space {
    /// Wraps the log of a space that holds nothing.
    pub(super) fn new(log: Log) -> Self {
        let membership = log.membership();
        let (removals, held) = (membership.removals(), Quarantine::default());
        let verdicts = membership.verdicts();
        Self {
            log,
            membership,
            collections: BTreeMap::new(),
            held,
            removals,
            chains: BTreeMap::new(),
            clashes: Clashed::default(),
            unchained: BTreeSet::new(),
            contests: Contests::default(),
            verdicts,
            own_last: BTreeMap::new(),
            listed: BTreeMap::new(),
            interests: Arc::default(),
        }
    }

    /// Reads a space from its statements, vectors, roots and quarantine. What is damaged of them is left out, and
    /// named in `damaged`.
    pub(super) fn load(
        store: &Keyspaces,
        space: SpaceId,
        damaged: &mut Vec<KvError>,
    ) -> Result<Self, ReplicaError> {
        let mut statements = Vec::new();
        store.each_checked(&Prefix::<StatementKey>::space(&space), |key, bytes| {
            if bytes.is_none() {
                damaged.push(key.damaged());
            }
            let bytes = match bytes {
                Some(bytes) => Some(bytes),
                None => load::statement(store, &CopyKey { space, hash: key.hash })?,
            };
            let unreadable = |error| KvError::Corrupt { what: format!("statement {}: {error}", key.hash) };
            if let Some(Raw(bytes)) = bytes {
                statements.push(Statement::decode(&bytes).map_err(unreadable)?);
            }
            Ok::<(), ReplicaError>(())
        })?;
        let mut loaded = Self::new(Log::from_statements(space, statements)?);
        loaded.load_collections(store, &space, damaged)?;
        loaded.held = Quarantine::load(store, &space, damaged)?;
        loaded.load_clashes(store, &space, damaged)?;
        loaded.interests = Arc::new(super::interest::load(store, &space)?);
        Ok(loaded)
    }

    fn load_collections(
        &mut self,
        store: &Keyspaces,
        space: &SpaceId,
        damaged: &mut Vec<KvError>,
    ) -> Result<(), ReplicaError> {
        let mut origins: BTreeMap<CollectionName, BTreeMap<Origin, Seen>> = BTreeMap::new();
        store.each_checked(&Prefix::<VectorKey>::space(space), |key, seen| {
            match seen {
                Some(seen) => drop(origins.entry(key.collection).or_default().insert(key.origin, seen.0)),
                None => damaged.push(key.damaged()),
            }
            Ok::<(), ReplicaError>(())
        })?;
        for (collection, origins) in origins {
            self.collections.entry(collection).or_default().vector = Vector::from_origins(origins)?;
        }
        store.each_checked(&Prefix::<RootKey>::space(space), |key, root| {
            match root {
                Some(root) => self.collections.entry(key.collection).or_default().root = root,
                None => damaged.push(key.damaged()),
            }
            Ok(())
        })
    }

    /// Tells whether a statement enrols a device, be it one that does not count. Reads all of them.
    pub(super) fn enrols(&self, device: &PeerId) -> bool {
        let of_it = |body: &Body| body.enrolment().is_some_and(|enrolment| enrolment.device == *device);
        self.log.statements().any(|statement| of_it(statement.body()))
    }

    pub(super) fn state(&self) -> SpaceState {
        SpaceState {
            space: self.log.space(),
            membership: Arc::clone(&self.membership),
            log: self.log.digest(),
            interests: Arc::clone(&self.interests),
            collections: self.collections.clone(),
        }
    }
}
