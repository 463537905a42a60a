//! Nodes in temporary directories, and waiting with a bound.

use std::path::Path;
use std::time::Duration;

use driftless::{
    Builder, Collection, Counter, Deserialize, Entity, EntityId, Hydrate, Node, Reconcile, Role, Serialize,
};
use driftless::{Space, Text};
use tempfile::TempDir;

/// Far beyond what anything takes; reached only when something never comes.
const BOUND: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) notes: Text,
    pub(crate) minutes: Counter,
}

impl Entity for Ticket {
    const COLLECTION: &'static str = "tickets";
    const VERSION: u32 = 1;
}

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) total: i64,
}

impl Entity for Order {
    const COLLECTION: &'static str = "orders";
    const VERSION: u32 = 1;
}

pub(crate) fn ticket(title: &str) -> Ticket {
    Ticket { title: title.to_owned(), status: "open".to_owned(), notes: Text::from(""), minutes: 0.into() }
}

/// Fails the test when `future` takes longer than anything takes.
#[track_caller]
pub(crate) fn bounded<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(BOUND, future).await {
            Ok(value) => value,
            Err(_) => panic!("nothing came within {BOUND:?} at {place}"),
        }
    }
}

pub(crate) fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn builder(path: &Path) -> Builder {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let builder = Node::builder(path).listen(([127, 0, 0, 1], 0)).discovery(false).backoff_ms([20, 40, 80]);
    builder.member(format!("person of {name}")).device(name)
}

/// Opens a node in a directory below `dir`.
pub(crate) async fn node(dir: &TempDir, name: &str) -> Node {
    bounded(builder(&dir.path().join(name)).open()).await.expect("a fresh directory")
}

/// Two devices in one space, with the same in it.
pub(crate) struct Pair {
    pub(crate) a: Node,
    pub(crate) b: Node,
    pub(crate) space_a: Space,
    pub(crate) space_b: Space,
    pub(crate) tickets_a: Collection<Ticket>,
    pub(crate) tickets_b: Collection<Ticket>,
    pub(crate) dir: TempDir,
}

impl Pair {
    pub(crate) async fn open() -> Self {
        Self::open_as(Role::Writer).await
    }

    /// Opens a pair whose second device has the given role.
    pub(crate) async fn open_as(role: Role) -> Self {
        let dir = temp();
        let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
        let space_a = a.create_space("shop").await.expect("founded");
        let space_b = join(&space_a, &b, role).await;
        let (tickets_a, tickets_b) =
            (space_a.collection().expect("a name"), space_b.collection().expect("a name"));
        agree(&[&space_a, &space_b], &[&a, &b]).await;
        Self { a, b, space_a, space_b, tickets_a, tickets_b, dir }
    }

    pub(crate) async fn agree(&self) {
        agree(&[&self.space_a, &self.space_b], &[&self.a, &self.b]).await;
    }

    pub(crate) async fn part(&self) {
        self.b.pause().await.expect("open");
        let mut peers = self.a.watch_peers();
        let gone = peers.until(self.b.peer(), |peer| peer.state != driftless::ConnectionState::Connected);
        bounded(gone).await.expect("open");
    }

    pub(crate) async fn meet(&self) {
        self.b.resume().await.expect("open");
        self.agree().await;
    }

    /// Both know a ticket, part, and change it without knowing of each other. They are apart on return.
    pub(crate) async fn edited_apart(
        &self,
        by_a: impl FnOnce(&mut Ticket) + Send + 'static,
        by_b: impl FnOnce(&mut Ticket) + Send + 'static,
    ) -> EntityId {
        let id = self.tickets_a.insert(&ticket("wheel")).await.expect("written");
        self.agree().await;
        self.part().await;
        self.tickets_a.update(id, by_a).await.expect("written");
        self.tickets_b.update(id, by_b).await.expect("written");
        id
    }

    pub(crate) async fn close(self) {
        bounded(self.a.close()).await.expect("closes cleanly");
        bounded(self.b.close()).await.expect("closes cleanly");
    }
}

pub(crate) async fn join(space: &Space, node: &Node, role: Role) -> Space {
    let invite = space.invite(role).await.expect("an admin invites");
    bounded(node.join(&invite)).await.expect("the inviter is there")
}

/// Waits until all devices hold the same, by the fingerprints.
pub(crate) async fn agree(spaces: &[&Space], nodes: &[&Node]) {
    bounded(async {
        loop {
            for node in nodes {
                node.sync_now().await.expect("open");
            }
            let mut fingerprints = Vec::new();
            for space in spaces {
                fingerprints.push(space.fingerprint().await.expect("open"));
            }
            fingerprints.dedup();
            if fingerprints.len() == 1 {
                return;
            }
        }
    })
    .await;
}

/// Replaces a directory with a copy of another.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _not_there = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a temporary directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("an entry");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).expect("a file");
        }
    }
}
