//! From the bytes of one value to lossless JSON text, one file per family of types.
//!
//! The forms (a reader of the change log may rely on them):
//! - integers, BIT, YEAR: a JSON number of any size, unsigned where the column is;
//! - FLOAT, DOUBLE: the shortest JSON number that reads back to the same bits;
//! - DECIMAL: a string with all digits of its scale, `"-1.50"`;
//! - DATE, TIME, DATETIME, TIMESTAMP (in UTC): a string as the server prints it, zero dates, signs
//!   and fractions included;
//! - text: a string, if every character is known exactly; ENUM and SET: a string of members, or the
//!   number that the server keeps where that would not tell which;
//! - bytes (BINARY, VARBINARY, BLOB, GEOMETRY, VECTOR): `{"$hex":"00ff"}`; text whose characters
//!   are not known exactly: `{"$hex":"00ff","$charset":"name"}`. No other value is an object,
//!   except in columns of type JSON, whose value stands there as it is; but `null` and an object
//!   with the only member `$json` stand in `{"$json":...}`;
//! - NULL: `null`.
//!
//! Invariant: values that differ have forms that differ (`e2e/tests/types`). README.md has the same
//! list for readers of the change log.

pub(crate) mod charset;
pub(crate) mod decimal;
pub(crate) mod integer;
pub(crate) mod json;
pub(crate) mod json_text;
pub(crate) mod members;
mod pages;
pub(crate) mod temporal;
pub(crate) mod text;
mod wide;

/// Why a value has no JSON form. Never carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadValue(pub(crate) &'static str);

impl From<crate::reader::Short> for BadValue {
    fn from(_: crate::reader::Short) -> Self {
        Self("the row ends inside the value")
    }
}

/// 00 to 99: half as many divisions as with one digit at a time.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The last two digits of a number.
#[inline]
pub(crate) const fn two_digits(number: u32) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// A few ASCII characters on the stack.
pub(crate) struct Ascii<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Ascii<N> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    /// The first `length` of some characters.
    #[inline]
    pub(crate) fn push_some<const M: usize>(&mut self, ascii: [u8; M], length: usize) {
        if let Some(slots) = self.bytes.get_mut(self.length..self.length + M) {
            slots.copy_from_slice(&ascii);
            self.length += length.min(M);
        }
    }

    /// The last `digits` digits of a number, with leading zeros.
    #[inline]
    pub(crate) fn push_digits(&mut self, number: u32, digits: usize) {
        let mut rest = number;
        let end = self.length + digits;
        if let Some(slots) = self.bytes.get_mut(self.length..end) {
            let mut pairs = slots.rchunks_exact_mut(2);
            for pair in &mut pairs {
                pair.copy_from_slice(&PAIRS[(rest % 100) as usize]);
                rest /= 100;
            }
            if let [first] = pairs.into_remainder() {
                *first = b'0' + (rest % 10) as u8;
            }
            self.length = end;
        }
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
