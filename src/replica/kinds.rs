//! Entity types, and the rows that are built for them.

use std::sync::Arc;

use super::{Replica, ReplicaError, load};
use crate::doc::Kind;
use crate::id::SpaceId;
use crate::store::keyspaces::{Batch, Head, HeadKey, Prefix, RowKey, RowRecord};

/// Heads that are looked at, and rows that are written, at a time.
const PAGE: usize = 64;

impl Replica {
    /// Registers the type of a collection, and builds every row that is missing or of another version.
    ///
    /// Entities of a collection without a type are stored and forwarded, and have no rows. Costs one look at each
    /// entity's head, and a document load for each row that is built.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails or a document cannot be read, [`ReplicaError::Mode`] on a hub.
    pub(crate) fn register(&mut self, kind: Arc<dyn Kind>) -> Result<(), ReplicaError> {
        if self.hub {
            return Err(ReplicaError::Mode { hub: true });
        }
        self.kinds.insert(kind.collection().clone(), Arc::clone(&kind));
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        for space in spaces {
            let opened = self.opened;
            self.mending(opened, |replica| replica.build_rows(space, kind.as_ref()))?;
        }
        self.regate(Some(kind.collection()));
        Ok(())
    }

    fn build_rows(&self, space: SpaceId, kind: &dyn Kind) -> Result<(), ReplicaError> {
        let prefix = Prefix::<HeadKey>::collection(&space, kind.collection());
        let mut after = None;
        loop {
            let page = self.store.page(&prefix, after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut batch = Batch::new();
            for (key, head) in page {
                if !head.deleted && head.row_version != Some(kind.version()) {
                    self.build_row(&mut batch, &key, head, kind)?;
                }
            }
            self.store.write(batch)?;
        }
    }

    fn build_row(
        &self,
        batch: &mut Batch,
        key: &HeadKey,
        mut head: Head,
        kind: &dyn Kind,
    ) -> Result<(), ReplicaError> {
        if head.is_damaged() {
            let HeadKey { space, collection, entity } = key.clone();
            batch.put(&RowKey { space, collection, entity }, &RowRecord::damaged());
            return Ok(());
        }
        // One entity that cannot be read must not keep the others from their rows.
        let document = match load::document(&self.store, key, &head) {
            Ok(document) => document,
            Err(error) => {
                tracing::error!(entity = %key.entity.short(), %error, "a document cannot be read");
                return Ok(());
            }
        };
        self.metrics.documents_loaded.add(1);
        let HeadKey { space, collection, entity } = key.clone();
        let row_key = RowKey { space, collection, entity };
        match kind.row(&document) {
            Ok(bytes) => {
                head.row_version = Some(kind.version());
                batch.put(&row_key, &RowRecord { version: kind.version(), bytes });
            }
            Err(error) => {
                tracing::warn!(entity = %key.entity.short(), %error, "an entity has no row");
                head.row_version = None;
                batch.remove(&row_key);
            }
        }
        batch.put(key, &head);
        Ok(())
    }
}
