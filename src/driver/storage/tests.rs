//! The storage thread over a disk in memory.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::access::Role;
use crate::doc::{self, Entity, Hydrate, KindOf, Reconcile};
use crate::identity::Identity;
use crate::limits::TOLD_MAX;
use crate::replica::{Intent, Write};
use crate::store::Values;
use crate::store::kv::KvError;
use crate::store::kv::memory::{Fault, Memory};

#[derive(Clone, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
struct Note {
    text: String,
}

impl Entity for Note {
    const COLLECTION: &'static str = "notes";
    const VERSION: u32 = 1;
}

/// A storage thread over a disk in memory, and what it tells the engine.
struct Bench {
    storage: Storage,
    space: SpaceId,
    told: mpsc::Receiver<Event>,
    memory: Memory,
    metrics: Arc<Metrics>,
    feed: Feed,
}

impl Bench {
    async fn open() -> Self {
        let (memory, metrics, feed) = (Memory::new(), Arc::new(Metrics::default()), Feed::new());
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let setup = Setup {
            clock: Clock::start(),
            feed: feed.clone(),
            metrics: Arc::clone(&metrics),
            told: tell,
            erase_when_removed: false,
        };
        let disk = memory.clone();
        let open = move |now, metrics| {
            let values = Values::memory(&disk).map_err(ReplicaError::from)?;
            let identity = Arc::new(Identity::from_seed([7; 32]));
            Ok((Replica::open(values, identity, [9; 32], now, metrics)?, ()))
        };
        let (storage, _, ()) = Storage::start(setup, open).await.expect("an empty disk");
        let found = storage.call(Until::Synced, |turn| turn.replica.create_space(turn.now, "s", "m", "d"));
        let space = found.await.expect("founded");
        Self { storage, space, told, memory, metrics, feed }
    }

    /// Inserts a note.
    fn insert(&self, number: u8, until: Until) -> impl Future<Output = Result<(), DriverError>> + use<> {
        let (storage, space) = (self.storage.clone(), self.space);
        async move {
            let write = move || Write {
                collection: CollectionName::new(Note::COLLECTION).expect("a name"),
                entity: EntityId::new([number; 16]),
                intent: Intent::Create,
                edit: doc::insert(Note { text: format!("{number}") }),
            };
            let kind: Arc<dyn Kind> = Arc::new(KindOf::<Note>::new().expect("a name"));
            let call = storage.call(until, move |turn| {
                turn.register(&kind)?;
                turn.replica.commit(turn.now, space, vec![write()])
            });
            call.await.map(drop)
        }
    }

    /// Lets another device in, and returns its key.
    async fn admit(&self, seed: u8) -> PeerId {
        let (space, other) = (self.space, Identity::from_seed([seed; 32]));
        let invite = self.storage.call(Until::Synced, move |turn| {
            turn.replica.invite(turn.now, space, Role::Writer, Vec::new(), 60_000)
        });
        let (joiner, exporter) = (other.peer(), [5; 32]);
        let invite = invite.await.expect("an owner");
        let request = invite.request(&other, "other", "other's", &exporter).expect("names");
        let redeem = Ask::Redeem { joiner, exporter, request };
        let redeemed = self.storage.call(Until::Synced, |turn| Ok(turn.replica.answer(turn.now, redeem)));
        assert!(matches!(redeemed.await, Ok(Answer::Redeemed(_))));
        joiner
    }

    /// The engine's events so far, by their names.
    fn events(&mut self) -> Vec<&'static str> {
        let mut events = Vec::new();
        while let Ok(event) = self.told.try_recv() {
            events.push(match event {
                Event::Damaged { .. } => continue,
                Event::SpaceChanged(_) => "space changed",
                Event::SpaceGone { .. } => "space gone",
                Event::Stored { .. } => "stored",
                Event::Clash { .. } => "clash",
                Event::Durable { .. } => "durable",
                Event::Answer { .. } => "answer",
                Event::Connected { .. }
                | Event::DialFailed { .. }
                | Event::Disconnected { .. }
                | Event::Frame { .. }
                | Event::Command(_) => "not of the storage",
            });
        }
        events
    }

    /// Holds the thread in a call until the sender is used or dropped.
    async fn hold(&self) -> std::sync::mpsc::SyncSender<()> {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let (entered, entering) = oneshot::channel();
        let storage = self.storage.clone();
        tokio::spawn(async move {
            let call = storage.call(Until::Read, move |_| {
                let _gone = entered.send(());
                let _released = held.recv();
                Ok(())
            });
            call.await
        });
        entering.await.expect("the thread is alive");
        release
    }
}

