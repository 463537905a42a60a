//! Points in time and durations, as plain numbers. Nothing here reads a clock.

use std::fmt;

/// A wall-clock time in Unix milliseconds, for display and for the expiry of invites.
///
/// No merge, order, permission or deletion depends on it.
///
/// # Example
///
/// ```
/// use driftless::Timestamp;
///
/// let made = Timestamp::from_unix_ms(1_750_000_000_000);
/// let expires = made.plus_ms(60_000);
/// assert!(made < expires);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a timestamp from Unix milliseconds.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_unix_ms(0), Timestamp::default());
    /// ```
    #[must_use]
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Returns the Unix milliseconds.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_unix_ms(1_750_000_000_000).unix_ms(), 1_750_000_000_000);
    /// ```
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Returns the timestamp `ms` milliseconds later, at most the largest one there is.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Timestamp;
    ///
    /// assert_eq!(Timestamp::from_unix_ms(500).plus_ms(250), Timestamp::from_unix_ms(750));
    /// assert_eq!(Timestamp::from_unix_ms(i64::MAX).plus_ms(1).unix_ms(), i64::MAX);
    /// ```
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A point of a clock that never goes back, in milliseconds since an arbitrary start.
///
/// The engine's deadlines are of this kind; it says nothing about the wall clock.
///
/// # Example
///
/// ```
/// use driftless::time::Instant;
///
/// let deadline = Instant::from_ms(1_000).plus_ms(250);
/// assert!(Instant::from_ms(1_200) < deadline);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Makes an instant from milliseconds since the start.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::time::Instant;
    ///
    /// assert_eq!(Instant::from_ms(0), Instant::default());
    /// ```
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since the start.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::time::Instant;
    ///
    /// assert_eq!(Instant::from_ms(1_000).ms(), 1_000);
    /// ```
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Returns the instant `ms` milliseconds later.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::time::Instant;
    ///
    /// assert_eq!(Instant::from_ms(1_000).plus_ms(250), Instant::from_ms(1_250));
    /// ```
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns how many milliseconds `self` is after `earlier`, zero when it is not.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::time::Instant;
    ///
    /// let (earlier, later) = (Instant::from_ms(1_000), Instant::from_ms(1_250));
    /// assert_eq!(later.ms_since(earlier), 250);
    /// assert_eq!(earlier.ms_since(later), 0);
    /// ```
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the world says at one moment: a steady clock and the wall clock, read together by the caller.
///
/// # Example
///
/// ```
/// use driftless::Timestamp;
/// use driftless::time::{Instant, Now};
///
/// let now = Now { instant: Instant::from_ms(7), wall: Timestamp::from_unix_ms(1_750_000_000_000) };
/// assert_eq!(now.instant.plus_ms(3), Instant::from_ms(10));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The steady clock, for deadlines.
    pub instant: Instant,
    /// The wall clock, for display and invite expiry.
    pub wall: Timestamp,
}
