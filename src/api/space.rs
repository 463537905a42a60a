//! A space: who belongs to it, its rules, its collections, and commits over several of them.

use std::fmt;
use std::sync::Arc;

use crate::access::{Invite, Member, Membership, Role};
use crate::doc::Entity;
use crate::driver::{Answer, Ask, SpaceState, Turn, Until};
use crate::id::{CollectionName, MemberId, PeerId, SpaceId};
use crate::limits::{HEADS_PAGE_ENTITIES, INVITE_ADDRESSES_MAX, INVITE_LIFETIME_MS, PENDING_COUNT_MAX};
use crate::replica::{Reader, ReplicaError};

use super::events::Events;
use super::node::Inner;
use super::peers::Synced;
use super::person::author;
use super::receipt::Receipt;
use super::status::{CollectionStatus, DamagedEntity, PeerSync, Quarantined, SpaceStatus};
use super::tx::Tx;
use super::{Collection, Error};

/// The unit of membership and of exchange: a shop, a group, a workspace. Cheap to clone.
///
/// All members hold what they may read. What one device writes, the others receive when they are connected,
/// directly or through another member.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use driftless::{Deserialize, Entity, Hydrate, Node, Reconcile, Serialize};
///
/// #[derive(Clone, Reconcile, Hydrate, Serialize, Deserialize)]
/// struct Estimate { total: i64 }
/// #[derive(Clone, Reconcile, Hydrate, Serialize, Deserialize)]
/// struct Order { total: i64 }
///
/// impl Entity for Estimate {
///     const COLLECTION: &'static str = "estimates";
///     const VERSION: u32 = 1;
/// }
/// impl Entity for Order {
///     const COLLECTION: &'static str = "orders";
///     const VERSION: u32 = 1;
/// }
///
/// let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open().await?;
/// let shop = node.create_space("Corner Repairs").await?;
/// let (estimates, orders) = (shop.collection::<Estimate>()?, shop.collection::<Order>()?);
/// let estimate = estimates.insert(&Estimate { total: 4_900 }).await?;
///
/// shop.commit(|tx| {
///     tx.delete::<Estimate>(estimate)?;
///     tx.insert(&Order { total: 4_900 })
/// })
/// .await?;
///
/// assert!(estimates.get(estimate).await?.is_none());
/// assert_eq!(orders.all().await?.len(), 1);
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Space {
    pub(super) node: Arc<Inner>,
    id: SpaceId,
    /// What was known when the handle was made: a space that was here does not go away.
    membership: Arc<Membership>,
}

impl Space {
    pub(super) fn new(node: Arc<Inner>, id: SpaceId, membership: Arc<Membership>) -> Self {
        Self { node, id, membership }
    }

