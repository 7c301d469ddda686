//! What a change log makes of the tables, in its own texts, through an independent Delta reader
//! (`e2e/python/contents.py`). Lists are read from files line by line: a log of any length needs no memory here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::changes::{published, run_reader};
use crate::archive::Archive;
use crate::{Context, Failure, Result, site};

/// Tables folded from a change log.
#[derive(Debug)]
pub struct Contents {
    folder: PathBuf,
    /// Row changes in the log.
    pub rows: u64,
}

/// A row change as the log holds it.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// `insert`, `update` or `delete`.
    pub op: String,
    /// Name of the table.
    pub table: String,
    /// The row before, as JSON.
    pub before: Option<String>,
    /// The row after, as JSON.
    pub after: Option<String>,
    /// File of the transaction's start.
    pub file: String,
    /// Offset of the transaction's start.
    pub position: u64,
    /// Which event of the transaction.
    pub event_ordinal: u32,
}

#[derive(Deserialize)]
struct Answer {
    rows: u64,
    doubles: Vec<Value>,
    wrong: BTreeMap<String, Vec<String>>,
}

/// Folds all changes of `schema` in the published log. `tables` are their last names and the columns of their primary
/// keys. Fails where a change does not fit those before it, or stands there twice.
pub async fn contents(
    archive: &Archive,
    schema: &str,
    tables: &BTreeMap<String, Vec<String>>,
) -> Result<Contents> {
    let folder = site::folder("contents")?;
    let (table, storage) = published(archive);
    let request = json!({
        "table": table, "storage": storage, "schema": schema, "into": folder, "primary": tables,
    });
    let answer = run_reader("contents.py", &request).await?;
    let Answer { rows, doubles, wrong } =
        serde_json::from_slice(&answer).context(|| "read the reader's answer")?;
    if !doubles.is_empty() {
        return Err(Failure::new(format!("identities occur twice: {doubles:?}")));
    }
    if !wrong.is_empty() {
        return Err(Failure::new(format!("changes that fit no row: {wrong:#?}")));
    }
    Ok(Contents { folder, rows })
}

impl Contents {
    /// The rows of a table, as JSON.
    pub fn images(&self, table: &str) -> Result<Vec<String>> {
        self.lines(table)?.collect()
    }

    /// All row changes in the order of the binlog.
    pub fn changes(&self) -> Result<impl Iterator<Item = Result<Listed>>> {
        Ok(self
            .lines("changes")?
            .map(|line| serde_json::from_str(&line?).context(|| "read a change of the reader")))
    }

    fn lines(&self, name: &str) -> Result<impl Iterator<Item = Result<String>> + use<>> {
        let file = self.folder.join(name);
        let lines = BufReader::new(File::open(&file).context(|| format!("open {name}"))?).lines();
        Ok(lines.map(move |line| line.context(|| format!("read {}", file.display()))))
    }
}
