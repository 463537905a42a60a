//! The recovery key: founding a space with one, and using it.

use crate::access::{RecoveryKey, Role, Said};
use crate::driver::Until;
use crate::id::{MemberId, PeerId, StatementHash};
use crate::replica::Rescue;

use super::builder::check_name;
use super::{Error, Node, Space};

/// The hand of who holds the recovery key of a space, on one device that has the space. Made by [`Space::recover`].
///
/// What it does is signed by the key, stands above what any member says, and reaches the other devices as what members
/// say does. Nothing of the key is kept on the device.
///
/// # Example
///
/// The founder's phone is stolen, and has removed everybody. Ben's bench takes the founder's place, and the phone goes
/// with all that it said from its first removal on.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).discovery(false).member("Ben").open();
/// # let (phone, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
/// # let (shop, key) = phone.create_space_with_recovery_key("Corner Repairs").await?;
/// # let on_bench = bench.join(&shop.invite(driftless::Role::Writer).await?).await?;
/// # let ben = shop.members()[1].id;
/// # let mut events = on_bench.events();
/// # shop.remove_member(ben).await?;
/// # while on_bench.role().is_some() { events.next().await; }
/// # let written_down = key.to_string();
/// let recovery = on_bench.recover(&written_down.parse()?)?;
/// let founder = on_bench.members()[0].id;
/// let said = on_bench.said_by(phone.peer());
/// let theft = said.iter().find(|said| said.what == "removed Ben").ok_or("nobody was removed")?;
///
/// recovery.remove_device_before(phone.peer(), theft.id).await?;
/// recovery.take_place_of(founder).await?;
///
/// assert_eq!(on_bench.role(), Some(driftless::Role::Owner));
/// # bench.close().await?;
/// # phone.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recovery {
    space: Space,
    key: RecoveryKey,
}

impl Node {
    /// Founds a space as [`Node::create_space`] does, with a recovery key: a secret that stands above all members. It is
    /// what is left when the founder's device is lost, or stolen and turned against the others.
    ///
    /// Write the text of the key down (`key.to_string()`, 40 characters without the hyphens), and keep it away from the
    /// device: the node forgets it at once, and nobody can show it again. Whoever has it can do anything in the
    /// space, for ever; it can be neither replaced nor taken back. A space that was founded without one gets none.
    ///
    /// # Errors
    ///
    /// As [`Node::create_space`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a space whose key nobody has.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// let (branch, key) = node.create_space_with_recovery_key("Harbour Repairs").await?;
    /// println!("write this down, and put it into the safe: {key}");
    /// assert!(branch.has_recovery_key());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_space_with_recovery_key(&self, name: &str) -> Result<(Space, RecoveryKey), Error> {
        check_name("space name", name)?;
        let (member, device) = self.names();
        let name = name.to_owned();
        let call = self.inner.driver.call(Until::Synced, move |turn| {
            turn.replica.create_space_with_recovery_key(turn.now, &name, &member, &device)
        });
        let (id, key) = call.await?;
        Ok((self.space(id)?, key))
    }
}

impl Space {
    /// Tells whether the space was founded with a recovery key.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// assert!(!shop.has_recovery_key(), "founded by create_space");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn has_recovery_key(&self) -> bool {
        self.membership().recovery_key().is_some()
    }

    /// Takes the recovery key of the space into use on this device, whatever the role of this device is, and also when
    /// it was removed. It has to hold the space, so that it knows what to recover.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when it is not the key of this space, or the space has none.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// use driftless::{ErrorKind, RecoveryKey};
    ///
    /// let other: RecoveryKey = RecoveryKey::from_secret([7; 16]);
    /// let denied = shop.recover(&other).expect_err("of no space here");
    /// assert_eq!(denied.kind(), ErrorKind::Denied);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn recover(&self, key: &RecoveryKey) -> Result<Recovery, Error> {
        let rule = match self.membership().recovery_key() {
            Some(known) if known == key.key() => {
                return Ok(Recovery { space: self.clone(), key: key.clone() });
            }
            Some(_) => "this is not the recovery key of the space",
            None => "the space was founded without a recovery key",
        };
        Err(Error::Denied { what: "recovering".to_owned(), rule: rule.to_owned() })
    }

    /// Returns what a device has said of members, roles, rules and invites, in the order in which one follows another,
    /// whether it counts or not. It is how one finds where the thief of a device began.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// shop.invite(driftless::Role::Writer).await?;
    /// for said in shop.said_by(node.peer()) {
    ///     println!("{} {}", said.what, if said.counts { "" } else { "(void)" });
    /// }
    /// assert_eq!(shop.said_by(node.peer())[1].what, "invited somebody as writer");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn said_by(&self, device: PeerId) -> Vec<Said> {
        self.membership().said_by(&device)
    }
}

