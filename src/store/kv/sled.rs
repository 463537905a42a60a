//! The engine on disk: sled 0.34.7, boxed in.
//!
//! What is done here, and why:
//!
//! - sled's `flush` asks Linux for `sync_file_range`, which does not survive the loss of power. A sync is its
//!   flush and then `sync_data` on a handle of our own.
//! - A fresh store is made aside and renamed into place, so that a crash never leaves half of one.
//! - A snapshot that was being written at a crash makes sled refuse to open; it is removed first.
//! - Damage makes sled panic or wait for ever. Opening runs on a thread of its own with a deadline, and no
//!   panic leaves this file.
//! - After an error sled's memory and disk may differ, so the handle fails until the store is opened again.
//! - `flush_async` and compression are never used: the first deadlocks, the second hides damage.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::files::{self, CREATING, MarkFile, STORE};
use super::{Found, Kv, KvBatch, KvError, Order, Pairs, StoreOptions, Watermark};

/// Fixed when a store is made. Leaf pages stay far below a quarter of it, beyond which sled keeps them in
/// files that it never syncs.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;
const CACHE_BYTES_MIN: u64 = 16 * 1024 * 1024;
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 100;

/// An open store on disk.
pub(crate) struct SledKv {
    path: PathBuf,
    /// `None` once closed. Readers share the lock, so a close waits for them and no one else does.
    open: RwLock<Option<Open>>,
    /// The first error. Nothing is tried after it.
    failed: OnceLock<KvError>,
    marks: Mutex<MarkFile>,
    found: Found,
    #[cfg(test)]
    bare_flush: bool,
}

/// Dropped in this order: the engine, our handle, and the lock last.
struct Open {
    engine: sled::Db,
    db: File,
    _lock: File,
}

/// Stores that were dropped without a close and whose engines still end on threads of their own.
static ENDING: Mutex<Vec<(PathBuf, JoinHandle<()>)>> = Mutex::new(Vec::new());

impl SledKv {
    /// Opens the store in a directory, or makes one.
    ///
    /// # Errors
    ///
    /// [`KvError::Locked`], [`KvError::Corrupt`], [`KvError::Full`], [`KvError::ReadOnly`] or
    /// [`KvError::Io`], which also tells that the deadline passed.
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, KvError> {
        let (own_path, own_options) = (path.to_path_buf(), options.clone());
        within(options.open_deadline_ms, move || open_here(own_path, &own_options))
    }

    /// Runs one operation on the engine. Any error or panic fails the handle.
    fn run<T>(
        &self,
        what: &'static str,
        operation: impl FnOnce(&Open) -> Result<T, sled::Error>,
    ) -> Result<T, KvError> {
        self.check()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_ref() else {
            return Err(KvError::Failed { reason: "the store is closed".into() });
        };
        let error = match catch_unwind(AssertUnwindSafe(|| operation(open))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => from_sled(what, &self.path, &error),
            Err(panic) => from_panic(what, panic.as_ref()),
        };
        Err(self.fail(error))
    }

    fn check(&self) -> Result<(), KvError> {
        match self.failed.get() {
            None => Ok(()),
            Some(first) => Err(KvError::Failed { reason: first.to_string() }),
        }
    }

    fn fail(&self, error: KvError) -> KvError {
        // A second error at the same time is told to its caller, but the first one stays the reason.
        let _ = self.failed.set(error.clone());
        error
    }

