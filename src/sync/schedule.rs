//! Who is fed next: deficit round robin over connections, and in turn over the spaces of each.
//!
//! One storage thread reads what peers lack, and what was read fills memory until they have taken it. A turn lets a
//! connection have the bytes of one batch; what its page exceeds them by is held against its next turns. A peer
//! that takes nothing gets no more than its share, and nobody waits for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ConnId;
use crate::id::SpaceId;
use crate::limits::{BATCH_BYTES, CONNECTION_UNDER_WAY_BYTES, FEEDS_READ_MAX, UNDER_WAY_BYTES};

/// The queue of all feeds.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// What is known of each connection that wants something or has something under way.
    lines: BTreeMap<ConnId, Line>,
    /// Connections with a space that waits, in the order of their turns. Each is there once.
    turns: VecDeque<ConnId>,
    /// Feeds that are being read.
    reading: BTreeSet<(ConnId, SpaceId)>,
}

/// One connection.
#[derive(Debug, Default)]
struct Line {
    /// Spaces to feed. Each is there once.
    waiting: VecDeque<SpaceId>,
    /// Bytes that it may still have in this turn; below zero is what it had too many.
    credit: i64,
    /// Bytes of batches that the peer has not taken.
    under_way: usize,
}

impl Schedule {
    /// A space is to be fed when its turn comes.
    pub(super) fn want(&mut self, conn: ConnId, space: SpaceId) {
        let line = self.lines.entry(conn).or_default();
        if !line.waiting.contains(&space) {
            line.waiting.push_back(space);
        }
        self.queue(conn);
    }

    /// Picks what is to be read next, if anything may be.
    pub(super) fn next(&mut self) -> Option<(ConnId, SpaceId)> {
        if self.reading.len() >= FEEDS_READ_MAX {
            return None;
        }
        let share = self.share();
        while let Some(conn) = self.turns.pop_front() {
            let Some(line) = self.lines.get_mut(&conn).filter(|line| line.under_way < share) else {
                // Queued again when the peer takes something.
                continue;
            };
            if line.credit <= 0 {
                line.credit += BATCH_BYTES as i64;
            }
            if line.credit <= 0 {
                self.turns.push_back(conn);
                continue;
            }
            let Some(space) = line.waiting.pop_front() else { continue };
            self.reading.insert((conn, space));
            self.queue(conn);
            return Some((conn, space));
        }
        None
    }

    /// A feed was read, or could not be.
    pub(super) fn read(&mut self, conn: ConnId, space: SpaceId) {
        self.reading.remove(&(conn, space));
    }

    /// A batch is on its way.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: usize) {
        let line = self.lines.entry(conn).or_default();
        line.under_way += bytes;
        line.credit -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// The peer took a batch.
    pub(super) fn taken(&mut self, conn: ConnId, bytes: usize) {
        if let Some(line) = self.lines.get_mut(&conn) {
            line.under_way = line.under_way.saturating_sub(bytes);
        }
        self.queue(conn);
    }

    /// A space is no longer open on a connection; `bytes` of it were under way.
    pub(super) fn forget(&mut self, conn: ConnId, space: SpaceId, bytes: usize) {
        self.reading.remove(&(conn, space));
        if let Some(line) = self.lines.get_mut(&conn) {
            line.waiting.retain(|other| *other != space);
        }
        self.taken(conn, bytes);
    }

    /// A connection is gone.
    pub(super) fn drop_conn(&mut self, conn: ConnId) {
        self.lines.remove(&conn);
        self.turns.retain(|other| *other != conn);
        self.reading.retain(|(other, _)| *other != conn);
    }

    fn queue(&mut self, conn: ConnId) {
        let waits = self.lines.get(&conn).is_some_and(|line| !line.waiting.is_empty());
        if waits && !self.turns.contains(&conn) {
            self.turns.push_back(conn);
        }
    }