#[tokio::test]
async fn commits_that_wait_together_share_one_sync() {
    let bench = Bench::open().await;
    let release = bench.hold().await;
    let waiting: Vec<_> = (1..=20).map(|number| tokio::spawn(bench.insert(number, Until::Synced))).collect();
    while bench.storage.requests.capacity() > STORAGE_QUEUE_MAX - 20 {
        tokio::task::yield_now().await;
    }
    let before = bench.metrics.snapshot().disk_syncs;

    drop(release);
    for written in waiting {
        written.await.expect("no panic").expect("written");
    }

    assert_eq!(bench.metrics.snapshot().disk_syncs - before, 1);
    bench.storage.close().await.expect("closes");
}

/// Who waits for the disk does not wait for ever behind others. Seen failing with twice as many in `Thread::run`.
#[tokio::test]
async fn so_many_requests_share_one_sync_at_most() {
    let bench = Bench::open().await;
    let release = bench.hold().await;
    let insert = || tokio::spawn(bench.insert(1, Until::Synced));
    // The call that holds the thread is the first of them.
    let first = insert();
    while bench.storage.requests.capacity() == STORAGE_QUEUE_MAX {
        tokio::task::yield_now().await;
    }
    for number in 2..GROUP_COMMITS_MAX {
        let place = bench.storage.place().await.expect("open");
        place.ask(RequestId(number as u64), Ask::Listed { space: bench.space });
    }
    let last = tokio::spawn(bench.insert(2, Until::Synced));
    while bench.storage.requests.capacity() > STORAGE_QUEUE_MAX - GROUP_COMMITS_MAX {
        tokio::task::yield_now().await;
    }
    let before = bench.metrics.snapshot().disk_syncs;

    drop(release);
    for written in [first, last] {
        written.await.expect("no panic").expect("written");
    }

    assert_eq!(bench.metrics.snapshot().disk_syncs - before, 2);
    bench.storage.close().await.expect("closes");
}

#[tokio::test]
async fn the_engine_hears_of_a_commit_before_it_is_durable() {
    let mut bench = Bench::open().await;
    bench.events();

    bench.insert(1, Until::Synced).await.expect("written");

    assert_eq!(bench.events(), ["stored", "durable"]);
    bench.storage.close().await.expect("closes");
}

#[tokio::test]
async fn a_told_state_is_on_disk() {
    let mut bench = Bench::open().await;
    let release = bench.hold().await;
    let written = tokio::spawn(bench.insert(1, Until::Written));
    while bench.storage.requests.capacity() == STORAGE_QUEUE_MAX {
        tokio::task::yield_now().await;
    }
    let place = bench.storage.place().await.expect("open");
    place.ask(RequestId(1), Ask::State { space: bench.space });
    bench.events();

    drop(release);
    written.await.expect("no panic").expect("written");
    bench.storage.close().await.expect("closes");

    assert_eq!(bench.events(), ["stored", "durable", "answer"]);
}

#[tokio::test]
async fn a_store_that_fails_to_sync_promises_nothing_any_more() {
    let bench = Bench::open().await;
    bench.memory.fail_sync(0, Fault::Refused);

    let first = bench.insert(1, Until::Synced).await.expect_err("not synced");
    let second = bench.insert(2, Until::Written).await.expect_err("failed before");
    let read = bench.storage.call(Until::Read, |turn| Ok(turn.replica.spaces())).await;

    let is_store = |error: &DriverError| matches!(error, DriverError::Replica(ReplicaError::Store(_)));
    assert!(is_store(&first) && is_store(&second), "{first:?} {second:?}");
    assert_eq!(read.expect("what is read is still right"), [bench.space]);
    assert!(bench.storage.close().await.is_err(), "a failed store does not close cleanly");
}

#[tokio::test]
async fn a_full_disk_is_told_as_one() {
    let bench = Bench::open().await;
    bench.memory.limit(Some(0));

    let full = bench.insert(1, Until::Synced).await.expect_err("no room");

    assert!(matches!(full, DriverError::Replica(ReplicaError::Store(KvError::Full))), "{full:?}");
}

#[tokio::test]
async fn a_call_that_panics_ends_alone() {
    let bench = Bench::open().await;

    let lost = bench.storage.call(Until::Read, |_| -> Result<(), _> { panic!("a fault in a call") }).await;
    let next = bench.insert(1, Until::Synced).await;

    assert!(matches!(lost, Err(DriverError::StorageLost)), "{lost:?}");
    assert!(next.is_ok(), "{next:?}");
    bench.storage.close().await.expect("closes");
}

