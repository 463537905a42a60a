//! Who may do what: the membership log, roles, commit signatures, invites.

mod accepted;
mod author;
mod code;
mod commit;
mod contest;
mod cut;
mod error;
mod follow;
mod graph;
mod invite;
mod join;
mod log;
mod membership;
mod recovery;
mod removal;
mod resolve;
mod room;
mod share;
mod statement;

use std::fmt;

pub(crate) use accepted::{Fact, counting};
pub use code::JoinCode;
pub use commit::{Commit, Leaf, Slot, change_hash};
pub(crate) use contest::{Contestant, giving_way};
pub use cut::Cut;
pub use error::{AccessError, Refusal};
pub use invite::{Invite, InviteKind};
pub use join::{JoinReply, JoinRequest};
pub use log::Log;
pub use membership::{Device, Member, Membership};
pub use recovery::{RecoveryKey, Said};
pub(crate) use removal::Verdicts;
pub use statement::{Body, Enrolment, Genesis, Grant, Statement, Uses};

/// What a member may do, each more than the one before. A role below all, for relays, is reserved.
///
/// # Example
///
/// ```
/// use driftless::Role;
///
/// assert!(Role::Reader < Role::Writer && Role::Writer < Role::Admin && Role::Admin < Role::Owner);
/// assert_eq!(Role::Admin.to_string(), "admin");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and writes.
    Writer,
    /// Invites, removes juniors, and sets rules and roles up to its own.
    Admin,
    /// Does all that, for every role.
    Owner,
}

/// What is judged.
///
/// # Example
///
/// ```
/// # use driftless::access::{Action, Log};
/// # use driftless::{id::CollectionName, identity::Identity};
/// # let ada = Identity::from_seed([1; 32]);
/// let (log, _) = Log::found(&ada, "Corner Repairs", "Ada", "laptop", [9; 32])?;
/// let tickets = CollectionName::new("tickets")?;
/// assert!(log.membership().may(&ada.peer(), Action::Write, &tickets));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To be sent the entities of a collection.
    Read,
    /// To change them.
    Write,
}

impl Action {
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Write => "writing",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        })
    }
}

#[cfg(test)]
mod tests;
