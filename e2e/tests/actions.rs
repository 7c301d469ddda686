//! What people ask of a stream while it lives: a commit at once, the checkpoint moved, a pause and a stop.

#[path = "actions/forward.rs"]
mod forward;
#[path = "actions/refused.rs"]
mod refused;
#[path = "actions/reset.rs"]
mod reset;
#[path = "actions/states.rs"]
mod states;

use std::time::Duration;

use crds::conditions::Reason;
use crds::position::FilePosition;
use crds::v1alpha1::{StartMode, StartOrigin};
use crds::worker_status::{ActionFacet, Outcome, Phase, WorkerStatus};
use e2e::archive::Archive;
use e2e::oracle;
use e2e::proxy::{HttpProxy, Pick};
use e2e::s3::S3;
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::worker::{Stream, Worker};
use e2e::workload;
use e2e::{Context, Failure, Result, site};
use serde_json::{Value, json};

const STREAMS: Duration = Duration::from_secs(45);
const SHOWN: Duration = Duration::from_secs(30);
const ARCHIVED: Duration = Duration::from_secs(60);
const DRAINED: Duration = Duration::from_secs(30);
/// A commit that was asked for, where the configuration's own delay is minutes.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A server with the workload's schema, and a table for rows that nobody shall read.
async fn shop(kind: ServerKind) -> Result<Server> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    server.run(&["CREATE TABLE shop.lost (id INT PRIMARY KEY)"]).await?;
    Ok(server)
}

/// A stream that begins where the server stands now.
async fn from_here(name: &str, server: &Server) -> Result<Stream> {
    let (file, position) = server.position().await?;
    let at = json!({"file": file, "position": position});
    let start = json!({"mode": "FilePosition", "filePosition": at});
    Stream::new(name, server)?.with(&json!({"start": start}))
}

async fn streaming(worker: &Worker) -> Result<WorkerStatus> {
    let streams =
        |status: &WorkerStatus| status.phase == Phase::Streaming && status.source.connected;
    worker.until("the stream runs", STREAMS, streams).await
}

