//! ALTER TABLE, read word by word: what it does to the columns.
//!
//! Invariant: a statement with anything in it that is not known here is not understood at all
//! (`a_statement_with_anything_unknown_is_not_understood`). What the words mean must not depend on the session: text
//! with quotes, escapes, comments or characters that a mode or a character set decides about is unknown.

use super::Table;
use super::definition::{Definition, definition};
use super::words::{Word, Words};

/// An ALTER TABLE.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Alter {
    pub(crate) table: Table,
    /// What happens to columns, in the statement's order.
    pub(crate) changes: Vec<Change>,
}

/// What happens to one column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add(Definition, Place),
    Drop(String),
    Rename {
        from: String,
        to: String,
    },
    /// MODIFY and CHANGE: the column of this name is defined anew, perhaps under another name.
    Define(String, Definition, Place),
}

/// Where a column comes to stand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it stood; a new one behind the others.
    Unsaid,
    First,
    After(String),
}

/// Words that a column has in quotes only, or that begin something else.
const NO_COLUMNS: [&str; 15] = [
    "INDEX",
    "KEY",
    "UNIQUE",
    "PRIMARY",
    "FULLTEXT",
    "SPATIAL",
    "FOREIGN",
    "CONSTRAINT",
    "CHECK",
    "PARTITION",
    "PERIOD",
    "SYSTEM",
    "VECTOR",
    "VERSIONING",
    "IF",
];

/// Options with one word that change no column.
const OPTIONS: [&str; 6] =
    ["ALGORITHM", "LOCK", "ENGINE", "AUTO_INCREMENT", "COMMENT", "ROW_FORMAT"];

/// Reads an ALTER TABLE; `None`: it is something else, or not all of it is understood.
pub(crate) fn parse(text: &[u8]) -> Option<Alter> {
    if !means_the_same_everywhere(text) {
        return None;
    }
    let mut words = Words { rest: text };
    words.expect("ALTER")?;
    words.skip_word("ONLINE");
    words.expect("TABLE")?;
    let table = Table::read(&mut words)?;
    let mut changes = Vec::new();
    loop {
        changes.extend(change(&mut words)?);
        match words.next() {
            None => return Some(Alter { table, changes }),
            Some(Word::Sign(b',')) => {}
            Some(_) => return None,
        }
    }
}

/// No character whose meaning a mode, a version or a character set decides (in swe7 some signs are letters), and no
/// comment but a plain one.
fn means_the_same_everywhere(text: &[u8]) -> bool {
    let known = |byte: &u8| match byte {
        b'"' | b'\\' | b'#' | b'@' | b'[' | b']' | b'^' | b'{' | b'|' | b'}' | b'~' => false,
        b'\t' | b'\r' | b'\n' => true,
        other => (b' '..0x7f).contains(other),
    };
    let runs = text.windows(2).any(|part| part == b"--");
    text.iter().all(known) && !runs && comments_are_plain(text)
}

/// Slashes and asterisks stand only where a comment begins and where it ends, a semicolon only at the end.
fn comments_are_plain(text: &[u8]) -> bool {
    let mut rest = text.trim_ascii_end();
    rest = rest.strip_suffix(b";").unwrap_or(rest);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'/' | b'*' | b';')) {
        let Some(inner) = rest.get(at..).and_then(|rest| rest.strip_prefix(b"/*")) else {
            return false;
        };
        let Some(end) =
            inner.iter().position(|byte| matches!(byte, b'/' | b'*' | b';' | b'!' | b'+'))
        else {
            return false;
        };
        let Some(behind) = inner.get(end..).and_then(|inner| inner.strip_prefix(b"*/")) else {
            return false;
        };
        rest = behind;
    }
    true
}

/// One change, or none where no column changes.
fn change(words: &mut Words<'_>) -> Option<Vec<Change>> {
    let verb = words.next()?;
    let is = |name: &str| verb.is(name);
    if is("ADD") {
        return add(words);
    }
    if is("FORCE") {
        return Some(Vec::new());
    }
    if OPTIONS.iter().any(|option| is(option)) {
        words.skip_sign(b'=');
        let is_plain = matches!(words.next()?, Word::Name(_) | Word::Quoted(_, b'\''));
        return is_plain.then(Vec::new);
    }
    let change = if is("DROP") {
        let is_column = words.skip_word("COLUMN") || !begins_something_else(words);
        Change::Drop(is_column.then(|| words.name()).flatten()?)
    } else if is("RENAME") {
        words.expect("COLUMN")?;
        let from = words.name()?;
        words.expect("TO")?;
        Change::Rename { from, to: words.name()? }
    } else if is("MODIFY") {
        words.skip_word("COLUMN");
        let (definition, place) = definition(words)?;
        Change::Define(definition.name.clone(), definition, place)
    } else if is("CHANGE") {
        words.skip_word("COLUMN");
        let from = words.name()?;
        let (definition, place) = definition(words)?;
        Change::Define(from, definition, place)
    } else {
        return None;
    };
    Some(vec![change])
}

