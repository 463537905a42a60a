//! The name of a collection.

use std::fmt;
use std::sync::Arc;

use crate::limits::COLLECTION_NAME_BYTES_MAX;

/// The name of a collection: 1 to 64 of `a-z`, `0-9`, `_` and `-`, beginning with a letter.
///
/// Cheap to clone.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driftless::CollectionName;
///
/// let orders = CollectionName::new("work-orders")?;
/// assert_eq!(orders.to_string(), "work-orders");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(Arc<str>);

impl CollectionName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    ///
    /// [`CollectionNameError`] when the name is empty, too long or has other characters.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::CollectionName;
    ///
    /// let stock = CollectionName::new("stock_2")?;
    /// assert!(CollectionName::new("Stock 2").is_err());
    /// # assert_eq!(stock.as_str(), "stock_2");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(name: &str) -> Result<Self, CollectionNameError> {
        let starts = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if !starts || name.len() > COLLECTION_NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(CollectionNameError { name: name.chars().take(COLLECTION_NAME_BYTES_MAX).collect() });
        }
        Ok(Self(Arc::from(name)))
    }

    /// Returns the name.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use driftless::CollectionName;
    ///
    /// let tickets = CollectionName::new("tickets")?;
    /// assert_eq!(tickets.as_str(), "tickets");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot name a collection.
///
/// # Example
///
/// ```
/// use driftless::CollectionName;
/// use driftless::id::CollectionNameError;
///
/// let refused = CollectionName::new("2nd");
/// assert_eq!(refused, Err(CollectionNameError { name: "2nd".into() }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a collection name: 1 to 64 of a-z, 0-9, _ and -, beginning with a letter")]
pub struct CollectionNameError {
    /// The text, cut at the limit.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_begins_with_a_letter() {
        for good in ["a", "tickets", "stock_2", "work-orders", &"a".repeat(COLLECTION_NAME_BYTES_MAX)] {
            assert_eq!(CollectionName::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "2a", "_a", "Tickets", "a b", "ä", &"a".repeat(COLLECTION_NAME_BYTES_MAX + 1)] {
            let name = bad.chars().take(COLLECTION_NAME_BYTES_MAX).collect();
            assert_eq!(CollectionName::new(bad), Err(CollectionNameError { name }));
        }
    }
}
