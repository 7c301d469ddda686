//! JSON diffs of PARTIAL_UPDATE_ROWS, applied to the text of the document before.
//!
//! Invariants:
//! - the outcome is the text that the whole document after would have given: keys keep the server's
//!   order (`diffs_give_the_text_of_the_whole_document`);
//! - a diff that does not fit the document is an error, never a guess (`a_diff_that_does_not_fit_is_an_error`);
//! - diffs cannot nest a document deeper than the server does (`diffs_cannot_nest_without_end`).

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::reader::Reader;
use crate::value::BadValue;
use crate::value::json;
use crate::value::json_text::JsonText;
use crate::value::text::json_str;

/// The server's own limit.
const MAX_DEPTH: usize = 100;

const REPLACE: u8 = 0;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;

const MISFIT: BadValue = BadValue("its JSON diff does not fit the document before");
const MALFORMED: BadValue = BadValue("its JSON diff is malformed");

/// Appends the document after `diffs`, which follow each other as (operation, path, value).
pub(crate) fn apply(before: &str, diffs: &[u8], out: &mut JsonText) -> Result<(), BadValue> {
    let mut document = parse(before)?;
    let mut reader = Reader::new(diffs);
    while !reader.is_empty() {
        let operation = reader.u8()?;
        let path = std::str::from_utf8(reader.lenenc_bytes()?).map_err(|_| MALFORMED)?;
        let path = legs(path)?;
        let value = match operation {
            REPLACE | INSERT => {
                let mut text = JsonText::default();
                json::push(reader.lenenc_bytes()?, &mut text)?;
                Some(parse(&text.finish()?)?.owned())
            }
            REMOVE => None,
            _ => return Err(MALFORMED),
        };
        if value.as_ref().is_some_and(|value| path.len() + value.depth() > MAX_DEPTH) {
            return Err(BadValue("its JSON document is nested too deep"));
        }
        document.change(operation == INSERT, &path, value)?;
    }
    document.push(out);
    Ok(())
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Leg {
    /// The key as JSON text, quotes included.
    Member(String),
    Cell(usize),
}

/// Reads `$.a."b c"[0]`.
fn legs(path: &str) -> Result<Vec<Leg>, BadValue> {
    let mut rest = path.strip_prefix('$').ok_or(MALFORMED)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(cell) = rest.strip_prefix('[') {
            let (number, after) = cell.split_once(']').ok_or(MALFORMED)?;
            legs.push(Leg::Cell(number.trim().parse().map_err(|_| MALFORMED)?));
            rest = after;
            continue;
        }
        let member = rest.strip_prefix('.').ok_or(MALFORMED)?;
        let key;
        if member.starts_with('"') {
            let end = string_end(member).ok_or(MALFORMED)?;
            let (quoted, after) = member.split_at_checked(end).ok_or(MALFORMED)?;
            key = json_str(&unquoted(quoted)?);
            rest = after;
        } else {
            let end = member.find(['.', '[']).unwrap_or(member.len());
            let (name, after) = member.split_at_checked(end).ok_or(MALFORMED)?;
            key = json_str(name);
            rest = after;
        }
        legs.push(Leg::Member(key));
    }
    Ok(legs)
}

/// Length of the JSON string at the start of the text, quotes included.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map(|end| end + 2)
}

fn unquoted(quoted: &str) -> Result<Cow<'_, str>, BadValue> {
    if quoted.contains('\\') {
        return serde_json::from_str::<String>(quoted).map(Cow::Owned).map_err(|_| MALFORMED);
    }
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.map(Cow::Borrowed).ok_or(MALFORMED)
}

/// A document, its scalars and keys as JSON text.
#[derive(Debug)]
enum Node<'a> {
    Scalar(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// Replaces (or inserts) the value at the path, or removes what is there.
    fn change(
        &mut self,
        inserts: bool,
        path: &[Leg],
        value: Option<Node<'static>>,
    ) -> Result<(), BadValue> {
        let Some((last, parents)) = path.split_last() else {
            *self = value.ok_or(MISFIT)?;
            return Ok(());
        };
        let mut parent = self;
        for leg in parents {
            parent = parent.child(leg).ok_or(MISFIT)?;
        }
        match (inserts, value) {
            (true, Some(value)) => parent.insert(last, value),
            (false, Some(value)) => {
                *parent.child(last).ok_or(MISFIT)? = value;
                Ok(())
            }
            (_, None) => parent.remove(last),
        }
    }
}