impl Recovery {
    /// Makes this device one of a member's, with its role and its seniority: the founder's, to be above all others. Also
    /// a device that is a member's already can be, or one that was removed. When it is one of that member's
    /// already, nothing happens.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when there is no such member, or it was removed; [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave it done.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// # let (shop, key) = node.create_space_with_recovery_key("Harbour Repairs").await?;
    /// let founder = shop.members()[0].id;
    /// shop.recover(&key)?.take_place_of(founder).await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn take_place_of(&self, member: MemberId) -> Result<(), Error> {
        let (_, device_name) = Node::of(&self.space.node).names();
        self.rescue(Rescue::TakePlace { member, device_name }).await
    }

    /// Removes a device, the founder's too: a lost one. What it said and wrote so far stays, as far as it is here. See
    /// [`Space::remove_device`].
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the device is no member's; [`Error::Closed`], and what the store says.
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
    /// # let (_dir, node, ..) = shop().await?;
    /// # let (shop, key) = node.create_space_with_recovery_key("Harbour Repairs").await?;
    /// shop.recover(&key)?.remove_device(node.peer()).await?;
    /// assert_eq!(shop.role(), None);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_device(&self, device: PeerId) -> Result<(), Error> {
        self.rescue(Rescue::RemoveDevice { device, before: None }).await
    }

    /// Removes a stolen device as of before something that was said in the log, one of [`Space::said_by`]: that, and
    /// what the device said that does not come before it, is void. Whoever it removed since is a member again, and
    /// whoever it let in is none. What it wrote into entities stays, as far as it is here.
    ///
    /// # Errors
    ///
    /// As [`Recovery::remove_device`]; [`Error::Invalid`] when the statement is not known here, or founded the
    /// space.
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
    /// # let (_dir, node, ..) = shop().await?;
    /// # let (shop, key) = node.create_space_with_recovery_key("Harbour Repairs").await?;
    /// let invite = shop.invite(driftless::Role::Owner).await?;
    /// let said = shop.said_by(node.peer());
    /// let theft = said.last().ok_or("it founded the space")?;
    ///
    /// shop.recover(&key)?.remove_device_before(node.peer(), theft.id).await?;
    ///
    /// assert!(!shop.said_by(node.peer())[1].counts, "the invite is void");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_device_before(&self, device: PeerId, statement: StatementHash) -> Result<(), Error> {
        self.rescue(Rescue::RemoveDevice { device, before: Some(statement) }).await
    }

    /// Removes a member with all its devices, whatever its rank. A member that goes cannot be taken the place of any
    /// more: of the founder, remove the device.
    ///
    /// # Errors
    ///
    /// As [`Space::remove_member`], except that nobody is too senior.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the member removed.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn it(shop: &driftless::Space, key: &driftless::RecoveryKey) -> Result<(), driftless::Error> {
    /// let recovery = shop.recover(key)?;
    /// for member in shop.members().into_iter().filter(|member| member.name == "a friend of the thief") {
    ///     recovery.remove_member(member.id).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_member(&self, member: MemberId) -> Result<(), Error> {
        self.rescue(Rescue::RemoveMember { member }).await
    }

    /// Gives a member another role, up to owner. It keeps its rank: who is senior to it may still remove it, which
    /// [`Recovery::take_place_of`] prevents.
    ///
    /// # Errors
    ///
    /// As [`Space::set_role`], except that nobody is too senior and no role too high.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the role set.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn it(shop: &driftless::Space, key: &driftless::RecoveryKey) -> Result<(), driftless::Error> {
    /// let recovery = shop.recover(key)?;
    /// for member in shop.members().into_iter().filter(|member| member.name == "Ben") {
    ///     recovery.set_role(member.id, driftless::Role::Owner).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_role(&self, member: MemberId, role: Role) -> Result<(), Error> {
        self.rescue(Rescue::SetRole { member, role }).await
    }

    async fn rescue(&self, rescue: Rescue) -> Result<(), Error> {
        let (id, key) = (self.space.id(), self.key.clone());
        let call = self
            .space
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.rescue(turn.now, id, &key, rescue));
        Ok(call.await?)
    }
}
