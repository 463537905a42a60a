//! The directory of a store: its lock, its layout, the watermark file, and setting a damaged store aside.
//!
//! ```text
//! lock          held while the store is open; never renamed or removed
//! store/        the engine's files and `watermark`
//! creating/     a store being made; becomes store/ by one rename, so half a store is never seen
//! damaged-1/    a store that was set aside
//! compacting/   a store that is being rewritten, with a layout of its own
//! compacted/    the rewritten store/; takes its place, at the latest when the store is opened
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Found, KvError, Watermark};
use crate::id::Position;
use crate::limits::STORES_SET_ASIDE_MAX;

/// The engine's directory inside the store's.
pub(super) const STORE: &str = "store";
/// Where the engine's directory is made.
pub(super) const CREATING: &str = "creating";
/// Where a store is rewritten.
pub(super) const COMPACTING: &str = "compacting";
/// The engine's directory of a rewritten store, complete and synced.
pub(super) const COMPACTED: &str = "compacted";
const LOCK: &str = "lock";
const WATERMARK: &str = "watermark";

/// Moves a damaged store aside, so that a fresh one can be opened in its place. Returns where it went.
///
/// Nothing is deleted. The watermark goes with the store that it belongs to.
///
/// # Errors
///
/// [`KvError::Locked`] while the store is open; [`KvError::Io`] when there is nothing to move or the system
/// refuses.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, KvError> {
    let _lock = lock(path)?;
    let store = path.join(STORE);
    for number in 1..=STORES_SET_ASIDE_MAX {
        let aside = path.join(format!("damaged-{number}"));
        if !aside.exists() {
            fs::rename(&store, &aside).map_err(|error| from_io("setting the store aside", path, &error))?;
            sync_dir(path).map_err(|error| from_io("setting the store aside", path, &error))?;
            return Ok(aside);
        }
    }
    Err(KvError::Io {
        what: "setting the store aside",
        reason: format!("{STORES_SET_ASIDE_MAX} damaged stores are here already"),
    })
}

/// How often a held lock is tried. A process that is being started holds a copy of every open file until it runs
/// its own program, so a lock that was just given back may still be seen held for an instant.
pub(super) const LOCK_TRIES: u32 = 40;
/// The wait between two tries.
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Takes the lock of a store's directory, which is made if it is not there.
pub(super) fn lock(path: &Path) -> Result<File, KvError> {
    let refused = |error: &io::Error| from_io("opening the store", path, error);
    fs::create_dir_all(path).map_err(|error| refused(&error))?;
    let name = path.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&name)
        .map_err(|error| refused(&error))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::park_timeout(LOCK_WAIT),
            Err(TryLockError::Error(error)) => return Err(refused(&error)),
        }
    }
    Err(KvError::Locked { path: name.display().to_string() })
}

/// Puts a rewritten store in the place of the old one, if there is one, and removes what is left of others.
/// Safe to run again after a crash at any place in it. Must run under the lock.
pub(super) fn finish_compaction(path: &Path) -> io::Result<()> {
    let (store, compacted) = (path.join(STORE), path.join(COMPACTED));
    if compacted.try_exists()? {
        remove_all(&store)?;
        fs::rename(&compacted, &store)?;
        sync_dir(path)?;
    }
    remove_all(&path.join(COMPACTING))
}

/// Removes a directory, which need not be there.
pub(super) fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells a full disk, a disk that may not be written and damage apart.
pub(super) fn from_io(what: &'static str, path: &Path, error: &io::Error) -> KvError {
    let damaged = || KvError::Corrupt { what: format!("{what}: {error}") };
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        KvError::Full
    } else if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        KvError::ReadOnly { path: path.display().to_string() }
    } else if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
        damaged()
    } else {
        KvError::Io { what, reason: error.to_string() }
    }
}

/// Makes the names in a directory survive the loss of power. Where directories cannot be opened as files, the
/// system does it by itself.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Returns the bytes of all files below a directory.
pub(super) fn bytes_below(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes += bytes_below(&entry.path())?,
            Ok(found) => bytes += found.len(),
            // The engine removes old snapshots by itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// What tells one file from its copies, and from itself at another time.
///
/// The time of the last status change is in it because no program can set it: a file restored in place, with
/// its old size and modification time, is still another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity([u64; 7]);

impl FileIdentity {
    /// Reads the identity of a file; `None` where the system has none, or there is no such file.
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;

        let found = fs::metadata(path).ok()?;
        Some(Self([
            found.dev(),
            found.ino(),
            found.size(),
            found.mtime().cast_unsigned(),
            found.mtime_nsec().cast_unsigned(),
            found.ctime().cast_unsigned(),
            found.ctime_nsec().cast_unsigned(),
        ]))
    }

    /// Where files have no identity, no store can prove that it is not a copy.
    #[cfg(not(unix))]
    pub(super) fn of(_path: &Path) -> Option<Self> {
        None
    }
}

