//! A number field that merges by adding.

use std::fmt;

use automerge::{ObjId, ScalarValue};
use autosurgeon::reconcile::{CounterReconciler, LoadKey};
use autosurgeon::{HydrateError, Prop, ReadDoc, ReconcileError, Reconciler};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that several people may add to at once: every addition counts.
///
/// Assigning a whole counter instead, as in `ticket.minutes = Counter::from(0)`, sets the number and forgets
/// what others add to the old one. Sums stop at the ends of `i64`.
///
/// In a row it is a plain integer.
///
/// # Example
///
/// ```
/// use driftless::doc::Counter;
///
/// let mut minutes = Counter::from(20);
/// minutes.increment(15);
/// assert_eq!(minutes.value(), 35);
/// ```
#[derive(Clone, Default)]
pub struct Counter {
    value: i64,
    /// What the document said when the counter was hydrated; none after it was assigned.
    base: Option<i64>,
}

impl Counter {
    /// Makes a counter.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Counter;
    ///
    /// const NONE: Counter = Counter::new(0);
    /// assert_eq!(NONE, Counter::from(0));
    /// ```
    #[must_use]
    pub const fn new(value: i64) -> Self {
        Self { value, base: None }
    }

    /// Adds `by`, which may be negative.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Counter;
    /// let mut stock = Counter::from(10);
    /// stock.increment(-3);
    /// assert_eq!(stock.value(), 7);
    /// ```
    pub const fn increment(&mut self, by: i64) {
        self.value = self.value.saturating_add(by);
    }

    /// Returns the number.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Counter;
    ///
    /// let minutes = Counter::from(20);
    /// assert_eq!(minutes.value(), 20);
    /// ```
    #[must_use]
    pub const fn value(&self) -> i64 {
        self.value
    }
}

impl From<i64> for Counter {
    fn from(value: i64) -> Self {
        Self::new(value)
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value, f)
    }
}

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Counter {}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.value)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::new)
    }
}

impl autosurgeon::Reconcile for Counter {
    /// The number that the document shows: a counter hydrated from it is added to, any other replaces it.
    type Key<'a> = i64;

    fn reconcile<R: Reconciler>(&self, mut reconciler: R) -> Result<(), R::Error> {
        // Without heads there is no document behind the reconciler: the counter is created, at its value.
        let creates = reconciler.heads().is_empty();
        match self.base {
            Some(base) if !creates => match self.value.wrapping_sub(base) {
                0 => Ok(()),
                by => reconciler.counter()?.increment(by),
            },
            // The keys are equal, so the document shows this very number.
            None if !creates => Ok(()),
            Some(_) | None => reconciler.counter()?.set(self.value),
        }
    }

    fn hydrate_key<'a, D: ReadDoc>(
        doc: &D,
        obj: &ObjId,
        prop: Prop<'_>,
    ) -> Result<LoadKey<Self::Key<'a>>, ReconcileError> {
        let Some((automerge::Value::Scalar(scalar), _)) = doc.get(obj, &prop)? else {
            return Ok(LoadKey::KeyNotFound);
        };
        let ScalarValue::Counter(value) = scalar.as_ref() else { return Ok(LoadKey::KeyNotFound) };
        Ok(LoadKey::Found(value.into()))
    }

    fn key(&self) -> LoadKey<i64> {
        LoadKey::Found(self.base.unwrap_or(self.value))
    }
}

impl autosurgeon::Hydrate for Counter {
    fn hydrate_counter(value: i64) -> Result<Self, HydrateError> {
        Ok(Self { value, base: Some(value) })
    }
}
