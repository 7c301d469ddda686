//! P9: a worker's memory does not grow with a transaction, only with the largest event, and an idle one takes next
//! to none.
//!
//! What is read back is too much to be folded: counts and sums of each row stand for it.

use std::time::{Duration, Instant};

use e2e::oracle::{self, Table};
use e2e::server::{Server, ServerKind};
use e2e::trial::streams;
use e2e::wait::{Look, throughout};
use e2e::worker::Stream;
use e2e::workload::{self, Done};
use e2e::{Failure, Result, site};
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;
use tokio::sync::Mutex;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The most that a worker may take while events are small.
const MEMORY: u64 = 256 * MIB;
/// How often a large event counts on top: as bytes, as text, as a column of a file, and packed.
const COPIES: u64 = 4;
/// Bytes of a large row.
const SCAN: u64 = 16 * MIB;
const ARCHIVED: Duration = Duration::from_secs(400);
const DRAINED: Duration = Duration::from_secs(60);

/// One at a time: each needs the disk and the time of a machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// Bytes of rows in one transaction: 512 MiB, and 4 GiB in the long run.
fn volume() -> Result<u64> {
    Ok((512 * MIB * u64::from(site::scale()?)).min(4 * GIB))
}

/// A server that takes a transaction of such a size without stopping for its own log all the time.
async fn server(kind: ServerKind) -> Result<Server> {
    let log = if kind.is_mysql() { "innodb_redo_log_capacity" } else { "innodb_log_file_size" };
    let server = Server::builder(kind).option(log, "1G").start().await?;
    workload::prepare(&server).await?;
    let table = "CREATE TABLE shop.scans (id BIGINT UNSIGNED PRIMARY KEY, body LONGBLOB NOT NULL)";
    server.run(&[table]).await?;
    Ok(server)
}

fn table(name: &str, body: &str) -> Table {
    Table {
        name: name.into(),
        key: vec!["id".into()],
        columns: vec![("id".into(), "id".into()), ("body".into(), body.into())],
        defaults: [].into(),
    }
}

/// The worker reads one transaction of `volume` while the source writes it, and what it keeps is right.
async fn stays_within_its_bound(server: &Server, name: &str, write: Write) -> Result<()> {
    let (file, position) = server.position().await?;
    let start = json!({
        "mode": "FilePosition", "filePosition": {"file": file, "position": position},
    });
    let stream = Stream::new(name, server)?.with(&json!({
        "start": start, "archive": {"commit": {"maxBytes": null}},
    }))?;
    let worker = stream.start()?;
    streams(&worker).await?;
    let done = write.run(server, volume()?).await?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    worker.archived_all_of(server, ARCHIVED * site::scale()?.min(8)).await?;
    let memory = worker.process().most_memory()?;
    println!("{name}: {} changes, {} MiB of memory at most", done.changes, memory / MIB);
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])?;

    let archive = stream.archive();
    let facts = oracle::check_log(&archive).await?;
    let lineage = facts.raw.first().map(|raw| raw.lineage.clone()).unwrap_or_default();
    assert!(oracle::check_raw(&archive, &facts, &lineage, server).await?.0 > 0);
    let sums = oracle::sum(&archive, server, &[write.table()]).await?;
    let logged: u64 = facts.changes.iter().map(|(_, rows)| rows).sum();
    assert_eq!((logged, sums.rows), (done.changes, done.changes));
    let bound = MEMORY + COPIES * write.largest(server.kind());
    assert!(memory <= bound, "{memory} bytes of memory, not {bound}");
    // The long run would fill a disk with four of them.
    server.kill().await?;
    std::fs::remove_dir_all(server.data())?;
    std::fs::remove_dir_all(stream.folder())?;
    Ok(())
}

/// What the one transaction is made of.
#[derive(Clone, Copy)]
enum Write {
    Rows,
    LargeRows,
}

impl Write {
    fn table(self) -> Table {
        match self {
            Self::Rows => table("shop.blobs", "body"),
            Self::LargeRows => table("shop.scans", "LOWER(HEX(body))"),
        }
    }

    /// Bytes of the largest event, where it is large; MariaDB logs the statement too, each byte as two digits.
    fn largest(self, kind: ServerKind) -> u64 {
        match self {
            Self::Rows => 0,
            Self::LargeRows if kind.is_mysql() => SCAN,
            Self::LargeRows => 3 * SCAN,
        }
    }

    async fn run(self, server: &Server, volume: u64) -> Result<Done> {
        const ROW: u64 = 1_000;
        match self {
            Self::Rows => workload::large(server, volume / ROW, ROW as usize).await,
            Self::LargeRows => scans(server, volume / SCAN).await,
        }
    }
}

/// One transaction of so many rows of 16 MiB, of bytes that do not compress.
async fn scans(server: &Server, rows: u64) -> Result<Done> {
    let mut random = StdRng::seed_from_u64(5);
    let mut connection = server.connect().await?;
    connection.query_drop("BEGIN").await?;
    for row in 1..=rows {
        let mut body = vec![0; SCAN as usize];
        random.fill_bytes(&mut body);
        connection.exec_drop("INSERT INTO shop.scans VALUES (?, ?)", (row, body)).await?;
    }
    connection.query_drop("COMMIT").await?;
    connection.disconnect().await?;
    Ok(Done { changes: rows, transactions: 1 })
}

async fn a_large_transaction(kind: ServerKind) -> Result<()> {
    let _turn = TURN.lock().await;
    let server = server(kind).await?;
    stays_within_its_bound(&server, "large", Write::Rows).await
}

async fn large_rows(kind: ServerKind) -> Result<()> {
    let _turn = TURN.lock().await;
    let server = server(kind).await?;
    stays_within_its_bound(&server, "wide", Write::LargeRows).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_rows_fits_on_mysql_97() -> Result<()> {
    a_large_transaction(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_rows_fits_on_mariadb_118() -> Result<()> {
    a_large_transaction(ServerKind::MariaDb118).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_rows_of_16_mib_fits_on_mysql_97() -> Result<()> {
    large_rows(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_rows_of_16_mib_fits_on_mariadb_118() -> Result<()> {
    large_rows(ServerKind::MariaDb118).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_takes_next_to_nothing() -> Result<()> {
    const MEMORY: u64 = 24 * MIB;
    const SPAN: Duration = Duration::from_secs(60);
    let server = Server::builder(ServerKind::MySql97).start().await?;
    workload::prepare(&server).await?;
    // As it is by default, not as tests like it.
    let stream = Stream::new("idle", &server)?.with(&json!({
        "source": {"heartbeatInterval": null}, "checkpoint": {"interval": null},
        "archive": {"commit": {"maxDelay": null, "maxBytes": null}},
    }))?;
    let worker = stream.start()?;
    streams(&worker).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    let (process, since) = (worker.process(), Instant::now());
    let before = process.cpu()?;
    throughout("the worker is small", SPAN, || async {
        let memory = process.memory()?;
        Ok::<_, Failure>(Look::holds(memory <= MEMORY, || format!("{memory} bytes")))
    })
    .await?;
    let used = process.cpu()?.saturating_sub(before);
    let millicores = used.as_secs_f64() * 1000.0 / since.elapsed().as_secs_f64();
    println!("idle: {} KiB, {millicores:.1} millicores", process.memory()? / 1024);
    assert!(millicores <= 2.0, "{millicores} millicores");
    Ok(())
}
