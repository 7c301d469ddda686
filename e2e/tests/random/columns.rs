//! Columns of every type that a server has, and values for them: edges of the type tests, and random ones.

use e2e::server::ServerKind;
use e2e::types::{Column, Form, Session};
use e2e::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::{binary, documents, numbers, times};

/// Characters of one to four bytes, with those that need escapes.
const LETTERS: [char; 20] = [
    'a', 'B', 'z', '0', ' ', '\'', '"', '\\', '\n', '%', '\0', '\u{1}', 'é', 'ß', 'ж', 'ท', '水',
    '漢', '☃', '🦭',
];

/// Columns by family, so that each family is as likely as the others.
#[derive(Debug)]
pub struct Pool {
    families: Vec<Vec<Column>>,
}

impl Pool {
    pub async fn of(kind: ServerKind, session: &mut Session) -> Result<Self> {
        let mut tables = numbers::tables();
        tables.extend(times::tables(kind));
        tables.extend(binary::tables(kind));
        tables.extend(documents::tables(kind));
        let mut families: Vec<_> = tables.into_iter().map(|table| table.columns).collect();
        let query = "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS \
                     WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1";
        let charsets = session.column(query).await?;
        families.push(charsets.iter().flat_map(|charset| texts(charset)).collect());
        families.push(["latin1", "cp1251", "utf8mb4", "utf16"].iter().flat_map(members).collect());
        for family in &mut families {
            for column in family.iter_mut() {
                column.edges.retain(|edge| is_small(edge));
            }
            // One without values would be taken for one that the server fills.
            family.retain(|column| !column.edges.is_empty());
        }
        Ok(Self { families })
    }

    /// A type by which a column of this name can be made.
    pub fn draw(&self, random: &mut StdRng, name: String) -> Result<Column> {
        let family = self.families.choose(random).context(|| "no family of types")?;
        let column = family.choose(random).context(|| "an empty family of types")?;
        Ok(Column { name, ..column.clone() })
    }
}

/// Whether a table of such values stays small.
fn is_small(edge: &str) -> bool {
    edge.len() < 600 && !edge.contains("000)") && !edge.contains("65535)")
}

fn texts(charset: &str) -> Vec<Column> {
    let edges = ["''", "' '", "'plain  '", "x'ff'", "x'61ff61'", "x'00'", "x'e4bda0fe'"];
    let definitions =
        ["CHAR(1)", "CHAR(30)", "VARCHAR(40)", "VARCHAR(400)", "TINYTEXT", "TEXT", "LONGTEXT"];
    let column = |definition: &str| {
        let definition = format!("{definition} CHARACTER SET {charset}");
        Column::new("", &definition, Form::Text(charset.to_owned()), &edges)
    };
    definitions.iter().map(|definition| column(definition)).collect()
}

fn members(charset: &&str) -> Vec<Column> {
    let letters = if *charset == "latin1" { "'é','ü','ß'" } else { "'ж','б','z'" };
    let many: Vec<_> = (0..60).map(|nth| format!("'m{nth}'")).collect();
    let many = many.join(",");
    let column = |definition: String, edges: &[&str]| {
        let definition = format!("{definition} CHARACTER SET {charset} COLLATE {charset}_bin");
        Column::new("", &definition, Form::Member((*charset).to_owned()), edges)
    };
    vec![
        column(format!("ENUM({letters})"), &["0", "1", "2", "3"]),
        column(format!("ENUM({many})"), &["0", "1", "37", "60", "'m7'"]),
        column(format!("SET({letters})"), &["0", "1", "6", "7"]),
        column(format!("SET({many})"), &["0", "1", "1152921504606846975", "77777777", "'m7,m9'"]),
    ]
}

/// The type's name.
pub fn word(column: &Column) -> &str {
    let end = column.definition.find(|char: char| !char.is_ascii_alphanumeric());
    &column.definition[..end.unwrap_or(column.definition.len())]
}

/// Whether NULL fits.
fn is_nullable(column: &Column) -> bool {
    !column.definition.contains("NOT NULL")
}

