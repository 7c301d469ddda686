//! CHAR, VARCHAR and TEXT of every character set and collation that the server ships.

use e2e::types::{Column, Form, Session, Table, Trial};
use e2e::{Context, Result};

/// Codes in one row.
const ROW: u32 = 64;

/// A character set: its name, and the most bytes a character of it takes.
pub async fn names(session: &mut Session) -> Result<Vec<(String, u32)>> {
    let query = "SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS \
                 WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1";
    let rows = session.rows(query).await?;
    let set = |row: Vec<Option<String>>| {
        let [Some(name), Some(longest)] = row.as_slice() else { return None };
        Some((name.clone(), longest.parse().ok()?))
    };
    rows.into_iter().map(set).collect::<Option<_>>().context(|| "read the character sets")
}

/// Every code of every character set, in tables that stay: rows of codes that are converted to Unicode
/// and back exactly, and rows of others.
pub async fn all_characters(session: &mut Session) -> Result<Vec<Trial>> {
    numbers(session).await?;
    let mut trials = Vec::new();
    for (charset, longest) in names(session).await? {
        let definition = format!("VARCHAR(300) CHARACTER SET {charset}");
        let column = Column::new("c", &definition, Form::Text(charset.clone()), &[]);
        let table = Table::new(&table_of(&charset), vec![column]);
        session.run(&table.create()).await?;
        let mut trial = Trial::of(table);
        for (part, codes) in codes(&charset, longest).iter().enumerate() {
            let insert = insert_codes(session, &charset, part, codes).await?;
            trial.step(session, &[insert]).await?;
        }
        trials.push(trial);
    }
    Ok(trials)
}

fn table_of(charset: &str) -> String {
    format!("characters_{charset}")
}

/// The numbers of 16 bits, in a table that the worker does not see.
async fn numbers(session: &mut Session) -> Result<()> {
    session.run("SET sql_log_bin = 0").await?;
    session.run("CREATE TABLE n (n INT PRIMARY KEY)").await?;
    session.run("INSERT INTO n VALUES (0)").await?;
    for bit in 0..16 {
        session.run(&format!("INSERT INTO n SELECT n + {} FROM n", 1 << bit)).await?;
    }
    session.run("SET sql_log_bin = 1").await
}

/// Codes as an expression over `n`, and for which `n`.
fn codes(charset: &str, longest: u32) -> Vec<(String, &'static str)> {
    let utf32 = |point: &str| {
        format!("CONVERT(CONVERT(UNHEX(LPAD(HEX({point}), 8, '0')) USING utf32) USING {charset})")
    };
    let bytes = |prefix: &str, digits: u32| {
        format!("UNHEX(CONCAT('{prefix}', LPAD(HEX(n), {digits}, '0')))")
    };
    if charset.starts_with("utf") || charset == "ucs2" {
        let mut codes = vec![(utf32("n"), "n NOT BETWEEN 0xd800 AND 0xdfff")];
        if charset != "utf8mb3" && charset != "ucs2" {
            codes.push((utf32("n * 16 + 65536"), "n % 16 = 5"));
        }
        return codes;
    }
    let mut codes = vec![(bytes("", 2), "n < 256")];
    if longest > 1 {
        codes.push((bytes("", 4), "n >= 0x8000"));
    }
    if longest == 3 {
        codes.push((bytes("8F", 4), "n >= 0xA000"));
    }
    if longest == 4 {
        // Four bytes, the last of which counts to 10, the third to 126 and so on.
        let four = |from: u32, step: u32| {
            let nth = format!("({from} + n * {step})");
            format!(
                "UNHEX(CONCAT(HEX(129 + {nth} DIV 12600), HEX(48 + {nth} DIV 1260 % 10), \
                 HEX(129 + {nth} DIV 10 % 126), HEX(48 + {nth} % 10)))"
            )
        };
        codes.push((four(0, 1), "n < 39500"));
        codes.push((four(189_000, 130), "n < 8100"));
    }
    codes
}