fn add(words: &mut Words<'_>) -> Option<Vec<Change>> {
    if !words.skip_word("COLUMN") && begins_something_else(words) {
        let is_index = words.skip_word("INDEX") || words.skip_word("KEY");
        return is_index.then(|| index(words)).flatten().map(|()| Vec::new());
    }
    let (definition, place) = definition(words)?;
    Some(vec![Change::Add(definition, place)])
}

fn begins_something_else(words: &Words<'_>) -> bool {
    let next = words.clone().next();
    next.is_some_and(|word| NO_COLUMNS.iter().any(|name| word.is(name)))
}

/// An index that need not be unique, over columns: over an expression it would bring a hidden column.
fn index(words: &mut Words<'_>) -> Option<()> {
    if !words.skip_sign(b'(') {
        words.name()?;
        words.skip_sign(b'(').then_some(())?;
    }
    loop {
        words.name()?;
        if words.skip_sign(b'(') {
            words.number()?;
            words.skip_sign(b')').then_some(())?;
        }
        let _ = words.skip_word("ASC") || words.skip_word("DESC");
        match words.next()? {
            Word::Sign(b',') => {}
            Word::Sign(b')') => return Some(()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(actions: &str) -> Option<Vec<Change>> {
        parse(format!("ALTER TABLE t {actions}").as_bytes()).map(|alter| alter.changes)
    }

    #[test]
    fn changes_are_read_in_their_order() {
        let rename = |from: &str, to: &str| Change::Rename { from: from.into(), to: to.into() };
        for (actions, expected) in [
            (
                "DROP a, DROP COLUMN `b c`",
                vec![Change::Drop("a".into()), Change::Drop("b c".into())],
            ),
            (
                "RENAME COLUMN a TO b, rename column b to a",
                vec![rename("a", "b"), rename("b", "a")],
            ),
            ("DROP `index`", vec![Change::Drop("index".into())]),
            (
                "ADD INDEX (a), ADD KEY k (a(10) DESC, b), FORCE, ENGINE=InnoDB, COMMENT 'x, y'",
                vec![],
            ),
            ("/* app:7 */ ALGORITHM = INPLACE, LOCK NONE;", vec![]),
        ] {
            assert_eq!(changes(actions), Some(expected), "{actions}");
        }
        let places = [
            ("ADD a INT", Place::Unsaid),
            ("ADD COLUMN a INT FIRST", Place::First),
            ("MODIFY a INT AFTER `b`", Place::After("b".into())),
            (
                "CHANGE COLUMN b a INT NOT NULL DEFAULT -1 COMMENT 'AFTER c' AFTER d",
                Place::After("d".into()),
            ),
        ];
        for (actions, place) in places {
            let [change] = &changes(actions).unwrap()[..] else { panic!("{actions}") };
            let (Change::Add(definition, found) | Change::Define(_, definition, found)) = change
            else {
                panic!("{actions}")
            };
            assert_eq!((definition.name.as_str(), found), ("a", &place), "{actions}");
        }
    }

    #[test]
    fn a_statement_with_anything_unknown_is_not_understood() {
        for actions in [
            "ADD a INT, FROBNICATE",
            "ADD \"a\" INT",
            "ADD a INT COMMENT 'it\\'s'",
            "ADD a INT /*!80023 INVISIBLE */",
            "ADD a INT /*M!100000 INVISIBLE */",
            "ADD a INT -- DROP b",
            "ADD a INT # DROP b",
            "ADD a INT COMMENT 'é'",
            "ADD `a{` INT",
            "ADD a INT /*/ FIRST */",
            "ADD a INT DEFAULT 1 / 2",
            "ADD a INT; DROP b",
            "ADD a INT /* and so on",
            "ADD (a INT, b INT)",
            "ADD IF NOT EXISTS a INT",
            "ADD COLUMN IF NOT EXISTS a INT",
            "ADD UNIQUE (a)",
            "ADD UNIQUE KEY k (a)",
            "ADD PRIMARY KEY (a)",
            "ADD CONSTRAINT c CHECK (a > 0)",
            "ADD INDEX ((a + 1))",
            "ADD INDEX k (a) INVISIBLE",
            "ADD SYSTEM VERSIONING",
            "DROP PRIMARY KEY",
            "DROP INDEX i",
            "DROP CONSTRAINT c",
            "DROP COLUMN IF EXISTS a",
            "DROP a CASCADE",
            "DROP PARTITION p",
            "RENAME TO u",
            "RENAME u",
            "RENAME INDEX a TO b",
            "ALTER COLUMN a SET INVISIBLE",
            "CONVERT TO CHARACTER SET latin1",
            "DEFAULT CHARSET=latin1",
            "ENGINE=InnoDB CHARSET=latin1",
            "ORDER BY a",
            "",
        ] {
            assert_eq!(changes(actions), None, "{actions}");
        }
        for text in [
            "ALTER IGNORE TABLE t DROP a",
            "ALTER TABLE IF EXISTS t DROP a",
            "ALTER TABLE t WAIT 5 DROP a",
            "SET STATEMENT a=1 FOR ALTER TABLE t DROP a",
            "ALTER VIEW t AS SELECT 1",
            "DROP TABLE t",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
