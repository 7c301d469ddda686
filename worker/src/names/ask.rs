//! The question to the source: how is this table defined now, and where does the binlog stand?
//!
//! The columns are read first and the position last, so that every statement that the columns show lies before it. The
//! account needs to see the table: `REFERENCES` is enough and reads no row.
//!
//! Invariants
//! - A server that does not log everything, or another one, is not believed (`Asker::try_ask`).
//! - What the server cannot show exactly is refused: members of ENUM and SET
//!   (`members_are_read_as_the_server_writes_them`, `a_member_that_may_be_another_one_is_refused`), and a key of which
//!   it shows a part (`a_key_that_is_shown_in_part_is_refused`).
//! - A question has one limit of time, however many statements it is (`a_source_that_does_not_answer_ends_the_question`).

mod key;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use binlog::{SourceColumn, SourceTable, TableName, Unnamed};
use crds::position::{FilePosition, Flavor};
use source::{Connection, Identity, Row, SourceConfig, SourceError, quote};
use tokio::time::{Instant, timeout};

use crate::pipeline::assemble::{Naming, PROOF};

/// So much is waited for as long as nothing was in vain: a transaction may be all of it.
const PATIENT: u64 = 1 << 30;
/// Times that a question without an answer is put anew, over a new connection to the source each.
const TRIES: u32 = 3;
/// Longest that a question may take: the stream waits for it.
const LIMIT: Duration = Duration::from_secs(30);
/// A connection that nobody asks for so long is closed: the source may need its place.
const KEPT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The connection, or the source.
    Source(SourceError),
    /// The address leads to another server.
    Elsewhere,
}

impl From<SourceError> for Unanswered {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// Asks, and remembers over connections what came to nothing.
#[derive(Debug, Default)]
pub struct Asker {
    connected: Option<Connected>,
    /// Table maps whose answer did not hold, and why.
    refused: BTreeMap<(TableName, FilePosition), String>,
    /// The table map that was asked about last without an answer, and how often.
    vain: Option<((TableName, FilePosition), u32)>,
    /// A proof was too far away: nothing far is waited for any more.
    strict: bool,
}

/// A connection that has answered.
#[derive(Debug)]
struct Connected {
    connection: Connection,
    /// Ids of the collations by their names.
    collations: BTreeMap<String, u32>,
    asked: Instant,
}

impl Asker {
    /// These answers did not hold; none of them: the proof was too far away.
    pub fn refuse(&mut self, tables: &[(TableName, FilePosition)], why: &str) {
        for table in tables {
            self.refused.insert(table.clone(), why.to_owned());
        }
        self.strict |= tables.is_empty();
    }

    /// Nothing waits for an answer: a connection that was not asked for a while is closed. Not at once: tables that
    /// are refused come one behind the other.
    pub async fn rest(&mut self) {
        let idle = |connected: &mut Connected| connected.asked.elapsed() >= KEPT;
        if let Some(Connected { connection, .. }) = self.connected.take_if(idle) {
            connection.close().await;
        }
    }

    /// What the source says of the table whose map stands at `at`.
    pub async fn ask(
        &mut self,
        settings: &SourceConfig,
        identity: &Identity,
        unnamed: &Unnamed,
        at: &FilePosition,
    ) -> Result<Naming, Unanswered> {
        let place = (unnamed.table.clone(), at.clone());
        if let Some(why) = self.refused.get(&place) {
            return Ok(Naming::Refused(why.clone()));
        }
        let error = match in_time(self.ask_again(settings, identity, unnamed, at)).await {
            Ok(naming) => {
                self.vain = None;
                return Ok(naming);
            }
            Err(error) => error,
        };
        self.connected = None;
        let tries = match self.vain.take() {
            Some((last, tries)) if last == place => tries + 1,
            _ => 1,
        };
        self.vain = Some((place, tries));
        if tries < TRIES {
            return Err(error);
        }
        let why = match error {
            Unanswered::Source(error) => crate::fault::chain(&error),
            Unanswered::Elsewhere => "the address leads to another server".to_owned(),
        };
        Ok(Naming::Refused(format!("the source could not be asked for them: {why}")))
    }

    /// A connection that served before may have been closed in the meantime.
    async fn ask_again(
        &mut self,
        settings: &SourceConfig,
        identity: &Identity,
        unnamed: &Unnamed,
        at: &FilePosition,
    ) -> Result<Naming, Unanswered> {
        let again = self.connected.is_some();
        match self.try_ask(settings, identity, unnamed, at).await {
            Err(_) if again => {
                self.connected = None;
                self.try_ask(settings, identity, unnamed, at).await
            }
            answer => answer,
        }
    }

