//! When a node is on the network.

use std::time::Duration;

use crate::driver;
use crate::limits::PERIOD_MS_MIN;

use super::{Error, Node};

/// When a node is on the network, for all its spaces: a connection carries them together.
///
/// A node that is not [`Live`](Mode::Live) still takes connections that others begin. Whoever began it, a connection
/// ends when all spaces on it are in sync and nothing is under way, or when nothing was heard on it for 30 s. A peer
/// that is live is told so and does not reconnect by itself when this node has its address; otherwise it looks in at
/// its longest backoff. Reads and writes go on at all times; what is written meanwhile is sent with the next sync.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use std::time::Duration;
///
/// use driftless::{Mode, Node};
///
/// let quarter_hour = Mode::Periodic(Duration::from_secs(15 * 60));
/// let node = Node::builder(dir.path()).mode(quarter_hour).open().await?;
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Connected to all peers, whenever they can be reached.
    #[default]
    Live,
    /// Reaches all peers at once and syncs, when it is opened and then every so often, counted from one beginning to
    /// the next; at least 100 ms. A peer that cannot be reached is tried again the next time. [`Node::wake`] and
    /// [`Node::resume`] begin at once.
    Periodic(Duration),
    /// Reaches peers when the app calls [`Node::sync_now`] or [`Space::sync_now`](crate::Space::sync_now), and not
    /// otherwise.
    Manual,
}

impl Mode {
    pub(super) fn checked(self) -> Result<driver::Mode, Error> {
        match self {
            Self::Live => Ok(driver::Mode::Live),
            Self::Manual => Ok(driver::Mode::Manual),
            Self::Periodic(every) => match u64::try_from(every.as_millis()) {
                Ok(every_ms) if every_ms >= PERIOD_MS_MIN => Ok(driver::Mode::Periodic { every_ms }),
                Ok(_) | Err(_) => {
                    let reason =
                        format!("{every:?} is not between {PERIOD_MS_MIN} ms and what a clock can count");
                    Err(Error::Invalid { what: "period", reason })
                }
            },
        }
    }
}

impl Node {
    /// Changes when this node is on the network. Not kept: it is the builder's again when the node is opened again.
    ///
    /// # Errors
    ///
    /// Kind [`Invalid`](crate::ErrorKind::Invalid) for a period below 100 ms, [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the mode changed.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, _tickets, _id) = shop().await?;
    /// use driftless::Mode;
    ///
    /// node.set_mode(Mode::Manual).await?;
    /// let synced = node.sync_now().await?;
    /// assert_eq!(synced.behind, 0);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_mode(&self, mode: Mode) -> Result<(), Error> {
        let mode = mode.checked()?;
        Ok(self.inner().driver.set_mode(mode).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_a_shortest_length() {
        let period = |ms| Mode::Periodic(Duration::from_millis(ms)).checked();

        assert_eq!(period(PERIOD_MS_MIN).ok(), Some(driver::Mode::Periodic { every_ms: PERIOD_MS_MIN }));
        assert!(matches!(period(PERIOD_MS_MIN - 1), Err(Error::Invalid { what: "period", .. })));
        assert!(matches!(Mode::Periodic(Duration::MAX).checked(), Err(Error::Invalid { .. })));
    }
}