#[tokio::test]
async fn rows_are_told_to_those_who_listen() {
    let bench = Bench::open().await;
    let mut happenings = bench.feed.happenings();

    bench.insert(1, Until::Synced).await.expect("written");

    let Ok(Happening::Changed { rows, from: None, .. }) = happenings.recv().await else {
        panic!("a change");
    };
    assert_eq!((rows[0].entity, rows[0].change), (EntityId::new([1; 16]), RowChange::Inserted));
    let note: Note = doc::row_value(rows[0].row.as_deref().expect("read")).expect("a note");
    assert_eq!(note.text, "1");
    bench.storage.close().await.expect("closes");
}

#[tokio::test]
async fn a_closed_storage_says_so() {
    let bench = Bench::open().await;
    bench.storage.close().await.expect("closes");

    let late = bench.insert(1, Until::Synced).await;

    assert!(matches!(late, Err(DriverError::Closed)), "{late:?}");
    bench.storage.close().await.expect("closing again does nothing");
    assert!(bench.storage.place().await.is_none());
}

#[tokio::test]
async fn the_queue_holds_what_its_limit_says() {
    let bench = Bench::open().await;
    let release = bench.hold().await;
    let mut places = Vec::new();
    for _ in 0..STORAGE_QUEUE_MAX {
        places.push(bench.storage.place().await.expect("open"));
    }

    let mut over = Box::pin(bench.storage.place());
    let waits =
        std::future::poll_fn(|context| std::task::Poll::Ready(over.as_mut().poll(context).is_pending()));

    assert!(waits.await, "one more waits");
    drop((over, places, release));
    bench.storage.close().await.expect("closes");
}

/// A receipt that waits looks its acknowledgement up when it hears of one. Hearing of it before it was noted, it
/// would wait for the next, which may never come.
#[tokio::test]
async fn an_acknowledgement_is_noted_before_it_is_told() {
    let bench = Bench::open().await;
    bench.insert(1, Until::Synced).await.expect("written");
    let reader = bench.storage.call(Until::Read, |turn| Ok(turn.replica.reader())).await.expect("open");
    let key = reader.pending(&bench.space, 1).expect("read").remove(0).key;
    let mut notices = bench.feed.notices();
    let mut vector = crate::id::Vector::new();
    for (_, oseq) in &key.parts {
        vector.insert(key.origin, *oseq).expect("few");
    }
    let vectors = key.parts.iter().map(|(collection, _)| (collection.clone(), vector.clone())).collect();
    let peer = bench.admit(3).await;

    let place = bench.storage.place().await.expect("open");
    place.ask(RequestId(1), Ask::Acked { space: bench.space, peer, vectors });
    let notice = notices.recv().await.expect("told");

    assert_eq!(notice, Some(Notice::Stored { space: bench.space, peer }));
    assert_eq!(reader.stored_by(&bench.space, &key).expect("read"), [peer]);
    bench.storage.close().await.expect("closes");
}

/// Seen failing without `Thread::is_late`.
#[tokio::test]
async fn what_nobody_waits_for_is_done_also_when_somebody_always_does() {
    let bench = Bench::open().await;
    let space = bench.space;
    // Each call waits until another one stands behind it.
    let look = async |notes: bool| {
        let (go, waits) = std::sync::mpsc::sync_channel::<()>(1);
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |turn| {
            assert_eq!(waits.recv(), Ok(()));
            if notes {
                turn.replica.note_due(space);
            }
            assert!(answer.send((turn.now.instant, turn.replica.due())).is_ok(), "somebody listens");
            None
        });
        let asked = bench.storage.requests.send(Request::Call { call, until: Until::Read }).await;
        assert!(asked.is_ok(), "it is open");
        (go, answered)
    };
    let mut first = look(true).await;
    let mut began = None;
    let (after_ms, due) = loop {
        let next = look(false).await;
        first.0.send(()).expect("it waits");
        let (now, due) = first.1.await.expect("answered");
        first = next;
        let after_ms = now.ms_since(*began.get_or_insert(now));
        if due.is_none() || after_ms > 20 * CROWD_LATE_MS {
            break (after_ms, due);
        }
    };
    first.0.send(()).expect("it waits");

    assert!(due.is_none() && after_ms >= CROWD_LATE_MS, "{due:?} after {after_ms} ms");
}
