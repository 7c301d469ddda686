//! A change log that is too large to fold, by counts and sums of each table (`e2e/python/sums.py`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::changes::{Table, published, run_reader};
use crate::archive::Archive;
use crate::server::Server;
use crate::{Context, Failure, Result};

/// What the reader found.
#[derive(Debug, Clone, Deserialize)]
pub struct Sums {
    /// Files of the newest version, relative to the table.
    pub files: Vec<String>,
    /// Rows of the change log.
    pub rows: u64,
    /// Identities that occur more than once.
    pub doubles: u64,
    /// What is left of each table.
    pub tables: BTreeMap<String, Sum>,
}

/// Rows of a table, and the sum of the CRC32 of each row's values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sum {
    /// Rows.
    pub rows: i64,
    /// The sum, in decimal.
    pub sum: String,
}

/// Sums up the published change log of an archive and compares it with the server's tables.
pub async fn sum(archive: &Archive, server: &Server, tables: &[Table]) -> Result<Sums> {
    let columns: Map<String, Value> = tables
        .iter()
        .map(|table| {
            let names: Vec<_> = table.columns.iter().map(|(name, _)| name).collect();
            (table.name.clone(), json!(names))
        })
        .collect();
    let (uri, storage) = published(archive);
    let request = json!({"table": uri, "storage": storage, "columns": columns});
    let answer = run_reader("sums.py", &request).await?;
    let sums: Sums = serde_json::from_slice(&answer).context(|| "read the reader's answer")?;
    if sums.doubles > 0 {
        return Err(Failure::new(format!("{} identities occur twice", sums.doubles)));
    }
    for table in tables {
        let (own, found) = (of_server(server, table).await?, sums.tables.get(&table.name));
        if found != Some(&own) {
            let name = &table.name;
            return Err(Failure::new(format!("{name}: the source has {own:?}, the log {found:?}")));
        }
    }
    Ok(sums)
}

async fn of_server(server: &Server, table: &Table) -> Result<Sum> {
    let values: Vec<_> = table.columns.iter().map(|(_, sql)| sql.as_str()).collect();
    let query = format!(
        "SELECT COUNT(*), SUM(CRC32(CONCAT_WS(':', {}))) FROM {}",
        values.join(", "),
        table.name
    );
    let rows = server.rows(&query).await?;
    match rows.first().map(Vec::as_slice) {
        Some([Some(rows), Some(sum)]) => {
            let rows = rows.parse().context(|| format!("read the count {rows:?}"))?;
            Ok(Sum { rows, sum: sum.clone() })
        }
        other => Err(Failure::new(format!("{query} gave {other:?}"))),
    }
}
