//! What is done to the store of a node that is not open.

use std::path::{Path, PathBuf};

use super::{DriverError, STORE_DIR};
use crate::replica::ReplicaError;
use crate::store::{self, StoreOptions};

/// Rewrites the store; returns its bytes before and after. Blocks.
///
/// # Errors
///
/// What the store says.
pub(crate) fn compact(dir: &Path) -> Result<(u64, u64), DriverError> {
    let compacted =
        store::compact(&dir.join(STORE_DIR), &StoreOptions::default()).map_err(ReplicaError::Store)?;
    Ok((compacted.bytes_before, compacted.bytes_after))
}

/// Flips a bit of every stored value of one class, as a bad disk would; returns how many there are.
#[cfg(test)]
pub(crate) fn flip_stored(dir: &Path, class: u8) -> usize {
    store::kv::damage::flip_stored(&dir.join(STORE_DIR), class)
}

/// Moves the store aside; returns where it went. Blocks.
///
/// # Errors
///
/// What the store says.
pub(crate) fn set_aside(dir: &Path) -> Result<PathBuf, DriverError> {
    Ok(store::set_aside(&dir.join(STORE_DIR)).map_err(ReplicaError::Store)?)
}
