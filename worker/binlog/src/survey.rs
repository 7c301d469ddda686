//! Going through a range once to learn how tables were described in it, before it is decoded.
//!
//! A table map that names its columns tells the definition also for maps before and behind it that do not, as far as
//! no statement lies between that may have changed the table.
//!
//! - A description is found only for stretches in which no statement may have redefined the table, and all maps that
//!   name columns say the same (`a_description_ends_at_a_statement_about_the_table`,
//!   `maps_that_contradict_each_other_describe_nothing` in `tests/suite/descriptions.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::decoder::TableName;
use crate::description::TableDescription;
use crate::frame::Frame;
use crate::table_map::TableMap;
use crate::told::{self, Told};
use crate::touches::{is_control, may_redefine};

/// From this event on, a table is described so, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Number of the event, as the caller counts them.
    pub event: u64,
    /// The table.
    pub table: TableName,
    /// Its description; `None`: not known.
    pub description: Option<TableDescription>,
}

/// How a table was described from one event on.
struct Part {
    event: u64,
    description: Option<TableDescription>,
    contradicted: bool,
}

/// See the module's text.
pub struct Survey {
    tables: BTreeMap<TableName, Vec<Part>>,
    /// Tables that were met without names.
    unnamed: BTreeSet<TableName>,
    inner: Vec<u8>,
}

impl Survey {
    /// A survey of these tables.
    pub fn new(tables: impl IntoIterator<Item = TableName>) -> Self {
        let tables = tables.into_iter().map(|table| (table, Vec::new())).collect();
        Self { tables, unnamed: BTreeSet::new(), inner: Vec::new() }
    }

    /// What lies before event `event` is not known: everything may be different.
    pub fn begin(&mut self, event: u64) {
        for parts in self.tables.values_mut() {
            parts.push(Part::new(event));
        }
    }

    /// Takes the next event of the file, which is number `event`.
    pub fn observe(&mut self, event: u64, frame: &Frame<'_>) {
        let mut inner = std::mem::take(&mut self.inner);
        told::each(frame, &mut inner, |told| match told {
            Told::Map(body) => self.table_map(body),
            Told::Statement(text) => self.statement(event, text, false),
            Told::Within(text) => self.statement(event, text, true),
        });
        self.inner = inner;
    }

    /// Tables with a map that names no columns since the last call.
    pub fn take_unnamed(&mut self) -> BTreeSet<TableName> {
        std::mem::take(&mut self.unnamed)
    }

    /// In which stretch of one definition the table is; no two have the same number.
    pub fn stretch(&self, table: &TableName) -> Option<usize> {
        self.tables.get(table)?.len().checked_sub(1)
    }

    /// The table has this description where the survey stands.
    pub fn tell(&mut self, table: &TableName, found: TableDescription) {
        let part = self.tables.get_mut(table).and_then(|parts| parts.last_mut());
        let Some(part) = part else { return };
        match &part.description {
            Some(known) => part.contradicted |= !known.says_the_same(&found),
            None => part.description = Some(found),
        }
    }

    fn table_map(&mut self, body: &[u8]) {
        let Ok(map) = TableMap::parse(body) else { return };
        let name = TableName { schema: map.schema.to_owned(), table: map.table.to_owned() };
        if !self.tables.contains_key(&name) {
            return;
        }
        match TableDescription::of(body) {
            Some(found) => self.tell(&name, found),
            None => drop(self.unnamed.insert(name)),
        }
    }

    /// A statement; `None`: one that cannot be read. One within a payload ends what was known before it, and nothing
    /// is known within.
    fn statement(&mut self, event: u64, text: Option<&[u8]>, within: bool) {
        if text.is_some_and(is_control) {
            return;
        }
        for (table, parts) in &mut self.tables {
            if text.is_none_or(|text| may_redefine(text, &table.table)) {
                if within {
                    parts.push(Part { contradicted: true, ..Part::new(event) });
                }
                parts.push(Part::new(event + 1));
            }
        }
    }

    /// What was found, in the order of the events.
    pub fn finish(self) -> Vec<Finding> {
        let finding = |table: &TableName, part: Part| Finding {
            event: part.event,
            table: table.clone(),
            description: part.description.filter(|_| !part.contradicted),
        };
        let all = self.tables.into_iter().flat_map(|(table, parts)| {
            parts.into_iter().map(move |part| finding(&table, part)).collect::<Vec<_>>()
        });
        let mut all: Vec<Finding> = all.collect();
        all.sort_by_key(|finding| finding.event);
        all
    }
}

impl Part {
    const fn new(event: u64) -> Self {
        Self { event, description: None, contradicted: false }
    }
}