/// Bytes from the start of one slot to the next: a page each, so that a torn write damages one of them.
const SLOT_STRIDE: u64 = 4096;
/// Bytes of a slot.
const SLOT_BYTES: usize = 118;
const SLOT_MAGIC: [u8; 5] = *b"DLWM\x01";

/// One slot of the watermark file.
///
/// ```text
///  0  magic "DLWM", version 1
///  5  flags: 1 has a watermark, 2 was closed cleanly
///  6  counter u64 LE; the slot with the larger one counts
/// 14  position u64 LE
/// 22  hash 32 B
/// 54  identity of the db file, 7 x u64 LE: device, inode, size, mtime s, ns, ctime s, ns
/// 110 the first 8 bytes of the BLAKE3 hash of all before
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    counter: u64,
    watermark: Option<Watermark>,
    closed: Option<FileIdentity>,
}

impl Slot {
    fn to_bytes(self) -> Vec<u8> {
        let mut out = SLOT_MAGIC.to_vec();
        out.push(u8::from(self.watermark.is_some()) | u8::from(self.closed.is_some()) << 1);
        out.extend(self.counter.to_le_bytes());
        let mark = self.watermark.unwrap_or(Watermark { position: Position(0), hash: [0; 32] });
        out.extend(mark.position.0.to_le_bytes());
        out.extend(mark.hash);
        for word in self.closed.map_or([0; 7], |identity| identity.0) {
            out.extend(word.to_le_bytes());
        }
        let hash = blake3::hash(&out);
        out.extend(hash.as_bytes().iter().take(8));
        assert_eq!(out.len(), SLOT_BYTES, "a slot has one length");
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_at_checked(SLOT_BYTES - 8)?;
        if blake3::hash(body).as_bytes().get(..8) != Some(check) {
            return None;
        }
        let rest = body.strip_prefix(&SLOT_MAGIC)?;
        let (flags, rest) = rest.split_first()?;
        let (counter, rest) = word(rest)?;
        let (position, rest) = word(rest)?;
        let (hash, mut rest) = rest.split_first_chunk::<32>()?;
        let mut identity = [0; 7];
        for part in &mut identity {
            (*part, rest) = word(rest)?;
        }
        let watermark = Watermark { position: Position(position), hash: *hash };
        Some(Self {
            counter,
            watermark: (flags & 1 != 0).then_some(watermark),
            closed: (flags & 2 != 0).then_some(FileIdentity(identity)),
        })
    }
}

fn word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk::<8>().map(|(word, rest)| (u64::from_le_bytes(*word), rest))
}

/// The watermark file: two slots, written in turn.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    last: Slot,
    found: Found,
}

impl MarkFile {
    /// Opens or makes the file in the engine's directory and takes the mark of a clean close away, before
    /// anything else can change. Must run before the engine touches its files.
    pub(super) fn open(store: &Path, db: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(store.join(WATERMARK))?;
        let mut bytes = Vec::new();
        (&mut file).take(SLOT_STRIDE * 2).read_to_end(&mut bytes)?;
        let slots =
            [0, SLOT_STRIDE as usize].map(|at| bytes.get(at..at + SLOT_BYTES).and_then(Slot::from_bytes));
        let last = slots.into_iter().flatten().max_by_key(|slot| slot.counter).unwrap_or_default();
        let closed_cleanly = last.closed.is_some() && last.closed == FileIdentity::of(db);
        let found = Found { watermark: last.watermark, closed_cleanly };
        let mut marks = Self { file, last, found };
        if last.closed.is_some() || bytes.is_empty() {
            marks.write(last.watermark, None)?;
        }
        Ok(marks)
    }

    /// Returns what the file said when it was opened.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Writes and syncs a watermark.
    pub(super) fn mark(&mut self, watermark: &Watermark) -> io::Result<()> {
        self.write(Some(*watermark), None)
    }

    /// Writes and syncs the mark of a clean close. The engine must be gone and its files synced.
    pub(super) fn close(&mut self, db: &Path) -> io::Result<()> {
        self.write(self.last.watermark, FileIdentity::of(db))
    }

