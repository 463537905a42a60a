//! What is listed of a collection without its documents.

use super::*;
use crate::id::{ChangeHash, Contents, Listed, Span, SpanTold, Version};
use crate::limits::{INDEX_LEAF_ENTITIES, INDEX_PAGE_BYTES, INDEX_PAGE_ENTITIES};

fn told(number: u8, heads: usize) -> Listed {
    let mut heads: Vec<ChangeHash> = (0..heads).map(|head| ChangeHash::new([head as u8; 32])).collect();
    heads.sort_unstable();
    Listed { entity: id(number), version: Version { heads, deleted: false, activity_ms: 5 } }
}

fn take(device: &mut Device, space: SpaceId, spans: Vec<SpanTold>, changed: Vec<Listed>) -> Answer {
    device.replica.answer(now(), Ask::TakeIndex { space, collection: notes(), spans, changed })
}

fn listed(device: &Device, space: SpaceId) -> Vec<Listed> {
    let index = device.replica.reader().index(&space, &notes(), true, None, usize::MAX).expect("reads");
    index.into_iter().map(|entry| entry.listed).collect()
}

#[test]
fn what_is_told_of_a_span_takes_the_place_of_what_was_there() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    take(&mut a, space, Vec::new(), (1..=6).map(|number| told(number, 1)).collect());
    a.replica.drain();
    let span = Span { after: Some(id(1)), upto: Some(id(4)) };

    let contents = Contents::Entries(vec![told(2, 1), told(4, 2)]);
    let answer = take(&mut a, space, vec![SpanTold { span, contents }], Vec::new());

    assert!(matches!(answer, Answer::IndexTaken { apart } if apart.is_empty()));
    assert_eq!(listed(&a, space), [told(1, 1), told(2, 1), told(4, 2), told(5, 1), told(6, 1)]);
    assert!(a.replica.drain().iter().any(|told| matches!(told, Told::Indexed { .. })));
    take(&mut a, space, Vec::new(), vec![told(5, 0), told(6, 1)]);
    assert_eq!(listed(&a, space).len(), 4, "without heads there is no such entity any more");
    take(&mut a, space, Vec::new(), vec![told(6, 1)]);
    assert_eq!(a.replica.drain().len(), 1, "what is the same is not told");
    let mut a = a.reopened();
    assert_eq!(listed(&a, space), [told(1, 1), told(2, 1), told(4, 2), told(6, 1)], "kept on disk");
    a.replica.erase(space).expect("erases");
    while a.replica.housekeep(now()).expect("housekeeps") {}
    assert_eq!(a.memory.flip_bit(1, &[17], &[18]), None, "nothing is left of it");
}

#[test]
fn a_damaged_entry_of_an_index_is_left_out_until_it_is_told_again() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    take(&mut a, space, Vec::new(), (1..=6).map(|number| told(number, 1)).collect());
    assert!(a.memory.flip_bit(3, &[17], &[18]).is_some());

    let found = a.replica.verify(now(), None).expect("mends");

    assert_eq!((found.damaged, listed(&a, space).len()), (1, 5));
    assert_eq!(a.replica.verify(now(), None).expect("sound").damaged, 0);
    take(&mut a, space, Vec::new(), (1..=6).map(|number| told(number, 1)).collect());
    assert_eq!(listed(&a, space).len(), 6);
}

/// Entities with as many heads as there may be must not make a message that is too long.
#[test]
fn a_page_of_an_index_is_bounded_in_entities_and_in_bytes() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.replica.pretend(space, &notes(), 3 * INDEX_PAGE_ENTITIES as u64);
    let all = vec![crate::id::SpanPrint { span: Span::ALL, print: Default::default() }];
    let ask = Ask::IndexTold { space, collection: notes(), spans: all };

    let Answer::Index(Some(spans)) = a.replica.answer(now(), ask) else { panic!("it is told") };

    let [first, rest] = spans.try_into().expect("what fits, and the rest");
    let Contents::Entries(entries) = first.contents else { panic!("an empty index is told all") };
    assert!(entries.len() <= INDEX_PAGE_ENTITIES && entries.len() > INDEX_LEAF_ENTITIES);
    assert!(entries.len() * 65 <= INDEX_PAGE_BYTES + 65);
    assert_eq!((rest.span.after, rest.contents), (entries.last().map(|last| last.entity), Contents::Rest));
    assert_eq!(first.span.upto, rest.span.after);
}
