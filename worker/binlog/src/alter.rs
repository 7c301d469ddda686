//! What an ALTER TABLE makes of a table whose columns are known: for sources that log no names, behind which a reader
//! may be too far to ask.
//!
//! Invariants
//! - Only a statement that is understood whole is followed; of any other the outcome is not known
//!   (`a_statement_with_anything_unknown_is_not_understood` in `query/alter.rs`,
//!   `what_may_come_out_otherwise_is_not_followed`).
//! - The columns stand where the servers put them: `e2e/tests/ddl_burst.rs` compares each row of 200 statements.
//!
//! The next table map has the last word: columns whose types, lengths and nullability it does not have describe nothing.

use crds::position::Flavor;

use crate::columns::{SourceColumn, SourceTable};
use crate::decoder::TableName;
use crate::event::{EventType, FLAG_THREAD_SPECIFIC};
use crate::frame::Frame;
use crate::inflate;
use crate::query::alter::{self, Change, Place};
use crate::query::definition::Definition;
use crate::query::{self, Query};
use crate::value::charset::Charset;

/// The table's columns behind the event, if it is an ALTER TABLE of that table and understood whole.
pub fn altered(
    frame: &Frame<'_>,
    flavor: Flavor,
    table: &TableName,
    columns: &SourceTable,
) -> Option<SourceTable> {
    // It may be of a temporary table with the same name.
    if frame.header.flags & FLAG_THREAD_SPECIFIC != 0 {
        return None;
    }
    let Query { schema, error, text } = query::parse(frame.body).ok()?;
    let mut inflated = Vec::new();
    let text = match frame.header.event_type {
        EventType::QUERY => text,
        EventType::QUERY_COMPRESSED => {
            inflate::event(text, &mut inflated).ok()?;
            &inflated
        }
        _ => return None,
    };
    let alter = alter::parse(text)?;
    let is_it = error == 0 && alter.table.within(schema) == *table;
    is_it.then(|| columns.altered(flavor, &alter.changes)).flatten()
}

/// What becomes of a column.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    Stays,
    Dropped,
    Renamed(String),
    /// Defined anew, in its place.
    Defined(SourceColumn),
    /// Defined anew in another place.
    Moved,
}

impl SourceTable {
    /// The table behind these changes; `None`: nobody knows.
    fn altered(&self, flavor: Flavor, changes: &[Change]) -> Option<Self> {
        (self.is_plain(flavor) && self.keeps_its_key(changes)).then_some(())?;
        let mut fates = vec![Fate::Stays; self.columns.len()];
        let mut placed: Vec<(SourceColumn, &Place)> = Vec::new();
        let mut decide = |name: &str, fate: Fate| {
            let decided = fates.get_mut(self.place_of(name)?)?;
            // What two changes do to one column is not looked into.
            (*decided == Fate::Stays).then(|| *decided = fate)
        };
        for change in changes {
            match change {
                Change::Add(definition, place) => {
                    placed.push((self.column(flavor, definition)?, place));
                }
                Change::Drop(name) => decide(name, Fate::Dropped)?,
                Change::Rename { from, to } => decide(from, Fate::Renamed(to.clone()))?,
                Change::Define(name, definition, place) => {
                    let column = self.column(flavor, definition)?;
                    if *place == Place::Unsaid {
                        decide(name, Fate::Defined(column))?;
                    } else {
                        decide(name, Fate::Moved)?;
                        placed.push((column, place));
                    }
                }
            }
        }
        let key = self.key.iter().map(|name| renamed(name, fates.get(self.place_of(name)?)?));
        let key = key.collect::<Option<Vec<_>>>()?;
        let columns = arranged(&self.columns, fates, placed)?;
        Some(Self { columns, key, is_primary: self.is_primary, collation: self.collation })
    }

