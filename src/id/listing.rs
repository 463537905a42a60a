//! The index of a collection: which entities there are and how far each has come, without their documents.

use super::{ChangeHash, EntityId, Fingerprint};

/// How far an entity has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its heads, ascending; none when there is no such entity any more.
    pub(crate) heads: Vec<ChangeHash>,
    pub(crate) deleted: bool,
    /// The largest time that a change of it names, in Unix milliseconds. For display only.
    pub(crate) activity_ms: i64,
}

/// One entity, as the index tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) entity: EntityId,
    pub(crate) version: Version,
}

/// The entities of a collection behind one id, up to another, in the order of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Not this one itself; from the first when absent.
    pub(crate) after: Option<EntityId>,
    /// This one too; to the last when absent.
    pub(crate) upto: Option<EntityId>,
}

/// What one side has in a span, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanPrint {
    pub(crate) span: Span,
    /// The sum over its entities.
    pub(crate) print: Fingerprint,
}

/// What a device with the whole collection says of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpanTold {
    pub(crate) span: Span,
    pub(crate) contents: Contents,
}

/// What is in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The same as the asker has.
    Same,
    /// These entities, ascending, and no others.
    Entries(Vec<Listed>),
    /// Something else, of this fingerprint.
    Print(Fingerprint),
    /// Nothing is said for now: ask again.
    Rest,
}

impl Span {
    /// Every entity.
    pub(crate) const ALL: Self = Self { after: None, upto: None };

    /// Whether an id lies in it.
    pub(crate) fn contains(&self, entity: &EntityId) -> bool {
        self.after.is_none_or(|after| *entity > after) && self.upto.is_none_or(|upto| *entity <= upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_leaves_out_what_it_begins_behind_and_has_what_it_ends_with() {
        let id = |byte| EntityId::new([byte; 16]);
        let span = Span { after: Some(id(2)), upto: Some(id(4)) };

        let within: Vec<u8> = (0..6).filter(|byte| span.contains(&id(*byte))).collect();

        assert_eq!(within, [3, 4]);
        assert!((0..6).all(|byte| Span::ALL.contains(&id(byte))));
    }
}
