//! The run-length columns of a change, read without allocating.
//!
//! ```text
//! column of values:   run*       run = count > 0, one value        that many times the value
//!                                    | count < 0, -count values    each of the values
//!                                    | 0, count                    that many times nothing
//! column of numbers that differ little: the same, of differences to the one before
//! column of truth values: counts, first of false, then of true, and so on
//! ```
//!
//! Behind its end a column goes on with nothing, or with false.

use super::super::GateError;

const OVERRUN: GateError = GateError::Malformed { what: "column ends inside a value" };
const NUMBER: GateError = GateError::Malformed { what: "number is not in its shortest form" };

/// A place in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, GateError> {
        let (first, rest) = self.rest.split_first().ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], GateError> {
        let len = usize::try_from(len).map_err(|_| OVERRUN)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GateError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads an unsigned LEB128 number in its shortest form.
    pub(super) fn unsigned(&mut self) -> Result<u64, GateError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(NUMBER);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(NUMBER) } else { Ok(value) };
            }
        }
        Err(NUMBER)
    }

    /// Reads a signed LEB128 number in its shortest form.
    pub(super) fn signed(&mut self) -> Result<i64, GateError> {
        let mut value = 0_i64;
        let mut before = 0_u8;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                return Err(NUMBER);
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let stretched = (byte == 0 && before & 0x40 == 0) || (byte == 0x7f && before & 0x40 != 0);
                if shift > 0 && stretched {
                    return Err(NUMBER);
                }
                if shift < 57 && byte & 0x40 != 0 {
                    value |= -1_i64 << (shift + 7);
                }
                return Ok(value);
            }
            before = byte;
        }
        Err(NUMBER)
    }
}

/// A value of a run-length column.
pub(super) trait Cell<'a>: Copy {
    fn read(input: &mut Cursor<'a>) -> Result<Self, GateError>;
}

impl Cell<'_> for u64 {
    fn read(input: &mut Cursor<'_>) -> Result<Self, GateError> {
        input.unsigned()
    }
}

impl Cell<'_> for i64 {
    fn read(input: &mut Cursor<'_>) -> Result<Self, GateError> {
        input.signed()
    }
}

impl<'a> Cell<'a> for &'a str {
    fn read(input: &mut Cursor<'a>) -> Result<Self, GateError> {
        let len = input.unsigned()?;
        std::str::from_utf8(input.take(len)?).map_err(|_| GateError::Malformed { what: "text is not UTF-8" })
    }
}

/// A run-length column.
#[derive(Clone, Debug)]
pub(super) struct Runs<'a, T> {
    input: Cursor<'a>,
    left: u64,
    run: Run<T>,
}

#[derive(Clone, Copy, Debug)]
enum Run<T> {
    Same(T),
    Each,
    Nothing,
}

impl<'a, T: Cell<'a>> Runs<'a, T> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { input: Cursor::new(bytes), left: 0, run: Run::Nothing }
    }

    /// Returns the next value; behind the end there is nothing for ever.
    pub(super) fn next(&mut self) -> Result<Option<T>, GateError> {
        if self.left == 0 {
            if self.input.is_empty() {
                return Ok(None);
            }
            self.start_run()?;
        }
        self.left -= 1;
        match self.run {
            Run::Same(value) => Ok(Some(value)),
            Run::Each => T::read(&mut self.input).map(Some),
            Run::Nothing => Ok(None),
        }
    }

    /// Tells whether everything was read.
    pub(super) const fn is_done(&self) -> bool {
        self.left == 0 && self.input.is_empty()
    }

    /// Sums up `weight` over all values, run by run, however long the runs are.
    pub(super) fn total(mut self, weight: impl Fn(Option<T>) -> u64) -> Result<u64, GateError> {
        let mut total = 0_u64;
        while !self.is_done() {
            self.start_run()?;
            let sum = match self.run {
                Run::Same(value) => weight(Some(value)).saturating_mul(self.left),
                Run::Nothing => weight(None).saturating_mul(self.left),
                Run::Each => {
                    let mut sum = 0_u64;
                    // Every value takes a byte at least, so the bytes end this loop.
                    while self.left > 0 {
                        sum = sum.saturating_add(weight(Some(T::read(&mut self.input)?)));
                        self.left -= 1;
                    }
                    sum
                }
            };
            self.left = 0;
            total = total.saturating_add(sum);
        }
        Ok(total)
    }

    fn start_run(&mut self) -> Result<(), GateError> {
        let count = self.input.signed()?;
        (self.run, self.left) = match count {
            1.. => (Run::Same(T::read(&mut self.input)?), count.unsigned_abs()),
            0 => (Run::Nothing, self.input.unsigned()?),
            ..0 => (Run::Each, count.unsigned_abs()),
        };
        if self.left == 0 {
            return Err(GateError::Malformed { what: "run of nothing" });
        }
        Ok(())
    }
}

/// A column of numbers, each written as the difference to the one before.
#[derive(Clone, Debug)]
pub(super) struct Deltas<'a> {
    runs: Runs<'a, i64>,
    last: i64,
}

impl<'a> Deltas<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { runs: Runs::new(bytes), last: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<u64>, GateError> {
        let Some(delta) = self.runs.next()? else { return Ok(None) };
        let wrong = GateError::Malformed { what: "counter is out of range" };
        self.last = self.last.checked_add(delta).ok_or_else(|| wrong.clone())?;
        u64::try_from(self.last).map(Some).map_err(|_| wrong)
    }

    pub(super) const fn is_done(&self) -> bool {
        self.runs.is_done()
    }
}

/// A column of truth values.
#[derive(Clone, Debug)]
pub(super) struct Bools<'a> {
    input: Cursor<'a>,
    left: u64,
    value: bool,
}

impl<'a> Bools<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { input: Cursor::new(bytes), left: 0, value: true }
    }

    pub(super) fn next(&mut self) -> Result<bool, GateError> {
        // Only the first count may be zero, so this goes round twice at most.
        let mut first = self.left == 0;
        while self.left == 0 {
            if self.input.is_empty() {
                return Ok(false);
            }
            self.left = self.input.unsigned()?;
            self.value = !self.value;
            if self.left == 0 && !std::mem::replace(&mut first, false) {
                return Err(GateError::Malformed { what: "run of nothing" });
            }
        }
        self.left -= 1;
        Ok(self.value)
    }

    pub(super) const fn is_done(&self) -> bool {
        self.left == 0 && self.input.is_empty()
    }
}
