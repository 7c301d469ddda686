//! A cursor over bytes that nobody vouches for: every read is checked, none allocates.

/// Reads little-endian fields off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// The bytes ended before the field did, or a field had a form that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

type Result<T> = std::result::Result<T, Short>;

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Short)?;
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = tail;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        let (head, tail) = self.rest.split_first().ok_or(Short)?;
        self.rest = tail;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u24(&mut self) -> Result<u32> {
        self.array::<3>().map(|b| u32::from_le_bytes([b[0], b[1], b[2], 0]))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u48(&mut self) -> Result<u64> {
        self.array::<6>().map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0]))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned number of 1 to 8 little-endian bytes.
    #[inline]
    pub(crate) fn uint(&mut self, bytes: usize) -> Result<u64> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes).ok_or(Short)?.copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(wide))
    }

    /// An unsigned number of 1 to 8 big-endian bytes.
    #[inline]
    pub(crate) fn uint_be(&mut self, bytes: usize) -> Result<u64> {
        if bytes > 8 {
            return Err(Short);
        }
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A length-encoded integer: one byte up to 250, else 2, 3 or 8 bytes after a mark.
    #[inline]
    pub(crate) fn lenenc(&mut self) -> Result<u64> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            0xfc => self.u16().map(u64::from),
            0xfd => self.u24().map(u64::from),
            0xfe => self.u64(),
            _ => Err(Short),
        }
    }

    /// Bytes behind a length-encoded length.
    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.lenenc()?).map_err(|_| Short)?;
        self.take(length)
    }

    /// Bytes behind a plain little-endian length of 1 to 4 bytes.
    #[inline]
    pub(crate) fn prefixed(&mut self, length_bytes: usize) -> Result<&'a [u8]> {
        let length = match length_bytes {
            1 => usize::from(self.u8()?),
            2 => usize::from(self.u16()?),
            other => usize::try_from(self.uint(other)?).map_err(|_| Short)?,
        };
        self.take(length)
    }

    /// A number of MySQL's serialization library: the count of trailing one bits of the first byte
    /// is the count of bytes that follow it.
    pub(crate) fn varlen(&mut self) -> Result<u64> {
        let first = *self.rest.first().ok_or(Short)?;
        let more = first.trailing_ones() as usize;
        if more == 8 {
            self.u8()?;
            return self.u64();
        }
        self.uint(more + 1).map(|value| value >> (more + 1))
    }

    /// The signed form of [`Self::varlen`]: sign in the lowest bit.
    pub(crate) fn varlen_signed(&mut self) -> Result<i64> {
        let value = self.varlen()?;
        let magnitude = (value >> 1) as i64;
        Ok(if value & 1 == 0 { magnitude } else { -magnitude - 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_of_every_width() {
        let cases: [(&[u8], u64); 5] = [
            (&[250], 250),
            (&[0xfc, 0xfb, 0], 251),
            (&[0xfd, 1, 0, 1], 65_537),
            (&[0xfe, 0, 0, 0, 0, 1, 0, 0, 0], 1 << 32),
            (&[0], 0),
        ];
        for (bytes, value) in cases {
            assert_eq!(Reader::new(bytes).lenenc(), Ok(value));
        }
        assert_eq!(Reader::new(&[0xfb]).lenenc(), Err(Short));
        assert_eq!(Reader::new(&[0xfe, 1]).lenenc(), Err(Short));
    }

    #[test]
    fn serialized_integers_of_every_width() {
        assert_eq!(Reader::new(&[0b10]).varlen(), Ok(1));
        assert_eq!(Reader::new(&[0b01, 0b10]).varlen(), Ok(128));
        let mut widest = [0xff; 9];
        assert_eq!(Reader::new(&widest).varlen(), Ok(u64::MAX));
        widest[8] = 0;
        assert_eq!(Reader::new(&widest[..8]).varlen(), Err(Short));
        assert_eq!(Reader::new(&[0b110]).varlen_signed(), Ok(-2));
    }

    #[test]
    fn a_read_past_the_end_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Short));
        assert_eq!(reader.take(4), Err(Short));
        assert_eq!(reader.rest(), [1, 2, 3]);
        assert_eq!(reader.uint_be(3), Ok(0x0001_0203));
    }
}