impl<'a> Node<'a> {
    fn child(&mut self, leg: &Leg) -> Option<&mut Node<'a>> {
        match (self, leg) {
            (Self::Array(cells), Leg::Cell(index)) => cells.get_mut(*index),
            (Self::Object(members), Leg::Member(key)) => {
                members.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    fn insert(&mut self, leg: &Leg, value: Node<'a>) -> Result<(), BadValue> {
        match (self, leg) {
            // Behind the end it is appended.
            (Self::Array(cells), Leg::Cell(index)) => {
                cells.insert((*index).min(cells.len()), value);
            }
            (Self::Object(members), Leg::Member(key)) => {
                let at = members.partition_point(|(known, _)| order(known, key).is_lt());
                if members.get(at).is_some_and(|(known, _)| known == key) {
                    return Err(MISFIT);
                }
                members.insert(at, (Cow::Owned(key.clone()), value));
            }
            _ => return Err(MISFIT),
        }
        Ok(())
    }

    fn remove(&mut self, leg: &Leg) -> Result<(), BadValue> {
        match (self, leg) {
            (Self::Array(cells), Leg::Cell(index)) if *index < cells.len() => {
                cells.remove(*index);
                Ok(())
            }
            (Self::Object(members), Leg::Member(key)) => {
                let at = members.iter().position(|(known, _)| known == key).ok_or(MISFIT)?;
                members.remove(at);
                Ok(())
            }
            _ => Err(MISFIT),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Scalar(_) => 0,
            Self::Array(cells) => 1 + cells.iter().map(Node::depth).max().unwrap_or_default(),
            Self::Object(members) => {
                1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or_default()
            }
        }
    }

    fn owned(self) -> Node<'static> {
        match self {
            Self::Scalar(text) => Node::Scalar(Cow::Owned(text.into_owned())),
            Self::Array(cells) => Node::Array(cells.into_iter().map(Node::owned).collect()),
            Self::Object(members) => {
                let owned = |(key, value): (Cow<'_, str>, Node<'_>)| {
                    (Cow::Owned(key.into_owned()), value.owned())
                };
                Node::Object(members.into_iter().map(owned).collect())
            }
        }
    }

    fn push(&self, out: &mut JsonText) {
        match self {
            Self::Scalar(text) => out.push_str(text),
            Self::Array(cells) => {
                out.push(b'[');
                for (nth, cell) in cells.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    cell.push(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (nth, (key, value)) in members.iter().enumerate() {
                    if nth > 0 {
                        out.push(b',');
                    }
                    out.push_str(key);
                    out.push(b':');
                    value.push(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// The server's order of keys: by their length, then by their bytes.
fn order(one: &str, other: &str) -> Ordering {
    let (one, other) = (unquoted(one).unwrap_or_default(), unquoted(other).unwrap_or_default());
    (one.len(), one.as_bytes()).cmp(&(other.len(), other.as_bytes()))
}

/// Reads a document as `json::push` writes it: without blanks.
fn parse(text: &str) -> Result<Node<'_>, BadValue> {
    let mut parser = Parser { rest: text };
    let node = parser.node(0)?;
    if parser.rest.is_empty() { Ok(node) } else { Err(MALFORMED) }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn node(&mut self, depth: usize) -> Result<Node<'a>, BadValue> {
        match self.rest.bytes().next() {
            Some(b'[') if depth < MAX_DEPTH => {
                let mut cells = Vec::new();
                self.members(b']', |parser| {
                    cells.push(parser.node(depth + 1)?);
                    Ok(())
                })?;
                Ok(Node::Array(cells))
            }
            Some(b'{') if depth < MAX_DEPTH => {
                let mut members = Vec::new();
                self.members(b'}', |parser| {
                    let key = parser.string()?;
                    parser.expect(b':')?;
                    members.push((Cow::Borrowed(key), parser.node(depth + 1)?));
                    Ok(())
                })?;
                Ok(Node::Object(members))
            }
            Some(b'"') => self.string().map(|text| Node::Scalar(Cow::Borrowed(text))),
            _ => {
                let end = self.rest.find([',', ']', '}']).unwrap_or(self.rest.len());
                let text = self.take(end)?;
                if text.is_empty() { Err(MALFORMED) } else { Ok(Node::Scalar(Cow::Borrowed(text))) }
            }
        }
    }

    /// What stands between two brackets, comma after comma.
    fn members(
        &mut self,
        close: u8,
        mut member: impl FnMut(&mut Self) -> Result<(), BadValue>,
    ) -> Result<(), BadValue> {
        self.take(1)?;
        if self.skip(close) {
            return Ok(());
        }
        loop {
            member(self)?;
            if self.skip(close) {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<&'a str, BadValue> {
        let end = string_end(self.rest).filter(|_| self.rest.starts_with('"')).ok_or(MALFORMED)?;
        self.take(end)
    }

    fn take(&mut self, length: usize) -> Result<&'a str, BadValue> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(MALFORMED)?;
        self.rest = tail;
        Ok(head)
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.rest.as_bytes().first() == Some(&byte);
        if found {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadValue> {
        if self.skip(byte) { Ok(()) } else { Err(MALFORMED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One diff; `value` is a binary document.
    fn diff(operation: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let mut diff = vec![operation, 0xfc];
        diff.extend((path.len() as u16).to_le_bytes());
        diff.extend(path.as_bytes());
        if let Some(value) = value {
            diff.push(value.len() as u8);
            diff.extend(value);
        }
        diff
    }

    fn applied(before: &str, diffs: &[Vec<u8>]) -> Result<String, BadValue> {
        let mut out = JsonText::default();
        apply(before, &diffs.concat(), &mut out)?;
        out.finish()
    }

    const TRUE: Option<&[u8]> = Some(&[4, 1]);
    const SEVEN: Option<&[u8]> = Some(&[5, 7, 0]);

    #[test]
    fn diffs_give_the_text_of_the_whole_document() {
        let before = r#"{"a":[1,{"x y":2.50},"]"],"bb":null,"q\"":{}}"#;
        for (diffs, after) in [
            (vec![], before),
            (
                vec![diff(REPLACE, "$.a[0]", SEVEN)],
                r#"{"a":[7,{"x y":2.50},"]"],"bb":null,"q\"":{}}"#,
            ),
            (
                vec![diff(REPLACE, r#"$.a[1]."x y""#, TRUE), diff(REMOVE, "$.bb", None)],
                r#"{"a":[1,{"x y":true},"]"],"q\"":{}}"#,
            ),
            (
                vec![diff(INSERT, "$.a[1]", SEVEN), diff(INSERT, "$.a[99]", TRUE)],
                r#"{"a":[1,7,{"x y":2.50},"]",true],"bb":null,"q\"":{}}"#,
            ),
            (
                // By length, then by bytes.
                vec![diff(INSERT, "$.b", TRUE), diff(INSERT, r#"$."q\"".é"#, SEVEN)],
                r#"{"a":[1,{"x y":2.50},"]"],"b":true,"bb":null,"q\"":{"é":7}}"#,
            ),
            (vec![diff(REMOVE, "$.a[1]", None)], r#"{"a":[1,"]"],"bb":null,"q\"":{}}"#),
            (vec![diff(REPLACE, "$", SEVEN)], "7"),
        ] {
            assert_eq!(applied(before, &diffs).as_deref(), Ok(after));
        }
    }

    #[test]
    fn a_diff_that_does_not_fit_is_an_error() {
        let before = r#"{"a":[1],"b":2}"#;
        for diffs in [
            diff(REPLACE, "$.c", SEVEN),
            diff(REPLACE, "$.a[1]", SEVEN),
            diff(REPLACE, "$[0]", SEVEN),
            diff(INSERT, "$.a.x", SEVEN),
            diff(INSERT, "$.b", SEVEN),
            diff(REMOVE, "$.b.c", None),
            diff(REMOVE, "$.a[1]", None),
            diff(REMOVE, "$", None),
            diff(3, "$.a", None),
            diff(REMOVE, "a", None),
            diff(REMOVE, "$.a[", None),
            diff(REMOVE, "$.\"a", None),
            vec![REPLACE, 200],
        ] {
            assert!(applied(before, std::slice::from_ref(&diffs)).is_err(), "{diffs:?}");
        }
    }

    #[test]
    fn diffs_cannot_nest_without_end() {
        // An array in an array.
        let nested: &[u8] = &[2, 1, 0, 11, 0, 2, 7, 0, 0, 0, 4, 0];
        assert_eq!(applied("[]", &[diff(INSERT, "$[0]", Some(nested))]).as_deref(), Ok("[[[]]]"));
        let deep = "$".to_owned() + &"[0]".repeat(100);
        let before = "[".repeat(100) + &"]".repeat(100);
        assert!(applied(&before, &[diff(INSERT, &deep, SEVEN)]).is_ok());
        assert!(applied(&before, &[diff(INSERT, &deep, Some(nested))]).is_err());
    }
}