    async fn try_ask(
        &mut self,
        settings: &SourceConfig,
        identity: &Identity,
        unnamed: &Unnamed,
        at: &FilePosition,
    ) -> Result<Naming, Unanswered> {
        let flavor = identity.flavor;
        let connected = match self.connected.take() {
            Some(connected) => connected,
            None => Connected::open(settings, flavor).await?,
        };
        let Connected { mut connection, collations, .. } = connected;
        let answer = question(&mut connection, &collations, flavor, &unnamed.table).await;
        let here = connection.is_server(identity.server_id, identity.server_uuid).await?;
        let until = connection.end_position().await?;
        let files = connection.binlog_files().await?;
        let everything = connection.logs_every_schema().await?;
        self.connected = Some(Connected { connection, collations, asked: Instant::now() });
        if !here {
            return Err(Unanswered::Elsewhere);
        }
        let (Some(until), Some(files)) = (until, files) else {
            return Ok(Naming::Refused("the source does not tell its position".to_owned()));
        };
        let described = match answer? {
            _ if !everything => {
                Err("the source keeps schemas out of its binlog (binlog-do-db, binlog-ignore-db)"
                    .to_owned())
            }
            Ok(table) if table.columns.is_empty() => Err(hidden(settings)),
            Ok(table) => match unnamed.describe(flavor, &table) {
                Ok(description) => Ok((description, table)),
                Err(what) => Err(format!(
                    "what the source says of it now is not what the binlog says: {what}"
                )),
            },
            Err(why) => Err(why),
        };
        let sizes = files.iter().map(|file| (file.name.as_str(), file.size));
        Ok(match (described, ahead(at, &until, sizes)) {
            (Err(why), _) => Naming::Refused(why),
            (Ok(_), None) => Naming::Refused("the source is not where the stream is".to_owned()),
            (Ok((description, columns)), Some(ahead)) => {
                let limit = if self.strict { PROOF } else { PATIENT };
                Naming::Described { description, columns, until, ahead, limit }
            }
        })
    }
}

impl Connected {
    async fn open(settings: &SourceConfig, flavor: Flavor) -> Result<Self, SourceError> {
        let mut connection = source::connect(settings).await?;
        let collations = collations(&mut connection, flavor).await?;
        Ok(Self { connection, collations, asked: Instant::now() })
    }
}

/// The answer to a question, if it comes within the limit.
async fn in_time<T>(answer: impl Future<Output = Result<T, Unanswered>>) -> Result<T, Unanswered> {
    timeout(LIMIT, answer).await.unwrap_or_else(|_| {
        let doing = "ask the source for the columns of a table".to_owned();
        Err(SourceError::Timeout { doing, limit: LIMIT }.into())
    })
}

/// What lets the account see a table's columns.
fn hidden(settings: &SourceConfig) -> String {
    let account = &settings.username;
    format!(
        "the source shows none of its columns: GRANT REFERENCES ON *.* TO '{account}', if it still exists"
    )
}

/// Bytes of binlog between two positions; `None`: the second one does not come behind the first.
fn ahead<'f>(
    at: &FilePosition,
    until: &FilePosition,
    files: impl Iterator<Item = (&'f str, u64)>,
) -> Option<u64> {
    if until <= at {
        return None;
    }
    if at.file == until.file {
        return Some(until.offset - at.offset);
    }
    let between = files.skip_while(|(name, _)| *name != at.file);
    let between = between.take_while(|(name, _)| *name != until.file);
    let sizes: u64 = between.map(|(_, size)| size).sum();
    Some((sizes + until.offset).saturating_sub(at.offset))
}

/// Ids of the collations by their names.
async fn collations(
    connection: &mut Connection,
    flavor: Flavor,
) -> Result<BTreeMap<String, u32>, SourceError> {
    const UNKNOWN_COLUMN: u16 = 1054;
    let plain = "SELECT COLLATION_NAME AS name, ID AS id FROM information_schema.COLLATIONS";
    // MariaDB from 10.10 has collations that several sets share.
    let full = "SELECT FULL_COLLATION_NAME AS name, ID AS id FROM \
                information_schema.COLLATION_CHARACTER_SET_APPLICABILITY";
    let rows = match flavor {
        Flavor::MySQL => connection.query(plain).await?,
        Flavor::MariaDB => match connection.query(full).await {
            Err(error) if error.code() == Some(UNKNOWN_COLUMN) => connection.query(plain).await?,
            rows => rows?,
        },
    };
    let pair =
        |row: Row<'_>| Some((row.text("name")?, u32::try_from(row.number("id").ok()?).ok()?));
    Ok(rows.rows().filter_map(pair).collect())
}

/// The table as `information_schema` has it; without columns if the account may not see it.
async fn question(
    connection: &mut Connection,
    collations: &BTreeMap<String, u32>,
    flavor: Flavor,
    table: &TableName,
) -> Result<Result<SourceTable, String>, SourceError> {
    let wanted =
        format!("TABLE_SCHEMA = {} AND TABLE_NAME = {}", quote(&table.schema), quote(&table.table));
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, \
         CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, \
         CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_KEY, EXTRA FROM information_schema.COLUMNS \
         WHERE {wanted} ORDER BY ORDINAL_POSITION"
    );
    // Names of another case are equal there.
    let is_it = |row: &Row<'_>| {
        row.text("TABLE_SCHEMA").as_ref() == Some(&table.schema)
            && row.text("TABLE_NAME").as_ref() == Some(&table.table)
    };
    let rows = connection.query(&sql).await?;
    let (mut found, mut marked) = (SourceTable::default(), BTreeSet::new());
    for row in rows.rows().filter(is_it) {
        let number = |name: &str| row.number(name).ok();
        let collation = match row.text("COLLATION_NAME") {
            None => None,
            Some(name) => match collations.get(&name) {
                Some(id) => Some(*id),
                None => return Ok(Err(format!("the source does not tell the number of {name}"))),
            },
        };
        let mut column = SourceColumn {
            name: row.required("COLUMN_NAME")?,
            data_type: row.required("DATA_TYPE")?,
            column_type: row.required("COLUMN_TYPE")?,
            nullable: row.required("IS_NULLABLE")? == "YES",
            octets: number("CHARACTER_OCTET_LENGTH"),
            precision: number("NUMERIC_PRECISION"),
            scale: number("NUMERIC_SCALE"),
            fraction: number("DATETIME_PRECISION"),
            collation,
            members: Vec::new(),
            invisible: flavor == Flavor::MySQL
                && row.text("EXTRA").is_some_and(|extra| extra.contains("INVISIBLE")),
        };
        if row.text("COLUMN_KEY").as_deref() == Some("PRI") {
            marked.insert(column.name.clone());
        }
        if matches!(column.data_type.as_str(), "enum" | "set") {
            let charset = row.text("CHARACTER_SET_NAME").unwrap_or_default();
            let Some(members) = members::of(connection, &column.column_type, &charset).await?
            else {
                let name = &column.name;
                return Ok(Err(format!("the source does not show the members of {name} exactly")));
            };
            column.members = members;
        }
        found.columns.push(column);
    }
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_COLLATION FROM information_schema.TABLES WHERE {wanted}"
    );
    let rows = connection.query(&sql).await?;
    let collation = rows.rows().find(is_it).and_then(|row| row.text("TABLE_COLLATION"));
    found.collation = collation.and_then(|name| collations.get(&name).copied());
    let sql = format!(
        "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS \
         WHERE {wanted} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    );
    let rows = connection.query(&sql).await?;
    let mut indexes = key::Indexes::new();
    for row in rows.rows().filter(is_it) {
        let index: &mut Vec<_> = indexes.entry(row.required("INDEX_NAME")?).or_default();
        index.push(row.text("COLUMN_NAME"));
    }
    let Some(key) = key::of(&indexes, &marked) else {
        return Ok(Err("the source does not show its primary key".to_owned()));
    };
    found.is_primary = indexes.is_empty() || indexes.contains_key("PRIMARY");
    found.key = key;
    Ok(Ok(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_does_not_answer_ends_the_question() {
        let begun = Instant::now();
        // Each statement keeps its own limit.
        let answer = in_time(async {
            for _ in 0..10 {
                tokio::time::sleep(LIMIT / 2).await;
            }
            Ok(())
        });
        let error = answer.await.unwrap_err();
        assert!(matches!(error, Unanswered::Source(SourceError::Timeout { .. })), "{error:?}");
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[test]
    fn what_lies_between_two_positions_is_counted_over_files() {
        let files = [("b.000008", 900), ("b.000009", 500), ("b.000010", 700), ("b.000011", 60)];
        let count = |from: (&str, u64), to: (&str, u64)| {
            let (from, to) = (FilePosition::new(from.0, from.1), FilePosition::new(to.0, to.1));
            ahead(&from, &to, files.into_iter())
        };
        assert_eq!(count(("b.000009", 100), ("b.000009", 300)), Some(200));
        assert_eq!(count(("b.000009", 100), ("b.000011", 60)), Some(400 + 700 + 60));
        assert_eq!(count(("b.000009", 100), ("b.000009", 100)), None);
        assert_eq!(count(("b.000009", 100), ("b.000008", 800)), None);
    }
}
