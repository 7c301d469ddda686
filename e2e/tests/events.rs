//! Every kind of event that the servers write, made by the servers themselves: what of it stands in the change log,
//! and what is named instead.
//!
//! Not here, since none of these servers can be made to write them: MariaDB 12.3's partial rows, rows of MySQL 5.1
//! pre-releases and types that nobody knows, which the worker's and `binlog`'s own tests make byte by byte. Rows of
//! version 1 are what MariaDB writes. Returns to a savepoint are in `lineage`.

#[path = "events/forms.rs"]
mod forms;
#[path = "events/json.rs"]
mod json;
#[path = "events/lost.rs"]
mod lost;
#[path = "events/tables.rs"]
mod tables;
#[path = "events/xa.rs"]
mod xa;

use std::collections::BTreeMap;
use std::time::Duration;

use crds::worker_status::{Phase, WorkerStatus};
use e2e::oracle::{self, ChangeRow, Table};
use e2e::server::{Builder, Server, ServerKind};
use e2e::worker::{Stream, Worker};
use e2e::{Context, Failure, Result};
use serde_json::json;

const STREAMS: Duration = Duration::from_secs(45);
const ARCHIVED: Duration = Duration::from_secs(90);
const DRAINED: Duration = Duration::from_secs(30);

/// One test for each server.
macro_rules! on_every_server {
    ($($name:ident)+) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn mysql_97() -> Result<()> {
                super::$name(ServerKind::MySql97).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb_10_11() -> Result<()> {
                super::$name(ServerKind::MariaDb1011).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mariadb_11_8() -> Result<()> {
                super::$name(ServerKind::MariaDb118).await
            }
        }
    )+};
}
pub(crate) use on_every_server;

/// A server and a stream of what happens on it from here on.
struct Stage {
    server: Server,
    stream: Stream,
}

/// What a stage left in the archive.
struct Told {
    rows: Vec<ChangeRow>,
    /// Table gaps of all entries as (table, reason).
    gaps: Vec<(String, String)>,
}

impl Stage {
    /// A stage on this server, behind these statements.
    async fn set(builder: Builder, before: &[&str]) -> Result<Self> {
        let server = builder.start().await?;
        server.run(&["CREATE DATABASE shop"]).await?;
        let statements: Vec<&str> =
            std::iter::once("USE shop").chain(before.iter().copied()).collect();
        server.run(&statements).await?;
        let (file, position) = server.position().await?;
        let at = json!({"file": file, "position": position});
        let stream = Stream::new("events", &server)?;
        let stream =
            stream.with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))?;
        Ok(Self { server, stream })
    }

    /// Runs statements in `shop` on one connection.
    async fn run(&self, statements: &[&str]) -> Result<()> {
        let statements: Vec<&str> =
            std::iter::once("USE shop").chain(statements.iter().copied()).collect();
        self.server.run(&statements).await
    }

    /// A worker that streams.
    async fn worker(&self) -> Result<Worker> {
        let worker = self.stream.start()?;
        let streams =
            |status: &WorkerStatus| status.phase == Phase::Streaming && status.source.connected;
        worker.until("the stream runs", STREAMS, streams).await?;
        Ok(worker)
    }

    /// Kinds of the events in the file being written, as the server names them.
    async fn kinds(&self) -> Result<Vec<String>> {
        let (file, _) = self.server.position().await?;
        let events = self.server.rows(&format!("SHOW BINLOG EVENTS IN '{file}'")).await?;
        Ok(events.into_iter().filter_map(|event| event.get(2).cloned().flatten()).collect())
    }

    async fn archived(&self, worker: &Worker) -> Result<()> {
        worker.archived_all_of(&self.server, ARCHIVED).await.map(|_| ())
    }

    /// Lets the worker archive everything, and asks the oracles: the log, the raw bytes, and `tables` as the server
    /// has them now.
    async fn finish(&self, worker: &Worker, tables: &[Table]) -> Result<Told> {
        self.server.run(&["FLUSH BINARY LOGS"]).await?;
        self.archived(worker).await?;
        let status = worker.terminate(DRAINED).await?;
        if !status.success() {
            return Err(Failure::new(format!("the worker ended with {status}, not in order")));
        }
        worker.check_log(&[])?;
        let archive = self.stream.archive();
        let rows = oracle::rows(&archive).await?;
        oracle::check_all(&archive, &self.server, tables, rows.len() as u64).await?;
        let mut gaps = Vec::new();
        for (_, entry) in archive.entries().await? {
            for gap in entry["gaps"].as_array().into_iter().flatten() {
                let text = |field: &str| gap[field].as_str().unwrap_or_default().to_owned();
                gaps.push((text("table"), text("reason")));
            }
        }
        Ok(Told { rows, gaps })
    }
}

/// A table whose columns' texts are those of the change log.
fn table(name: &str, key: &[&str], columns: &[&str]) -> Table {
    Table {
        name: name.to_owned(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        columns: columns.iter().map(|&column| (column.to_owned(), column.to_owned())).collect(),
        defaults: BTreeMap::new(),
    }
}