    fn marks(&self) -> MutexGuard<'_, MarkFile> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn sync_db(&self, db: &File) -> io::Result<()> {
        if self.bare_flush { Ok(()) } else { db.sync_data() }
    }

    #[cfg(not(test))]
    fn sync_db(&self, db: &File) -> io::Result<()> {
        db.sync_data()
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.run("reading", |open| Ok(open.engine.get(key)?.map(|value| value.to_vec())))
    }

    fn scan(&self, first: &[u8], end: &[u8], limit: usize, order: Order) -> Result<Pairs, KvError> {
        if first >= end {
            return Ok(Vec::new());
        }
        self.run("scanning", |open| {
            let pairs = open.engine.range(first..end);
            let own = |pair: Result<(sled::IVec, sled::IVec), sled::Error>| {
                pair.map(|(key, value)| (key.to_vec(), value.to_vec()))
            };
            match order {
                Order::Ascending => pairs.take(limit).map(own).collect(),
                Order::Descending => pairs.rev().take(limit).map(own).collect(),
            }
        })
    }

    fn write(&self, batch: &KvBatch) -> Result<(), KvError> {
        let mut ops = sled::Batch::default();
        for (key, value) in &batch.ops {
            match value {
                Some(value) => ops.insert(key.as_slice(), value.as_slice()),
                None => ops.remove(key.as_slice()),
            }
        }
        self.run("writing", |open| open.engine.apply_batch(ops))
    }

    fn sync(&self) -> Result<(), KvError> {
        self.run("syncing", |open| {
            open.engine.flush()?;
            self.sync_db(&open.db)?;
            Ok(())
        })
    }

    fn disk_bytes(&self) -> Result<u64, KvError> {
        self.check()?;
        // Does not touch the engine, so an error leaves it as it is.
        files::bytes_below(&self.path.join(STORE))
            .map_err(|error| files::from_io("measuring the store", &self.path, &error))
    }

    fn found(&self) -> Found {
        self.found
    }

    fn mark(&self, watermark: &Watermark) -> Result<(), KvError> {
        self.check()?;
        let written = self.marks().mark(watermark);
        written.map_err(|error| self.fail(files::from_io("writing the watermark", &self.path, &error)))
    }

    fn close(&self) -> Result<(), KvError> {
        let synced = self.sync();
        let Some(open) = self.open.write().unwrap_or_else(PoisonError::into_inner).take() else {
            return synced;
        };
        let Open { engine, db, _lock } = open;
        let ended = catch_unwind(AssertUnwindSafe(|| drop(engine)));
        synced?;
        ended.map_err(|panic| self.fail(from_panic("closing", panic.as_ref())))?;
        db.sync_all()
            .and_then(|()| self.marks().close(&self.path.join(STORE).join("db")))
            .map_err(|error| self.fail(files::from_io("closing the store", &self.path, &error)))
    }
}

/// What is not closed is left as a killed process leaves it, without a wait.
impl Drop for SledKv {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
        ending.retain(|(_, thread)| !thread.is_finished());
        // Without a thread the closure, and the store in it, is dropped here.
        let thread = thread::Builder::new().name("driftless-store-end".into()).spawn(move || {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
        });
        if let Ok(thread) = thread {
            ending.push((self.path.clone(), thread));
        }
    }
}

impl std::fmt::Debug for SledKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledKv")
            .field("path", &self.path)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Runs `work` on its own thread and waits for it at most `deadline_ms`. A late result is dropped there.
fn within<T: Send + 'static>(
    deadline_ms: u64,
    work: impl FnOnce() -> Result<T, KvError> + Send + 'static,
) -> Result<T, KvError> {
    const WHAT: &str = "opening the store";
    let (answer, answered) = sync_channel(1);
    thread::Builder::new()
        .name("driftless-store-open".into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            let result = result.unwrap_or_else(|panic| Err(from_panic(WHAT, panic.as_ref())));
            let _ = answer.send(result);
        })
        .map_err(|error| KvError::Io { what: WHAT, reason: error.to_string() })?;
    answered.recv_timeout(Duration::from_millis(deadline_ms)).unwrap_or_else(|_| {
        Err(KvError::Io { what: WHAT, reason: format!("no end within {deadline_ms} ms") })
    })
}

