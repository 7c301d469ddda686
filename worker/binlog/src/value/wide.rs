//! Character sets of East Asia, in which a character takes one to four bytes.
//!
//! The tables were read from MySQL 9.7 by `tests/data/charsets.py`; MariaDB 10.11 and 11.8 have the same.
//! They hold what the server converts to Unicode and back to the same bytes, and nothing else. One is
//! inflated when its first text comes.

use std::io::Read;
use std::sync::OnceLock;

/// One of the sets.
#[derive(Debug)]
pub(super) struct Wide {
    packed: &'static [u8],
    units: OnceLock<Box<[u16]>>,
    long: Long,
}

/// Codes of more than two bytes.
#[derive(Clone, Copy, Debug)]
enum Long {
    None,
    /// 0x8f before two bytes.
    Three,
    /// Four bytes, the second of which is a digit.
    Four,
}

macro_rules! wide {
    ($name:literal, $long:ident) => {
        Wide {
            packed: include_bytes!(concat!("wide/", $name, ".z")),
            units: OnceLock::new(),
            long: Long::$long,
        }
    };
}

pub(super) static BIG5: Wide = wide!("big5", None);
pub(super) static CP932: Wide = wide!("cp932", None);
pub(super) static EUCJPMS: Wide = wide!("eucjpms", Three);
pub(super) static EUCKR: Wide = wide!("euckr", None);
pub(super) static GB18030: Wide = wide!("gb18030", Four);
pub(super) static GB2312: Wide = wide!("gb2312", None);
pub(super) static GBK: Wide = wide!("gbk", None);
pub(super) static SJIS: Wide = wide!("sjis", None);
pub(super) static UJIS: Wide = wide!("ujis", Three);

/// Where codes of two bytes begin in a table, and codes of more.
const TWO: usize = 256;
const MORE: usize = TWO + 0x8000;

/// Number of the code of four bytes that stands for the first character past 16 bits.
const SUPPLEMENTARY: u32 = 189_000;

impl Wide {
    /// The characters of a text; `None` for one that is not known exactly, and then no more.
    pub(super) fn chars<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Option<char>> + 'a {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((char, tail)) = self.first(rest) else {
                rest = &[];
                return Some(None);
            };
            rest = tail;
            Some(Some(char))
        })
    }

    /// The first character and what is behind it.
    fn first<'a>(&self, bytes: &'a [u8]) -> Option<(char, &'a [u8])> {
        let (first, tail) = bytes.split_first()?;
        if let Some(char) = self.at(usize::from(*first)) {
            return Some((char, tail));
        }
        match (self.long, bytes) {
            (Long::Three, [0x8f, high, low, tail @ ..]) => {
                Some((self.at(MORE + two(*high, *low)?)?, tail))
            }
            (Long::Four, [a, b @ b'0'..=b'9', c, d @ b'0'..=b'9', tail @ ..]) => {
                Some((self.four(*a, b - b'0', *c, d - b'0')?, tail))
            }
            (_, [high, low, tail @ ..]) => Some((self.at(TWO + two(*high, *low)?)?, tail)),
            _ => None,
        }
    }

    /// Four bytes that count: the last to 10, the third to 126, the second to 10.
    fn four(&self, a: u8, b: u8, c: u8, d: u8) -> Option<char> {
        let (a, c) = (a.checked_sub(0x81)?, c.checked_sub(0x81).filter(|c| *c < 126)?);
        let number = ((u32::from(a) * 10 + u32::from(b)) * 126 + u32::from(c)) * 10 + u32::from(d);
        match number.checked_sub(SUPPLEMENTARY) {
            Some(beyond) => char::from_u32(0x10000 + beyond),
            None => self.at(MORE + number as usize),
        }
    }

    fn at(&self, index: usize) -> Option<char> {
        let unit = self.units.get_or_init(|| inflate(self.packed)).get(index)?;
        char::from_u32(u32::from(*unit))
    }
}

/// The place of a code from 0x8000.
fn two(high: u8, low: u8) -> Option<usize> {
    (usize::from(high) << 8 | usize::from(low)).checked_sub(0x8000)
}

/// A table's numbers, kept as distances. One that did not inflate would know no character.
fn inflate(packed: &[u8]) -> Box<[u16]> {
    let mut bytes = Vec::new();
    if flate2::read::ZlibDecoder::new(packed).read_to_end(&mut bytes).is_err() {
        bytes.clear();
    }
    let (distances, _) = bytes.as_chunks::<2>();
    let add = |unit: &mut u16, distance: &[u8; 2]| {
        *unit = unit.wrapping_add(u16::from_le_bytes(*distance));
        Some(*unit)
    };
    distances.iter().scan(0, add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(set: &Wide, bytes: &[u8]) -> Option<String> {
        set.chars(bytes).collect()
    }

    #[test]
    fn every_table_has_its_characters() {
        for (set, known) in [
            (&BIG5, 13_838),
            (&CP932, 9_397),
            (&EUCJPMS, 15_182),
            (&EUCKR, 17_176),
            (&GB18030, 63_487),
            (&GB2312, 7_573),
            (&GBK, 21_919),
            (&SJIS, 7_069),
            (&UJIS, 15_015),
        ] {
            let length = set.units.get_or_init(|| inflate(set.packed)).len();
            assert_eq!((0..length).filter(|index| set.at(*index).is_some()).count(), known);
        }
    }

    #[test]
    fn codes_of_one_to_four_bytes() {
        for (set, bytes, decoded) in [
            (&GBK, &b"a\xc4\xe3\xba\xc3\0"[..], Some("a你好\0")),
            (&BIG5, b"\xa7A\xa6n", Some("你好")),
            (&EUCKR, b"\xb0\xa1", Some("가")),
            (&SJIS, b"\xb1\x93\xfa", Some("ｱ日")),
            (&SJIS, b"\\", None), // there and back it is another backslash
            (&CP932, b"\\\x93\xfa", Some("\\日")),
            (&UJIS, b"\x8e\xb1\xc6\xfc\x8f\xb0\xa1", Some("ｱ日丂")),
            (&EUCJPMS, b"\xc6\xfc\x8f\xb0\xa1", Some("日丂")),
            (
                &GB18030,
                b"\xc4\xe3\x810\x810\x900\x810\xe32\x9a5",
                Some("你\u{80}\u{10000}\u{10ffff}"),
            ),
            (&GB18030, b"\xe32\x9a6", None),
            (&GB2312, b"\xc4\xe3", Some("你")),
            (&GBK, b"a\xc4", None),
            (&GBK, b"\xff\xff", None),
            (&UJIS, b"\x8f\xb0", None),
        ] {
            assert_eq!(text(set, bytes).as_deref(), decoded, "{bytes:x?}");
        }
    }
}
