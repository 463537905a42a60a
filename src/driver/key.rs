//! The device's secret key in its file.
//!
//! ```text
//! device.key, mode 0600
//! "driftless-key-v1 " | 64 hex digits: the seed | " " | 8 hex digits: a checksum of the seed | "\n"
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::identity::Identity;

/// The name of the file in the node's directory.
pub(crate) const KEY_FILE: &str = "device.key";

const MAGIC: &str = "driftless-key-v1";
const CHECKSUM_DOMAIN: &[u8] = b"driftless/key-file/v1\0";
/// No key file is longer, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 256;

/// Why the device key could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeyError {
    /// Others than the owner may read or write the file.
    #[error("{} has mode {mode:03o}, so others may read the secret key: make it 600", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a device key.
    #[error("{} is damaged: restore it, or move it away to become another device", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

/// Reads the device key of a node, or makes one from `seed` when there is none.
///
/// A made key is on disk, together with its name, when this returns. The caller holds the lock of the
/// directory.
///
/// # Errors
///
/// [`KeyError`] when the file is open to others, damaged, or cannot be read or written.
pub(crate) fn load_or_create(dir: &Path, seed: &Zeroizing<[u8; 32]>) -> Result<Identity, KeyError> {
    let path = dir.join(KEY_FILE);
    match read(&path)? {
        Some(seed) => Ok(Identity::from_seed(*seed)),
        None => {
            create(dir, &path, seed).map_err(|error| io(&path, &error))?;
            Ok(Identity::from_seed(**seed))
        }
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(path, &error)),
    };
    check_mode(path, &metadata)?;
    let damaged = || KeyError::Damaged { path: path.to_owned() };
    if metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(damaged());
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| io(path, &error))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    parse(text).map(Some).ok_or_else(damaged)
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut parts = text.strip_suffix('\n')?.split(' ');
    let (magic, digits, sum) = (parts.next()?, parts.next()?, parts.next()?);
    if magic != MAGIC || parts.next().is_some() || digits.len() != 64 {
        return None;
    }
    let mut seed = Zeroizing::new([0_u8; 32]);
    for (byte, pair) in seed.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (*format(&seed) == text).then_some(seed).filter(|seed| sum == checksum(seed))
}

fn format(seed: &[u8; 32]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(64));
    for byte in seed {
        digits.push_str(&format!("{byte:02x}"));
    }
    Zeroizing::new(format!("{MAGIC} {} {}\n", *digits, checksum(seed)))
}

fn checksum(seed: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CHECKSUM_DOMAIN);
    hasher.update(seed);
    hasher.finalize().as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the whole file under another name first, so that a crash leaves a whole key or none.
fn create(dir: &Path, path: &Path, seed: &[u8; 32]) -> std::io::Result<()> {
    let fresh = dir.join("device.key.new");
    match fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(format(seed).as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _: (&Path, Option<File>) = (dir, None);
    Ok(())
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

fn io(path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> Zeroizing<[u8; 32]> {
        Zeroizing::new([byte; 32])
    }

    #[test]
    fn the_file_has_its_golden_form() {
        assert_eq!(
            format(&[0xab; 32]).as_str(),
            format!("driftless-key-v1 {} {}\n", "ab".repeat(32), checksum(&[0xab; 32])),
        );
        assert_eq!(checksum(&[0xab; 32]).len(), 8);
    }

    #[test]
    fn a_key_is_made_once_and_read_ever_after() {
        let dir = tempfile::tempdir().expect("a temporary directory");

        let made = load_or_create(dir.path(), &seed(1)).expect("made").peer();
        let read = load_or_create(dir.path(), &seed(2)).expect("read").peer();

        assert_eq!(made, read);
        assert_eq!(made, Identity::from_seed([1; 32]).peer());
    }

    #[test]
    fn a_damaged_key_is_named_as_such() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(KEY_FILE);
        load_or_create(dir.path(), &seed(1)).expect("made");
        let whole = fs::read_to_string(&path).expect("just written");

        for damaged in [
            String::new(),
            whole.replace("01", "02"),
            whole.replace("v1", "v2"),
            whole.trim_end().to_owned(),
            whole.to_uppercase(),
            format!("{whole}{whole}"),
            "x".repeat(1_000),
        ] {
            fs::write(&path, damaged).expect("written");
            let error = load_or_create(dir.path(), &seed(1)).expect_err("damaged");
            assert_eq!(error, KeyError::Damaged { path: path.clone() });
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(KEY_FILE);
        load_or_create(dir.path(), &seed(1)).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");

        let error = load_or_create(dir.path(), &seed(1)).expect_err("open to others");

        assert_eq!(error, KeyError::Permissions { path, mode: 0o644 });
    }

    #[test]
    fn a_leftover_of_a_crash_does_not_stand_in_the_way() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("device.key.new"), "half").expect("written");

        let peer = load_or_create(dir.path(), &seed(3)).expect("made").peer();

        assert_eq!(peer, Identity::from_seed([3; 32]).peer());
    }

    #[test]
    fn a_directory_in_its_place_is_an_error_of_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let missing = dir.path().join("missing");

        let error = load_or_create(&missing, &seed(1)).expect_err("no directory");

        assert!(matches!(error, KeyError::Io { .. }), "{error}");
    }
}
