//! What a peer may make this node do in a time: bytes read, commits judged, questions worked out.
//!
//! Who exceeds a budget is held back: nothing more is read from it until the excess has drained away. Nobody is
//! cut off for being fast.

use crate::limits::{
    PEER_BYTES_BURST_MAX, PEER_BYTES_PER_S, PEER_COMMITS_BURST_MAX, PEER_COMMITS_PER_S, PEER_WORK_BURST_MAX,
    PEER_WORK_PER_S, SCORE_TURN_AWAY,
};
use crate::time::Instant;
use crate::wire::Message;

/// Bytes of commits sent on request that count as one unit of work.
const WORK_BYTES: usize = 16 * 1024;
/// Statements that count as one unit of work: a signature of each is verified.
const WORK_STATEMENTS: usize = 16;

/// So much at once, and so much a second for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) burst: u64,
    pub(crate) per_s: u64,
}

/// The budgets of one peer. The default takes each from [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Bytes of frames.
    pub(crate) bytes: Rate,
    /// Commits, whatever becomes of them.
    pub(crate) commits: Rate,
    /// Units of work, as [`work_of`] counts them.
    pub(crate) work: Rate,
    /// Points at which it is turned away for what it did.
    pub(crate) patience: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: Rate { burst: PEER_BYTES_BURST_MAX, per_s: PEER_BYTES_PER_S },
            commits: Rate { burst: PEER_COMMITS_BURST_MAX, per_s: PEER_COMMITS_PER_S },
            work: Rate { burst: PEER_WORK_BURST_MAX, per_s: PEER_WORK_PER_S },
            patience: SCORE_TURN_AWAY,
        }
    }
}

impl Budget {
    /// The same bursts at a fraction of the rates, for a peer that has broken rules lately.
    pub(super) fn slowed(self, divisor: u64) -> Self {
        let slowed = |rate: Rate| Rate { per_s: (rate.per_s / divisor).max(1), ..rate };
        let (bytes, commits, work) = (slowed(self.bytes), slowed(self.commits), slowed(self.work));
        Self { bytes, commits, work, ..self }
    }
}

/// How much was spent of one budget and has not drained away, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    spent: u64,
    at: Instant,
}

impl Bucket {
    /// Spends, whether it is there or not.
    pub(super) fn spend(&mut self, now: Instant, rate: Rate, amount: u64) {
        self.drain(now, rate);
        self.spent = self.spent.saturating_add(amount.saturating_mul(1_000));
    }

    /// Returns when the excess will have drained away; `None` when there is none.
    pub(super) fn excess_until(&mut self, now: Instant, rate: Rate) -> Option<Instant> {
        self.drain(now, rate);
        let excess = self.spent.checked_sub(rate.burst.saturating_mul(1_000)).filter(|excess| *excess > 0)?;
        Some(now.plus_ms(excess.div_ceil(rate.per_s.max(1))))
    }

    /// Returns how much has not drained away, in thousandths.
    pub(super) fn spent(&mut self, now: Instant, rate: Rate) -> u64 {
        self.drain(now, rate);
        self.spent
    }

    /// Forgets what was spent beyond `amount`.
    pub(super) fn cap(&mut self, amount: u64) {
        self.spent = self.spent.min(amount.saturating_mul(1_000));
    }

    /// A thousandth of `per_s` units a millisecond is `per_s` thousandths.
    fn drain(&mut self, now: Instant, rate: Rate) {
        let drained = now.ms_since(self.at).saturating_mul(rate.per_s);
        self.spent = self.spent.saturating_sub(drained);
        self.at = now;
    }
}

