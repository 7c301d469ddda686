//! ENUM and SET by the members the table map names.
//!
//! Invariant: two values never look the same. A name that does not tell which value it is (another
//! member has it too, or not every character of it is known exactly) gives way to the number that the
//! server keeps (`a_number_stands_where_a_name_would_not_tell`).

use std::collections::HashSet;

use super::charset::Charset;
use super::json_text::JsonText;
use super::{BadValue, text};
use crate::reader::Reader;

/// The members of a column.
#[derive(Debug)]
pub(crate) struct Members {
    /// Their names; of one that is not known exactly its bytes as JSON.
    pub(crate) names: Vec<String>,
    /// Names escaped for JSON, where they tell which member it is.
    texts: Vec<Option<String>>,
    /// The member that is the empty string.
    empty: Option<usize>,
}

impl Members {
    pub(crate) fn new(names: &[&[u8]], charset: Charset) -> Self {
        let mut members = Self { names: Vec::new(), texts: Vec::new(), empty: None };
        let mut seen = HashSet::new();
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() && members.empty.is_none() {
                members.empty = Some(index);
            }
            let mut json = JsonText::default();
            text::push_text(name, charset, &mut json);
            let json = json.finish().unwrap_or_default();
            let escaped = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
            let is_first = seen.insert(*name);
            members.texts.push(escaped.filter(|_| is_first).map(str::to_owned));
            members.names.push(serde_json::from_str(&json).unwrap_or(json));
        }
        members
    }

    /// A member's text; `None` where its number stands for it.
    fn text(&self, index: usize) -> Result<Option<&str>, BadValue> {
        let text = self.texts.get(index).ok_or(BadValue("it has no such member"))?;
        Ok(text.as_deref())
    }
}

/// ENUM: an index from 1; 0 is an invalid value, which reads as the empty string.
pub(crate) fn one(
    reader: &mut Reader<'_>,
    bytes: u8,
    members: &Members,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let index = reader.uint(usize::from(bytes))?;
    let text = match index.checked_sub(1) {
        Some(before) => members.text(before as usize)?,
        None => members.empty.is_none().then_some(""),
    };
    match text {
        Some(text) => out.push_quoted(text.as_bytes()),
        None => out.push_str(itoa::Buffer::new().format(index)),
    }
    Ok(())
}

/// SET: a bit per member, printed with commas between.
pub(crate) fn many(
    reader: &mut Reader<'_>,
    bytes: u8,
    members: &Members,
    out: &mut JsonText,
) -> Result<(), BadValue> {
    let bits = reader.uint(usize::from(bytes))?;
    let start = out.len();
    out.push(b'"');
    let mut rest = bits;
    // The servers print nothing for a member that is the empty string, no comma either.
    let has = |index: usize| bits.checked_shr(index as u32).is_some_and(|bits| bits & 1 == 1);
    let mut is_told = !members.empty.is_some_and(has);
    while rest != 0 && is_told {
        let index = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        match members.text(index)? {
            Some(text) => out.push_str(text),
            None => is_told = false,
        }
        if rest != 0 {
            out.push(b',');
        }
    }
    if is_told {
        out.push(b'"');
    } else {
        out.truncate(start);
        out.push_str(itoa::Buffer::new().format(bits));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATIN1: u32 = 8;

    fn members(names: &[&str], collation: u32) -> Members {
        let names: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
        Members::new(&names, Charset::of(collation))
    }

    fn all(members: &Members, decode: Decode, count: u8) -> String {
        let mut out = JsonText::default();
        for value in 0..count {
            decode(&mut Reader::new(&[value]), 1, members, &mut out).unwrap();
            out.push(b' ');
        }
        out.finish().unwrap()
    }

    type Decode = fn(&mut Reader<'_>, u8, &Members, &mut JsonText) -> Result<(), BadValue>;

    #[test]
    fn members_by_index_and_by_bit() {
        let names: Vec<String> = (0..64).map(|n| format!("m{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let members = members(&names, LATIN1);
        let mut out = JsonText::default();
        one(&mut Reader::new(&[0]), 1, &members, &mut out).unwrap();
        one(&mut Reader::new(&[64, 0]), 2, &members, &mut out).unwrap();
        many(&mut Reader::new(&[0; 8]), 8, &members, &mut out).unwrap();
        many(&mut Reader::new(&[5, 0, 0, 0, 0, 0, 0, 0x80]), 8, &members, &mut out).unwrap();
        assert_eq!(out.as_str(), r#""""m63""""m0,m2,m63""#);
        assert!(one(&mut Reader::new(&[65]), 1, &members, &mut out).is_err());
    }

    #[test]
    fn a_bit_without_a_member_is_refused() {
        let mut out = JsonText::default();
        assert!(many(&mut Reader::new(&[2]), 1, &members(&["a"], LATIN1), &mut out).is_err());
    }

    #[test]
    fn a_number_stands_where_a_name_would_not_tell() {
        let twice = members(&["a", "b", "a"], LATIN1);
        assert_eq!(all(&twice, one, 4), r#""" "a" "b" 3 "#);
        assert_eq!(all(&twice, many, 8), r#""" "a" "b" "a,b" 4 5 6 7 "#);
        let empty = members(&["", "a"], LATIN1);
        assert_eq!(all(&empty, one, 3), r#"0 "" "a" "#);
        assert_eq!(all(&empty, many, 4), r#""" 1 "a" 3 "#);
        let binary = members(&["a", "b"], 63);
        assert_eq!(all(&binary, one, 3), r#""" 1 2 "#);
        assert_eq!(all(&binary, many, 4), r#""" 1 2 3 "#);
        assert_eq!(binary.names[1], r#"{"$hex":"62","$charset":"binary"}"#);
    }
}