/// Ends the worker in order once all of the server's binlog is durable.
async fn finish(worker: &Worker, server: &Server) -> Result<()> {
    worker.archived_all_of(server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}

/// A stream that has archived a hundred changes and is stopped, with where it stands.
struct Stopped {
    server: Server,
    stream: Stream,
    stands: FilePosition,
    changes: u64,
}

impl Stopped {
    async fn set(kind: ServerKind, name: &str) -> Result<Self> {
        let server = shop(kind).await?;
        let stream = from_here(name, &server).await?;
        let worker = stream.start()?;
        streaming(&worker).await?;
        let changes = workload::large(&server, 100, 50).await?.changes;
        finish(&worker, &server).await?;
        let stands = stands(&stream).await?;
        Ok(Self { server, stream, stands, changes })
    }

    /// Rows that are given up.
    async fn lose(&self, id: u32) -> Result<()> {
        self.server.run(&[&format!("INSERT INTO shop.lost VALUES ({id})")]).await
    }

    /// Rows that are wanted.
    async fn write(&mut self) -> Result<()> {
        self.changes += workload::large(&self.server, 100, 50).await?.changes;
        Ok(())
    }

    /// The stream with this request.
    fn asking(&self, key: &str, value: &str) -> Result<Stream> {
        self.stream.clone().with(&json!({"consents": {key: value, "by": "the test"}}))
    }

    /// What must hold whatever was asked: the log is a chain, raw bytes are the server's, the change log holds each
    /// wanted row once and no other.
    async fn sound(&self) -> Result<()> {
        let archive = self.stream.archive();
        let facts = oracle::check_log(&archive).await?;
        let newest = facts.raw.iter().map(|raw| raw.lineage.clone()).max();
        let newest = newest.context(|| "nothing was archived")?;
        oracle::check_raw(&archive, &facts, &newest, &self.server).await?;
        let folded = oracle::fold(&archive, &self.server, &workload::tables(false)).await?;
        folded.check()?;
        assert_eq!(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>(), self.changes);
        assert_eq!(folded.rows, self.changes);
        Ok(())
    }
}

/// Where the archive stands. MariaDB may have written a checkpoint of its binlog since, so the server does not tell.
async fn stands(stream: &Stream) -> Result<FilePosition> {
    let at = stream.archive().entries().await?.pop().map(|(_, entry)| entry["at"].clone());
    let at = at.context(|| "the log is empty")?;
    let (file, offset) = (at["file"].as_str(), at["pos"].as_u64());
    Ok(FilePosition::new(file.unwrap_or_default(), offset.unwrap_or_default()))
}

/// What a request confirms: the archive and its newest entry.
async fn newest(stream: &Stream) -> Result<String> {
    let entry = stream.archive().entries().await?.pop().context(|| "the log is empty")?.1;
    let archive = entry["archive"].as_str().unwrap_or_default();
    Ok(format!("{archive}@{}", entry["n"]))
}

/// Entries of one kind.
async fn entries(archive: &Archive, kind: &str) -> Result<Vec<Value>> {
    let all = archive.entries().await?.into_iter().map(|(_, entry)| entry);
    Ok(all.filter(|entry| entry["kind"] == kind).collect())
}

/// Waits for the answer to a request.
async fn answered(worker: &Worker, action: &str, value: &str) -> Result<ActionFacet> {
    let is = |facet: &ActionFacet| facet.type_ == action && facet.requested == value;
    let what = format!("{action} {value} is answered");
    let status = worker
        .until(what, SHOWN, |status| status.checkpoint_action.as_ref().is_some_and(is))
        .await?;
    let facet = status.checkpoint_action.context(|| "no answer")?;
    println!("{action}: {:?}: {}", facet.outcome, facet.message);
    Ok(facet)
}

async fn received_all_of(worker: &Worker, server: &Server) -> Result<WorkerStatus> {
    let (file, offset) = server.position().await?;
    worker
        .until(format!("{file}:{offset} was received"), SHOWN, |status| {
            let received = status.received.as_ref();
            received.is_some_and(|at| at.file == file && at.offset >= offset)
        })
        .await
}

async fn committed(worker: &Worker, value: &str) -> Result<()> {
    let done = |status: &WorkerStatus| {
        status.last_handled_action.as_ref().is_some_and(|action| {
            (action.type_.as_str(), action.requested.as_str()) == ("commit-now", value)
                && action.outcome == Outcome::Done
        })
    };
    let status = worker.until(format!("commit-now {value} is done"), AT_ONCE, done).await?;
    println!("{:?}", status.last_handled_action);
    Ok(())
}

async fn a_commit_is_made_at_once(kind: ServerKind) -> Result<()> {
    let server = shop(kind).await?;
    let stream = from_here("hurry", &server).await?;
    let stream = stream.with(&json!({"archive": {"commit": {"maxDelay": "10m"}}}))?;
    let asking = |value: &str| stream.clone().with(&json!({"consents": {"commitNow": value}}));
    let worker = stream.start()?;
    streaming(&worker).await?;
    let mut done = workload::large(&server, 500, 50).await?;
    let before = received_all_of(&worker, &server).await?.archive.n;
    let (one, two) = (asking("one")?, asking("two")?);
    one.write()?;
    committed(&worker, "one").await?;
    worker.archived_all_of(&server, AT_ONCE).await?;
    let once = worker.status().await?.archive.n;
    assert!(once > before, "{before:?} to {once:?}");

    done += workload::large(&server, 500, 50).await?;
    received_all_of(&worker, &server).await?;
    one.clone().with(&json!({"consents": {"by": "another"}}))?.write()?;
    throughout("a value is carried out once", Duration::from_secs(4), || async {
        let n = worker.status().await?.archive.n;
        Ok::<_, Failure>(Look::holds(n == once, || format!("{once:?} to {n:?}")))
    })
    .await?;

    worker.kill().await?;
    let worker = one.start()?;
    streaming(&worker).await?;
    committed(&worker, "one").await?;
    received_all_of(&worker, &server).await?;
    two.write()?;
    committed(&worker, "two").await?;
    worker.archived_all_of(&server, AT_ONCE).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])?;
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_made_at_once_and_once_for_each_value_on_mysql_97() -> Result<()> {
    a_commit_is_made_at_once(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_made_at_once_and_once_for_each_value_on_mariadb_11_8() -> Result<()> {
    a_commit_is_made_at_once(ServerKind::MariaDb118).await
}
