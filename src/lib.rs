//! A local-first application database whose replicas never drift apart.
#![forbid(unsafe_code)]

mod codec;
pub mod id;
pub mod limits;
pub mod metrics;
pub mod time;
