//! One space in memory: its membership, the state of its collections, and its quarantine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ReplicaError;
use super::accepted::Chains;
use super::clash::{Clash, ClashPlace};
use super::held::Quarantine;
use crate::access::{Log, Membership, Statement};
use crate::exchange::{CollectionState, SpaceState};
use crate::id::{
    CollectionName, CommitHash, Interests, Origin, PeerId, Seen, SpaceId, StatementHash, Vector,
};
use crate::store::keyspaces::{Keyspaces, Prefix, RootKey, StatementKey, VectorKey};
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
    pub(super) clashes: BTreeMap<ClashPlace, Clash>,
    /// The commits that verdicts drop.
    pub(super) dropped: BTreeSet<CommitHash>,
    /// The last commit of this device in a collection. Found in the store when it is not here.
    pub(super) own_last: BTreeMap<CollectionName, CommitHash>,
}

impl Space {
    /// Wraps the log of a space that holds nothing.
    pub(super) fn new(log: Log) -> Self {
        let membership = log.membership();
        let (removals, held) = (membership.removals(), Quarantine::default());
        let dropped = membership.dropped();
        Self {
            log,
            membership,
            collections: BTreeMap::new(),
            held,
            removals,
            chains: BTreeMap::new(),
            clashes: BTreeMap::new(),
            dropped,
            own_last: BTreeMap::new(),
            interests: Arc::default(),
        }
    }

    /// Reads a space from its statements, vectors, roots and quarantine.
    pub(super) fn load(store: &Keyspaces, space: SpaceId) -> Result<Self, ReplicaError> {
        let mut statements = Vec::new();
        store.each(&Prefix::<StatementKey>::space(&space), |key, bytes| {
            let statement = Statement::decode(&bytes.0);
            let damaged = |error| KvError::Corrupt { what: format!("statement {}: {error}", key.hash) };
            statements.push(statement.map_err(damaged)?);
            Ok::<(), ReplicaError>(())
        })?;
        let mut loaded = Self::new(Log::from_statements(space, statements)?);
        loaded.load_collections(store, &space)?;
        loaded.held = Quarantine::load(store, &space)?;
        loaded.load_clashes(store, &space)?;
        loaded.interests = Arc::new(super::interest::load(store, &space)?);
        Ok(loaded)
    }

    fn load_collections(&mut self, store: &Keyspaces, space: &SpaceId) -> Result<(), ReplicaError> {
        let mut origins: BTreeMap<CollectionName, BTreeMap<Origin, Seen>> = BTreeMap::new();
        store.each(&Prefix::<VectorKey>::space(space), |key, seen| {
            origins.entry(key.collection).or_default().insert(key.origin, seen.0);
            Ok::<(), ReplicaError>(())
        })?;
        for (collection, origins) in origins {
            self.collections.entry(collection).or_default().vector = Vector::from_origins(origins)?;
        }
        store.each(&Prefix::<RootKey>::space(space), |key, root| {
            self.collections.entry(key.collection).or_default().root = root;
            Ok(())
        })
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
