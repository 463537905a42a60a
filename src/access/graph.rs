//! The statements of a log as a graph: which of them each one follows.

use std::sync::Arc;

use crate::id::{MemberId, StatementHash};

use super::share::{Chunks, Shards};
use super::{AccessError, Statement};

/// A set of small numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

/// A statement in its place.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) statement: Statement,
    /// Every statement before it, itself not among them.
    pub(super) past: Bits,
}

/// Statements by number. A number is a place in the order of arrival here, so a statement's past has smaller
/// numbers; nothing that is decided may depend on them. A copy shares what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    entries: Chunks<Arc<Entry>>,
    numbers: Shards<StatementHash, usize>,
}

impl Bits {
    pub(super) fn insert(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (number % 64);
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }

    /// The numbers that are in this set and not in the other, ascending.
    pub(super) fn beyond(&self, other: &Self) -> Vec<usize> {
        let words = self.0.iter().enumerate().map(|(word, bits)| {
            let beyond = bits & !other.0.get(word).copied().unwrap_or(0);
            (word, beyond)
        });
        let ones = |(word, bits): (usize, u64)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * 64 + bit)
        };
        words.filter(|(_, bits)| *bits != 0).flat_map(ones).collect()
    }

    pub(super) fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (bits, other) in self.0.iter_mut().zip(&other.0) {
            *bits |= other;
        }
    }
}

impl Graph {
    /// Adds a statement all of whose previous ones are here, and returns its number.
    pub(super) fn push(&mut self, statement: Statement, past: Bits) -> usize {
        let number = self.entries.len();
        self.numbers.insert(statement.hash(), number);
        self.entries.push(Arc::new(Entry { statement, past }));
        number
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn number(&self, hash: &StatementHash) -> Option<usize> {
        self.numbers.get(hash).copied()
    }

    /// The number of the statement that added a member.
    pub(super) fn member(&self, member: &MemberId) -> Option<usize> {
        self.number(&StatementHash::new(*member.as_bytes()))
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.entries.iter().map(|entry| &entry.statement)
    }

    pub(super) fn entry(&self, number: usize) -> &Entry {
        self.entries.get(number).expect("numbers are given out by push and never taken back")
    }

    pub(super) fn statement(&self, number: usize) -> &Statement {
        &self.entry(number).statement
    }

    /// Tells whether `earlier` is in the past of `later`.
    pub(super) fn precedes(&self, earlier: usize, later: usize) -> bool {
        self.entry(later).past.contains(earlier)
    }

    /// The place of a statement in the order of seniority: the same on every node.
    pub(super) fn rank(&self, number: usize) -> (u64, StatementHash) {
        let statement = self.statement(number);
        (statement.lamport(), statement.hash())
    }

    /// The statements named and everything before them.
    pub(super) fn closure(&self, hashes: &[StatementHash]) -> Result<Bits, AccessError> {
        let mut closure = Bits::default();
        for hash in hashes {
            let number = self.number(hash).ok_or(AccessError::UnknownPosition { hash: *hash })?;
            closure.extend(&self.entry(number).past);
            closure.insert(number);
        }
        Ok(closure)
    }
}
