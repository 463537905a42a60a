//! Counters of one node, and the snapshot of them that an app reads.
//!
//! Every counter counts from the start of the process and never goes back.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The live counters. Floors share one by reference and add to it.
        ///
        /// # Example
        ///
        /// ```
        /// use driftless::metrics::Metrics;
        ///
        /// let metrics = Metrics::default();
        /// metrics.frames_sent.add(2);
        /// assert_eq!(metrics.frames_sent.get(), 2);
        /// ```
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: Counter,)+
        }

        /// The counters at one moment.
        ///
        /// # Example
        ///
        /// ```
        /// use driftless::metrics::Metrics;
        ///
        /// let metrics = Metrics::default();
        /// let before = metrics.snapshot();
        /// metrics.commits_local.add(1);
        /// assert_eq!((before.commits_local, metrics.snapshot().commits_local), (0, 1));
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct MetricsSnapshot {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Metrics {
            /// Reads all counters.
            ///
            /// # Example
            ///
            /// ```
            /// use driftless::metrics::Metrics;
            ///
            /// let metrics = Metrics::default();
            /// metrics.disk_syncs.add(1);
            /// assert_eq!(metrics.snapshot().disk_syncs, 1);
            /// ```
            #[must_use]
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Commits made on this node.
    commits_local,
    /// Commits of others that were applied here.
    commits_remote,
    /// Commits that arrived and were held already.
    commits_duplicate,
    /// Commits that arrived and went into quarantine.
    commits_quarantined,
    /// Commits that waited in quarantine as long as they may, and were dropped.
    commits_expired,
    /// Commits or frames that were refused for good.
    refused,
    /// Damaged values that were met in the store.
    values_damaged,
    /// Entities of which changes were lost to damage.
    entities_damaged,
    /// Entities that were damaged and are whole again.
    entities_repaired,
    /// Documents loaded from their changes.
    documents_loaded,
    /// Batches of remote changes that were applied to a document.
    document_applies,
    /// Times the store was synced to disk.
    disk_syncs,
    /// Commits that those syncs made durable.
    commits_synced,
    /// Frames sent.
    frames_sent,
    /// Bytes of those frames, with their headers.
    frame_bytes_sent,
    /// Frames received.
    frames_received,
    /// Bytes of those frames, with their headers.
    frame_bytes_received,
    /// Commits sent as they were made.
    commits_sent_live,
    /// Commits sent to catch a peer up.
    commits_sent_feed,
    /// Commits not sent to a peer because another is to send them; counted once for each peer.
    commits_withheld,
    /// Commits sent to repair a difference that the version vectors did not tell.
    commits_sent_repair,
    /// Comparisons of fingerprints that found both sides equal.
    roots_equal,
    /// Comparisons of fingerprints that contradicted the version vectors.
    roots_contradicted,
    /// Connections that reached the hello.
    connections,
    /// Attempts to reach a peer that failed.
    dials_failed,
    /// Times that a peer was held back because it exceeded its budget.
    peers_held_back,
    /// Times that a peer broke a rule that no honest program breaks.
    offences,
}

/// One counter.
///
/// # Example
///
/// ```
/// use driftless::metrics::Counter;
///
/// let frames = Counter::default();
/// frames.add(3);
/// assert_eq!(frames.get(), 3);
/// ```
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::metrics::Counter;
    ///
    /// let bytes = Counter::default();
    /// bytes.add(512);
    /// bytes.add(512);
    /// assert_eq!(bytes.get(), 1_024);
    /// ```
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the count.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::metrics::Counter;
    ///
    /// assert_eq!(Counter::default().get(), 0);
    /// ```
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
