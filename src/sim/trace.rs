//! The log of a run: a hash over all of it, and its last lines.

use std::collections::VecDeque;
use std::fmt;

/// Lines that are kept for people.
const TAIL_LINES: usize = 60;

/// What happened, line by line.
#[derive(Debug)]
pub(super) struct Trace {
    hasher: blake3::Hasher,
    tail: VecDeque<String>,
    /// Where every line goes besides, if anywhere.
    all: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(keep_all: bool) -> Self {
        let all = keep_all.then(Vec::new);
        Self { hasher: blake3::Hasher::new(), tail: VecDeque::new(), all }
    }

    pub(super) fn line(&mut self, at_ms: u64, text: fmt::Arguments<'_>) {
        let line = format!("{at_ms:>9} {text}");
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if let Some(all) = &mut self.all {
            all.push(line.clone());
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The hash of all lines, and the lines that were kept.
    pub(super) fn into_parts(self) -> ([u8; 32], Vec<String>) {
        let kept = self.all.unwrap_or_else(|| self.tail.into());
        (*self.hasher.finalize().as_bytes(), kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_all_lines_and_the_last_ones_are_kept() {
        let run = |lines: u64| {
            let mut trace = Trace::new(false);
            (0..lines).for_each(|number| trace.line(number, format_args!("line {number}")));
            trace.into_parts()
        };

        let (hash, tail) = run(100);

        assert_eq!(run(100), (hash, tail.clone()));
        assert_ne!(run(101).0, hash);
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().map(String::as_str), Some("       99 line 99"));
    }
}
