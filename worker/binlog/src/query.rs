//! QUERY events: where the statement stands in the body, and what kind of statement it is.
//!
//! Invariant: a statement that may have changed rows without rows events is never taken for
//! anything else; what is not known counts as such (`unknown_statements_count_as_dml`).

pub(crate) mod alter;
pub(crate) mod definition;
mod tables;
mod words;

use crate::decoder::TableName;
use crate::reader::{Reader, Short};
pub(crate) use tables::TableOp;
use words::{Word, Words};

/// The parts of a QUERY body that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    /// Schema that names without one belong to.
    pub(crate) schema: &'a [u8],
    /// What it ended with; 0: all went well.
    pub(crate) error: u16,
    /// The statement; still compressed in QUERY_COMPRESSED.
    pub(crate) text: &'a [u8],
}

/// Takes a QUERY or QUERY_COMPRESSED body apart.
pub(crate) fn parse(body: &[u8]) -> Result<Query<'_>, Short> {
    let mut reader = Reader::new(body);
    reader.take(8)?; // thread id, seconds of execution
    let schema = usize::from(reader.u8()?);
    let error = reader.u16()?;
    let variables = usize::from(reader.u16()?);
    reader.take(variables)?;
    let schema = reader.take(schema)?;
    reader.u8()?;
    Ok(Query { schema, error, text: reader.rest() })
}

/// What a statement means to the group it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// XA END, RELEASE SAVEPOINT: the group goes on.
    Inside,
    Savepoint(String),
    /// What followed the savepoint is undone.
    RollbackTo(String),
    XaStart,
    /// The verdict on a prepared transaction.
    XaVerdict {
        xid: String,
        committed: bool,
    },
    Ddl,
    /// Empties, drops or renames whole tables, in this order.
    Tables(Vec<TableOp>),
    /// May have changed rows without rows events: those of one table, or nobody knows of which.
    Dml(Option<Table>),
    /// A comment left in place of an event.
    Nothing,
    /// XA with an id that could not be read, or a savepoint without a name.
    Bad,
}

/// A table as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// `None`: the schema that the statement ran in.
    schema: Option<String>,
    table: String,
}

impl Table {
    /// The table's full name, if the statement ran in `schema`.
    pub(crate) fn within(self, schema: &[u8]) -> TableName {
        let here = || String::from_utf8_lossy(schema).into_owned();
        TableName { schema: self.schema.unwrap_or_else(here), table: self.table }
    }

    fn read(words: &mut Words<'_>) -> Option<Self> {
        let first = words.name()?;
        let mut ahead = words.clone();
        if ahead.next() != Some(Word::Sign(b'.')) {
            return Some(Self { schema: None, table: first });
        }
        *words = ahead;
        Some(Self { schema: Some(first), table: words.name()? })
    }
}

/// Classifies a statement by its first words.
pub(crate) fn classify(text: &[u8]) -> Statement {
    let mut words = Words { rest: text };
    let Some(first) = words.next() else { return Statement::Nothing };
    classify_word(first, &mut words)
}

fn classify_word(first: Word<'_>, words: &mut Words<'_>) -> Statement {
    let is = |name: &str| first.is(name);
    if is("BEGIN") {
        Statement::Begin
    } else if is("COMMIT") {
        Statement::Commit
    } else if is("ROLLBACK") {
        words.skip_word("WORK");
        if !words.skip_word("TO") {
            return Statement::Rollback;
        }
        words.skip_word("SAVEPOINT");
        savepoint(words).map_or(Statement::Bad, Statement::RollbackTo)
    } else if is("SAVEPOINT") {
        savepoint(words).map_or(Statement::Bad, Statement::Savepoint)
    } else if is("RELEASE") {
        Statement::Inside
    } else if is("XA") {
        classify_xa(words)
    } else if is("START") {
        if words.next_is("TRANSACTION") { Statement::Begin } else { Statement::Ddl }
    } else if is("CREATE") {
        let replaced = tables::replaced(words.clone());
        if creates_table_from_query(words) { Statement::Dml(None) } else { replaced }
    } else if is("TRUNCATE") {
        tables::truncate(words)
    } else if is("DROP") {
        tables::drop(words)
    } else if is("RENAME") {
        tables::rename(words)
    } else if is("ALTER") {
        classify_alter(words)
    } else if is("ANALYZE") {
        // MariaDB: ANALYZE before a statement runs it.
        let _ = words.skip_word("LOCAL") || words.skip_word("NO_WRITE_TO_BINLOG");
        let of_table = words.next().is_some_and(|word| word.is("TABLE") || word.is("TABLES"));
        if of_table { Statement::Ddl } else { Statement::Dml(None) }
    } else if is("SET") && words.skip_word("STATEMENT") {
        // MariaDB: SET STATEMENT variable = value FOR statement.
        words.find(|word| word.is("FOR"));
        match words.next() {
            Some(word) if !word.is("SET") => classify_word(word, words),
            _ => Statement::Dml(None),
        }
    } else if DDL.iter().any(|name| is(name)) {
        Statement::Ddl
    } else {
        Statement::Dml(None)
    }
}

