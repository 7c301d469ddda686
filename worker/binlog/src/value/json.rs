//! MySQL's binary JSON: a tree of values that point to each other by offsets within their parent.
//!
//! Invariants:
//! - hostile offsets may point at one value many times; every value read is paid from a budget of
//!   the document's length, so output and time stay in proportion to the input
//!   (`a_document_cannot_expand_without_end`);
//! - depth has the server's own limit (`nesting_is_limited`).
//!
//! The text is the server's, without blanks: numbers keep all digits (a DECIMAL is a number with its
//! scale), dates and times are strings with six digits of fraction, other opaque values are strings
//! of the form `base64:typeN:...`, with a line's end after 76 digits.
//!
//! A document stands as it is, but for two: `null`, which would be taken for NULL, and an object whose
//! only member is `$json`. Either is wrapped, `{"$json":null}`, so that no two values look the same
//! (`null_and_what_looks_wrapped_are_wrapped`).

use super::json_text::JsonText;
use super::text::push_json_str;
use super::{BadValue, decimal, integer, temporal};
use crate::reader::Reader;
use crate::table_map::code;

/// The server's own limit.
const MAX_DEPTH: u8 = 100;

const SMALL_OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const SMALL_ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

const WRAPPER: &str = "{\"$json\":";

/// Appends what a column holds: the document, wrapped where it would be taken for something else.
pub(crate) fn push_column(document: &[u8], out: &mut JsonText) -> Result<(), BadValue> {
    let start = out.len();
    push(document, out)?;
    wrap(out, start);
    Ok(())
}

/// Wraps the document that begins at `start` where that is needed.
pub(crate) fn wrap(out: &mut JsonText, start: usize) {
    let text = out.since(start);
    if text == b"null" || looks_wrapped(text) {
        out.insert_str(start, WRAPPER);
        out.push(b'}');
    }
}

/// The document of which a column's text tells.
pub(crate) fn unwrapped(text: &str) -> &str {
    let inner = text.strip_prefix(WRAPPER).and_then(|rest| rest.strip_suffix('}'));
    inner.filter(|_| looks_wrapped(text.as_bytes())).unwrap_or(text)
}

/// Whether a text is an object with the only member `$json`.
fn looks_wrapped(text: &[u8]) -> bool {
    let Some(value) = text.strip_prefix(WRAPPER.as_bytes()) else { return false };
    let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
    !value.iter().any(|&byte| {
        match byte {
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            b'"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
        byte == b',' && depth == 0 && !in_string
    })
}

/// Appends a document as JSON text. No bytes at all is the document `null`.
pub(crate) fn push(document: &[u8], out: &mut JsonText) -> Result<(), BadValue> {
    let Some((kind, value)) = document.split_first() else {
        out.push_str("null");
        return Ok(());
    };
    // Each value costs at least one byte in the document.
    let mut writer = Writer { out, budget: document.len().saturating_mul(2) };
    writer.value(*kind, value, 0)
}

struct Writer<'o> {
    out: &'o mut JsonText,
    budget: usize,
}

const BAD: BadValue = BadValue("its JSON document is malformed");

