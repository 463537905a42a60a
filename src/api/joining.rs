//! Being let in when somebody has to approve: what both sides see of a request to join.

use std::fmt;
use std::sync::Arc;

use crate::access::{Invite, JoinCode, Role};
use crate::driver::{Joined, Until};
use crate::id::{PeerId, SpaceId};
use crate::limits::{INVITE_LIFETIME_MS, JOIN_POLL_MS};
use crate::replica::Applicant;
use crate::time::Timestamp;

use super::node::Inner;
use super::{Error, Node, Space};

/// What came of asking to be let in, see [`Node::ask_to_join`].
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
/// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
/// # let shop = desk.create_space("Corner Repairs").await?;
/// use driftless::{Asked, Role};
///
/// let invite = shop.invite_with_approval(Role::Writer).await?;
/// let Asked::Waits(joining) = bench.ask_to_join(&invite).await? else { panic!("it needs approval") };
/// println!("tell them: {}", joining.code());
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum Asked {
    /// This device is in.
    In(Space),
    /// Somebody at the inviting device has to approve.
    Waits(Joining),
}

/// A request of this node that waits to be approved. It stays through restarts, of either side.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
/// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
/// # let shop = desk.create_space("Corner Repairs").await?;
/// # let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
/// bench.ask_to_join(&invite).await?;
///
/// let joining = &bench.joining().await?[0];
/// let request = &shop.join_requests().await?[0];
/// assert_eq!(joining.code(), request.code);
/// shop.approve(request.device).await?;
/// assert_eq!(joining.wait(60_000).await?.name(), "Corner Repairs");
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Joining {
    node: Arc<Inner>,
    invite: Invite,
    code: JoinCode,
}

impl Joining {
    /// Returns the code that the inviting device shows beside this request, if nobody sits in between: let both people
    /// compare, by voice for instance.
    ///
    /// Whoever sits in between, with the invite in hand, has at most four guesses among a million, each of which
    /// shows as a request there.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// let driftless::Asked::Waits(joining) = bench.ask_to_join(&invite).await? else { panic!("it waits") };
    /// assert_eq!(joining.code(), shop.join_requests().await?[0].code);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn code(&self) -> JoinCode {
        self.code
    }

    /// Returns the space that the request is for.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn it(joining: &driftless::Joining) {
    /// println!("waiting for {}", joining.space_id().short());
    /// # }
    /// ```
    #[must_use]
    pub fn space_id(&self) -> SpaceId {
        self.invite.space()
    }

    /// Asks every two seconds until the request is approved, for at most `wait_ms` milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::AwaitingApproval`] when the time is over: wait again, or come back after a restart.
    /// [`Error::NotAdmitted`] when the request was declined, or the invite was used or revoked: the request is over.
    /// [`Error::Closed`], and what the store says. While the inviter is not reached, it goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the request waiting.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// bench.ask_to_join(&invite).await?;
    /// shop.approve(bench.peer()).await?;
    /// bench.joining().await?[0].wait(60_000).await?;
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(&self, wait_ms: u64) -> Result<Space, Error> {
        let mut left_ms = wait_ms;
        loop {
            match ask(&self.node, &self.invite).await {
                Ok(Asked::In(space)) => return Ok(space),
                Ok(Asked::Waits(_)) | Err(Error::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
            if left_ms == 0 {
                return Err(Error::AwaitingApproval { code: self.code.to_string() });
            }
            let pause_ms = left_ms.min(JOIN_POLL_MS);
            self.node.driver.join_pause(pause_ms).await?;
            left_ms -= pause_ms;
        }
    }

    /// Gives the request up. The inviting device keeps showing it until it is approved or declined there.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn it(joining: driftless::Joining) -> Result<(), driftless::Error> {
    /// joining.cancel().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(self) -> Result<(), Error> {
        forget(&self.node, &self.invite).await
    }
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").field("space", &self.invite.space()).field("code", &self.code).finish()
    }
}

/// A request to join that waits at this node to be approved or declined.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
/// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
/// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
/// # let shop = desk.create_space("Corner Repairs").await?;
/// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
/// bench.ask_to_join(&invite).await?;
/// let request = &shop.join_requests().await?[0];
/// println!("{} on {} shows {}", request.member_name, request.device_name, request.code);
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinRequest {
    /// The device that asks.
    pub device: PeerId,
    /// What the person calls itself; empty when the device is to be another one of a member. Anybody with the invite
    /// can claim any name.
    pub member_name: String,
    /// What the device calls itself.
    pub device_name: String,
    /// What the other side must see too, see [`Joining::code`].
    pub code: JoinCode,
    /// When the request came, by this device's clock.
    pub arrived: Timestamp,
}

