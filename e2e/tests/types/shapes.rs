//! Tables of unusual shape: all kinds of columns in one, columns that the server fills, hides or
//! generates, names in every script, as many columns as there can be, large values.

use e2e::Result;
use e2e::server::ServerKind;
use e2e::types::{Column, Form, Session, Table, Trial};

pub fn tables(kind: ServerKind) -> Vec<Table> {
    let mut tables = vec![mixed(kind), filled(kind), wide(kind), Table::new("large", large())];
    tables.extend(names());
    tables.extend(indexed(kind));
    tables
}

fn latin1() -> Form {
    Form::Text("latin1".into())
}

/// The optional fields of a table map count some kinds of columns only: a miscount shows here.
pub fn mixed(kind: ServerKind) -> Table {
    let text = |charset: &str| Form::Text(charset.into());
    let document = if kind.is_mysql() { Form::Json } else { text("utf8mb4") };
    let columns = [
        ("INT UNSIGNED", Form::Number, &["4294967295", "0"]),
        ("CHAR(5) CHARACTER SET latin1", latin1(), &["'é'", "'ü'"]),
        ("YEAR", Form::Unsigned, &["2155", "0"]),
        ("ENUM('ж','б') CHARACTER SET cp1251", Form::Member("cp1251".into()), &["1", "2"]),
        ("DECIMAL(5,2)", Form::Printed, &["-1.5", "999.99"]),
        ("TEXT CHARACTER SET cp1251", text("cp1251"), &["'ж'", "'б'"]),
        ("BIT(3)", Form::Unsigned, &["5", "2"]),
        ("SET('é','ü') CHARACTER SET latin1", Form::Member("latin1".into()), &["3", "2"]),
        ("TINYINT", Form::Number, &["-1", "-128"]),
        ("GEOMETRY", Form::Bytes, &["ST_GeomFromText('POINT(1 2)')", "NULL"]),
        ("VARCHAR(9) CHARACTER SET koi8r", text("koi8r"), &["'ж'", "'б'"]),
        ("DOUBLE", Form::Double, &["0.5", "-1e100"]),
        ("VARBINARY(9)", Form::Bytes, &["x'00ff'", "''"]),
        ("BIGINT UNSIGNED", Form::Number, &["18446744073709551615", "1"]),
        ("JSON", document.clone(), &["'[1]'", "'{}'"]),
        ("BLOB", Form::Bytes, &["'b'", "x'ff'"]),
        ("SMALLINT", Form::Number, &["-32768", "-1"]),
        ("TIMESTAMP(3) NULL", Form::Printed, &["'2024-02-29 01:02:03.456'", "NULL"]),
        ("ENUM('é','ü') CHARACTER SET latin1", Form::Member("latin1".into()), &["1", "0"]),
        ("MEDIUMINT UNSIGNED", Form::Number, &["16777215", "8388608"]),
        ("CHAR(3) CHARACTER SET utf16", text("utf16"), &["'ж😀'", "'é'"]),
        ("FLOAT", Form::Float, &["0.1", "-0e0"]),
        ("TIME(2)", Form::Printed, &["'-00:00:00.01'", "'1:2:3'"]),
        ("SET('ж','б') CHARACTER SET cp1251", Form::Member("cp1251".into()), &["3", "1"]),
        ("BIGINT", Form::Number, &["-9223372036854775808", "-1"]),
        ("LONGTEXT CHARACTER SET utf8mb4", text("utf8mb4"), &["'😀'", "'é'"]),
    ];
    let column = |(nth, (definition, form, edges)): (usize, &(&str, Form, &[&str; 2]))| {
        Column::new(&format!("c{nth}"), definition, form.clone(), edges.as_slice())
    };
    Table::new("mixed", columns.iter().enumerate().map(column).collect())
}

/// Columns that the server fills, and one that `SELECT *` leaves out.
fn filled(kind: ServerKind) -> Table {
    let inserted_only: &[_] = match kind {
        ServerKind::MariaDb118 => &["virtual_first", "stored", "bytes", "next"],
        _ => &[],
    };
    let table = Table::new(
        "filled",
        vec![
            Column::new("virtual_first", "BIGINT AS (a * 2) VIRTUAL", Form::Number, &[]),
            Column::new("a", "INT", Form::Number, &["1", "-2147483648", "7"]),
            Column::new(
                "stored",
                "VARCHAR(40) CHARACTER SET latin1 AS (CONCAT(a, 'é')) STORED",
                latin1(),
                &[],
            ),
            Column::new("hidden", "INT INVISIBLE DEFAULT 7", Form::Number, &["1", "2"]),
            Column::new("left_to_default", "INT INVISIBLE DEFAULT 7", Form::Number, &[]),
            Column::new(
                "bytes",
                "VARBINARY(9) AS (UNHEX(LPAD(HEX(a), 8, '0'))) VIRTUAL",
                Form::Bytes,
                &[],
            ),
            Column::new("d", "DATE", Form::Printed, &["'2024-02-28'", "'9999-12-30'"]),
            Column::new("next", "DATE AS (d + INTERVAL 1 DAY) STORED", Form::Printed, &[]),
        ],
    );
    Table { inserted_only, ..table }
}

