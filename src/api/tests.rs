//! What an app sees when a disk damages what it stored: on real disks, over real connections.

use std::collections::BTreeSet;

use super::{Collection, Error, ErrorKind, Node, Space, SpaceEvent};
use crate::access::Role;
use crate::doc::{Entity, Hydrate, Reconcile};
use crate::driver::flip_stored;
use crate::id::EntityId;

/// The keyspaces whose values are flipped.
const CHANGES: u8 = 3;
const ROWS: u8 = 6;

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Note {
    text: String,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// Two devices that share three notes. The first is closed, and the second is paused.
struct Scene {
    dir: tempfile::TempDir,
    bench: Node,
    bench_space: Space,
    ids: BTreeSet<EntityId>,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (desk, bench) = (open(&dir, "desk").await, open(&dir, "bench").await);
        let space = desk.create_space("Notes").await.expect("founded");
        let invite = space.invite(Role::Writer).await.expect("an owner");
        let bench_space = bench.join(&invite).await.expect("the inviter is there");
        let notes = space.collection::<Note>().expect("a name");
        let mut ids = BTreeSet::new();
        for number in 0..3 {
            let id = notes.insert(&Note { text: format!("note {number}") }).await.expect("written");
            notes.update(id, |note| note.text.push('!')).await.expect("written");
            ids.insert(id);
        }
        agree(&desk, &space, &bench, &bench_space).await;
        bench.pause().await.expect("open");
        desk.close().await.expect("closes cleanly");
        Self { dir, bench, bench_space, ids }
    }

    async fn reopen(&self) -> (Node, Space, Collection<Note>) {
        let desk = open(&self.dir, "desk").await;
        let space = desk.spaces().pop().expect("kept");
        let notes = space.collection::<Note>().expect("a name");
        (desk, space, notes)
    }

    fn flip(&self, class: u8) -> usize {
        flip_stored(&self.dir.path().join("desk"), class)
    }

    async fn close(self, desk: Node) {
        desk.close().await.expect("closes cleanly");
        self.bench.close().await.expect("closes cleanly");
    }
}

async fn open(dir: &tempfile::TempDir, name: &str) -> Node {
    let node = Node::builder(dir.path().join(name)).listen(([127, 0, 0, 1], 0)).backoff_ms([20, 40]);
    node.open().await.expect("opens")
}

async fn agree(desk: &Node, space: &Space, bench: &Node, bench_space: &Space) {
    loop {
        desk.sync_now().await.expect("open");
        bench.sync_now().await.expect("open");
        if space.fingerprint().await.expect("open") == bench_space.fingerprint().await.expect("open") {
            return;
        }
    }
}

#[tokio::test]
async fn a_damaged_entity_on_disk_is_told_and_repaired_by_its_peer() {
    let scene = Scene::new().await;
    assert_eq!(scene.flip(CHANGES), 6);
    let (desk, space, notes) = scene.reopen().await;
    let mut events = space.events();

    let verified = desk.verify().await.expect("mends");
    let mut damaged = BTreeSet::new();
    while damaged.len() < 3 {
        if let SpaceEvent::Damaged { id, only_here, .. } = events.next().await.expect("open") {
            assert_eq!(only_here, 0, "the other device confirmed them");
            damaged.insert(id);
        }
    }

    assert!(verified.damaged > 0 && verified.values > verified.damaged, "{verified:?}");
    assert_eq!(damaged, scene.ids);
    let told: BTreeSet<EntityId> =
        space.status().await.expect("read").damaged.into_iter().map(|damaged| damaged.id).collect();
    assert_eq!(told, scene.ids);
    assert_eq!(notes.all().await.expect("the others"), []);
    for id in &scene.ids {
        let read = notes.get(*id).await.expect_err("damaged");
        assert!(matches!(read, Error::Damaged { id: named } if named == *id), "{read:?}");
        assert_eq!((read.kind(), read.is_retryable()), (ErrorKind::Corrupt, true));
        let written = notes.update(*id, |note| note.text.clear()).await.expect_err("damaged");
        assert!(matches!(written, Error::Damaged { .. }), "{written:?}");
    }

    scene.bench.resume().await.expect("open");
    let mut repaired = BTreeSet::new();
    while repaired.len() < 3 {
        if let SpaceEvent::Repaired { id, from, .. } = events.next().await.expect("open") {
            assert_eq!(from, Some(scene.bench.peer()));
            repaired.insert(id);
        }
    }

    assert_eq!(repaired, scene.ids);
    let metrics = desk.metrics();
    assert_eq!((metrics.entities_damaged, metrics.entities_repaired), (3, 3));
    assert_eq!(space.status().await.expect("read").damaged, []);
    for id in &scene.ids {
        notes.update(*id, |note| note.text.push('?')).await.expect("whole again");
    }
    agree(&desk, &space, &scene.bench, &scene.bench_space).await;
    let there = scene.bench_space.collection::<Note>().expect("a name").all().await.expect("read");
    assert!(there.iter().all(|(_, note)| note.text.ends_with("!?")), "{there:?}");
    assert!(scene.bench_space.status().await.expect("read").quarantined.is_empty(), "no number came twice");
    scene.close(desk).await;
}

#[tokio::test]
async fn damage_that_this_device_mends_by_itself_is_not_even_an_error() {
    let scene = Scene::new().await;
    assert_eq!(scene.flip(ROWS), 3);
    let (desk, space, notes) = scene.reopen().await;

    let all = notes.all().await.expect("made again");
    let first = notes.get(all[0].0).await.expect("read");

    assert_eq!(all.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), scene.ids);
    assert_eq!(first.as_ref(), Some(&all[0].1));
    assert!(all.iter().all(|(_, note)| note.text.starts_with("note ") && note.text.ends_with('!')));
    assert_eq!(desk.metrics().values_damaged, 3);
    assert!(space.status().await.expect("read").damaged.is_empty());
    assert_eq!(desk.verify().await.expect("sound").damaged, 0);
    scene.close(desk).await;
}

#[tokio::test]
async fn a_loss_that_nobody_can_repair_is_accepted_by_the_app() {
    let scene = Scene::new().await;
    let (desk, space, notes) = scene.reopen().await;
    let own = notes.insert(&Note { text: "only here".to_owned() }).await.expect("written");
    desk.close().await.expect("closes cleanly");
    drop((space, notes));
    scene.flip(CHANGES);
    let (desk, space, notes) = scene.reopen().await;
    desk.verify().await.expect("mends");
    let lost = space.status().await.expect("read").damaged;
    scene.bench.resume().await.expect("open");
    agree(&desk, &space, &scene.bench, &scene.bench_space).await;

    let left = space.status().await.expect("read").damaged;
    notes.accept_loss(own).await.expect("written");

    assert_eq!(lost.iter().filter(|lost| lost.only_here > 0).map(|lost| lost.id).collect::<Vec<_>>(), [own]);
    assert_eq!(left.iter().map(|lost| lost.id).collect::<Vec<_>>(), [own]);
    assert_eq!(notes.get(own).await.expect("nothing is left of it"), None);
    assert_eq!(notes.all().await.expect("read").len(), 3);
    assert_eq!(space.status().await.expect("read").damaged, []);
    scene.close(desk).await;
}