    fn write(&mut self, watermark: Option<Watermark>, closed: Option<FileIdentity>) -> io::Result<()> {
        let slot = Slot { counter: self.last.counter.saturating_add(1), watermark, closed };
        self.file.seek(SeekFrom::Start(slot.counter % 2 * SLOT_STRIDE))?;
        self.file.write_all(&slot.to_bytes())?;
        self.file.sync_all()?;
        self.last = slot;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Watermark = Watermark { position: Position(7), hash: [9; 32] };

    #[test]
    fn slot_bytes_keep_their_form() {
        let slot =
            Slot { counter: 3, watermark: Some(MARK), closed: Some(FileIdentity([1, 2, 3, 4, 5, 6, 7])) };

        let bytes = slot.to_bytes();

        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(Slot::from_bytes(&bytes), Some(slot));
    }

    #[test]
    fn a_slot_with_any_flipped_bit_or_missing_byte_is_no_slot() {
        let bytes = Slot { counter: 3, watermark: Some(MARK), closed: None }.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Slot::from_bytes(&damaged), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Slot::from_bytes(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let mut marks = MarkFile::open(dir.path(), &db).unwrap();
        marks.mark(&MARK).unwrap();
        marks.mark(&Watermark { position: Position(8), ..MARK }).unwrap();
        let file = dir.path().join(WATERMARK);
        let sound = fs::read(&file).unwrap();
        let newest = (marks.last.counter % 2 * SLOT_STRIDE) as usize;
        let found = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            MarkFile::open(dir.path(), &db).unwrap().found().watermark.map(|mark| mark.position.0)
        };

        assert_eq!(found(&sound), Some(8));
        let mut torn = sound.clone();
        torn[newest + 60] ^= 1;
        assert_eq!(found(&torn), Some(7));
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[0; 9000]), None);
    }

    /// Where the close is told to have gone well, the files must be the very ones: not touched since.
    #[cfg(unix)]
    #[test]
    fn a_clean_close_is_believed_of_the_same_untouched_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        fs::write(&db, b"data").unwrap();
        let clean_after = |change: &dyn Fn()| {
            MarkFile::open(dir.path(), &db).unwrap().close(&db).unwrap();
            change();
            MarkFile::open(dir.path(), &db).unwrap().found().closed_cleanly
        };
        let modified = fs::metadata(&db).unwrap().modified().unwrap();

        assert!(clean_after(&|| {}));
        assert!(!clean_after(&|| fs::write(&db, b"datum").unwrap()));
        assert!(!clean_after(&|| {
            // Another content of the same size in place, with the old time of modification. Where times are
            // coarse, a change at once would have the same one.
            let modified = fs::metadata(&db).unwrap().modified().unwrap();
            super::super::crash::pause(Duration::from_millis(50));
            fs::write(&db, b"other").unwrap();
            OpenOptions::new().write(true).open(&db).unwrap().set_modified(modified).unwrap();
        }));
        assert!(!clean_after(&|| {
            // A copy with the size and the times of the original.
            fs::copy(&db, dir.path().join("copy")).unwrap();
            fs::rename(dir.path().join("copy"), &db).unwrap();
            let copy = OpenOptions::new().write(true).open(&db).unwrap();
            copy.set_modified(modified).unwrap();
        }));
        assert!(!clean_after(&|| fs::remove_file(&db).unwrap()));
    }

    #[test]
    fn the_system_s_reasons_are_told_apart() {
        let told = |kind: io::ErrorKind| from_io("writing", Path::new("here"), &io::Error::from(kind));

        assert_eq!(told(io::ErrorKind::StorageFull), KvError::Full);
        assert_eq!(told(io::ErrorKind::QuotaExceeded), KvError::Full);
        assert_eq!(told(io::ErrorKind::ReadOnlyFilesystem), KvError::ReadOnly { path: "here".into() });
        assert_eq!(told(io::ErrorKind::PermissionDenied), KvError::ReadOnly { path: "here".into() });
        assert!(matches!(told(io::ErrorKind::InvalidData), KvError::Corrupt { .. }));
        assert!(matches!(told(io::ErrorKind::TimedOut), KvError::Io { what: "writing", .. }));
    }

    #[test]
    fn only_so_many_damaged_stores_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(STORE)).unwrap();
        for number in 1..=STORES_SET_ASIDE_MAX {
            fs::create_dir(dir.path().join(format!("damaged-{number}"))).unwrap();
        }

        let refused = set_aside(dir.path());

        assert!(matches!(refused, Err(KvError::Io { what: "setting the store aside", .. })));
        assert!(dir.path().join(STORE).exists());
    }

    const GOLDEN: &str = concat!(
        "444c574d0103",
        "0300000000000000",
        "0700000000000000",
        "0909090909090909090909090909090909090909090909090909090909090909",
        "01000000000000000200000000000000030000000000000004000000000000000500000000000000",
        "06000000000000000700000000000000",
        "c6261ed49bc2c439",
    );
}
