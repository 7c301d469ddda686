//! The servers' character sets: which collation belongs to which, and how each is decoded.
//!
//! Invariant: text is decoded only where the server itself converts it to the result and back to the
//! same bytes, so that nothing is lost; everything else keeps its bytes
//! (`text_that_is_not_known_exactly_keeps_its_bytes`; all characters of all sets and all collations
//! are compared with real servers in `e2e/tests/types`).

use super::json_text::JsonText;
use super::pages::{self, Page};
use super::text::{is_plain_ascii, push_escaped};
use super::wide::{self, Wide};

/// A character set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charset {
    name: &'static str,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Utf8,
    Ascii,
    /// ASCII below, a page above.
    Single(&'static Page),
    /// ASCII but for a few letters.
    Swe7,
    /// Tables of codes of several bytes.
    Wide(&'static Wide),
    /// 16-bit units.
    Utf16 {
        little: bool,
        surrogates: bool,
    },
    Utf32,
    /// Kept as bytes.
    Opaque,
}

/// Collation id of bytes that are no text.
const BINARY: u32 = 63;

impl Charset {
    /// The set a collation belongs to.
    pub(crate) const fn of(collation: u32) -> Self {
        let (name, form) = match base(collation) {
            1 | 84 => ("big5", Form::Wide(&wide::BIG5)),
            2 | 9 | 21 | 27 | 77 => ("latin2", Form::Single(&pages::LATIN2)),
            3 | 69 => ("dec8", Form::Single(&pages::DEC8)),
            4 | 80 => ("cp850", Form::Single(&pages::CP850)),
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => ("latin1", Form::Single(&pages::LATIN1)),
            6 | 72 => ("hp8", Form::Single(&pages::HP8)),
            7 | 74 => ("koi8r", Form::Single(&pages::KOI8R)),
            10 | 82 => ("swe7", Form::Swe7),
            11 | 65 => ("ascii", Form::Ascii),
            12 | 91 => ("ujis", Form::Wide(&wide::UJIS)),
            13 | 88 => ("sjis", Form::Wide(&wide::SJIS)),
            14 | 23 | 50 | 51 | 52 => ("cp1251", Form::Single(&pages::CP1251)),
            16 | 71 => ("hebrew", Form::Single(&pages::HEBREW)),
            18 | 89 => ("tis620", Form::Single(&pages::TIS620)),
            19 | 85 => ("euckr", Form::Wide(&wide::EUCKR)),
            20 | 41 | 42 | 79 => ("latin7", Form::Single(&pages::LATIN7)),
            22 | 75 => ("koi8u", Form::Single(&pages::KOI8U)),
            24 | 86 => ("gb2312", Form::Wide(&wide::GB2312)),
            25 | 70 => ("greek", Form::Single(&pages::GREEK)),
            26 | 34 | 44 | 66 | 99 => ("cp1250", Form::Single(&pages::CP1250)),
            28 | 87 => ("gbk", Form::Wide(&wide::GBK)),
            29 | 58 | 59 => ("cp1257", Form::Single(&pages::CP1257)),
            30 | 78 => ("latin5", Form::Single(&pages::LATIN5)),
            32 | 64 => ("armscii8", Form::Single(&pages::ARMSCII8)),
            33 | 76 | 83 | 192..=215 | 223 | 576..=607 | 2048..=2303 => ("utf8mb3", Form::Utf8),
            35 | 90 | 128..=151 | 159 | 640..=671 | 2560..=2815 => {
                ("ucs2", Form::Utf16 { little: false, surrogates: false })
            }
            36 | 68 => ("cp866", Form::Single(&pages::CP866)),
            37 | 73 => ("keybcs2", Form::Single(&pages::KEYBCS2)),
            38 | 43 => ("macce", Form::Single(&pages::MACCE)),
            39 | 53 => ("macroman", Form::Single(&pages::MACROMAN)),
            40 | 81 => ("cp852", Form::Single(&pages::CP852)),
            45 | 46 | 224..=247 | 255..=323 | 608..=639 | 2304..=2559 => ("utf8mb4", Form::Utf8),
            54 | 55 | 101..=124 | 672..=703 | 2816..=3071 => {
                ("utf16", Form::Utf16 { little: false, surrogates: true })
            }
            56 | 62 => ("utf16le", Form::Utf16 { little: true, surrogates: true }),
            57 | 67 => ("cp1256", Form::Single(&pages::CP1256)),
            60 | 61 | 160..=183 | 736..=767 | 3072..=3327 => ("utf32", Form::Utf32),
            BINARY => ("binary", Form::Opaque),
            92 | 93 => ("geostd8", Form::Single(&pages::GEOSTD8)),
            95 | 96 => ("cp932", Form::Wide(&wide::CP932)),
            97 | 98 => ("eucjpms", Form::Wide(&wide::EUCJPMS)),
            248..=250 => ("gb18030", Form::Wide(&wide::GB18030)),
            _ => ("unknown", Form::Opaque),
        };
        Self { name, form }
    }

    /// The servers' name of the set.
    pub(crate) const fn name(self) -> &'static str {
        self.name
    }

    /// Bytes of its longest character, for sets in which ASCII is ASCII; `None` for others.
    pub(crate) fn most_bytes(self) -> Option<u64> {
        match self.form {
            Form::Utf8 if self.name == "utf8mb3" => Some(3),
            Form::Utf8 => Some(4),
            Form::Ascii | Form::Single(_) => Some(1),
            _ => None,
        }
    }

    /// Whether a column of this collation holds bytes and no text.
    pub(crate) const fn is_binary(collation: u32) -> bool {
        collation == BINARY
    }

    /// Appends the text, escaped for JSON. `false`: not every character is known exactly, and what
    /// was appended is to be taken back.
    #[inline]
    pub(crate) fn push_decoded(self, bytes: &[u8], out: &mut JsonText) -> bool {
        match self.form {
            Form::Utf8 | Form::Ascii | Form::Single(_) if is_plain_ascii(bytes) => {
                out.push_bytes(bytes);
            }
            Form::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => push_escaped(text, out),
                Err(_) => return false,
            },
            Form::Ascii => return push_ascii(bytes, out),
            Form::Single(page) => return push_single(bytes, page, out),
            Form::Swe7 => return push_chars(bytes.iter().map(|byte| swe7(*byte)), out),
            Form::Wide(set) => return push_chars(set.chars(bytes), out),
            Form::Utf16 { little, surrogates } => {
                return push_utf16(bytes, little, surrogates, out);
            }
            Form::Utf32 => return push_utf32(bytes, out),
            Form::Opaque => return false,
        }
        true
    }
}