fn open_here(path: PathBuf, options: &StoreOptions) -> Result<SledKv, KvError> {
    const WHAT: &str = "opening the store";
    wait_for_ending(&path);
    let lock = files::lock(&path)?;
    let refused = |error: io::Error| files::from_io(WHAT, &path, &error);
    let store = path.join(STORE);
    files::finish_compaction(&path).map_err(refused)?;
    if !store.try_exists().map_err(refused)? {
        create(&path, options)?;
    }
    remove_unfinished_snapshots(&store).map_err(refused)?;
    let db_path = store.join("db");
    let marks = MarkFile::open(&store, &db_path).map_err(refused)?;
    let engine =
        unlocked(|| config(&store, options).open()).map_err(|error| from_sled(WHAT, &path, &error))?;
    let db = OpenOptions::new().read(true).write(true).open(&db_path).map_err(refused)?;
    // The engine renames a snapshot into place when it opens.
    files::sync_dir(&store).map_err(refused)?;
    Ok(SledKv {
        found: marks.found(),
        path,
        open: RwLock::new(Some(Open { engine, db, _lock: lock })),
        failed: OnceLock::new(),
        marks: Mutex::new(marks),
        #[cfg(test)]
        bare_flush: options.bare_flush,
    })
}

/// Opens the engine, which has a lock of its own. Under the lock of the directory only a process that is being started
/// can still hold it, for an instant.
fn unlocked<T>(mut open: impl FnMut() -> Result<T, sled::Error>) -> Result<T, sled::Error> {
    for _ in 1..files::LOCK_TRIES {
        match open() {
            Err(error) if is_locked(&error) => thread::park_timeout(files::LOCK_WAIT),
            opened => return opened,
        }
    }
    open()
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// Makes an empty store aside, syncs all of it and renames it into place.
fn create(path: &Path, options: &StoreOptions) -> Result<(), KvError> {
    const WHAT: &str = "making the store";
    let refused = |error: io::Error| files::from_io(WHAT, path, &error);
    let aside = path.join(CREATING);
    files::remove_all(&aside).map_err(refused)?;
    fs::create_dir(&aside).map_err(refused)?;
    let engine =
        unlocked(|| config(&aside, options).open()).map_err(|error| from_sled(WHAT, path, &error))?;
    engine.flush().map_err(|error| from_sled(WHAT, path, &error))?;
    drop(engine);
    sync_all(&aside).map_err(refused)?;
    fs::rename(&aside, path.join(STORE)).map_err(refused)?;
    files::sync_dir(path).map_err(refused)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files::sync_dir(parent).map_err(refused)?;
    }
    Ok(())
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            OpenOptions::new().read(true).write(true).open(entry.path())?.sync_all()?;
        }
    }
    files::sync_dir(dir)
}

fn remove_unfinished_snapshots(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn config(dir: &Path, options: &StoreOptions) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(options.cache_bytes.clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX))
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .use_compression(false)
}

fn wait_for_ending(path: &Path) {
    let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    let threads: Vec<_> = ending.extract_if(.., |(ended, _)| ended == path).collect();
    drop(ending);
    for (_, thread) in threads {
        // It catches the panics of the engine, and there is nothing else to tell.
        let _ = thread.join();
    }
}

fn from_sled(what: &'static str, path: &Path, error: &sled::Error) -> KvError {
    if is_locked(error) {
        return KvError::Locked { path: path.join(STORE).join("db").display().to_string() };
    }
    match error {
        sled::Error::Io(error) => files::from_io(what, path, error),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => KvError::Corrupt { what: format!("{what}: {error}") },
    }
}

