//! Every type of every server at its edges: inserted, updated to the next value, to NULL and back, and
//! deleted; each value of the change log is compared with what the server itself showed at that moment.
//!
//! No expected value stands here: `SELECT` with HEX, CAST and CONVERT gives them all. Two values that
//! differ on the server must differ in the change log, too.

#[path = "types/binary.rs"]
mod binary;
#[path = "types/charsets.rs"]
mod charsets;
#[path = "types/documents.rs"]
mod documents;
#[path = "types/images.rs"]
mod images;
#[path = "types/members.rs"]
mod members;
#[path = "types/numbers.rs"]
mod numbers;
#[path = "types/shapes.rs"]
mod shapes;
#[path = "types/times.rs"]
mod times;

use std::time::Duration;

use e2e::oracle;
use e2e::server::{Server, ServerKind};
use e2e::trial::streams;
use e2e::types::{self, Disagreements, SCHEMA, Session, Table, Trial};
use e2e::worker::{Stream, Worker};
use e2e::{Failure, Result};
use serde_json::json;

const ARCHIVED: Duration = Duration::from_secs(120);
const DRAINED: Duration = Duration::from_secs(60);

/// A server, a worker that streams it to a volume, and a connection.
async fn start(kind: ServerKind) -> Result<(Server, Stream, Worker, Session)> {
    let server = Server::builder(kind).start().await?;
    let (file, position) = server.position().await?;
    let from = json!({"file": file, "position": position});
    let stream = Stream::new("types", &server)?
        .with(&json!({"start": {"mode": "FilePosition", "filePosition": from}}))?;
    let worker = stream.start()?;
    streams(&worker).await?;
    let session = Session::open(&server).await?;
    Ok((server, stream, worker, session))
}

/// Lets the worker end in order with everything published, and reads the change log.
async fn log(server: &Server, stream: &Stream, worker: &Worker) -> Result<Vec<oracle::Change>> {
    let status = worker.archived_all_of(server, ARCHIVED).await?;
    if !status.decoding.healthy {
        return Err(Failure::new(format!("tables stopped: {:?}", status.decoding)));
    }
    if !worker.terminate(DRAINED).await?.success() {
        return Err(Failure::new("the worker did not end in order"));
    }
    worker.check_log(&[])?;
    oracle::changes(&stream.archive(), SCHEMA).await
}

/// All tables that are taken through all values of their columns.
async fn tables(kind: ServerKind, session: &mut Session) -> Result<Vec<Table>> {
    let mut tables = plain_tables(kind);
    tables.extend(members::tables(session).await?);
    tables.extend(charsets::tables(session).await?);
    Ok(tables)
}

/// Those that are the same whatever the server ships.
fn plain_tables(kind: ServerKind) -> Vec<Table> {
    let mut tables = numbers::tables();
    tables.extend(times::tables(kind));
    tables.extend(binary::tables(kind));
    tables.extend(documents::tables(kind));
    tables.extend(shapes::tables(kind));
    tables
}

async fn every_type_at_its_edges(kind: ServerKind) -> Result<()> {
    let (server, stream, worker, mut session) = start(kind).await?;
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(charsets::all_characters(&mut session).await?);
    let mut wrong = Disagreements::default();
    for table in tables(kind, &mut session).await? {
        let name = table.name.clone();
        match table.run(&mut session).await {
            Ok(trial) => trials.push(trial),
            Err(failure) => wrong.add(&name, failure),
        }
    }
    trials.extend(shapes::trials(kind, &mut session).await?);
    let log = log(&server, &stream, &worker).await?;
    for trial in &trials {
        trial.check(&log, &mut wrong);
    }
    let changes: usize = trials.iter().map(Trial::changes).sum();
    println!(
        "{}: {changes} changes of {} tables, {} values compared",
        kind.name(),
        trials.len(),
        wrong.compared
    );
    assert!(log.len() >= changes, "{} rows in the log", log.len());
    types::agree(&wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_gives_every_type_as_it_shows_it() -> Result<()> {
    every_type_at_its_edges(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_gives_every_type_as_it_shows_it() -> Result<()> {
    every_type_at_its_edges(ServerKind::MariaDb1011).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_gives_every_type_as_it_shows_it() -> Result<()> {
    every_type_at_its_edges(ServerKind::MariaDb118).await
}

/// Starts nothing: the table of README.md names every type that is tested above.
#[test]
fn the_readme_says_how_every_type_looks() -> Result<()> {
    let readme = std::fs::read_to_string(e2e::site::tree().join("README.md"))?;
    let listed: String = readme.lines().filter(|line| line.starts_with("| ")).collect();
    let kinds = ServerKind::ALL.into_iter();
    let columns = kinds.flat_map(plain_tables).flat_map(|table| table.columns);
    let mut names: Vec<_> = columns.map(|column| word(&column.definition).to_owned()).collect();
    names.sort();
    names.dedup();
    let missing: Vec<_> = names.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(missing.is_empty() && names.len() > 30, "not in README.md: {missing:?} of {names:?}");
    Ok(())
}

/// The type's name.
fn word(definition: &str) -> &str {
    definition.split(|char: char| !char.is_ascii_alphanumeric()).next().unwrap_or_default()
}
