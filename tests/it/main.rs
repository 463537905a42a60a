//! Several nodes over real connections on loopback, through the public API alone.

#![allow(missing_docs, reason = "tests are named by what they claim")]

mod access;
mod bounds;
mod commits;
mod common;
mod connections;
mod lifecycle;
mod program;
mod refusals;
mod subscriptions;
mod sync;
