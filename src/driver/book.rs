//! The address book: which peers a node dials, where, and the port it listened on last.
//!
//! A small text file, `peers`, one line each, written whole under another name and renamed. It is a
//! convenience: a damaged line is skipped, and a lost book costs addresses, never data.
//!
//! ```text
//! "driftless-peers-v1\n"
//! "port 41234\n"
//! "peer " | 64 hex digits | { " " | address } | "\n"
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::id::PeerId;
use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, PEERS_MAX};

use super::error::DriverError;
use super::key::sync_dir;

/// The name of the file in the node's directory.
pub(crate) const BOOK_FILE: &str = "peers";

const MAGIC: &str = "driftless-peers-v1";
/// No book is longer, in bytes.
const BOOK_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The peers to dial with their addresses, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    pub(crate) port: Option<u16>,
    pub(crate) peers: BTreeMap<PeerId, Vec<String>>,
}

impl Book {
    /// Reads the book of a node; an empty one when there is none.
    ///
    /// # Errors
    ///
    /// [`DriverError::Io`] when the file is there and cannot be read.
    pub(crate) fn read(dir: &Path) -> Result<Self, DriverError> {
        let path = dir.join(BOOK_FILE);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > BOOK_BYTES_MAX => return Ok(Self::default()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(path, &error)),
        }
        let bytes = fs::read(&path).map_err(|error| io(path, &error))?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Replaces the book of a node; it is on disk on return.
    ///
    /// # Errors
    ///
    /// [`DriverError::Io`] when it cannot be written; the old one is there then.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), DriverError> {
        let fresh = dir.join("peers.new");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(self.format().as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, dir.join(BOOK_FILE))?;
            sync_dir(dir)
        };
        write().map_err(|error| io(dir.join(BOOK_FILE), &error))
    }

    fn parse(text: &str) -> Self {
        let mut book = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(MAGIC) {
            return book;
        }
        for line in lines {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("port"), Some(port)) => book.port = port.parse().ok(),
                (Some("peer"), Some(peer)) => {
                    let Ok(peer) = peer.parse() else { continue };
                    if book.peers.len() < PEERS_MAX {
                        let short = words.filter(|address| address.len() <= ADDRESS_BYTES_MAX);
                        let addresses = short.take(ADDRESSES_PER_PEER_MAX).map(str::to_owned);
                        book.peers.insert(peer, addresses.collect());
                    }
                }
                (Some(_) | None, _) => {}
            }
        }
        book
    }

    fn format(&self) -> String {
        let mut text = format!("{MAGIC}\n");
        if let Some(port) = self.port {
            text.push_str(&format!("port {port}\n"));
        }
        for (peer, addresses) in &self.peers {
            text.push_str(&format!("peer {peer}"));
            for address in addresses {
                text.push(' ');
                text.push_str(address);
            }
            text.push('\n');
        }
        text
    }
}

fn io(path: PathBuf, error: &std::io::Error) -> DriverError {
    DriverError::Io { path, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        let peers = [
            (PeerId::new([1; 32]), vec!["127.0.0.1:1".to_owned(), "shop.example:2".to_owned()]),
            (PeerId::new([2; 32]), vec![]),
        ];
        Book { port: Some(41_234), peers: peers.into() }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");

        let before = Book::read(dir.path()).expect("none");
        book().write(dir.path()).expect("written");
        let after = Book::read(dir.path()).expect("read");

        assert_eq!(before, Book::default());
        assert_eq!(after, book());
    }

    #[test]
    fn the_file_has_its_golden_form() {
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let golden =
            format!("driftless-peers-v1\nport 41234\npeer {one} 127.0.0.1:1 shop.example:2\npeer {two}\n");
        assert_eq!(book().format(), golden);
    }

    #[test]
    fn damaged_lines_are_skipped() {
        let text = format!("{MAGIC}\nport x\npeer zz 127.0.0.1:1\n\nfoo\npeer {} a:1\n", "07".repeat(32));

        let book = Book::parse(&text);

        let peers = BTreeMap::from([(PeerId::new([7; 32]), vec!["a:1".to_owned()])]);
        assert_eq!(book, Book { port: None, peers });
        assert_eq!(Book::parse("another file"), Book::default());
    }

    #[test]
    fn peers_and_addresses_are_bounded() {
        let mut text = format!("{MAGIC}\n");
        for peer in 0..=PEERS_MAX {
            text.push_str(&format!("peer {peer:064x}{}\n", " a:1".repeat(ADDRESSES_PER_PEER_MAX + 1)));
        }
        text.push_str(&format!("peer {:064x} {}\n", 0, "x".repeat(ADDRESS_BYTES_MAX + 1)));

        let book = Book::parse(&text);

        assert_eq!(book.peers.len(), PEERS_MAX);
        assert!(book.peers.values().all(|addresses| addresses.len() == ADDRESSES_PER_PEER_MAX));
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_with_the_path() {
        let dir = tempfile::tempdir().expect("a temporary directory");

        let error = book().write(&dir.path().join("missing")).expect_err("no directory");

        assert!(error.to_string().contains("peers: "), "{error}");
    }
}