    /// Whether its columns are all that it has, and their names are compared byte by byte but for the case.
    fn is_plain(&self, flavor: Flavor) -> bool {
        let is_period = |name: &str| {
            ["row_start", "row_end"].iter().any(|part| name.eq_ignore_ascii_case(part))
        };
        self.columns.iter().all(|column| {
            column.name.is_ascii()
                && !column.invisible
                && !(flavor == Flavor::MariaDB && is_period(&column.name))
        })
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether the key is of the same columns behind the changes. Its parts are found by their names, new ones too; and
    /// where a unique index serves as the key, whatever is dropped or defined anew may make another one serve.
    fn keeps_its_key(&self, changes: &[Change]) -> bool {
        let in_key = |name: &str| self.key.iter().any(|key| key.eq_ignore_ascii_case(name));
        changes.iter().all(|change| match change {
            Change::Add(definition, _) => !in_key(&definition.name),
            Change::Rename { .. } => true,
            Change::Drop(name) => self.is_primary && !in_key(name),
            Change::Define(name, definition, _) => {
                self.is_primary && !in_key(name) && !in_key(&definition.name)
            }
        })
    }

    /// The column of a definition, as `information_schema` would show it.
    fn column(&self, flavor: Flavor, definition: &Definition) -> Option<SourceColumn> {
        let Definition { name, data_type, numbers, members, unsigned, nullable } = definition;
        let mut column = SourceColumn {
            name: name.clone(),
            data_type: data_type.clone(),
            column_type: data_type.clone(),
            nullable: nullable.unwrap_or(true),
            ..SourceColumn::default()
        };
        let (first, second) = (numbers.first().copied(), numbers.get(1).copied());
        let text = |column: &mut SourceColumn| {
            column.collation = Some(self.collation?);
            Some(())
        };
        let (mut most_numbers, mut may_be_unsigned) = (0, false);
        match data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
                (most_numbers, may_be_unsigned) = (1, true);
            }
            "integer" => {
                (most_numbers, may_be_unsigned) = (1, true);
                "int".clone_into(&mut column.data_type);
            }
            "bool" | "boolean" => "tinyint".clone_into(&mut column.data_type),
            "float" | "double" => may_be_unsigned = true,
            "decimal" | "numeric" | "dec" => {
                (most_numbers, may_be_unsigned) = (2, true);
                "decimal".clone_into(&mut column.data_type);
                (column.precision, column.scale) = (first.or(Some(10)), second.or(Some(0)));
            }
            "bit" => {
                most_numbers = 1;
                column.precision = first.or(Some(1));
            }
            "year" | "date" => {}
            "time" | "datetime" => {
                most_numbers = 1;
                column.fraction = first.or(Some(0));
            }
            // Whether it may be NULL if nobody says so is up to a setting.
            "timestamp" if nullable.is_some() => {
                most_numbers = 1;
                column.fraction = first.or(Some(0));
            }
            "char" | "varchar" => {
                most_numbers = 1;
                text(&mut column)?;
                let wide = Charset::of(column.collation?).most_bytes()?;
                column.octets =
                    Some(first.or((data_type == "char").then_some(1))?.checked_mul(wide)?);
            }
            "binary" | "varbinary" => {
                most_numbers = 1;
                column.octets = first.or((data_type == "binary").then_some(1));
            }
            "tinytext" | "text" | "mediumtext" | "longtext" => text(&mut column)?,
            "tinyblob" | "blob" | "mediumblob" | "longblob" => {}
            "enum" | "set" => {
                text(&mut column)?;
                // Their bytes are those of the statement.
                Charset::of(column.collation?).most_bytes()?;
                column.members = members.iter().map(|member| member.clone().into_bytes()).collect();
            }
            "json" if flavor == Flavor::MySQL => {}
            _ => return None,
        }
        if *unsigned {
            column.column_type.push_str(" unsigned");
        }
        (numbers.len() <= most_numbers && (may_be_unsigned || !unsigned)).then_some(column)
    }
}

/// The name that a key's column has behind the changes; `None`: it is no key's any more, or may not be.
fn renamed(name: &str, fate: &Fate) -> Option<String> {
    match fate {
        Fate::Stays => Some(name.to_owned()),
        Fate::Renamed(to) => Some(to.clone()),
        Fate::Dropped | Fate::Defined(_) | Fate::Moved => None,
    }
}