/// First words of statements that change no rows.
const DDL: [&str; 13] = [
    "GRANT",
    "REVOKE",
    "OPTIMIZE",
    "REPAIR",
    "FLUSH",
    "INSTALL",
    "UNINSTALL",
    "SET",
    "COMMENT",
    "BACKUP",
    "PURGE",
    "RESET",
    "CHECK",
];

/// Names of savepoints are compared without regard to case.
fn savepoint(words: &mut Words<'_>) -> Option<String> {
    words.name().map(|name| name.to_lowercase())
}

/// Parts of ALTER TABLE that remove a table's rows or bring rows in.
const EMPTIES: [(&str, &str); 6] = [
    ("DROP", "PARTITION"),
    ("TRUNCATE", "PARTITION"),
    ("DISCARD", "PARTITION"),
    ("IMPORT", "PARTITION"),
    ("DISCARD", "TABLESPACE"),
    ("IMPORT", "TABLESPACE"),
];
/// Parts of ALTER TABLE that move rows between two tables.
const MOVES: [(&str, &str); 3] =
    [("EXCHANGE", "PARTITION"), ("CONVERT", "PARTITION"), ("CONVERT", "TABLE")];

fn classify_alter(words: &mut Words<'_>) -> Statement {
    words.skip_word("ONLINE");
    // MariaDB: rows that break a new unique key are removed.
    let ignore = words.skip_word("IGNORE");
    if !words.next_is("TABLE") {
        return Statement::Ddl;
    }
    if words.skip_word("IF") {
        words.next();
    }
    let table = Table::read(words);
    let renamed = tables::renamed(table.clone(), words.clone());
    let mut empties = ignore;
    let mut before = Word::Sign(b' ');
    for word in words {
        let among = |parts: &[(&str, &str)]| parts.iter().any(|(a, b)| before.is(a) && word.is(b));
        if among(&MOVES) {
            return Statement::Dml(None);
        }
        empties |= among(&EMPTIES);
        before = word;
    }
    if empties { Statement::Dml(table) } else { renamed }
}

/// In row format the logged CREATE TABLE has no query left; in statement format it has.
fn creates_table_from_query(words: &mut Words<'_>) -> bool {
    let mut names = words.by_ref().take(4).take_while(|word| matches!(word, Word::Name(_)));
    if !names.any(|word| word.is("TABLE")) {
        return false;
    }
    while let Some(word) = words.next() {
        // VALUES of a partition are its bounds.
        let rows = word.is("VALUES") && !words.skip_word("LESS") && !words.skip_word("IN");
        if rows || word.is("SELECT") || word.is("TABLE") {
            return true;
        }
    }
    false
}

fn classify_xa(words: &mut Words<'_>) -> Statement {
    let Some(verb) = words.next() else { return Statement::Bad };
    let is = |name: &str| verb.is(name);
    if is("START") || is("BEGIN") {
        return Statement::XaStart;
    }
    if is("END") {
        return Statement::Inside;
    }
    if !is("COMMIT") && !is("ROLLBACK") {
        return Statement::Bad;
    }
    match xid_literal(words.rest) {
        Some(xid) => Statement::XaVerdict { xid, committed: is("COMMIT") },
        None => Statement::Bad,
    }
}