impl From<Applicant> for JoinRequest {
    fn from(applicant: Applicant) -> Self {
        let Applicant { device, member_name, device_name, code, arrived } = applicant;
        Self { device, member_name, device_name, code, arrived }
    }
}

impl Node {
    /// Returns the requests of this node that wait to be approved, also after it was opened again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// bench.ask_to_join(&invite).await?;
    /// assert_eq!(bench.joining().await?.len(), 1);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn joining(&self) -> Result<Vec<Joining>, Error> {
        waiting(&self.inner).await
    }
}

impl Space {
    /// Invites a new member, whose device waits until somebody here approves of it: [`SpaceEvent::JoinRequested`]
    /// tells of it, [`Space::join_requests`] lists it, and both sides show the same code. The invite is good for
    /// seven days: the device has to ask in that time, and may be approved later.
    ///
    /// This device alone takes such requests and approves of them; another admin's device does not see them.
    ///
    /// [`SpaceEvent::JoinRequested`]: crate::SpaceEvent::JoinRequested
    ///
    /// # Errors
    ///
    /// As [`Space::invite`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// assert!(matches!(bench.ask_to_join(&invite).await?, driftless::Asked::Waits(_)));
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invite_with_approval(&self, role: Role) -> Result<Invite, Error> {
        self.invite_by(move |turn, id, at| {
            turn.replica.invite_with_approval(turn.now, id, role, at, INVITE_LIFETIME_MS)
        })
        .await
    }

    /// Returns the requests to join that wait at this device, at most 4 of each invite.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// bench.ask_to_join(&invite).await?;
    /// assert_eq!(shop.join_requests().await?[0].device, bench.peer());
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn join_requests(&self) -> Result<Vec<JoinRequest>, Error> {
        let id = self.id();
        let call = self.node.driver.call(Until::Read, move |turn| Ok(turn.replica.applicants(&id)));
        Ok(call.await?.into_iter().map(JoinRequest::from).collect())
    }

    /// Lets a device in whose request waits: it is a member on return, and hears of it when it asks next.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when no request of the device waits, [`Error::NotAdmitted`] when its invite is used or
    /// revoked by now, [`Error::Denied`] when this device may not invite any more.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// bench.ask_to_join(&invite).await?;
    /// shop.approve(bench.peer()).await?;
    /// assert_eq!(shop.members().len(), 2);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn approve(&self, device: PeerId) -> Result<(), Error> {
        let id = self.id();
        Ok(self.node.driver.call(Until::Synced, move |turn| turn.replica.approve(id, device)).await?)
    }

    /// Refuses a device whose request waits. It may not ask by the same invite again; others may, so revoke the
    /// invite when it has got into wrong hands.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when no request of the device waits.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn it(shop: &driftless::Space) -> Result<(), driftless::Error> {
    /// for request in shop.join_requests().await? {
    ///     shop.decline(request.device).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn decline(&self, device: PeerId) -> Result<(), Error> {
        let id = self.id();
        Ok(self.node.driver.call(Until::Synced, move |turn| turn.replica.decline(id, device)).await?)
    }
}

/// Asks once.
pub(super) async fn ask(node: &Arc<Inner>, invite: &Invite) -> Result<Asked, Error> {
    match node.driver.join(node.joiner(invite)).await.map_err(Error::from) {
        Ok(Joined::Member) => Ok(Asked::In(Node::of(node).space(invite.space())?)),
        Ok(Joined::Waits(code)) => {
            Ok(Asked::Waits(Joining { node: Arc::clone(node), invite: invite.clone(), code }))
        }
        Err(error @ Error::NotAdmitted { .. }) => {
            forget(node, invite).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// The requests of this node that wait.
pub(super) async fn waiting(node: &Arc<Inner>) -> Result<Vec<Joining>, Error> {
    let call = node.driver.call(Until::Read, |turn| Ok(turn.replica.waiting_joins()));
    let waiting = call.await?.into_iter();
    Ok(waiting.map(|(invite, code)| Joining { node: Arc::clone(node), invite, code }).collect())
}

async fn forget(node: &Arc<Inner>, invite: &Invite) -> Result<(), Error> {
    let invite = invite.clone();
    let call = node.driver.call(Until::Synced, move |turn| turn.replica.forget_join(&invite));
    Ok(call.await?)
}
