//! The one place that reads clocks, draws entropy from the operating system and waits for a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::{Instant, Now, Timestamp};

/// The clocks of one node. Its steady clock starts at zero when the node opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts the steady clock.
    #[expect(clippy::disallowed_methods, reason = "the clock that every floor below is given")]
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the clock that every floor below is given")]
    pub(crate) fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Now { instant: Instant::from_ms(millis(self.start.elapsed())), wall: Timestamp::from_unix_ms(wall) }
    }

    /// Waits until the steady clock has passed `at`; for ever when there is no such time.
    ///
    /// Cancel safe.
    pub(crate) async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            // One more millisecond, because `now` rounds down: a wake-up must not find the time still ahead.
            Some(at) => {
                let wake = self.start + Duration::from_millis(at.ms().saturating_add(1).min(FAR_MS));
                tokio::time::sleep_until(wake.into()).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The longest wait, in milliseconds: a year. Longer ones are the same to everybody.
const FAR_MS: u64 = 365 * 24 * 3_600_000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Waits for `future`, at most `ms` milliseconds. Returns `None` when the time is over.
pub(crate) async fn within<T>(ms: u64, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(ms), future).await.ok()
}

/// Draws `N` bytes from the operating system's generator.
///
/// # Errors
///
/// The reason, when the operating system has none to give.
#[expect(clippy::disallowed_methods, reason = "the entropy that every floor below is given")]
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_starts_at_zero_and_does_not_go_back() {
        let clock = Clock::start();

        let (first, second) = (clock.now().instant, clock.now().instant);

        assert!(first.ms() < 60_000, "starts near zero, not at {first:?}");
        assert!(second >= first);
    }

    #[tokio::test]
    async fn after_a_wait_the_time_has_come() {
        let clock = Clock::start();
        let at = clock.now().instant.plus_ms(5);

        clock.sleep_until(Some(at)).await;

        assert!(clock.now().instant >= at);
    }

    #[tokio::test]
    async fn a_wait_without_a_time_is_cut_short_by_the_bound_around_it() {
        assert_eq!(within(1, Clock::start().sleep_until(None)).await, None);
    }

    #[test]
    fn two_draws_of_entropy_differ() {
        assert_ne!(entropy::<32>(), entropy::<32>());
    }
}
