//! Reads canonical encodings, never past the end and never allocating by a claimed length alone.

use super::CodecError;

/// A place in bytes that are being decoded.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads one byte.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`] at the end of the input.
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CodecError::Truncated { what })?;
        self.rest = rest;
        Ok(*first)
    }

    /// Reads an unsigned integer in its shortest LEB128 form.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotCanonical`] when a shorter form exists or the value does not fit 64 bits.
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, CodecError> {
        #[cfg(test)]
        super::numbers::note(what, self.rest, None);
        self.number(what)
    }

    fn number(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(CodecError::NotCanonical { what });
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(CodecError::NotCanonical { what });
                }
                return Ok(value);
            }
        }
        Err(CodecError::NotCanonical { what })
    }

    /// Reads a signed integer as [`super::Writer::signed`] writes it.
    ///
    /// # Errors
    ///
    /// As [`Reader::varint`].
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, CodecError> {
        let value = self.varint(what)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads a count of items that take at least one byte each.
    ///
    /// # Errors
    ///
    /// [`CodecError::TooLarge`] over `max`; [`CodecError::Truncated`] when fewer bytes than items are left, so
    /// that a count alone never reserves memory that the input does not pay for.
    pub(crate) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, CodecError> {
        #[cfg(test)]
        super::numbers::note(what, self.rest, Some(max));
        let len = self.number(what)?;
        if len > max as u64 {
            return Err(CodecError::TooLarge { what, len, max: max as u64 });
        }
        if len > self.rest.len() as u64 {
            return Err(CodecError::Truncated { what });
        }
        Ok(len as usize)
    }

    /// Reads exactly `len` bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`] when fewer are left.
    pub(crate) fn raw(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CodecError::Truncated { what })?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads an array of `N` bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError::Truncated`] when fewer are left.
    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(CodecError::Truncated { what })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads a length of at most `max` and that many bytes.
    ///
    /// # Errors
    ///
    /// As [`Reader::count`].
    pub(crate) fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], CodecError> {
        let len = self.count(what, max)?;
        self.raw(what, len)
    }

    /// Reads a length of at most `max` and that many bytes of UTF-8.
    ///
    /// # Errors
    ///
    /// As [`Reader::count`], and [`CodecError::Invalid`] when the bytes are not UTF-8.
    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes(what, max)?).map_err(|_| CodecError::Invalid { what })
    }

    /// Returns what has not been read.
    #[must_use]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Tells whether everything was read.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`CodecError::Trailing`] when something was left.
    pub(crate) fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CodecError::Trailing { bytes: self.rest.len() }) }
    }
}
