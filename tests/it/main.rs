//! Several nodes over real connections on loopback, through the public API alone.

#![allow(missing_docs, reason = "tests are named by what they claim")]

mod access;
mod bounds;
mod commits;
mod common;
mod connections;
mod copies;
mod discovery;
mod hub;
#[path = "../disk/image.rs"]
#[allow(dead_code, reason = "other tests cut the power")]
mod image;
mod joining;
mod lifecycle;
mod mesh;
mod program;
mod recovery;
mod refusals;
mod removal;
mod scope;
mod subscriptions;
mod sync;