/// The columns in the servers' order: what keeps its place first, then one after the other what the statement places.
fn arranged(
    columns: &[SourceColumn],
    fates: Vec<Fate>,
    placed: Vec<(SourceColumn, &Place)>,
) -> Option<Vec<SourceColumn>> {
    /// A column, and whether its name is the same before the statement and behind it.
    struct Slot(SourceColumn, bool);
    let kept = columns.iter().zip(fates).filter_map(|(column, fate)| match fate {
        Fate::Stays => Some(Slot(column.clone(), true)),
        Fate::Renamed(name) => Some(Slot(SourceColumn { name, ..column.clone() }, false)),
        Fate::Defined(column) => Some(Slot(column, false)),
        Fate::Dropped | Fate::Moved => None,
    });
    let mut slots: Vec<Slot> = kept.collect();
    for (column, place) in placed {
        let at = match place {
            Place::Unsaid => slots.len(),
            Place::First => 0,
            Place::After(name) => {
                let named = |Slot(column, _): &Slot| column.name.eq_ignore_ascii_case(name);
                let at = slots.iter().position(named)?;
                // Which of its names is meant is not looked into.
                slots.get(at).filter(|Slot(_, is_sure)| *is_sure)?;
                at + 1
            }
        };
        slots.insert(at, Slot(column, true));
    }
    let columns: Vec<SourceColumn> = slots.into_iter().map(|Slot(column, _)| column).collect();
    let mut names: Vec<_> = columns.iter().map(|column| column.name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| pair.first() == pair.last());
    (!twice && !columns.is_empty()).then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8MB4: u32 = 255;

    fn column(name: &str) -> SourceColumn {
        SourceColumn {
            name: name.into(),
            data_type: "int".into(),
            column_type: "int".into(),
            nullable: true,
            ..SourceColumn::default()
        }
    }

    fn table(names: &[&str], key: &[&str]) -> SourceTable {
        SourceTable {
            columns: names.iter().map(|name| column(name)).collect(),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            is_primary: true,
            collation: Some(UTF8MB4),
        }
    }

    fn behind(table: &SourceTable, actions: &str) -> Option<SourceTable> {
        let alter = alter::parse(format!("ALTER TABLE t {actions}").as_bytes())?;
        table.altered(Flavor::MySQL, &alter.changes)
    }

    fn names(table: &SourceTable) -> String {
        let names: Vec<_> = table.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn columns_stand_where_the_statement_puts_them() {
        let before = table(&["id", "a", "b", "c"], &["id"]);
        for (actions, expected) in [
            ("ADD x INT", "id a b c x"),
            ("ADD x INT, ADD y INT", "id a b c x y"),
            ("ADD x INT FIRST, ADD y INT FIRST", "y x id a b c"),
            ("ADD x INT AFTER a, ADD y INT AFTER x", "id a x y b c"),
            ("ADD x INT AFTER a, ADD y INT AFTER a", "id a y x b c"),
            ("DROP b", "id a c"),
            ("DROP b, ADD b INT", "id a c b"),
            ("DROP b, ADD x INT AFTER a", "id a x c"),
            ("RENAME COLUMN a TO b, RENAME COLUMN B TO a", "id b a c"),
            ("MODIFY c BIGINT AFTER id", "id c a b"),
            ("MODIFY c BIGINT FIRST, MODIFY a INT AFTER b", "c id b a"),
            ("CHANGE a x INT", "id x b c"),
            ("CHANGE a x INT AFTER c", "id b c x"),
            ("MODIFY a INT, DROP c", "id a b"),
        ] {
            assert_eq!(
                behind(&before, actions).map(|table| names(&table)).as_deref(),
                Some(expected),
                "{actions}"
            );
        }
        let renamed = behind(&before, "RENAME COLUMN id TO number").unwrap();
        assert_eq!(renamed.key, ["number"]);
        assert_eq!(renamed.collation, Some(UTF8MB4));
    }

    #[test]
    fn what_may_come_out_otherwise_is_not_followed() {
        let before = table(&["id", "a", "b"], &["id"]);
        for actions in [
            "DROP id",
            "RENAME COLUMN id TO old, ADD id INT",
            "RENAME COLUMN id TO old, CHANGE a id INT",
            "MODIFY id BIGINT",
            "CHANGE id id INT AFTER a",
            "DROP z",
            "RENAME COLUMN a TO b",
            "ADD a INT",
            "ADD x INT AFTER z",
            // Does it mean the name before or the one behind?
            "RENAME COLUMN a TO x, ADD y INT AFTER x",
            "RENAME COLUMN a TO x, ADD y INT AFTER a",
            "MODIFY a INT AFTER b, MODIFY a BIGINT",
            "DROP a, DROP a",
            "ADD x TIMESTAMP",
            "ADD x GEOMETRY",
            "ADD x INT(1, 2)",
            "ADD x DATE UNSIGNED",
            "ADD x VARCHAR",
        ] {
            assert_eq!(behind(&before, actions), None, "{actions}");
        }
        assert_eq!(behind(&table(&["é"], &[]), "ADD x INT"), None);
        let mut hidden = before.clone();
        hidden.columns[1].invisible = true;
        assert_eq!(behind(&hidden, "ADD x INT"), None);
        let unknown = SourceTable { collation: None, ..before };
        assert_eq!(behind(&unknown, "ADD x TEXT"), None);
        assert!(behind(&unknown, "ADD x BLOB").is_some());
        let versioned = table(&["id", "ROW_START", "row_end"], &["id"]);
        let add = alter::parse(b"ALTER TABLE t ADD x INT").unwrap().changes;
        assert_eq!(versioned.altered(Flavor::MariaDB, &add), None);
    }

    #[test]
    fn where_a_unique_index_serves_as_the_key_only_names_are_followed() {
        let served = SourceTable { is_primary: false, ..table(&["a", "b"], &["a"]) };
        for actions in ["MODIFY b INT NOT NULL", "DROP b", "DROP b, ADD b INT NOT NULL"] {
            assert_eq!(behind(&served, actions), None, "{actions}");
        }
        let renamed = behind(&served, "RENAME COLUMN a TO c, ADD d INT NOT NULL FIRST").unwrap();
        assert_eq!((names(&renamed).as_str(), renamed.key), ("d c b", vec!["c".to_owned()]));
        assert!(
            behind(&table(&["a", "b"], &[]), "MODIFY a INT NOT NULL").is_some(),
            "no index at all"
        );
    }

    #[test]
    fn a_definition_gives_what_information_schema_shows() {
        let last = |definition: &str| {
            let table = behind(&table(&["id"], &["id"]), &format!("ADD x {definition}"));
            table.and_then(|mut table| table.columns.pop()).expect(definition)
        };
        let text = |data_type: &str, octets| SourceColumn {
            data_type: data_type.into(),
            column_type: data_type.into(),
            collation: Some(UTF8MB4),
            octets,
            ..column("x")
        };
        assert_eq!(last("VARCHAR(40)"), text("varchar", Some(160)));
        assert_eq!(last("CHAR"), text("char", Some(4)));
        assert_eq!(last("LONGTEXT"), text("longtext", None));
        assert_eq!(
            last("INTEGER NOT NULL"),
            SourceColumn { column_type: "integer".into(), nullable: false, ..column("x") }
        );
        assert_eq!(last("int(10) zerofill").column_type, "int unsigned");
        let decimal = last("NUMERIC(8,3)");
        assert_eq!((decimal.precision, decimal.scale), (Some(8), Some(3)));
        let decimal = last("DEC");
        assert_eq!((decimal.precision, decimal.scale), (Some(10), Some(0)));
        assert_eq!(last("ENUM('a','b ')").members, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(last("TIMESTAMP(3) NULL").fraction, Some(3));
        assert_eq!(last("BINARY").octets, Some(1));
        assert_eq!(last("BIT").precision, Some(1));
    }
}
