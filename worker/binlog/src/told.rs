//! What an event tells of the definition of tables: its table maps, and the statements that may change them.

use crate::decoder::TableName;
use crate::event::{EventType, HEADER_LENGTH};
use crate::frame::Frame;
use crate::inflate;
use crate::payload::Payload;
use crate::query;
use crate::touches::{is_control, may_redefine};

/// One thing that an event tells.
pub(crate) enum Told<'a> {
    /// The body of a table map.
    Map(&'a [u8]),
    /// A statement; `None`: one that cannot be read.
    Statement(Option<&'a [u8]>),
    /// A statement within a compressed transaction: what it stands before and behind is in the same event.
    Within(Option<&'a [u8]>),
}

/// Tells everything in the order of the bytes. `inner` is room to inflate into.
pub(crate) fn each(frame: &Frame<'_>, inner: &mut Vec<u8>, mut tell: impl FnMut(Told<'_>)) {
    match frame.header.event_type {
        EventType::TABLE_MAP => tell(Told::Map(frame.body)),
        EventType::QUERY => tell(Told::Statement(statement(frame.body))),
        EventType::QUERY_COMPRESSED => {
            let packed = statement(frame.body);
            let plain = packed.and_then(|packed| inflate::event(packed, inner).ok());
            tell(Told::Statement(plain.map(|()| inner.as_slice())));
        }
        EventType::TRANSACTION_PAYLOAD => {
            let Ok(mut payload) = Payload::open(frame.body) else {
                return tell(Told::Within(None));
            };
            loop {
                let header = match payload.next(inner) {
                    Ok(Some(header)) => header,
                    Ok(None) => return,
                    Err(_) => return tell(Told::Within(None)),
                };
                let body = inner.get(HEADER_LENGTH..).unwrap_or_default();
                match header.event_type {
                    EventType::TABLE_MAP => tell(Told::Map(body)),
                    EventType::QUERY => tell(Told::Within(statement(body))),
                    _ => {}
                }
            }
        }
        // What was lost may have been statements.
        EventType::INCIDENT => tell(Told::Statement(None)),
        _ => {}
    }
}

fn statement(body: &[u8]) -> Option<&[u8]> {
    query::parse(body).ok().map(|query| query.text)
}

/// Which of the tables the event may give another definition.
pub fn redefined<'t>(
    frame: &Frame<'_>,
    tables: &(impl Iterator<Item = &'t TableName> + Clone),
) -> Vec<TableName> {
    let (mut found, mut inner) = (Vec::new(), Vec::new());
    each(frame, &mut inner, |told| {
        let (Told::Statement(text) | Told::Within(text)) = told else { return };
        if text.is_some_and(is_control) {
            return;
        }
        let named = |table: &&TableName| text.is_none_or(|text| may_redefine(text, &table.table));
        found.extend(tables.clone().filter(named).cloned());
    });
    found
}