/// MariaDB's NO PAD twins have the id of the padding collation plus 1024.
const fn base(collation: u32) -> u32 {
    match collation {
        1025..2048 => collation - 1024,
        other => other,
    }
}

fn push_ascii(bytes: &[u8], out: &mut JsonText) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => push_escaped(text, out),
        _ => return false,
    }
    true
}

fn push_single(bytes: &[u8], page: &Page, out: &mut JsonText) -> bool {
    if push_ascii(bytes, out) {
        return true;
    }
    let known = |byte: u8| match page.get(usize::from(byte.wrapping_sub(0x80))) {
        Some(0) => None,
        Some(unit) if byte >= 0x80 => char::from_u32(u32::from(*unit)),
        _ => Some(char::from(byte)),
    };
    push_chars(bytes.iter().map(|byte| known(*byte)), out)
}

/// Swedish letters stand in the places of some signs.
fn swe7(byte: u8) -> Option<char> {
    Some(match byte {
        b'@' => 'É',
        b'[' => 'Ä',
        b'\\' => 'Ö',
        b']' => 'Å',
        b'^' => 'Ü',
        b'`' => 'é',
        b'{' => 'ä',
        b'|' => 'ö',
        b'}' => 'å',
        b'~' => 'ü',
        0..0x7f => char::from(byte),
        _ => return None,
    })
}

fn push_utf16(bytes: &[u8], little: bool, surrogates: bool, out: &mut JsonText) -> bool {
    let (units, odd) = bytes.as_chunks::<2>();
    let units = units
        .iter()
        .map(|unit| if little { u16::from_le_bytes(*unit) } else { u16::from_be_bytes(*unit) });
    if !odd.is_empty() || !surrogates && units.clone().any(|unit| unit & 0xf800 == 0xd800) {
        return false;
    }
    push_chars(char::decode_utf16(units).map(Result::ok), out)
}

fn push_utf32(bytes: &[u8], out: &mut JsonText) -> bool {
    let (units, odd) = bytes.as_chunks::<4>();
    odd.is_empty()
        && push_chars(units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))), out)
}

fn push_chars(chars: impl Iterator<Item = Option<char>>, out: &mut JsonText) -> bool {
    for char in chars {
        let Some(char) = char else { return false };
        push_escaped(char.encode_utf8(&mut [0; 4]), out);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(collation: u32, bytes: &[u8]) -> Option<String> {
        let mut out = JsonText::default();
        let decoded = Charset::of(collation).push_decoded(bytes, &mut out);
        decoded.then(|| out.as_str().to_owned())
    }

    #[test]
    fn character_sets_decode_exactly_or_not_at_all() {
        for (collation, bytes, decoded) in [
            (8, &b"\xe9\x80\x81\"\n"[..], Some("é€\u{81}\\\"\\n")), // latin1 is cp1252, 0x81 included
            (1071, b"\xe9", Some("é")),                             // latin1_nopad_bin
            (51, b"\xcf\xf0", Some("Пр")),
            (26, b"\x81", None), // cp1250 has no 0x81
            (11, b"a", Some("a")),
            (11, b"\x80", None),
            (54, b"\xd8\x3d\xde\x00\x00a", Some("\u{1f600}a")),
            (54, b"\xd8\x3d", None),
            (35, b"\xd8\x3d\xde\x00", None),
            (35, b"\x00\xe9", Some("é")),
            (56, b"\xe9\x00", Some("é")),
            (60, b"\x00\x01\xf6\x00", Some("\u{1f600}")),
            (60, b"\x00\x11\x00\x00", None),
            (60, b"\x00", None),
            (2304, "é".as_bytes(), Some("é")), // utf8mb4_uca1400_ai_ci
            (2048, "é".as_bytes(), Some("é")),
            (608, "é".as_bytes(), Some("é")), // utf8mb4_croatian_ci
            (28, b"a\xc4\xe3", Some("a你")),
            (28, b"a\xc4", None),
            (10, b"a~\"", Some("aü\\\"")),
            (10, b"\x7f", None),
            (18, b"\xa1\xdb", None), // tis620 has U+FFFD for 0xdb
            (32, b"\xa4", None),     // in armscii8 a second closing bracket
            (9999, b"a", None),
        ] {
            assert_eq!(text(collation, bytes).as_deref(), decoded, "{collation} {bytes:x?}");
        }
    }

    #[test]
    fn no_pad_collations_belong_to_their_twins() {
        for (collation, name) in
            [(1069, "utf8mb4"), (1057, "utf8mb3"), (1248, "utf8mb4"), (1089, "ascii")]
        {
            assert_eq!(Charset::of(collation).name(), name);
        }
    }
}
