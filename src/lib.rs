//! A local-first application database whose replicas never drift apart.
#![forbid(unsafe_code)]

pub mod access;
mod codec;
pub mod doc;
mod driver;
mod exchange;
pub mod id;
pub mod identity;
pub mod limits;
pub mod metrics;
mod net;
mod replica;
mod store;
mod sync;
pub mod time;
mod wire;