impl Writer<'_> {
    fn pay(&mut self, bytes: usize) -> Result<(), BadValue> {
        self.budget = self.budget.checked_sub(bytes).ok_or(BAD)?;
        Ok(())
    }

    fn value(&mut self, kind: u8, bytes: &[u8], depth: u8) -> Result<(), BadValue> {
        self.pay(1)?;
        let mut reader = Reader::new(bytes);
        match kind {
            SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => {
                if depth >= MAX_DEPTH {
                    return Err(BadValue("its JSON document is nested too deep"));
                }
                let large = matches!(kind, LARGE_OBJECT | LARGE_ARRAY);
                let object = matches!(kind, SMALL_OBJECT | LARGE_OBJECT);
                self.container(bytes, large, object, depth)
            }
            LITERAL => self.literal(reader.u8()?),
            INT16 => integer::integer(&mut reader, 2, false, self.out),
            UINT16 => integer::integer(&mut reader, 2, true, self.out),
            INT32 => integer::integer(&mut reader, 4, false, self.out),
            UINT32 => integer::integer(&mut reader, 4, true, self.out),
            INT64 => integer::integer(&mut reader, 8, false, self.out),
            UINT64 => integer::integer(&mut reader, 8, true, self.out),
            DOUBLE => integer::double(&mut reader, self.out),
            STRING => {
                let text = variable(&mut reader)?;
                self.pay(text.len())?;
                push_json_str(std::str::from_utf8(text).map_err(|_| BAD)?, self.out);
                Ok(())
            }
            OPAQUE => {
                let field_type = reader.u8()?;
                let data = variable(&mut reader)?;
                self.pay(data.len())?;
                self.opaque(field_type, data)
            }
            _ => Err(BAD),
        }
    }

    fn literal(&mut self, literal: u8) -> Result<(), BadValue> {
        self.out.push_str(match literal {
            0 => "null",
            1 => "true",
            2 => "false",
            _ => return Err(BAD),
        });
        Ok(())
    }

    /// Count and size, then an object's keys as (offset, length), then values as (type, offset or
    /// the value itself); offsets count from the container's start.
    fn container(
        &mut self,
        bytes: &[u8],
        large: bool,
        object: bool,
        depth: u8,
    ) -> Result<(), BadValue> {
        let width = if large { 4 } else { 2 };
        let mut reader = Reader::new(bytes);
        let count = reader.uint(width)? as usize;
        let size = reader.uint(width)? as usize;
        let bytes = bytes.get(..size).ok_or(BAD)?;
        let mut keys = Reader::new(bytes);
        keys.take(2 * width)?;
        let key_bytes = if object { count.checked_mul(width + 2).ok_or(BAD)? } else { 0 };
        let mut values = keys;
        values.take(key_bytes)?;
        self.out.push(if object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.out.push(b',');
            }
            if object {
                let (offset, length) = (keys.uint(width)? as usize, usize::from(keys.u16()?));
                let end = offset.checked_add(length).ok_or(BAD)?;
                let key = bytes.get(offset..end).ok_or(BAD)?;
                self.pay(key.len())?;
                push_json_str(std::str::from_utf8(key).map_err(|_| BAD)?, self.out);
                self.out.push(b':');
            }
            let kind = values.u8()?;
            if inlined(kind, large) {
                self.value(kind, values.take(width)?, depth + 1)?;
            } else {
                let offset = values.uint(width)? as usize;
                self.value(kind, bytes.get(offset..).ok_or(BAD)?, depth + 1)?;
            }
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }

    fn opaque(&mut self, field_type: u8, data: &[u8]) -> Result<(), BadValue> {
        let mut reader = Reader::new(data);
        match field_type {
            code::NEWDECIMAL => {
                let (precision, scale) = (reader.u8()?, reader.u8()?);
                decimal::push(&mut reader, precision, scale, self.out)
            }
            code::DATE => {
                temporal::packed_datetime(reader.u64()? as i64, true, self.out);
                Ok(())
            }
            code::DATETIME | code::TIMESTAMP => {
                temporal::packed_datetime(reader.u64()? as i64, false, self.out);
                Ok(())
            }
            code::TIME => {
                temporal::packed_time(reader.u64()? as i64, self.out);
                Ok(())
            }
            other => {
                self.out.push_str("\"base64:type");
                self.out.push_str(itoa::Buffer::new().format(other));
                self.out.push(b':');
                push_base64(data, self.out);
                self.out.push(b'"');
                Ok(())
            }
        }
    }
}

/// Values that stand in the entry itself instead of an offset.
const fn inlined(kind: u8, large: bool) -> bool {
    matches!(kind, LITERAL | INT16 | UINT16) || large && matches!(kind, INT32 | UINT32)
}

/// Bytes behind a length of seven bits a byte, the lowest first.
fn variable<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], BadValue> {
    let mut length = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = reader.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(reader.take(length)?);
        }
    }
    Err(BAD)
}

/// As the server does it, in lines of 76 digits: 57 bytes.
fn push_base64(data: &[u8], out: &mut JsonText) {
    for (index, line) in data.chunks(57).enumerate() {
        if index > 0 {
            out.push_str("\\n");
        }
        push_line(line, out);
    }
}