/// What it takes to answer a message, beyond reading it: one for a look at the state of a space, more where
/// entities or whole sketches are looked at, or many statements verified. Commits have a budget of their own.
pub(super) fn work_of(message: &Message) -> u64 {
    match message {
        Message::Hello(_)
        | Message::HelloAck(_)
        | Message::Live(_)
        | Message::LiveBatch(_)
        | Message::Batch(_)
        | Message::BatchTaken(_)
        | Message::Ack(_)
        | Message::Neighbours(_)
        | Message::Fetched(_)
        | Message::IndexTaken(_)
        | Message::Farewell(_) => 0,
        Message::Open(_)
        | Message::Interest(_)
        | Message::Introduce(_)
        | Message::Offer(_)
        | Message::Wanted(_)
        | Message::Vectors(_)
        | Message::Shorts(_)
        | Message::IndexTold(_)
        | Message::Roots(_) => 1,
        Message::Statements(sent) => 1 + (sent.statements.len() / WORK_STATEMENTS) as u64,
        Message::Heads(_) | Message::Clocks(_) => 4,
        Message::Cells(_)
        | Message::CellsWanted(_)
        | Message::Apart(_)
        | Message::Fetch(_)
        | Message::IndexAsk(_) => 8,
    }
}

/// How many commits a message brings.
pub(super) fn commits_of(message: &Message) -> u64 {
    match message {
        Message::Live(_) => 1,
        Message::LiveBatch(batch) => batch.commits.len() as u64,
        Message::Batch(batch) => batch.commits.len() as u64,
        Message::Fetched(fetched) => fetched.commits.len() as u64,
        Message::Hello(_)
        | Message::HelloAck(_)
        | Message::Open(_)
        | Message::Vectors(_)
        | Message::Shorts(_)
        | Message::Statements(_)
        | Message::BatchTaken(_)
        | Message::Ack(_)
        | Message::Roots(_)
        | Message::Heads(_)
        | Message::Clocks(_)
        | Message::Cells(_)
        | Message::CellsWanted(_)
        | Message::Apart(_)
        | Message::IndexAsk(_)
        | Message::IndexTold(_)
        | Message::IndexTaken(_)
        | Message::Neighbours(_)
        | Message::Interest(_)
        | Message::Fetch(_)
        | Message::Introduce(_)
        | Message::Offer(_)
        | Message::Wanted(_)
        | Message::Farewell(_) => 0,
    }
}

/// What it took to look up and send `bytes` that a peer says to lack.
pub(super) fn work_of_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(WORK_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 10, per_s: 4 };

    fn at(ms: u64) -> Instant {
        Instant::from_ms(ms)
    }

    #[test]
    fn a_burst_is_free_and_the_excess_drains_at_the_rate() {
        let mut bucket = Bucket::default();

        bucket.spend(at(0), RATE, 10);
        assert_eq!(bucket.excess_until(at(0), RATE), None);
        bucket.spend(at(0), RATE, 2);
        assert_eq!(bucket.excess_until(at(0), RATE), Some(at(500)));

        assert_eq!(bucket.excess_until(at(499), RATE), Some(at(500)));
        assert_eq!(bucket.excess_until(at(500), RATE), None);
        assert_eq!((bucket.spent(at(2_999), RATE), bucket.spent(at(3_000), RATE)), (4, 0));
    }

    #[test]
    fn no_amount_overflows() {
        let mut bucket = Bucket::default();
        let rate = Rate { burst: u64::MAX, per_s: 0 };

        bucket.spend(at(1), rate, u64::MAX);
        bucket.spend(at(u64::MAX), rate, u64::MAX);

        assert_eq!(bucket.excess_until(at(u64::MAX), rate), None);
        let none = Rate { burst: 0, per_s: 0 };
        assert!(bucket.excess_until(at(u64::MAX), none).is_some());
    }

    #[test]
    fn a_slowed_budget_still_drains() {
        let slowed = Budget { work: RATE, ..Budget::default() }.slowed(8);

        assert_eq!(slowed.work, Rate { burst: 10, per_s: 1 });
        assert_eq!(slowed.bytes.burst, PEER_BYTES_BURST_MAX);
        assert_eq!(slowed.bytes.per_s, PEER_BYTES_PER_S / 8);
    }
}
