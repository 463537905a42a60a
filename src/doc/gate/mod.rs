//! The gate that every foreign change passes before Automerge sees it.
//!
//! 1. [`prescan`] reads the chunk with a parser of its own: frame, checksum, header, and the operations, whose
//!    number is summed up from the run lengths first. It allocates nothing by what the chunk claims.
//! 2. [`Document::admit`](super::Document::admit) checks that Automerge writes the change exactly as it came, that
//!    it follows its dependencies and its actor's previous change, and that every operation refers to something of
//!    the right type that its author had seen. An operation that is referred to is looked up in the change that
//!    made it. This costs what the change and those it refers to cost, whatever the size of the document.
//! 3. What passed is applied at once to a clone, inside `catch_unwind`. The clone takes the document's place when
//!    its heads, its fields and its row are as they should be.
//! 4. The clone is saved and loaded as a trial while the document is small, and later whenever it has grown by a
//!    quarter since the last trial: loading 100,000 keystrokes takes 230 ms, applying one to them 17 ms, so a trial
//!    at each would cost more than all the rest. A trial that fails refuses the batch that met it. Step 2 is what
//!    keeps bad changes out of large documents; the trial is the alarm behind it, and the mutants of the tests are
//!    run against step 2 alone.
//!
//! When a trial fails, the batch is halved and each half tried by itself, so that honest changes land.

mod admit;
mod chunk;
mod lineage;
mod ops;
mod runs;
mod structure;

/// Raised whenever the gate lets in what it refused before: what is held as malformed is judged anew then.
pub(crate) const VERSION: u64 = 1;

pub use admit::Admitted;
pub use chunk::{Header, prescan};
pub(super) use structure::{Place, judge, places};

#[cfg(panic = "abort")]
compile_error!(
    "driftless needs panic = \"unwind\": the gate catches panics that hostile changes cause inside Automerge"
);