fn push_line(data: &[u8], out: &mut JsonText) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in data.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            if digit > chunk.len() {
                out.push(b'=');
            } else {
                out.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> Result<String, BadValue> {
        let mut out = JsonText::default();
        push(document, &mut out)?;
        out.finish()
    }

    /// A small array of one value per entry; each entry points to `offset`.
    fn array(entries: &[(u8, u16)], tail: &[u8]) -> Vec<u8> {
        let mut document = vec![SMALL_ARRAY];
        let size = 4 + 3 * entries.len() + tail.len();
        document.extend((entries.len() as u16).to_le_bytes());
        document.extend((size as u16).to_le_bytes());
        for (kind, value) in entries {
            document.push(*kind);
            document.extend(value.to_le_bytes());
        }
        document.extend(tail);
        document
    }

    #[test]
    fn values_of_every_kind() {
        assert_eq!(text(&[]).unwrap(), "null");
        assert_eq!(text(&[LITERAL, 1]).unwrap(), "true");
        assert_eq!(text(&[INT16, 0xff, 0xff]).unwrap(), "-1");
        assert_eq!(text(&[&[UINT64][..], &[0xff; 8]].concat()).unwrap(), "18446744073709551615");
        assert_eq!(text(&[STRING, 2, b'a', b'"']).unwrap(), r#""a\"""#);
        assert_eq!(text(&[OPAQUE, code::NEWDECIMAL, 4, 4, 2, 0x81, 50]).unwrap(), "1.50");
        assert_eq!(text(&[OPAQUE, 15, 2, 0xfb, 0xff]).unwrap(), "\"base64:type15:+/8=\"");
        let document = array(&[(LITERAL, 0), (INT16, 7), (STRING, 13)], &[1, b'x']);
        assert_eq!(text(&document).unwrap(), r#"[null,7,"x"]"#);
    }

    #[test]
    fn null_and_what_looks_wrapped_are_wrapped() {
        let column = |document: &[u8]| {
            let mut out = JsonText::default();
            out.push_str("1,");
            push_column(document, &mut out)?;
            out.finish().map(|text| text[2..].to_owned())
        };
        let null = r#"{"$json":null}"#;
        assert_eq!(column(&[]).unwrap(), null);
        assert_eq!(column(&[LITERAL, 0]).unwrap(), null);
        assert_eq!(column(&array(&[(LITERAL, 0)], &[])).unwrap(), "[null]");
        let one = [&[SMALL_OBJECT, 1, 0, 16, 0, 11, 0, 5, 0, LITERAL, 0, 0][..], b"$json"].concat();
        assert_eq!(column(&one).unwrap(), r#"{"$json":{"$json":null}}"#);
        for (text, wrapped) in [
            (r#"{"$json":{"a":1,"b":[1,2]}}"#, true),
            (r#"{"$json":"a\",\\"}"#, true),
            (r#"{"$json":[1,2],"a":1}"#, false),
            (r#"{"$json":"\\","a":1}"#, false),
            (r#"{"$jso":1}"#, false),
        ] {
            assert_eq!(looks_wrapped(text.as_bytes()), wrapped, "{text}");
            let mut told = JsonText::default();
            told.push_str(text);
            wrap(&mut told, 0);
            assert_eq!(unwrapped(told.as_str()), text);
        }
    }

    #[test]
    fn a_document_cannot_expand_without_end() {
        // Each level holds eight pointers to the next one: 8^5 values in 150 bytes.
        let mut level = array(&[(INT16, 1); 8], &[]);
        for _ in 0..5 {
            let entries = [(SMALL_ARRAY, 28); 8];
            level = array(&entries, &level[1..]);
        }
        assert!(text(&level).is_err());
    }

    #[test]
    fn nesting_is_limited() {
        let mut level = array(&[(INT16, 1)], &[]);
        for depth in 1..110 {
            level = array(&[(SMALL_ARRAY, 7)], &level[1..]);
            assert_eq!(text(&level).is_ok(), depth < 100, "{depth}");
        }
    }

    #[test]
    fn malformed_documents_are_refused() {
        for document in [
            &[LITERAL, 3][..],
            &[INT64, 1],
            &[13],
            &[SMALL_OBJECT, 1, 0, 4, 0],
            &[SMALL_ARRAY, 0xff, 0xff, 4, 0],
            &[STRING, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[STRING, 1, 0xff],
        ] {
            assert!(text(document).is_err(), "{document:?}");
        }
    }
}
