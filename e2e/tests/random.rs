//! Tables and statements that a seed decides, on every server: the change log, folded, is what the server holds at the
//! end, value by value, and each row in it is what another decoder reads in the same binlog.
//!
//! `SEED=n` takes other ones, and repeats what a round of `SCALE=10` printed; `TABLES` and `STATEMENTS` narrow it. Which
//! values the server itself shows is asked in the change log's own forms (`e2e::types`). Left out: columns that MariaDB
//! generates (README.md), partial row images (`types`), and what an ALTER makes of the rows of a table without a key,
//! which is emptied before.

#[path = "types/binary.rs"]
mod binary;
#[path = "types/documents.rs"]
mod documents;
#[path = "types/numbers.rs"]
mod numbers;
#[path = "types/times.rs"]
mod times;

#[path = "random/columns.rs"]
mod columns;
#[path = "random/peer.rs"]
mod peer;
#[path = "random/subject.rs"]
mod subject;
#[path = "random/writer.rs"]
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::oracle::{self, Contents};
use e2e::server::{Server, ServerKind};
use e2e::trial::{DRAINED, streams};
use e2e::types::{self, Cell, Disagreements, SCHEMA, Session, check_present};
use e2e::worker::Stream;
use e2e::{Context, Failure, Result, site};
use serde_json::json;
use tokio::task::JoinSet;

use columns::Pool;
use subject::Subject;
use writer::{Count, Writer};

/// Connections that write at once, each on tables of its own.
const WRITERS: u64 = 4;
/// Of so many statements the server may refuse one.
const REFUSED: u64 = 10;
/// Of the first round.
const SEED: u64 = 20_261_127;
const ARCHIVED: Duration = Duration::from_secs(300);

fn number(variable: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(variable) {
        Err(_) => Ok(otherwise),
        Ok(text) => text.parse().context(|| format!("{variable}={text}: give a number")),
    }
}

async fn the_fold_is_what_the_server_holds(kind: ServerKind) -> Result<()> {
    let seed = number("SEED", SEED)?;
    let server = Server::builder(kind).start().await?;
    // Rounds of the short run's size: what a reader of the log holds in memory does not grow with the scale.
    for round in 0..u64::from(site::scale()?) {
        let seed = seed + round;
        println!("{}: SEED={seed}", kind.name());
        Round::of(&server, seed)?
            .run()
            .await
            .map_err(|failure| Failure::new(format!("{} SEED={seed}: {failure}", kind.name())))?;
    }
    Ok(())
}

struct Round<'a> {
    server: &'a Server,
    seed: u64,
    tables: u64,
    statements: u64,
}

impl<'a> Round<'a> {
    fn of(server: &'a Server, seed: u64) -> Result<Self> {
        let (tables, statements) = (number("TABLES", 200)?, number("STATEMENTS", 500)?);
        Ok(Self { server, seed, tables, statements })
    }

