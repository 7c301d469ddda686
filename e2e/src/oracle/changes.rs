//! The change log against the source's tables, through an independent Delta reader
//! (`e2e/python/fold.py`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use crate::archive::Archive;
use crate::s3::{ACCESS_KEY, REGION, SECRET_KEY};
use crate::server::Server;
use crate::{Context, Failure, Result, site};

/// A table to compare.
#[derive(Debug, Clone)]
pub struct Table {
    /// `schema.table`.
    pub name: String,
    /// Columns of the primary key; empty without one.
    pub key: Vec<String>,
    /// Columns and the SQL expression whose text is that of the change log, like `("at", "at")`
    /// or `("data", "LOWER(HEX(data))")`.
    pub columns: Vec<(String, String)>,
    /// Columns that were added while the stream ran, with their defaults.
    pub defaults: BTreeMap<String, String>,
}

/// What the independent reader found.
#[derive(Debug, Clone, Deserialize)]
pub struct Folded {
    /// Version of the Delta table read.
    pub version: i64,
    /// Files of that version, relative to the table.
    pub files: Vec<String>,
    /// Rows of the change log.
    pub rows: u64,
    /// Identities that occur more than once; the first few.
    pub doubles: Vec<Value>,
    /// What was found for each table.
    pub tables: BTreeMap<String, Difference>,
}

/// How a folded table differs from the source's.
#[derive(Debug, Clone, Deserialize)]
pub struct Difference {
    /// Rows in the source.
    pub rows: u64,
    /// Keys (or rows) only the source has; the first few, as in all these.
    pub missing: Vec<Value>,
    /// Keys (or rows) only the fold has.
    pub extra: Vec<Value>,
    /// Rows whose contents differ: folded, source.
    pub different: Vec<Value>,
    /// Changes that do not fit what was folded before.
    pub wrong: Vec<String>,
}

impl Folded {
    /// Fails where a table differs or an identity is doubled.
    pub fn check(&self) -> Result<()> {
        if !self.doubles.is_empty() {
            return Err(Failure::new(format!("identities occur twice: {:?}", self.doubles)));
        }
        for (name, table) in &self.tables {
            let Difference { rows: _, missing, extra, different, wrong } = table;
            if !(missing.is_empty() && extra.is_empty() && different.is_empty() && wrong.is_empty())
            {
                return Err(Failure::new(format!("{name} differs: {table:?}")));
            }
        }
        Ok(())
    }
}

/// Folds the published change log of an archive and compares it with the server's tables.
pub async fn fold(archive: &Archive, server: &Server, tables: &[Table]) -> Result<Folded> {
    let folder = site::folder("fold")?;
    let (mut expected, mut keys, mut defaults) = (Map::new(), Map::new(), Map::new());
    for table in tables {
        let file = folder.join(&table.name);
        dump(server, table, &file).await?;
        expected.insert(table.name.clone(), json!(file));
        keys.insert(table.name.clone(), json!(table.key));
        defaults.insert(table.name.clone(), json!(table.defaults));
    }
    let (table, storage) = published(archive);
    let request = json!({
        "table": table, "storage": storage, "primary": keys, "expected": expected,
        "defaults": defaults,
    });
    let answer = run_reader("fold.py", &request).await?;
    serde_json::from_slice(&answer).context(|| "read the reader's answer")
}

/// Writes a table's rows as JSON objects of texts, one a line.
async fn dump(server: &Server, table: &Table, file: &Path) -> Result<()> {
    let expressions: Vec<_> = table.columns.iter().map(|(_, sql)| sql.as_str()).collect();
    let rows =
        server.rows(&format!("SELECT {} FROM {}", expressions.join(", "), table.name)).await?;
    let mut lines = std::io::BufWriter::new(
        std::fs::File::create(file).context(|| format!("make {}", file.display()))?,
    );
    for row in rows {
        let object: Map<String, Value> = table
            .columns
            .iter()
            .zip(row)
            .map(|((column, _), value)| (column.clone(), json!(value)))
            .collect();
        writeln!(lines, "{}", Value::Object(object)).context(|| "write a row")?;
    }
    lines.flush().context(|| "write rows")
}

/// Where the published table is, and what a reader needs to get at it.
pub(super) fn published(archive: &Archive) -> (String, Value) {
    match archive {
        Archive::Volume(root) => (root.join("changes").display().to_string(), Value::Null),
        Archive::S3 { bucket, endpoint, root } => (
            format!("s3://{}/{root}/changes", bucket.name()),
            json!({
                "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            }),
        ),
    }
}

pub(super) async fn run_reader(program: &str, request: &Value) -> Result<Vec<u8>> {
    let mut reader = tokio::process::Command::new(site::cached("python/venv/bin/python")?)
        .arg(site::tree().join("e2e/python").join(program))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(|| format!("start the independent reader {program}"))?;
    let mut input = reader.stdin.take().context(|| "the reader has no input")?;
    input.write_all(request.to_string().as_bytes()).await.context(|| "ask the reader")?;
    drop(input);
    let output = reader.wait_with_output().await.context(|| "wait for the reader")?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("the independent reader {program} failed: {error}")))
}
