//! Strings and bytes as JSON.

use super::charset::Charset;

/// Appends a JSON string.
#[inline]
pub(crate) fn push_json_str(text: &str, out: &mut String) {
    out.push('"');
    push_escaped(text, out);
    out.push('"');
}

/// Appends text with what JSON forbids in a string escaped.
#[inline]
pub(crate) fn push_escaped(text: &str, out: &mut String) {
    if is_plain(text.as_bytes()) {
        out.push_str(text);
        return;
    }
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(from..at).unwrap_or_default());
        push_escape(byte, out);
        from = at + 1;
    }
    out.push_str(text.get(from..).unwrap_or_default());
}

/// Whether JSON forbids none of these bytes. Most texts are so; without a branch a byte it takes them many at a time.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let special =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.iter().fold(0, |found, &byte| found | special(byte)) == 0
}

#[cold]
fn push_escape(byte: u8, out: &mut String) {
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
pub(crate) fn push_bytes(bytes: &[u8], length: usize, out: &mut String) {
    out.push_str("{\"$hex\":\"");
    push_hex(bytes, length, out);
    out.push_str("\"}");
}

/// Appends text of a character set: a string if every character is known exactly, else its bytes.
#[inline]
pub(crate) fn push_text(bytes: &[u8], charset: Charset, out: &mut String) {
    let start = out.len();
    out.push('"');
    if charset.push_decoded(bytes, out) {
        out.push('"');
        return;
    }
    out.truncate(start);
    out.push_str("{\"$hex\":\"");
    push_hex(bytes, 0, out);
    out.push_str("\",\"$charset\":\"");
    out.push_str(charset.name());
    out.push_str("\"}");
}

fn push_hex(bytes: &[u8], length: usize, out: &mut String) {
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
        out.push_str(std::str::from_utf8(hex).unwrap_or_default());
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
        let mut out = String::new();
        push_json_str(&text, &mut out);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
    }

    #[test]
    fn bytes_are_hex_and_padded() {
        let mut out = String::new();
        push_bytes(&[0xca, 0xfe], 4, &mut out);
        assert_eq!(out, r#"{"$hex":"cafe0000"}"#);
        let long: Vec<u8> = (0..=255).collect();
        let mut out = String::new();
        push_bytes(&long, 0, &mut out);
        assert_eq!(out, format!(r#"{{"$hex":"{}"}}"#, hex::encode(&long)));
    }

    #[test]
    fn text_that_is_not_known_exactly_keeps_its_bytes() {
        let mut out = String::new();
        push_text(b"a\xff", Charset::of(45), &mut out);
        push_text(b"\x81", Charset::of(87), &mut out);
        assert_eq!(out, r#"{"$hex":"61ff","$charset":"utf8mb4"}{"$hex":"81","$charset":"gbk"}"#);
    }
}
