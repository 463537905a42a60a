//! Who belongs to a space, and who wrote a value: names to show beside keys.

use crate::access::Membership;
use crate::id::{MemberId, PeerId};

/// The author of a value: a device, and the member that it belongs to.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, tickets, ..) = desks().await?;
/// let status = tickets.space().status().await?;
/// let author = &status.peers[0].author;
/// assert_eq!((author.member_name.as_str(), author.device_name.as_str()), ("Ben", "bench"));
/// assert_eq!(author.device, bench.peer());
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Author {
    /// The device's key.
    pub device: PeerId,
    /// What the device is called.
    pub device_name: String,
    /// The member.
    pub member: MemberId,
    /// What the member is called.
    pub member_name: String,
}

/// Finds a device among the members of a space, those that were removed among them.
pub(super) fn author(membership: &Membership, device: &PeerId) -> Option<Author> {
    membership.members().iter().find_map(|member| {
        let found = member.devices.iter().find(|candidate| candidate.peer == *device)?;
        Some(Author {
            device: *device,
            device_name: found.name.clone(),
            member: member.id,
            member_name: member.name.clone(),
        })
    })
}
