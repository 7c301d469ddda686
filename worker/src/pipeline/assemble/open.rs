//! What is known of the open group beside its rows.

use std::collections::{BTreeMap, BTreeSet};

use binlog::{Frame, TableName};
use changes::Savepoint;

use super::super::cut::MissedReason;

#[derive(Debug, Default)]
pub(super) struct OpenGroup {
    /// Its tables.
    pub(super) tables: BTreeSet<TableName>,
    /// It came compressed and was not read whole: there may be more tables.
    pub(super) unlisted: bool,
    /// Rows decoded.
    pub(super) rows: u64,
    /// Where it may go back to.
    savepoints: BTreeMap<String, Savepoint>,
    /// Why its rows do not get into the change log though it may commit.
    pub(super) void: Option<MissedReason>,
}

impl OpenGroup {
    /// Takes the table of a table map; its body: 6 bytes id, 2 bytes flags, two short names.
    pub(super) fn announce(&mut self, frame: &Frame<'_>) {
        let names = frame.body.get(8..).and_then(short_name);
        let names = names.and_then(|(schema, rest)| Some((schema, short_name(rest)?.0)));
        self.tables.extend(names.map(|(schema, table)| TableName { schema, table }));
    }

    pub(super) fn savepoint(&mut self, name: &str, at: Savepoint) {
        self.savepoints.insert(name.to_owned(), at);
    }

    pub(super) fn place_of(&self, savepoint: &str) -> Option<Savepoint> {
        self.savepoints.get(savepoint).copied()
    }
}

fn short_name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let name = rest.get(..usize::from(*length))?;
    let rest = rest.get(usize::from(*length) + 1..)?;
    Some((String::from_utf8_lossy(name).into_owned(), rest))
}
