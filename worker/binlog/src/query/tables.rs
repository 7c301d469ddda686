//! Statements that empty, drop or rename whole tables: no rows event tells it.
//!
//! One whose tables cannot be read counts as a change of rows that nobody knows of
//! (`statements_are_told_apart_by_their_first_words`).

use super::words::{Word, Words};
use super::{Statement, Table};

/// What a statement does to a whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableOp {
    /// Its rows are gone.
    Truncate(Table),
    /// It is gone with its rows.
    Drop(Table),
    /// Every table of the schema is gone.
    DropSchema(String),
    /// It goes on under another name.
    Rename { from: Table, to: Table },
}

type Ops = Option<Vec<TableOp>>;

fn statement(ops: Ops) -> Statement {
    ops.map_or(Statement::Dml(None), Statement::Tables)
}

/// Behind TRUNCATE.
pub(super) fn truncate(words: &mut Words<'_>) -> Statement {
    words.skip_word("TABLE");
    statement(Table::read(words).map(|table| vec![TableOp::Truncate(table)]))
}

/// Behind DROP.
pub(super) fn drop(words: &mut Words<'_>) -> Statement {
    let Some(what) = words.next() else { return Statement::Ddl };
    if what.is("DATABASE") || what.is("SCHEMA") {
        skip_if_exists(words);
        return statement(words.name().map(|schema| vec![TableOp::DropSchema(schema)]));
    }
    if !(what.is("TABLE") || what.is("TABLES")) {
        return Statement::Ddl;
    }
    skip_if_exists(words);
    statement(listed(words, |words| Table::read(words).map(TableOp::Drop)))
}

/// Behind RENAME.
pub(super) fn rename(words: &mut Words<'_>) -> Statement {
    if !words.next().is_some_and(|what| what.is("TABLE") || what.is("TABLES")) {
        return Statement::Ddl;
    }
    skip_if_exists(words);
    statement(listed(words, |words| {
        let from = Table::read(words)?;
        // MariaDB: WAIT n or NOWAIT may stand in between.
        words.find(|word| word.is("TO"))?;
        Some(TableOp::Rename { from, to: Table::read(words)? })
    }))
}

/// Behind ALTER TABLE and the table's name: a new name may be among the changes.
pub(super) fn renamed(from: Option<Table>, mut words: Words<'_>) -> Statement {
    let mut depth = 0_u32;
    while let Some(word) = words.next() {
        match word {
            Word::Sign(b'(') => depth += 1,
            Word::Sign(b')') => depth = depth.saturating_sub(1),
            _ if depth == 0 && word.is("RENAME") => {
                let mut ahead = words.clone();
                let part = ahead.next();
                let of_part = ["COLUMN", "INDEX", "KEY"];
                if part.is_some_and(|word| of_part.iter().any(|part| word.is(part))) {
                    continue;
                }
                let _ = words.skip_word("TO") || words.skip_word("AS");
                if part == Some(Word::Sign(b'=')) {
                    words.next();
                }
                let pair = from.zip(Table::read(&mut words));
                return statement(pair.map(|(from, to)| vec![TableOp::Rename { from, to }]));
            }
            _ => {}
        }
    }
    Statement::Ddl
}

/// Behind CREATE. MariaDB's OR REPLACE drops a table of the name first.
pub(super) fn replaced(mut words: Words<'_>) -> Statement {
    let replaces = words.next_is("OR") && words.next_is("REPLACE") && words.next_is("TABLE");
    if !replaces {
        return Statement::Ddl;
    }
    statement(Table::read(&mut words).map(|table| vec![TableOp::Drop(table)]))
}

fn skip_if_exists(words: &mut Words<'_>) {
    if words.skip_word("IF") {
        words.skip_word("EXISTS");
    }
}

/// One or more, comma after comma.
fn listed<'a>(
    words: &mut Words<'a>,
    mut read: impl FnMut(&mut Words<'a>) -> Option<TableOp>,
) -> Ops {
    let mut ops = vec![read(words)?];
    while words.clone().next() == Some(Word::Sign(b',')) {
        words.next();
        ops.push(read(words)?);
    }
    Some(ops)
}
