//! What is on disk: the key-value engine behind one trait, checked values above it, and the typed keyspaces.
//!
//! Three words, never mixed: *written* is visible to every reader and survives a panic and a dropped handle,
//! *synced* survives a kill and the loss of power, and *stored on n* is synced on other devices, which this
//! floor knows nothing of. What is written and not yet synced may be in the engine's memory alone: handing it
//! to the system takes the engine as long as syncing it, so there is no word between the two.

pub(crate) mod keyspaces;
pub(crate) mod kv;
mod piece;
mod values;

pub(crate) use kv::StoreOptions;
pub(crate) use kv::compact::compact;
pub(crate) use kv::files::set_aside;
pub(crate) use values::Values;