/// As many columns as the server takes: 4096, or as many as MariaDB's definition file holds.
fn wide(kind: ServerKind) -> Table {
    let count = if kind.is_mysql() { 4094 } else { 2700 };
    let column = |nth: i32| {
        Column::new(&format!("c{nth}"), "TINYINT", Form::Number, &[&(nth % 256 - 128).to_string()])
    };
    let columns = (0..count).map(column).collect();
    Table { options: ") ENGINE=MyISAM CHARACTER SET latin1", ..Table::new("wide", columns) }
}

fn large() -> Vec<Column> {
    let texts = ["REPEAT('é€😀x', 200000)", "REPEAT('\\n', 300000)"];
    vec![
        Column::new("t", "LONGTEXT CHARACTER SET utf8mb4", Form::Text("utf8mb4".into()), &texts),
        Column::new("b", "LONGBLOB", Form::Bytes, &["REPEAT(x'00ff', 700000)", "x'00'"]),
        Column::new(
            "v",
            "VARCHAR(60000) CHARACTER SET latin1",
            latin1(),
            &["REPEAT('é', 60000)", "''"],
        ),
    ]
}

/// Names of 64 characters where the server's file names hold them, in several scripts.
fn names() -> Vec<Table> {
    let long =
        |letters: &str, length: usize| -> String { letters.chars().cycle().take(length).collect() };
    let columns = || -> Vec<Column> {
        [
            long("abcdefghij", 64),
            long("йцукен", 64),
            long("漢字仮名", 64),
            long("שלום", 64),
            long("ไทย", 64),
            long("éüß", 64),
            long("हिन्दी", 64),
            "we\"ird \\ `name`' {}".into(),
            "$hex".into(),
            "a.b".into(),
            "\u{e000}\u{ffee}".into(),
        ]
        .iter()
        .map(|name| Column::new(name, "INT", Form::Number, &["1", "2"]))
        .collect()
    };
    [
        long("abcdefghij", 64),
        long("йцукен", 64),
        long("漢字仮名", 40),
        long("éüß", 64),
        "we\"ird \\ `table`' {}".into(),
    ]
    .iter()
    .map(|name| Table::new(name, columns()))
    .collect()
}

/// Indexes for which the server makes columns of its own.
fn indexed(kind: ServerKind) -> Vec<Table> {
    if kind.is_mysql() {
        let columns = vec![
            Column::new("a", "INT", Form::Number, &["1", "2", "3"]),
            Column::new("j", "JSON", Form::Json, &["'{\"a\": [1, 2]}'", "'{\"a\": []}'"]),
        ];
        let options = ", KEY f ((a + 1)), KEY m ((CAST(j->'$.a' AS UNSIGNED ARRAY))))";
        return vec![Table { options, ..Table::new("indexed", columns) }];
    }
    let columns = vec![
        Column::new("b", "BLOB", Form::Bytes, &["'1'"]),
        Column::new("t", "TEXT CHARACTER SET latin1", latin1(), &["'é'"]),
    ];
    let options = ", UNIQUE (b), UNIQUE (t))";
    let hidden: &[_] = &["DB_ROW_HASH_1", "DB_ROW_HASH_2"];
    let inserted_only = if kind == ServerKind::MariaDb118 { hidden } else { &[] };
    vec![Table { options, hidden, inserted_only, ..Table::new("indexed", columns) }]
}

/// Tables that keep old rows as rows of their own: only what one statement makes is followed.
pub async fn trials(kind: ServerKind, session: &mut Session) -> Result<Vec<Trial>> {
    if kind.is_mysql() {
        return Ok(Vec::new());
    }
    let table = Table {
        options: ", PERIOD FOR SYSTEM_TIME (since, until)) WITH SYSTEM VERSIONING",
        ..Table::new(
            "versioned",
            vec![
                Column::new("a", "INT", Form::Number, &["1"]),
                Column::new(
                    "since",
                    "TIMESTAMP(6) GENERATED ALWAYS AS ROW START INVISIBLE",
                    Form::Printed,
                    &[],
                ),
                Column::new(
                    "until",
                    "TIMESTAMP(6) GENERATED ALWAYS AS ROW END INVISIBLE",
                    Form::Printed,
                    &[],
                ),
            ],
        )
    };
    session.run(&table.create()).await?;
    let insert = "INSERT INTO versioned (id, step, a) VALUES (1, 1, 1)".to_owned();
    let mut trial = Trial::of(table);
    trial.step(session, &[insert]).await?;
    Ok(vec![trial])
}
