//! The definition of one column in an ALTER TABLE.

use super::alter::Place;
use super::words::{Word, Words};

/// A column as a statement defines it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Name of the type in lower case, as the statement has it.
    pub(crate) data_type: String,
    /// What stands in brackets behind the type.
    pub(crate) numbers: Vec<u64>,
    /// Members of an ENUM or SET.
    pub(crate) members: Vec<String>,
    pub(crate) unsigned: bool,
    /// `None`: it is not said.
    pub(crate) nullable: Option<bool>,
}

/// A definition and where its column comes to stand; `None`: not all of it is understood.
pub(super) fn definition(words: &mut Words<'_>) -> Option<(Definition, Place)> {
    let name = words.name()?;
    let Word::Name(data_type) = words.next()? else { return None };
    let mut definition = Definition {
        name,
        data_type: std::str::from_utf8(data_type).ok()?.to_ascii_lowercase(),
        numbers: Vec::new(),
        members: Vec::new(),
        unsigned: false,
        nullable: None,
    };
    if definition.data_type == "double" {
        words.skip_word("PRECISION");
    }
    if words.skip_sign(b'(') {
        brackets(&mut definition, words)?;
    }
    let mut place = Place::Unsaid;
    while !words.ends_part() {
        attribute(&mut definition, &mut place, words)?;
    }
    Some((definition, place))
}

fn brackets(definition: &mut Definition, words: &mut Words<'_>) -> Option<()> {
    let has_members = matches!(definition.data_type.as_str(), "enum" | "set");
    loop {
        if has_members {
            let Word::Quoted(member, b'\'') = words.next()? else { return None };
            let member = std::str::from_utf8(member).ok()?.replace("''", "'");
            // The servers drop the blanks behind it.
            definition.members.push(member.trim_end_matches(' ').to_owned());
        } else {
            definition.numbers.push(words.number()?);
        }
        match words.next()? {
            Word::Sign(b',') => {}
            Word::Sign(b')') => return Some(()),
            _ => return None,
        }
    }
}

fn attribute(definition: &mut Definition, place: &mut Place, words: &mut Words<'_>) -> Option<()> {
    let word = words.next()?;
    let is = |name: &str| word.is(name);
    if is("UNSIGNED") || is("ZEROFILL") {
        definition.unsigned = true;
    } else if is("NOT") {
        words.expect("NULL")?;
        definition.nullable = Some(false);
    } else if is("NULL") {
        definition.nullable = Some(true);
    } else if is("DEFAULT") {
        value(words)?;
    } else if is("ON") {
        words.expect("UPDATE")?;
        let word = words.next()?;
        now(word, words)?;
    } else if is("COMMENT") {
        matches!(words.next()?, Word::Quoted(_, b'\'')).then_some(())?;
    } else if is("FIRST") {
        *place = Place::First;
    } else if is("AFTER") {
        *place = Place::After(words.name()?);
    } else {
        return None;
    }
    Some(())
}

/// A plain value; not an expression.
fn value(words: &mut Words<'_>) -> Option<()> {
    let mut word = words.next()?;
    if matches!(word, Word::Sign(b'-' | b'+')) {
        word = words.next()?;
    }
    match word {
        Word::Quoted(_, b'\'') => Some(()),
        Word::Name([b'0'..=b'9', ..]) => {
            if words.skip_sign(b'.') && !words.ends_part() {
                // A fraction; `1.` has none.
                words.skip_number();
            }
            Some(())
        }
        _ if ["NULL", "TRUE", "FALSE"].iter().any(|name| word.is(name)) => Some(()),
        _ => now(word, words),
    }
}

fn now(word: Word<'_>, words: &mut Words<'_>) -> Option<()> {
    let names = ["CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP"];
    names.iter().any(|name| word.is(name)).then_some(())?;
    if words.skip_sign(b'(') {
        words.skip_number();
        words.skip_sign(b')').then_some(())?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(text: &str) -> Option<Definition> {
        definition(&mut Words { rest: text.as_bytes() }).map(|(definition, _)| definition)
    }

    #[test]
    fn a_definition_is_its_type_sign_nullability_and_members() {
        let plain = |data_type: &str| Definition {
            name: "a".into(),
            data_type: data_type.into(),
            numbers: vec![],
            members: vec![],
            unsigned: false,
            nullable: None,
        };
        for (text, expected) in [
            ("a INT", plain("int")),
            (
                "`a` Int(11) unsigned NOT NULL DEFAULT 0",
                Definition {
                    numbers: vec![11],
                    unsigned: true,
                    nullable: Some(false),
                    ..plain("int")
                },
            ),
            (
                "a DECIMAL(10, 2) NULL DEFAULT -1.50",
                Definition { numbers: vec![10, 2], nullable: Some(true), ..plain("decimal") },
            ),
            (
                "a DOUBLE PRECISION ZEROFILL DEFAULT 1e3",
                Definition { unsigned: true, ..plain("double") },
            ),
            (
                "a ENUM('x ','it''s') DEFAULT 'x' COMMENT 'y'",
                Definition { members: vec!["x".into(), "it's".into()], ..plain("enum") },
            ),
            (
                "a DATETIME(6) DEFAULT NOW(6) ON UPDATE CURRENT_TIMESTAMP(6)",
                Definition { numbers: vec![6], ..plain("datetime") },
            ),
        ] {
            assert_eq!(defined(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_may_change_more_than_that_is_not_understood() {
        for attribute in [
            "AUTO_INCREMENT",
            "PRIMARY KEY",
            "UNIQUE",
            "KEY",
            "CHARACTER SET latin1",
            "COLLATE utf8mb4_bin",
            "BINARY",
            "INVISIBLE",
            "COMPRESSED",
            "GENERATED ALWAYS AS (1)",
            "AS (b + 1) STORED",
            "DEFAULT (1 + 1)",
            "DEFAULT b'1'",
            "REFERENCES u (b)",
            "CHECK (a > 0)",
            "WITHOUT SYSTEM VERSIONING",
        ] {
            let text = format!("a VARCHAR(10) {attribute}");
            assert_eq!(defined(&text), None, "{text}");
        }
    }
}
