//! A table that the seed decides, as it stands after each statement.

use e2e::Result;
use e2e::server::ServerKind;
use e2e::types::{Column, Form, Table, quoted};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::columns::Pool;

/// Behind a letter, names are unlike what most programs expect.
const ODD: [&str; 8] = ["", "", "é", " x", "`q", "\"", "漢", "ж$"];

/// The key, if there is one. Its columns are never altered, so that a fold can go by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    None,
    Id,
    /// With the column `part`, behind `id` or in front of it.
    Parts {
        first: bool,
    },
}

/// A table.
#[derive(Debug)]
pub struct Subject {
    /// Its name now.
    pub name: String,
    key: Key,
    unique: bool,
    /// Columns behind `id` and `step`.
    pub columns: Vec<Column>,
    /// How many of them no statement alters: they stand first.
    pinned: usize,
    charset: &'static str,
    /// The lowest id never given.
    pub next: u64,
}

impl Subject {
    pub fn draw(random: &mut StdRng, pool: &Pool, kind: ServerKind, name: &str) -> Result<Self> {
        let key = match random.random_range(0..8) {
            0 | 1 => Key::None,
            2 => Key::Parts { first: true },
            3 => Key::Parts { first: false },
            _ => Key::Id,
        };
        let mut columns = Vec::new();
        if let Key::Parts { .. } = key {
            columns.push(part(random));
        }
        let unique = random.random_ratio(1, 6);
        if unique {
            columns.push(Column::new("only", "INT", Form::Number, &["1", "2", "3"]));
        }
        // MariaDB does not always log what it generates (README.md).
        if kind.is_mysql() && random.random_ratio(1, 4) {
            columns.push(generated(random));
        }
        let charset = ["utf8mb4", "latin1", "cp1251", "ucs2"][random.random_range(0..4)];
        let pinned = columns.len();
        let mut subject =
            Self { name: name.to_owned(), key, unique, columns, pinned, charset, next: 1 };
        for _ in 0..random.random_range(1..=9) {
            let column = subject.column(random, pool)?;
            subject.columns.push(column);
        }
        Ok(subject)
    }

    /// Columns of the primary key.
    pub fn key(&self) -> Vec<String> {
        let names: &[&str] = match self.key {
            Key::None => &[],
            Key::Id => &["id"],
            Key::Parts { first: true } => &["part", "id"],
            Key::Parts { first: false } => &["id", "part"],
        };
        names.iter().map(ToString::to_string).collect()
    }

    /// The name as it stands in a statement.
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }

    pub fn create(&self) -> String {
        let mut parts = vec!["id INT NOT NULL".to_owned(), "step INT NOT NULL".to_owned()];
        parts.extend(self.columns.iter().map(defined));
        if self.key != Key::None {
            parts.push(format!("PRIMARY KEY ({})", self.key().join(", ")));
        }
        if self.unique {
            parts.push("UNIQUE (only)".into());
        }
        let charset = self.charset;
        format!("CREATE TABLE {} ({}) CHARACTER SET {charset}", self.quoted(), parts.join(", "))
    }

    /// A new column under a name that is free, with attributes that its type allows.
    pub fn column(&self, random: &mut StdRng, pool: &Pool) -> Result<Column> {
        let name = self.free_name(random);
        let mut column = pool.draw(random, name)?;
        attribute(random, &mut column);
        Ok(column)
    }

    /// A name that no column has; those of dropped ones come back.
    pub fn free_name(&self, random: &mut StdRng) -> String {
        loop {
            let odd = ODD.choose(random).unwrap_or(&"");
            let name = format!("c{}{odd}", random.random_range(0..30));
            if self.columns.iter().all(|column| column.name != name) {
                return name;
            }
        }
    }

    /// Places of the columns that statements may alter.
    pub fn alterable(&self) -> std::ops::Range<usize> {
        self.pinned..self.columns.len()
    }

    /// Columns that statements may give a value.
    pub fn settable(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.edges.is_empty())
    }

    /// The table as the type tests see it.
    pub fn table(&self) -> Table {
        Table::new(&self.name, self.columns.clone())
    }
}

/// `name definition`.
pub fn defined(column: &Column) -> String {
    format!("{} {}", quoted(&column.name), column.definition)
}

fn part(random: &mut StdRng) -> Column {
    let utf8 = Form::Text("utf8mb4".into());
    let (definition, form, edges) = match random.random_range(0..4) {
        0 => ("SMALLINT UNSIGNED NOT NULL", Form::Number, ["0", "65535", "7"]),
        1 => ("DATE NOT NULL", Form::Printed, ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'"]),
        2 => ("DECIMAL(20,5) NOT NULL", Form::Printed, ["-1.5", "0", "123456789012345.67891"]),
        _ => ("VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL", utf8, ["'a'", "'B'", "'水'"]),
    };
    Column::new("part", definition, form, &edges)
}

fn generated(random: &mut StdRng) -> Column {
    let stored = if random.random_bool(0.5) { "STORED" } else { "VIRTUAL" };
    if random.random_bool(0.5) {
        return Column::new("made", &format!("BIGINT AS (id * 2) {stored}"), Form::Number, &[]);
    }
    let definition = format!("VARCHAR(40) CHARACTER SET latin1 AS (CONCAT(id, 'é')) {stored}");
    Column::new("made", &definition, Form::Text("latin1".into()), &[])
}

/// Nullability, a default, and whether `SELECT *` shows it.
fn attribute(random: &mut StdRng, column: &mut Column) {
    let fills = !matches!(column.form, Form::Bytes | Form::Json);
    let nullable = column.definition.ends_with(" NULL");
    if fills && !nullable && random.random_ratio(1, 3) {
        column.definition += " NOT NULL";
    }
    let default = column.edges.choose(random).filter(|_| random.random_ratio(1, 3)).cloned();
    if let Some(default) = &default {
        column.definition = format!("{} DEFAULT ({default})", column.definition);
    }
    // MariaDB asks for a default of what is hidden and may not be NULL.
    if random.random_ratio(1, 8) && (default.is_some() || !column.definition.contains("NOT NULL")) {
        column.definition += " INVISIBLE";
    }
}
