//! A text field that merges by character.

use std::fmt;
use std::ops::Range;

use automerge::{ObjId, ObjType};
use autosurgeon::reconcile::{LoadKey, TextReconciler};
use autosurgeon::{HydrateError, Prop, ReadDoc, ReconcileError, Reconciler};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that several people may edit at once: what each of them inserted and deleted is kept.
///
/// Positions count characters (Unicode scalar values), not bytes; a position beyond the end means the end. Edits
/// made to a text inside `update` are recorded as they are made. [`Text::set`] and assigning a whole text, as
/// in `ticket.notes = Text::from("..")`, write the difference between the two; for long texts `set` is faster.
///
/// In a row it is a plain string.
///
/// # Example
///
/// ```
/// use driftless::doc::Text;
///
/// let mut notes = Text::from("no gas");
/// notes.insert(3, "more ");
/// assert_eq!(notes.as_str(), "no more gas");
/// ```
#[derive(Clone, Default)]
pub struct Text {
    value: String,
    /// The text of the document that `value` came from, until the whole was assigned.
    source: Option<Source>,
}

/// Where a text was hydrated from, and what was done to it since.
#[derive(Clone)]
struct Source {
    object: ObjId,
    edits: Vec<Splice>,
}

#[derive(Clone)]
struct Splice {
    at: usize,
    delete: usize,
    insert: String,
}

impl Text {
    /// Makes a text.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Text;
    ///
    /// let notes = Text::new("no gas");
    /// assert_eq!(notes, Text::from("no gas"));
    /// ```
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), source: None }
    }

    /// Inserts `text` before the character at `at`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let mut notes = Text::from("no gas");
    /// notes.insert(3, "more ");
    /// assert_eq!(notes.as_str(), "no more gas");
    /// ```
    pub fn insert(&mut self, at: usize, text: &str) {
        self.splice(at, 0, text);
    }

    /// Appends `text`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let mut notes = Text::from("no gas");
    /// notes.push_str(", no heat");
    /// assert_eq!(notes.as_str(), "no gas, no heat");
    /// ```
    pub fn push_str(&mut self, text: &str) {
        self.splice(usize::MAX, 0, text);
    }

    /// Deletes the characters of `range`.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let mut notes = Text::from("no more gas");
    /// notes.delete(3..8);
    /// assert_eq!(notes.as_str(), "no gas");
    /// ```
    pub fn delete(&mut self, range: Range<usize>) {
        self.splice(range.start, range.end.saturating_sub(range.start), "");
    }

    /// Deletes `delete` characters from `at` on and inserts `insert` there.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let mut notes = Text::from("no gas");
    /// notes.splice(3, 3, "heat");
    /// assert_eq!(notes.as_str(), "no heat");
    /// ```
    pub fn splice(&mut self, at: usize, delete: usize, insert: &str) {
        let mut tail = self.value.char_indices();
        let at = at.min(tail.clone().count());
        let start = tail.nth(at).map_or(self.value.len(), |(byte, _)| byte);
        let rest = self.value.get(start..).unwrap_or_default();
        let delete = delete.min(rest.chars().count());
        if delete == 0 && insert.is_empty() {
            return;
        }
        let end = start + rest.char_indices().nth(delete).map_or(rest.len(), |(byte, _)| byte);
        self.value.replace_range(start..end, insert);
        if let Some(source) = &mut self.source {
            source.edits.push(Splice { at, delete, insert: insert.to_owned() });
        }
    }

    /// Makes the text equal to `text`, by replacing what is between their common beginning and their common end.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let mut notes = Text::from("no gas");
    /// notes.set("no more gas");
    /// assert_eq!(notes.as_str(), "no more gas");
    /// ```
    pub fn set(&mut self, text: &str) {
        let same = |(left, right): &(char, char)| left == right;
        let start = self.value.chars().zip(text.chars()).take_while(same).count();
        let old: Vec<char> = self.value.chars().skip(start).collect();
        let new: Vec<char> = text.chars().skip(start).collect();
        let end = old.iter().rev().zip(new.iter().rev()).take_while(|(left, right)| left == right).count();
        let insert: String = new.iter().take(new.len() - end).collect();
        self.splice(start, old.len() - end, &insert);
    }

    /// Returns the text.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Text;
    ///
    /// let notes = Text::from("no gas");
    /// assert!(notes.as_str().contains("gas"));
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Returns the number of characters.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::Text;
    /// let name = Text::from("Zoë");
    /// assert_eq!(name.len(), 3);
    /// assert_eq!(name.as_str().len(), 4);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.value.chars().count()
    }

    /// Tells whether there are no characters.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Text;
    ///
    /// assert!(Text::default().is_empty());
    /// assert!(!Text::from("no gas").is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value, f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Text {}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.value)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Which text object of a document a value belongs to.
///
/// Autosurgeon writes into the object that it finds when the keys are equal, and creates another from the whole
/// value when they are not. A text that was moved to another place, as within a list, therefore never has its
/// recorded edits applied to the wrong object; and a text that was assigned as a whole belongs to any object.
#[doc(hidden)]
#[derive(Debug)]
pub enum TextKey {
    /// The object.
    Object(ObjId),
    /// Any object.
    Any,
}

impl PartialEq for TextKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(left), Self::Object(right)) => left == right,
            (Self::Any, _) | (_, Self::Any) => true,
        }
    }
}

impl autosurgeon::Reconcile for Text {
    type Key<'a> = TextKey;

    fn reconcile<R: Reconciler>(&self, mut reconciler: R) -> Result<(), R::Error> {
        // Without heads there is no document behind the reconciler: the object is created, from the whole value.
        let creates = reconciler.heads().is_empty();
        let mut text = reconciler.text()?;
        match &self.source {
            Some(source) if !creates => {
                for edit in &source.edits {
                    text.splice(edit.at, edit.delete.cast_signed(), &edit.insert)?;
                }
                Ok(())
            }
            Some(_) | None => text.update(&self.value),
        }
    }

    fn hydrate_key<'a, D: ReadDoc>(
        doc: &D,
        obj: &ObjId,
        prop: Prop<'_>,
    ) -> Result<LoadKey<Self::Key<'a>>, ReconcileError> {
        Ok(match doc.get(obj, &prop)? {
            Some((automerge::Value::Object(ObjType::Text), id)) => LoadKey::Found(TextKey::Object(id)),
            Some(_) | None => LoadKey::KeyNotFound,
        })
    }

    fn key(&self) -> LoadKey<TextKey> {
        LoadKey::Found(match &self.source {
            Some(source) => TextKey::Object(source.object.clone()),
            None => TextKey::Any,
        })
    }
}

impl autosurgeon::Hydrate for Text {
    fn hydrate_text<D: ReadDoc>(doc: &D, obj: &ObjId) -> Result<Self, HydrateError> {
        let source = Source { object: obj.clone(), edits: Vec::new() };
        Ok(Self { value: doc.text(obj)?, source: Some(source) })
    }

    fn hydrate_string(value: &str) -> Result<Self, HydrateError> {
        Ok(Self::new(value))
    }
}