    /// Bytes that one connection may have under way.
    fn share(&self) -> usize {
        (UNDER_WAY_BYTES / self.lines.len().max(1)).clamp(BATCH_BYTES, CONNECTION_UNDER_WAY_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(number: u8) -> SpaceId {
        SpaceId::new([number; 32])
    }

    /// Reads what is next, as a page of so many bytes, and tells whose it was.
    fn turn(schedule: &mut Schedule, bytes: usize) -> Option<ConnId> {
        let (conn, space) = schedule.next()?;
        schedule.read(conn, space);
        schedule.sent(conn, bytes);
        Some(conn)
    }

    #[test]
    fn one_peer_with_many_spaces_gets_no_more_than_each_of_many_with_one() {
        let mut schedule = Schedule::default();
        let greedy = ConnId(0);
        (0..200).for_each(|number| schedule.want(greedy, space(number)));
        let small: Vec<ConnId> = (1..=20).map(ConnId).collect();
        let mut handed: BTreeMap<ConnId, usize> = BTreeMap::new();

        for _ in 0..400 {
            small.iter().for_each(|conn| schedule.want(*conn, space(1)));
            let bytes = |conn: ConnId| if conn == greedy { BATCH_BYTES * 3 } else { BATCH_BYTES };
            let (conn, space) = schedule.next().expect("everybody wants something");
            schedule.read(conn, space);
            schedule.sent(conn, bytes(conn));
            schedule.taken(conn, bytes(conn));
            *handed.entry(conn).or_default() += bytes(conn);

            let most = handed.get(&greedy).copied().unwrap_or(0);
            let least = small.iter().map(|conn| handed.get(conn).copied().unwrap_or(0)).min().unwrap_or(0);
            assert!(most <= least + 4 * BATCH_BYTES, "{most} bytes against {least}");
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_gets_its_share_and_holds_nobody_up() {
        let mut schedule = Schedule::default();
        let (deaf, quick) = (ConnId(1), ConnId(2));
        let mut handed = 0;

        for _ in 0..100 {
            schedule.want(deaf, space(1));
            schedule.want(quick, space(1));
            while let Some(conn) = turn(&mut schedule, BATCH_BYTES) {
                if conn == quick {
                    schedule.taken(conn, BATCH_BYTES);
                    handed += BATCH_BYTES;
                }
            }
        }

        assert_eq!(schedule.lines[&deaf].under_way, CONNECTION_UNDER_WAY_BYTES);
        assert_eq!(handed, 100 * BATCH_BYTES);
    }

    #[test]
    fn all_peers_together_have_a_bounded_number_of_bytes_under_way() {
        let mut schedule = Schedule::default();

        for number in 0..crate::limits::CONNECTIONS_MAX as u64 {
            schedule.want(ConnId(number), space(1));
        }
        let mut handed = 0;
        while turn(&mut schedule, BATCH_BYTES).is_some() {
            handed += BATCH_BYTES;
            (0..crate::limits::CONNECTIONS_MAX as u64)
                .for_each(|number| schedule.want(ConnId(number), space(1)));
        }

        assert!(handed <= UNDER_WAY_BYTES.max(crate::limits::CONNECTIONS_MAX * BATCH_BYTES), "{handed}");
    }

    #[test]
    fn a_few_feeds_are_read_at_once() {
        let mut schedule = Schedule::default();
        (0..10).for_each(|number| schedule.want(ConnId(number), space(1)));

        let begun: Vec<(ConnId, SpaceId)> = std::iter::from_fn(|| schedule.next()).collect();
        assert_eq!(begun.len(), FEEDS_READ_MAX);
        let (conn, first) = begun[0];
        schedule.read(conn, first);

        assert!(schedule.next().is_some());
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut schedule = Schedule::default();
        schedule.want(ConnId(1), space(1));
        schedule.want(ConnId(1), space(2));
        schedule.want(ConnId(2), space(1));

        schedule.forget(ConnId(1), space(1), 0);
        assert_eq!(schedule.next(), Some((ConnId(1), space(2))));
        schedule.drop_conn(ConnId(1));
        assert_eq!(schedule.next(), Some((ConnId(2), space(1))));
        schedule.drop_conn(ConnId(2));

        assert_eq!(schedule.next(), None);
        assert!(schedule.lines.is_empty() && schedule.turns.is_empty() && schedule.reading.is_empty());
    }
}
