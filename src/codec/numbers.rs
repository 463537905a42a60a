//! For tests: where a decoder reads numbers, to see what it makes of others there.

use std::cell::RefCell;

use super::{CodecError, Reader, Writer};

/// More than anything may have: what is counted takes a byte at least, and nobody sends four gibibytes.
const HUGE: u64 = 1 << 32;

std::thread_local! {
    static READ: RefCell<Option<Vec<Number>>> = const { RefCell::new(None) };
}

/// A number in bytes that were decoded.
#[derive(Clone, Copy, Debug)]
struct Number {
    what: &'static str,
    /// Where it stands in memory.
    address: usize,
    /// How many bytes are left of what it counts in, itself among them.
    left: usize,
    /// The most that there may be of what it counts, if it counts anything.
    max: Option<u64>,
}

/// Notes that a number is read where `rest` begins.
pub(super) fn note(what: &'static str, rest: &[u8], max: Option<usize>) {
    let max = max.map(|max| max as u64);
    let number = Number { what, address: rest.as_ptr().addr(), left: rest.len(), max };
    READ.with_borrow_mut(|read| read.iter_mut().for_each(|read| read.push(number)));
}

/// The places of the numbers that `decode` reads in `bytes`, beginning with the first. Numbers in what is expanded from
/// them are left out.
fn read_in(bytes: &[u8], decode: impl FnOnce(&[u8])) -> Vec<(usize, Number)> {
    READ.with_borrow_mut(|read| *read = Some(Vec::new()));
    decode(bytes);
    let read = READ.with_borrow_mut(Option::take).unwrap_or_default();
    let place = |number: Number| {
        let at = number.address.checked_sub(bytes.as_ptr().addr()).filter(|at| *at < bytes.len())?;
        Some((at, number))
    };
    read.into_iter().filter_map(place).collect()
}

/// Puts another number where one stands.
fn with(bytes: &[u8], at: usize, number: u64) -> Vec<u8> {
    let old = bytes[at..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let mut new = Writer::new();
    new.varint(number);
    [&bytes[..at], new.as_bytes(), &bytes[at + old..]].concat()
}

/// The bytes with [`HUGE`] in place of each count in them that `decode` reads.
pub(crate) fn inflated(bytes: &[u8], decode: impl FnOnce(&[u8])) -> Vec<Vec<u8>> {
    let counts = read_in(bytes, decode).into_iter().filter(|(_, number)| number.max.is_some());
    counts.map(|(at, _)| with(bytes, at, HUGE)).collect()
}

/// Checks that `decode` refuses whatever claims more than there may be, or more than there is, where it claims it: before
/// anything is made room for. Numbers that count nothing may be anything; what is read with a huge one takes
/// no more bytes when it is written again. Returns how many counts there were.
#[track_caller]
pub(crate) fn check(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Vec<u8>, CodecError>) -> usize {
    let numbers = read_in(bytes, |bytes| assert_eq!(decode(bytes).as_deref(), Ok(bytes)));
    for (at, Number { what, left, max, .. }) in &numbers {
        let huge = with(bytes, *at, HUGE);
        let read = decode(&huge);
        let Some(max) = *max else {
            assert!(read.as_ref().map_or(true, |written| *written == huge), "{what} at {at}: {read:?}");
            continue;
        };
        // What a length before it cuts off cannot be read.
        if *left >= 5 {
            assert_eq!(read, Err(CodecError::TooLarge { what, len: HUGE, max }), "{what} at {at}");
        } else {
            assert!(read.is_err(), "{what} at {at}: {read:?}");
        }
        let all = decode(&with(bytes, *at, max));
        if max > bytes.len() as u64 && *left >= 5 {
            assert_eq!(all, Err(CodecError::Truncated { what }), "{what} at {at}");
        }
    }
    let counts: Vec<_> = numbers.iter().filter(|(_, number)| number.max.is_some()).collect();
    counts.len()
}

#[test]
fn numbers_are_found_where_they_are_read() {
    let bytes = [7, 2, 9, 9, 1, 5];
    let decode = |bytes: &[u8]| {
        let mut input = Reader::new(bytes);
        assert_eq!(input.varint("one"), Ok(7));
        assert_eq!(input.bytes("two", 10), Ok([9, 9].as_slice()));
        let mut inner = Reader::new(input.rest());
        assert_eq!(inner.count("three", 4), Ok(1));
    };

    let found: Vec<_> = read_in(&bytes, decode).iter().map(|(at, of)| (*at, of.what, of.max)).collect();

    assert_eq!(found, [(0, "one", None), (1, "two", Some(10)), (4, "three", Some(4))]);
    assert_eq!(with(&bytes, 1, 300), [7, 0xac, 2, 9, 9, 1, 5]);
}