/// The engine panics on damage, and in places where it does not expect the system to refuse.
fn from_panic(what: &'static str, panic: &(dyn Any + Send)) -> KvError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    if text.contains("StorageFull") || text.contains("No space left") {
        KvError::Full
    } else {
        KvError::Corrupt { what: format!("{what}: {text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_without_an_end_is_given_up() {
        let (go, wait) = sync_channel::<()>(1);

        let late = within(10, move || {
            let _ = wait.recv();
            Ok(())
        });

        let given_up = KvError::Io { what: "opening the store", reason: "no end within 10 ms".into() };
        assert_eq!(late, Err(given_up));
        drop(go);
    }

    #[test]
    fn a_panic_of_the_engine_is_damage_and_of_a_full_disk_a_full_disk() {
        let panicked = |text: &'static str| within(60_000, move || -> Result<(), _> { panic!("{text}") });

        let damage = KvError::Corrupt { what: "opening the store: page 7".into() };
        assert_eq!(panicked("page 7"), Err(damage));
        assert_eq!(panicked("Io(Os { kind: StorageFull })"), Err(KvError::Full));
    }

    #[test]
    fn an_error_fails_the_handle_and_its_reason_stays() {
        let dir = tempfile::tempdir().unwrap();
        let kv = SledKv::open(dir.path(), &StoreOptions::default()).unwrap();
        let refused = || sled::Error::Io(io::Error::from(io::ErrorKind::StorageFull));

        assert_eq!(kv.run("writing", |_| Err::<(), _>(refused())), Err(KvError::Full));

        let failed = KvError::Failed { reason: "the disk is full".into() };
        assert_eq!(kv.get(b"a"), Err(failed.clone()));
        assert_eq!(kv.scan(b"a", b"b", 1, Order::Ascending), Err(failed.clone()));
        assert_eq!(kv.write(&KvBatch::default()), Err(failed.clone()));
        assert_eq!(kv.disk_bytes(), Err(failed.clone()));
        assert_eq!(kv.close(), Err(failed));
        SledKv::open(dir.path(), &StoreOptions::default()).unwrap().get(b"a").unwrap();
    }

    #[test]
    fn the_engine_s_reasons_are_told_apart() {
        let told = |error: sled::Error| from_sled("reading", Path::new("here"), &error);

        assert!(matches!(told(sled::Error::Corruption { at: None, bt: () }), KvError::Corrupt { .. }));
        assert!(matches!(told(sled::Error::Unsupported("size".into())), KvError::Corrupt { .. }));
        assert!(matches!(told(sled::Error::ReportableBug("bug".into())), KvError::Corrupt { .. }));
        let locked = io::Error::other("could not acquire lock on \"db\"");
        assert!(matches!(told(sled::Error::Io(locked)), KvError::Locked { .. }));
    }

    /// A store that was opened while another thread started a process was now and then said to be open elsewhere. Seen
    /// failing with one try.
    #[test]
    fn a_lock_that_is_held_for_an_instant_is_tried_again() {
        let locked = || sled::Error::Io(io::Error::other("could not acquire lock on \"db\""));
        let mut tries = 0;
        let opened = unlocked(|| {
            tries += 1;
            if tries < 3 { Err(locked()) } else { Ok(tries) }
        });
        assert_eq!(opened.ok(), Some(3));

        let other: Result<(), _> = unlocked(|| Err(sled::Error::Unsupported("size".into())));
        assert!(matches!(other, Err(sled::Error::Unsupported(_))), "what is no lock is told at once");
        assert!(unlocked(|| Err::<(), _>(locked())).is_err_and(|error| is_locked(&error)), "it ends");
    }

    /// A snapshot that was being written at a crash made the engine refuse to open.
    #[test]
    fn leftovers_of_a_crash_do_not_keep_a_store_from_opening() {
        let dir = tempfile::tempdir().unwrap();
        let creating = dir.path().join(CREATING);
        fs::create_dir(&creating).unwrap();
        fs::write(creating.join("conf"), b"half").unwrap();
        SledKv::open(dir.path(), &StoreOptions::default()).unwrap().close().unwrap();
        assert!(!creating.exists());
        let unfinished = dir.path().join(STORE).join("snap.00000000000000FF.generating");
        fs::write(&unfinished, b"half").unwrap();

        SledKv::open(dir.path(), &StoreOptions::default()).unwrap();

        assert!(!unfinished.exists());
    }

    #[test]
    fn a_path_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"").unwrap();

        let refused = SledKv::open(&path, &StoreOptions::default()).map(drop);

        assert!(matches!(refused, Err(KvError::Io { what: "opening the store", .. })), "{refused:?}");
    }
}
