//! Documents: Automerge behind types, and the gate that every foreign change passes.
//!
//! The derives of `Reconcile` and `Hydrate` write paths that begin with `::autosurgeon`, so a crate that uses them
//! names `autosurgeon = "0.14"` among its own dependencies; an import does not do.
//!
//! Two devices that insert one entity apart, under an id that both derived, merge field by field. A text, list or
//! map that both created is two objects at one field: one is shown, the same everywhere, and both are readable as
//! a conflict. They do not merge into one.
//!
//! The gate judges a change by itself and its ancestors ([`gate`]). Three bounds look at everything a document
//! holds, and may differ between devices until they hold the same: the number of heads, the number of values of a
//! field, and whether the document can be read as its kind.

mod conflict;
mod counter;
mod document;
mod edit;
mod error;
pub mod gate;
mod kind;
mod sparing;
#[cfg(test)]
pub(crate) mod tests;
mod text;

pub use conflict::{Conflict, ConflictValue, Value};
pub use counter::Counter;
pub use document::Document;
pub use edit::{Edit, Made, acknowledge, delete, insert, restore, try_update, update};
pub use error::{DocError, GateError};
pub use gate::{Admitted, Header};
pub use kind::{Entity, Kind, KindOf, Priority, row_value};
pub use text::Text;

pub use autosurgeon;
pub use autosurgeon::{Hydrate, Reconcile};