/// An SQL expression of a value for a column.
pub fn value(random: &mut StdRng, column: &Column) -> String {
    if is_nullable(column) && random.random_ratio(1, 8) {
        return "NULL".into();
    }
    let edge = column.edges.choose(random).cloned();
    if edge.is_some() && random.random_bool(0.4) {
        return edge.unwrap_or_default();
    }
    made(random, column).or(edge).unwrap_or_else(|| "NULL".into())
}

/// A value of the column's type, where one can be made here.
fn made(random: &mut StdRng, column: &Column) -> Option<String> {
    Some(match (&column.form, word(column)) {
        (_, "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT") => {
            (random.random::<i64>() >> random.random_range(0..64)).to_string()
        }
        (_, "BIT") => (random.random::<u64>() >> random.random_range(0..64)).to_string(),
        (_, "YEAR") => random.random_range(1901..=2155).to_string(),
        (_, "DECIMAL") => format!("{}{}.{}", sign(random), digits(random), digits(random)),
        (_, "FLOAT") => finite(f64::from(f32::from_bits(random.random()))),
        (_, "DOUBLE") => finite(f64::from_bits(random.random())),
        (_, "DATE") => format!("'{}'", date(random)),
        (_, "DATETIME" | "TIMESTAMP") => format!("'{} {}'", date(random), time(random, 24)),
        (_, "TIME") => format!("'{}{}'", sign(random), time(random, 839)),
        (_, "UUID") => {
            let hex = hex::encode(random.random::<[u8; 16]>());
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            format!("'{}'", parts.join("-"))
        }
        (_, "JSON") => format!("_utf8mb4 x'{}'", hex::encode(document(random, 3))),
        (Form::Text(_), _) => format!("_utf8mb4 x'{}'", hex::encode(text(random, 12))),
        (Form::Bytes, "BINARY" | "VARBINARY" | "TINYBLOB" | "BLOB" | "MEDIUMBLOB" | "LONGBLOB") => {
            let length = random.random_range(0..24);
            let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            format!("x'{}'", hex::encode(bytes))
        }
        _ => return None,
    })
}

fn sign(random: &mut StdRng) -> &'static str {
    if random.random_bool(0.3) { "-" } else { "" }
}

fn digits(random: &mut StdRng) -> String {
    let length = random.random_range(1..=30);
    (0..length).map(|_| char::from(random.random_range(b'0'..=b'9'))).collect()
}

fn finite(number: f64) -> String {
    if number.is_finite() { format!("{number:e}") } else { "-1.5e0".into() }
}

fn date(random: &mut StdRng) -> String {
    let year = if random.random_bool(0.5) { 1971..2038 } else { 0..10_000 };
    let (year, month) = (random.random_range(year), random.random_range(1..=12));
    format!("{year:04}-{month:02}-{:02}", random.random_range(1..=28))
}

fn time(random: &mut StdRng, hours: u32) -> String {
    let (hour, minute) = (random.random_range(0..hours), random.random_range(0..60));
    let second = random.random_range(0..60);
    format!("{hour:02}:{minute:02}:{second:02}.{:06}", random.random_range(0..1_000_000))
}

fn text(random: &mut StdRng, most: usize) -> String {
    let length = random.random_range(0..=most);
    (0..length).filter_map(|_| LETTERS.choose(random)).collect()
}

/// A JSON document of so many levels at most.
pub fn document(random: &mut StdRng, levels: u32) -> String {
    let last = if levels == 0 { 5 } else { 7 };
    match random.random_range(0..last) {
        0 => (random.random::<i64>() >> random.random_range(0..64)).to_string(),
        1 => (random.random::<u64>() >> random.random_range(0..64)).to_string(),
        2 => finite(f64::from(random.random::<f32>()) * 1e6),
        3 => ["null", "true", "false", "[]", "{}"][random.random_range(0..5)].into(),
        4 => serde_json::Value::String(text(random, 20)).to_string(),
        5 => {
            let items: Vec<_> =
                (0..random.random_range(1..5)).map(|_| document(random, levels - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let names = ["a", "b", "key", "long name", "é", "zz"];
            let fields: Vec<_> = names
                .iter()
                .filter_map(|name| {
                    let wanted = random.random_bool(0.4);
                    wanted.then(|| format!("\"{name}\": {}", document(random, levels - 1)))
                })
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}