/// The canonical text of an XA id: `X'6162',X'',1`, hex in lower case.
pub(crate) fn xid_text(format: u32, global: &[u8], branch: &[u8]) -> String {
    format!("X'{}',X'{}',{format}", hex::encode(global), hex::encode(branch))
}

/// Reads `X'..',X'..',n` as both servers log it.
fn xid_literal(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut parts = text.splitn(3, ',').map(str::trim);
    let mut part = || -> Option<Vec<u8>> {
        let hex = parts.next()?.strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?;
        hex::decode(hex).ok()
    };
    let (global, branch) = (part()?, part()?);
    Some(xid_text(parts.next()?.parse().ok()?, &global, &branch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_by_their_first_words() {
        use Statement::{Begin, Commit, Ddl, Inside, Nothing, Rollback, XaStart};
        let dml = || Statement::Dml(None);
        let of = |schema: Option<&str>, table: &str| {
            let schema = schema.map(str::to_owned);
            Table { schema, table: table.to_owned() }
        };
        let named = |schema, table| Statement::Dml(Some(of(schema, table)));
        let emptied = |schema, table| Statement::Tables(vec![TableOp::Truncate(of(schema, table))]);
        let dropped = |tables: &[(Option<&str>, &str)]| {
            let drop = |(schema, table): &(Option<&str>, &str)| TableOp::Drop(of(*schema, table));
            Statement::Tables(tables.iter().map(drop).collect())
        };
        let renamed = |pairs: &[(&str, &str)]| {
            let rename = |(from, to): &(&str, &str)| TableOp::Rename {
                from: of(None, from),
                to: of(None, to),
            };
            Statement::Tables(pairs.iter().map(rename).collect())
        };
        let schema = |name: &str| Statement::Tables(vec![TableOp::DropSchema(name.to_owned())]);
        let back = |name: &str| Statement::RollbackTo(name.to_owned());
        for (text, statement) in [
            ("BEGIN", Begin),
            ("START TRANSACTION", Begin),
            ("COMMIT", Commit),
            ("COMMIT /* implicit, from Xid_log_event */", Commit),
            ("ROLLBACK", Rollback),
            ("ROLLBACK TO `a`", back("a")),
            ("rollback work to savepoint `A``b`", back("a`b")),
            ("SAVEPOINT `sp`", Statement::Savepoint("sp".to_owned())),
            ("RELEASE SAVEPOINT sp", Inside),
            ("XA START X'78',X'',1", XaStart),
            ("XA END X'78',X'',1", Inside),
            ("CREATE TABLE `t` (\n  `id` int DEFAULT NULL\n) START TRANSACTION", Ddl),
            ("CREATE TABLE `select` (`a` int COMMENT 'it\\'s SELECT', `b``select` int)", Ddl),
            ("CREATE TABLE t AS SELECT 1", dml()),
            ("create /*!50000 temporary */ table if not exists t select 1", dml()),
            ("CREATE OR REPLACE TABLE t AS (SELECT 1)", dml()),
            ("CREATE VIEW v AS SELECT 1", Ddl),
            ("/* app:7 */ INSERT INTO t VALUES (1)", dml()),
            ("/*/ BEGIN */ INSERT INTO t VALUES (1)", dml()),
            ("-- note\n  update t set a = 1", dml()),
            ("# Dummy event replacing event type 160 that slave cannot handle.", Nothing),
            ("", Nothing),
            ("DROP TABLE `t` /* generated by server */", dropped(&[(None, "t")])),
            ("drop tables if exists `a`.`b`,c RESTRICT", dropped(&[(Some("a"), "b"), (None, "c")])),
            ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`", Ddl),
            ("DROP TABLE", dml()),
            ("DROP DATABASE IF EXISTS `a b`", schema("a b")),
            ("DROP SCHEMA shop", schema("shop")),
            ("DROP VIEW v", Ddl),
            ("DROP INDEX i ON t", Ddl),
            ("RENAME TABLE t TO _t_del, _t_gho TO t", renamed(&[("t", "_t_del"), ("_t_gho", "t")])),
            ("RENAME TABLES IF EXISTS t WAIT 3 TO u", renamed(&[("t", "u")])),
            ("RENAME TABLE t", dml()),
            ("RENAME USER a TO b", Ddl),
            ("CREATE OR REPLACE TABLE `t` (a int)", dropped(&[(None, "t")])),
            ("CREATE OR REPLACE TEMPORARY TABLE t (a int)", Ddl),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", Ddl),
            ("ALTER TABLE t RENAME u", renamed(&[("t", "u")])),
            ("ALTER TABLE t ADD c INT DEFAULT (1), RENAME TO `u`", renamed(&[("t", "u")])),
            ("ALTER TABLE t RENAME AS u, ALGORITHM=INPLACE", renamed(&[("t", "u")])),
            ("ALTER TABLE t RENAME COLUMN a TO b, RENAME INDEX i TO j, RENAME KEY k TO l", Ddl),
            ("ALTER TABLE t RENAME COLUMN IF EXISTS a TO b", Ddl),
            ("DELETE FROM `test`.`memory_table`", dml()),
            ("TRUNCATE TABLE t", emptied(None, "t")),
            ("TRUNCATE", dml()),
            ("(SELECT f())", dml()),
            ("SELECT `test`.`f`(1)", dml()),
            ("truncate `a.b`.`c``d`", emptied(Some("a.b"), "c`d")),
            ("TRUNCATE \"a\" . t WAIT 5", emptied(Some("a"), "t")),
            ("ALTER TABLE t DROP COLUMN c, ADD KEY (d)", Ddl),
            ("ALTER TABLE s.t DROP PARTITION p0, p1", named(Some("s"), "t")),
            ("alter table if exists t /* c */ truncate partition ALL", named(None, "t")),
            ("ALTER TABLE t IMPORT TABLESPACE", named(None, "t")),
            ("ALTER ONLINE IGNORE TABLE t ADD UNIQUE (a)", named(None, "t")),
            ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", dml()),
            ("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4", Ddl),
            ("ALTER TABLE t CONVERT PARTITION p TO TABLE u", dml()),
            ("ALTER TABLE t ADD c INT COMMENT 'DROP PARTITION'", Ddl),
            ("ALTER DATABASE d CHARACTER SET utf8mb4", Ddl),
            ("SET STATEMENT max_statement_time=1 FOR DELETE FROM t", dml()),
            ("SET STATEMENT a=1 FOR TRUNCATE t", emptied(None, "t")),
            ("SET STATEMENT a=1 FOR CREATE TABLE t (a int)", Ddl),
            ("SET STATEMENT a=1 FOR SET STATEMENT a=1 FOR DROP TABLE t", dml()),
            ("SET PASSWORD FOR u = 'x'", Ddl),
            ("ANALYZE TABLE t", Ddl),
            ("ANALYZE LOCAL TABLE t", Ddl),
            ("ANALYZE UPDATE t SET a = 1", dml()),
            ("ANALYZE FORMAT=JSON DELETE FROM t", dml()),
            ("CREATE TABLE t AS TABLE s", dml()),
            ("CREATE TABLE t VALUES ROW(1)", dml()),
            ("CREATE TABLE t (a int) VALUES (1)", dml()),
            ("CREATE TABLE t (a int) PARTITION BY LIST (a) (PARTITION p VALUES IN (1))", Ddl),
            (
                "CREATE TABLE t (a int) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (1))",
                Ddl,
            ),
        ] {
            assert_eq!(classify(text.as_bytes()), statement, "{text}");
        }
    }

    #[test]
    fn unknown_statements_count_as_dml() {
        for text in ["FROBNICATE t", "WITH a AS (SELECT 1) DELETE FROM t", "\u{fe}\u{ff}", "42"] {
            assert_eq!(classify(text.as_bytes()), Statement::Dml(None), "{text}");
        }
    }

    #[test]
    fn xa_verdicts_carry_the_canonical_id() {
        assert_eq!(
            classify(b"XA COMMIT X'7831',X'62',7"),
            Statement::XaVerdict { xid: "X'7831',X'62',7".into(), committed: true }
        );
        assert_eq!(
            classify(b"XA ROLLBACK x'7A',X'',1 "),
            Statement::XaVerdict { xid: "X'7a',X'',1".into(), committed: false }
        );
        assert_eq!(classify(b"XA COMMIT garbage"), Statement::Bad);
        assert_eq!(classify(b"XA"), Statement::Bad);
    }
}
