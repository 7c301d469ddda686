//! Strings and bytes as JSON.

use super::charset::Charset;
use super::json_text::JsonText;

/// Appends a JSON string.
#[inline]
pub(crate) fn push_json_str(text: &str, out: &mut JsonText) {
    out.push(b'"');
    push_escaped(text, out);
    out.push(b'"');
}

/// A text as a JSON string.
pub(crate) fn json_str(text: &str) -> String {
    let mut out = JsonText::default();
    push_json_str(text, &mut out);
    out.finish().unwrap_or_default()
}

/// Appends text with what JSON forbids in a string escaped.
#[inline]
pub(crate) fn push_escaped(text: &str, out: &mut JsonText) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_bytes(bytes.get(from..at).unwrap_or_default());
        push_escape(byte, out);
        from = at + 1;
    }
    out.push_bytes(bytes.get(from..).unwrap_or_default());
}

/// Whether all bytes are ASCII and none is forbidden in a JSON string. Most texts are so; eight bytes are looked at
/// at a time.
#[inline]
pub(crate) fn is_plain_ascii(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    if let Some(last) = text.last_chunk::<8>() {
        // The last word may reach back into the one before.
        return words.iter().fold(special(*last), |found, word| found | special(*word)) == 0;
    }
    let mut word = [b' '; 8];
    word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    special(word) == 0
}

/// Not 0 where a byte is below the blank, above ASCII, a quote or a backslash.
#[inline]
const fn special(word: [u8; 8]) -> u64 {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    /// The high bit of each byte that is 0; wrong only above such a byte, and where a high bit is set.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(all(1)) & !word
    }
    let word = u64::from_ne_bytes(word);
    let below = word.wrapping_sub(all(b' ')) & !word;
    let forbidden = zeros(word ^ all(b'"')) | zeros(word ^ all(b'\\'));
    (word | below | forbidden) & all(0x80)
}

#[cold]
fn push_escape(byte: u8, out: &mut JsonText) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        other => {
            out.push_str("\\u00");
            push_hex(&[other], 0, out);
        }
    }
}

/// Appends `{"$hex":"..."}`, with zero bytes up to `length`.
pub(crate) fn push_bytes(bytes: &[u8], length: usize, out: &mut JsonText) {
    out.push_str("{\"$hex\":\"");
    push_hex(bytes, length, out);
    out.push_str("\"}");
}

/// Appends text of a character set: a string if every character is known exactly, else its bytes.
#[inline]
pub(crate) fn push_text(bytes: &[u8], charset: Charset, out: &mut JsonText) {
    let start = out.len();
    out.push(b'"');
    if charset.push_decoded(bytes, out) {
        out.push(b'"');
        return;
    }
    out.truncate(start);
    out.push_str("{\"$hex\":\"");
    push_hex(bytes, 0, out);
    out.push_str("\",\"$charset\":\"");
    out.push_str(charset.name());
    out.push_str("\"}");
}

fn push_hex(bytes: &[u8], length: usize, out: &mut JsonText) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut block = [0; 128];
    for chunk in bytes.chunks(block.len() / 2) {
        for (pair, byte) in block.chunks_exact_mut(2).zip(chunk) {
            if let [high, low] = pair {
                *high = DIGITS[usize::from(byte >> 4)];
                *low = DIGITS[usize::from(byte & 15)];
            }
        }
        let hex = block.get(..2 * chunk.len()).unwrap_or_default();
        out.push_bytes(hex);
    }
    for _ in bytes.len()..length {
        out.push_str("00");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_escape_what_json_forbids() {
        let text: String =
            (0..0x80).map(|byte| char::from(byte as u8)).chain("é\u{1f600}".chars()).collect();
        let mut out = JsonText::default();
        push_json_str(&text, &mut out);
        assert_eq!(serde_json::from_str::<String>(out.as_str()).unwrap(), text);
    }

    #[test]
    fn a_special_byte_is_seen_wherever_it_stands() {
        for length in 0..20 {
            let plain = vec![b'~'; length];
            assert!(is_plain_ascii(&plain), "{length}");
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = plain.clone();
                    text[at] = byte;
                    let is_plain = (b' '..0x80).contains(&byte) && !b"\"\\".contains(&byte);
                    assert_eq!(is_plain_ascii(&text), is_plain, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_hex_and_padded() {
        let mut out = JsonText::default();
        push_bytes(&[0xca, 0xfe], 4, &mut out);
        assert_eq!(out.as_str(), r#"{"$hex":"cafe0000"}"#);
        let long: Vec<u8> = (0..=255).collect();
        let mut out = JsonText::default();
        push_bytes(&long, 0, &mut out);
        assert_eq!(out.as_str(), format!(r#"{{"$hex":"{}"}}"#, hex::encode(&long)));
    }

    #[test]
    fn text_that_is_not_known_exactly_keeps_its_bytes() {
        let mut out = JsonText::default();
        push_text(b"a\xff", Charset::of(45), &mut out);
        push_text(b"\x81", Charset::of(87), &mut out);
        assert_eq!(
            out.as_str(),
            r#"{"$hex":"61ff","$charset":"utf8mb4"}{"$hex":"81","$charset":"gbk"}"#
        );
    }
}