    async fn run(&self) -> Result<()> {
        let began = Instant::now();
        let from = self.server.position().await?;
        let at = json!({"file": from.0, "position": from.1});
        let stream = Stream::new("random", self.server)?
            .with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))?;
        let worker = stream.start()?;
        streams(&worker).await?;
        let (subjects, count) = self.write().await?;
        let written = began.elapsed();
        let status = worker.archived_all_of(self.server, ARCHIVED).await?;
        if !status.decoding.healthy {
            return Err(Failure::new(format!("tables stopped: {:?}", status.decoding)));
        }
        if !worker.terminate(DRAINED).await?.success() {
            return Err(Failure::new("the worker did not end in order"));
        }
        worker.check_log(&[])?;
        let archived = began.elapsed();
        let archive = stream.archive();
        let facts = oracle::check_log(&archive).await?;
        for (_, entry) in archive.entries().await? {
            assert!(entry["gaps"].as_array().is_none_or(Vec::is_empty), "{}", entry["gaps"]);
        }
        let keys = subjects.iter().map(|subject| (subject.name.clone(), subject.key())).collect();
        let contents = oracle::contents(&archive, SCHEMA, &keys).await?;
        let compared = compare(self.server, &subjects, &contents).await?;
        let Count { done, refused, definitions } = count;
        println!(
            "{}: SEED={}: {} tables, {done} statements, {definitions} of them on definitions, and {refused} that the \
             server refused; {} changes in {} entries, {compared} values compared; written in {written:.0?}, archived \
             after {archived:.0?}, compared after {:.0?}",
            self.server.kind().name(),
            self.seed,
            subjects.len(),
            contents.rows,
            facts.entries,
            began.elapsed(),
        );
        let agreed = peer::compare(self.server, &from, contents.changes()?).await?;
        println!(
            "{}: mysql_common: {agreed}; after {:.0?}",
            self.server.kind().name(),
            began.elapsed()
        );
        assert!(refused * REFUSED <= done + refused, "{refused} of {done} statements were refused");
        assert!(agreed.is_mostly_read(), "{agreed}");
        Ok(())
    }

    /// All tables through all their statements, as they stand at the end.
    async fn write(&self) -> Result<(Vec<Subject>, Count)> {
        let kind = self.server.kind();
        let pool = Arc::new(Pool::of(kind, &mut Session::open(self.server).await?).await?);
        let mut running = JoinSet::new();
        for number in 0..WRITERS {
            let session = Session::open(self.server).await?;
            let mut writer = Writer::new(session, Arc::clone(&pool), kind);
            let Self { seed, tables, statements, .. } = *self;
            running.spawn(async move {
                let mut written = Vec::new();
                for table in (number..tables).step_by(WRITERS as usize) {
                    let name = format!("t{seed}_{table}");
                    // A table is the same however many there are.
                    let seed = seed.wrapping_mul(1_000_003) ^ table;
                    let ran = writer.table(&name, seed, statements).await;
                    written
                        .push(ran.map_err(|failure| Failure::new(format!("{name}: {failure}")))?);
                }
                Ok::<_, Failure>(written)
            });
        }
        let (mut subjects, mut counts) = (Vec::new(), Count::default());
        while let Some(written) = running.join_next().await {
            for (subject, count) in written?? {
                subjects.push(subject);
                counts += count;
            }
        }
        Ok((subjects, counts))
    }
}

/// Compares what was folded with what the server shows; gives the number of values.
async fn compare(server: &Server, subjects: &[Subject], contents: &Contents) -> Result<u64> {
    let mut session = Session::open(server).await?;
    let mut wrong = Disagreements::default();
    for subject in subjects {
        let rows = subject.table().rows(&mut session).await?;
        same_rows(subject, contents.images(&subject.name)?, rows, &mut wrong)?;
    }
    types::agree(&wrong)?;
    Ok(wrong.compared)
}

/// Each image is a row of the server, and none of both is left. Rows may share an id where there is no key for it.
fn same_rows(
    subject: &Subject,
    images: Vec<String>,
    rows: Vec<(u64, Vec<Cell>)>,
    wrong: &mut Disagreements,
) -> Result<()> {
    let table = subject.table();
    let names = table.columns.iter().map(|column| column.name.as_str());
    let expected: Vec<_> = ["id", "step"].into_iter().chain(names).collect();
    let mut by_id: BTreeMap<u64, Vec<Vec<Cell>>> = BTreeMap::new();
    for (id, row) in rows {
        by_id.entry(id).or_default().push(row);
    }
    for image in images {
        let id =
            types::numbers_as_texts(&image)?["id"]["#"].as_str().and_then(|id| id.parse().ok());
        let id: u64 = id.context(|| format!("an image without an id: {image}"))?;
        let rows = by_id.entry(id).or_default();
        // The right one of several; the last says what is wrong.
        let is = |row: &Vec<Cell>| {
            let mut tried = Disagreements::default();
            check_present(&table, id, &image, row, &mut tried);
            tried.is_empty()
        };
        let at = rows.iter().position(is).or(rows.len().checked_sub(1));
        let Some(row) = at.map(|at| rows.swap_remove(at)) else {
            wrong.add(&table.name, format!("{id} is not on the server"));
            continue;
        };
        let ours = check_present(&table, id, &image, &row, wrong);
        if ours != expected {
            wrong.add(&table.name, format!("columns are {ours:?}, not {expected:?}"));
        }
    }
    for (id, left) in by_id.into_iter().filter(|(_, left)| !left.is_empty()) {
        wrong.add(&table.name, format!("{} rows of {id} are only on the server", left.len()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fold_is_what_mysql_97_holds() -> Result<()> {
    the_fold_is_what_the_server_holds(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fold_is_what_mariadb_10_11_holds() -> Result<()> {
    the_fold_is_what_the_server_holds(ServerKind::MariaDb1011).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fold_is_what_mariadb_11_8_holds() -> Result<()> {
    the_fold_is_what_the_server_holds(ServerKind::MariaDb118).await
}