/// The statement that inserts all codes of one length, 64 in a row.
async fn insert_codes(
    session: &mut Session,
    charset: &str,
    part: usize,
    (code, wanted): &(String, &str),
) -> Result<String> {
    let back =
        format!("CONVERT(CONVERT(CONVERT(b USING {charset}) USING utf8mb4) USING {charset})");
    let query = format!(
        "SELECT GROUP_CONCAT(HEX(b) ORDER BY n SEPARATOR '') FROM ( \
           SELECT n, b, HEX({back}) = HEX(b) exact, CHAR_LENGTH(CONVERT(b USING {charset})) = 1 one \
           FROM (SELECT n, {code} b FROM n WHERE {wanted}) coded \
         ) judged WHERE one GROUP BY exact, n DIV {ROW}",
    );
    let rows = session.column(&query).await?;
    let first = part * 100_000;
    let row = |(nth, codes): (usize, &String)| format!("({}, 1, x'{codes}')", first + nth);
    let rows: Vec<_> = rows.iter().enumerate().map(row).collect();
    Ok(format!("INSERT INTO {} (id, step, c) VALUES {}", table_of(charset), rows.join(", ")))
}

/// A few rows of codes as hex, spread over a set.
async fn samples(session: &mut Session, charset: &str) -> Result<Vec<String>> {
    let query = format!("SELECT HEX(c) FROM {} ORDER BY id", table_of(charset));
    let rows = session.column(&query).await?;
    Ok(rows.iter().step_by((rows.len() / 4).max(1)).cloned().collect())
}

/// Characters outside ASCII that are known exactly, the same number of each set where it has them.
pub async fn letters(session: &mut Session, charset: &str) -> Result<Vec<char>> {
    let query = format!(
        "SELECT CONVERT(c USING utf8mb4) FROM {} \
         WHERE HEX(CONVERT(CONVERT(c USING utf8mb4) USING {charset})) = HEX(c)",
        table_of(charset)
    );
    let texts = session.column(&query).await?;
    let mut letters: Vec<_> = texts.concat().chars().filter(|char| char.is_alphabetic()).collect();
    // Those outside ASCII from the middle of the set.
    letters.sort_by_key(|char| !char.is_ascii());
    let from = letters.len().saturating_sub(letters.len() / 3 + 4);
    Ok(letters.into_iter().skip(from).take(4).collect())
}

/// A table for each character set, and tables with a column for each collation.
pub async fn tables(session: &mut Session) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for (charset, _) in names(session).await? {
        let mut edges: Vec<_> =
            samples(session, &charset).await?.iter().map(|code| format!("x'{code}'")).collect();
        edges.extend(
            ["''", "' '", "'plain  '", "x'ff'", "x'61ff61'", "x'00'", "x'e4bda0fe'"]
                .map(Into::into),
        );
        edges.push("CONCAT('\"', CHAR(92), CHAR(0), CHAR(10), CHAR(31), CHAR(127))".into());
        let column = |(nth, definition): (usize, &str)| Column {
            name: format!("c{nth}"),
            definition: format!("{definition} CHARACTER SET {charset}"),
            form: Form::Text(charset.clone()),
            edges: edges.clone(),
        };
        let definitions = [
            "CHAR(1)",
            "CHAR(63)",
            "CHAR(255)",
            "VARCHAR(63)",
            "VARCHAR(1000)",
            "TINYTEXT",
            "TEXT",
            "MEDIUMTEXT",
            "LONGTEXT",
        ];
        let columns = definitions.into_iter().enumerate().map(column).collect();
        tables.push(Table::new(&format!("texts_{charset}"), columns));
    }
    tables.extend(collations(session).await?);
    Ok(tables)
}

async fn collations(session: &mut Session) -> Result<Vec<Table>> {
    const IN_A_TABLE: usize = 300;
    let is_mysql = !session.column("SELECT VERSION()").await?.concat().contains("MariaDB");
    let name = if is_mysql { "COLLATION_NAME" } else { "FULL_COLLATION_NAME" };
    let query = format!(
        "SELECT {name}, CHARACTER_SET_NAME FROM \
         information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
         WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1"
    );
    let mut columns = Vec::new();
    for row in session.rows(&query).await? {
        let [Some(collation), Some(charset)] = row.as_slice() else { continue };
        let letter = letters(session, charset).await?.last().copied().unwrap_or('x');
        columns.push(Column {
            name: collation.clone(),
            definition: format!("VARCHAR(2) CHARACTER SET {charset} COLLATE {collation}"),
            form: Form::Text(charset.clone()),
            edges: vec![format!("'{letter}'"), "'a'".into()],
        });
    }
    let table = |(nth, columns): (usize, &[Column])| {
        Table::new(&format!("collations{nth}"), columns.to_vec())
    };
    Ok(columns.chunks(IN_A_TABLE).enumerate().map(table).collect())
}