    /// Returns the collection of a type.
    ///
    /// It need not exist before, and costs nothing. The first use of a type after the node was opened makes
    /// its rows readable, which takes as long as reading the documents of those that are missing or of
    /// another version.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when [`Entity::COLLECTION`] is not a collection name, or is in use with another
    /// type on this node.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, id) = shop().await?;
    /// let tickets = space.collection::<Ticket>()?;
    /// assert!(tickets.get(id).await?.is_some());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn collection<T: Entity>(&self) -> Result<Collection<T>, Error> {
        Ok(Collection::new(self.clone(), self.node.known::<T>()?))
    }

    /// Changes several entities, in any of the space's collections, all or nothing: here, and on every device
    /// that receives it.
    ///
    /// `build` names the changes; it runs at once and writes nothing. When it fails, nothing happens. The
    /// changes are made in the order in which they were named, each entity at most once. On return they are
    /// on disk here, and on their way to connected peers. A commit of changes that change nothing writes
    /// nothing.
    ///
    /// # Errors
    ///
    /// What `build` returns; [`Error::Denied`] when one of the collections may not be written,
    /// [`Error::Exists`], [`Error::NotFound`], [`Error::Deleted`] for entities that are not as the change
    /// needs them, [`Error::TooLarge`] for more than 1,024 entities or 768 KiB, [`Error::Closed`], and what
    /// the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the commit made; it is never made in part.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// let spare = Ticket { title: "spare tube".into(), done: false };
    /// let receipt = space
    ///     .commit(|tx| {
    ///         tx.update(id, |ticket: &mut Ticket| ticket.done = true)?;
    ///         tx.insert(&spare)
    ///     })
    ///     .await?;
    /// assert_eq!(receipt.entities().len(), 2);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit<R>(
        &self,
        build: impl FnOnce(&mut Tx<'_>) -> Result<R, Error>,
    ) -> Result<Receipt, Error> {
        let mut tx = Tx::new(self);
        build(&mut tx)?;
        tx.commit().await
    }

    /// Makes an invite for one device of another person, who joins with this role. It is valid for seven
    /// days, once, and only this device can redeem it, so this node must be reachable when it is used.
    ///
    /// Pass its text to the other person, as `invite.to_string()`; who has the text can join.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when this member may not invite with that role, [`Error::Closed`], and what the
    /// store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave an invite that nobody has.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// let invite = space.invite(Role::Writer).await?;
    /// println!("on the other device: node.join(&\"{invite}\".parse()?)");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invite(&self, role: Role) -> Result<Invite, Error> {
        self.invite_for(role, INVITE_LIFETIME_MS).await
    }

    /// As [`Space::invite`], valid for `lifetime_ms` milliseconds, as this device's clock tells when it is
    /// used.
    ///
    /// # Errors
    ///
    /// As [`Space::invite`].
    ///
    /// # Cancel safety
    ///
    /// As [`Space::invite`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// let one_hour_ms = 60 * 60 * 1_000;
    /// let invite = space.invite_for(Role::Reader, one_hour_ms).await?;
    /// println!("valid for an hour: {invite}");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invite_for(&self, role: Role, lifetime_ms: u64) -> Result<Invite, Error> {
        self.invite_by(move |turn, id, at| turn.replica.invite(turn.now, id, role, at, lifetime_ms)).await
    }

    /// Takes an invite back. Who was let in by it stays; a redemption elsewhere that did not know is void.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the invite is not known here; [`Error::Denied`] unless this device's member made it,
    /// or is an admin senior to who did.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// let invite = shop.invite(driftless::Role::Writer).await?;
    /// shop.revoke_invite(&invite).await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke_invite(&self, invite: &Invite) -> Result<(), Error> {
        let (id, key) = (self.id, invite.key());
        Ok(self.node.driver.call(Until::Synced, move |turn| turn.replica.revoke_invite(id, key)).await?)
    }

    /// Makes an invite for another device of this device's own member, valid as [`Space::invite`]. The device
    /// joins with the member's role, and the member's devices can remove each other.
    ///
    /// # Errors
    ///
    /// As [`Space::invite`].
    ///
    /// # Cancel safety
    ///
    /// As [`Space::invite`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// let invite = space.invite_device().await?;
    /// println!("on your own tablet: node.join(&\"{invite}\".parse()?)");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invite_device(&self) -> Result<Invite, Error> {
        self.invite_by(|turn, id, at| turn.replica.invite_device(turn.now, id, at, INVITE_LIFETIME_MS)).await
    }

    /// Removes a member with all of its devices. They are cut off at once, and what they write from then on
    /// is not accepted by anybody who knows; what they have read, they have read.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when this member may not, [`Error::NotFound`] when there is no such member,
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the member removed.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// for member in space.members() {
    ///     if member.name == "Bo" {
    ///         space.remove_member(member.id).await?;
    ///     }
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_member(&self, member: MemberId) -> Result<(), Error> {
        let id = self.id;
        let call = self
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.remove_member(turn.now, id, member));
        Ok(call.await?)
    }

    /// Removes one device of a member: a lost phone. See [`Space::remove_member`].
    ///
    /// # Errors
    ///
    /// As [`Space::remove_member`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the device removed.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// let devices = space.members().into_iter().flat_map(|member| member.devices);
    /// for device in devices.filter(|device| device.name == "lost phone") {
    ///     space.remove_device(device.peer).await?;
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_device(&self, device: PeerId) -> Result<(), Error> {
        let id = self.id;
        let call = self
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.remove_device(turn.now, id, device));
        Ok(call.await?)
    }

    /// Erases what this device holds of the space: entities, members, what waits in quarantine. It cannot be undone.
    ///
    /// The space is gone when it returns, and stays gone through a crash; the bytes on disk are given back behind
    /// that. The other devices keep what they have, and this device stays a member if it was one: it can be let in
    /// again by another invite once it was removed, as a new record, and fetches what the others hold. What remains is
    /// the journal's list of ids that were changed.
    ///
    /// Handles of the space answer [`Error::UnknownSpace`] from then on; its events end with
    /// [`SpaceEvent::Erased`](crate::SpaceEvent::Erased).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when the space is not here, [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the space erased or not.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, tickets, id) = shop().await?;
    /// shop.erase().await?;
    ///
    /// assert!(node.spaces().is_empty());
    /// assert!(tickets.get(id).await.is_err());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn erase(&self) -> Result<(), Error> {
        let id = self.id;
        Ok(self.node.driver.call(Until::Synced, move |turn| turn.replica.erase(id)).await?)
    }

    /// Gives a member another role. Two concurrent changes end with the lower role.
    ///
    /// # Errors
    ///
    /// As [`Space::remove_member`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the role set.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// for member in space.members() {
    ///     if member.name == "Bo" {
    ///         space.set_role(member.id, Role::Reader).await?;
    ///     }
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_role(&self, member: MemberId, role: Role) -> Result<(), Error> {
        let id = self.id;
        let call = self
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.set_role(turn.now, id, member, role));
        Ok(call.await?)
    }

    /// Sets the roles that a member needs at least to read and to write a collection. Without a rule, readers
    /// read and writers write.
    ///
    /// Devices that may not read a collection are not sent it. Set the rule before there is anything to hide.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a collection name, else as [`Space::remove_member`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the rule set.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// space.set_rule("payroll", Role::Admin, Role::Owner).await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_rule(&self, collection: &str, read: Role, write: Role) -> Result<(), Error> {
        let (id, collection) = (self.id, CollectionName::new(collection)?);
        let call = self
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.set_rule(turn.now, id, &collection, read, write));
        Ok(call.await?)
    }

    /// Exchanges this space with all reachable peers at once. See [`super::Node::sync_now`].
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the sync under way.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// let synced = space.sync_now().await?;
    /// println!("{} peers hold the same, {} are behind", synced.equal, synced.behind);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync_now(&self) -> Result<Synced, Error> {
        Ok(self.node.driver.sync_now(Some(self.id)).await?.into())
    }

    /// Returns the events of the space from here on.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// use driftless::SpaceEvent;
    ///
    /// let mut events = space.events();
    /// tickets.delete(id).await?;
    /// let Some(SpaceEvent::Changed { entities, .. }) = events.next().await else { panic!("a change") };
    /// assert_eq!(entities.first().map(|change| change.id), Some(id));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.clone(), self.node.driver.feed().happenings())
    }

    /// Returns how the space stands with other devices. It counts the entities, so it takes time in
    /// proportion.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// let status = space.status().await?;
    /// assert_eq!((status.pending, status.collections.len()), (1, 1));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn status(&self) -> Result<SpaceStatus, Error> {
        let state = self.state().await?;
        let mut collections = Vec::with_capacity(state.collections.len());
        for (name, collection) in &state.collections {
            collections.push(CollectionStatus {
                name: name.as_str().to_owned(),
                entities: self.count(name).await?,
                writers: collection.vector.len(),
                fingerprint: digits(collection.root.as_bytes()),
            });
        }
        self.reader()?;
        let (held, damaged, pending) = self
            .node
            .driver
            .read(|reader| {
                let pending = reader.pending(&self.id, PENDING_COUNT_MAX)?.len();
                Ok((reader.quarantine(&self.id)?, reader.damaged(&self.id)?, pending))
            })
            .await?;
        let quarantined = held.into_iter().map(|held| Quarantined {
            device: held.author,
            arrived: held.arrived,
            reason: held.reason,
            bytes: held.bytes,
        });
        Ok(SpaceStatus {
            pending: pending as u64,
            peers: self.peers(),
            fingerprint: fingerprint(&state),
            collections,
            quarantined: quarantined.collect(),
            damaged: damaged
                .into_iter()
                .map(|(collection, id, only_here)| DamagedEntity {
                    collection: collection.as_str().to_owned(),
                    id,
                    only_here,
                })
                .collect(),
        })
    }

    /// Returns the fingerprint of everything that this device holds in the space, as 16 hexadecimal digits:
    /// devices with the same fingerprint hold the same entities in the same states.
    ///
    /// It is for eyes and scripts: with so few digits a member that takes pains can make two different states look
    /// alike. Whether devices agree is told by [`Peer::in_sync`](crate::Peer::in_sync).
    ///
    /// Devices that may read different collections have different fingerprints. Its cost does not depend on
    /// the number of entities.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// let before = space.fingerprint().await?;
    /// tickets.delete(id).await?;
    /// assert_ne!(space.fingerprint().await?, before);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fingerprint(&self) -> Result<String, Error> {
        Ok(fingerprint(&self.state().await?))
    }

    /// Returns the id.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// let again = node.space(space.id())?;
    /// assert_eq!(again, space);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn id(&self) -> SpaceId {
        self.id
    }

    /// Returns the name that the founder gave.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// assert_eq!(space.name(), "Corner Repairs");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.membership.name()
    }

    /// Returns the members with their devices, the founder first, those that were removed among them.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// let roles: Vec<Role> = space.members().iter().map(|member| member.role).collect();
    /// assert_eq!(roles, [Role::Owner]);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.membership().members().to_vec()
    }

    /// Returns the role of this device's member; `None` when it is a member no more.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Role;
    ///
    /// assert_eq!(space.role(), Some(Role::Owner));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.membership().role(&self.node.driver.peer())
    }

    /// Makes an invite that names the addresses of this node.
    pub(super) async fn invite_by(
        &self,
        make: impl FnOnce(&mut Turn<'_>, SpaceId, Vec<String>) -> Result<Invite, ReplicaError> + Send + 'static,
    ) -> Result<Invite, Error> {
        let addresses = self.node.driver.addresses()?;
        let addresses = addresses.iter().take(INVITE_ADDRESSES_MAX).map(ToString::to_string).collect();
        let id = self.id;
        Ok(self.node.driver.call(Until::Synced, move |turn| make(turn, id, addresses)).await?)
    }

    pub(super) fn membership(&self) -> Arc<Membership> {
        self.node.driver.feed().membership(&self.id).unwrap_or_else(|| Arc::clone(&self.membership))
    }

    /// Returns the reader, unless the space was erased: what is left of it then is not to be read.
    pub(super) fn reader(&self) -> Result<Reader, Error> {
        let reader = self.node.reader()?;
        match self.node.driver.feed().membership(&self.id) {
            Some(_) => Ok(reader),
            None => Err(Error::UnknownSpace { space: self.id }),
        }
    }

    /// Returns the state of the space: vectors and fingerprints.
    pub(super) async fn state(&self) -> Result<SpaceState, Error> {
        let id = self.id;
        let call = self
            .node
            .driver
            .call(Until::Read, move |turn| Ok(turn.replica.answer(turn.now, Ask::State { space: id })));
        let Answer::State(Some(state)) = call.await? else {
            return Err(Error::UnknownSpace { space: id });
        };
        Ok(state)
    }

    async fn count(&self, collection: &CollectionName) -> Result<u64, Error> {
        let (space, mut after, mut count) = (self.id, None, 0);
        loop {
            let collection = collection.clone();
            let (key, count_max) = ([0; 32], HEADS_PAGE_ENTITIES);
            let ask = Ask::Heads { space, collection, key, after, count_max };
            let call = self.node.driver.call(Until::Read, move |turn| Ok(turn.replica.answer(turn.now, ask)));
            let Answer::Heads { entries, complete } = call.await? else {
                return Err(Error::Internal { what: "no heads in answer to a question for them".to_owned() });
            };
            count += entries.len() as u64;
            after = entries.last().map(|(entity, _)| *entity).or(after);
            if complete || entries.is_empty() {
                return Ok(count);
            }
        }
    }

    fn peers(&self) -> Vec<PeerSync> {
        let membership = self.membership();
        let own = self.node.driver.peer();
        let views = self.node.driver.feed().peers().borrow().clone();
        let others = membership.devices().filter(|device| **device != own);
        let peers = others.filter_map(|device| {
            let view = views.get(device);
            Some(PeerSync {
                author: author(&membership, device)?,
                connected: view.is_some_and(|view| view.is_connected()),
                in_sync: view.is_some_and(|view| view.in_sync.contains(&self.id)),
            })
        });
        peers.collect()
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for Space {
    /// Two handles are equal when they are of one space on one node.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.node, &other.node)
    }
}

impl Eq for Space {}

/// One digest over the names and fingerprints of the collections that hold anything.
fn fingerprint(state: &SpaceState) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftless/space-fingerprint/v1\0");
    hasher.update(state.space.as_bytes());
    for (name, collection) in &state.collections {
        if collection.root != crate::id::Root::EMPTY {
            hasher.update(&(name.as_str().len() as u64).to_le_bytes());
            hasher.update(name.as_str().as_bytes());
            hasher.update(collection.root.as_bytes());
        }
    }
    digits(hasher.finalize().as_bytes())
}

/// The first 16 hexadecimal digits.
fn digits(bytes: &[u8; 32]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
