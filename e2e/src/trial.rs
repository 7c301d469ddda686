//! A stream on trial: bursts of work, kills at chosen moments, and all oracles at the end.

use std::time::Duration;

use crds::position::FilePosition;
use crds::worker_status::{Phase, PositionFacet, WorkerStatus};
use serde_json::{Value, json};

use crate::oracle::{self, Folded, LogFacts};
use crate::proxy::HttpProxy;
use crate::s3::{Bucket, S3};
use crate::server::{Server, ServerKind};
use crate::wait::{Look, until};
use crate::worker::{Stream, Worker};
use crate::workload::{self, Done, Writers};
use crate::{Context, Failure, Result};

/// Longest a worker may take until it streams.
pub const STREAMS: Duration = Duration::from_secs(45);
/// Longest until everything written is durable.
pub const ARCHIVED: Duration = Duration::from_secs(180);
/// Longest that a worker may take to end in order.
pub const DRAINED: Duration = Duration::from_secs(60);

/// A source, a stream from it, and the count of what was written meanwhile.
#[derive(Debug)]
pub struct Trial {
    /// The source, with the workload's schema.
    pub server: Server,
    /// The stream.
    pub stream: Stream,
    /// What all bursts committed.
    pub done: Done,
    /// Connections that write in a burst.
    pub connections: u32,
    seed: u64,
    store: Option<(S3, Bucket, HttpProxy)>,
}

impl Trial {
    /// A stream to a volume.
    pub async fn on_volume(kind: ServerKind, name: &str, seed: u64) -> Result<Self> {
        Self::of(Server::builder(kind).start().await?, name, seed).await
    }

    /// A stream from this server to a volume.
    pub async fn of(server: Server, name: &str, seed: u64) -> Result<Self> {
        workload::prepare(&server).await?;
        let stream = from_here(Stream::new(name, &server)?, &server).await?;
        Ok(Self { server, stream, done: Done::default(), connections: 1, seed, store: None })
    }

    /// A stream to S3 through a proxy.
    pub async fn on_s3(kind: ServerKind, name: &str, seed: u64) -> Result<Self> {
        Self::on_volume(kind, name, seed).await?.moved_to_s3().await
    }

    /// The same trial with its archive on S3 through a proxy.
    pub async fn moved_to_s3(mut self) -> Result<Self> {
        let s3 = S3::start().await?;
        let bucket = s3.bucket("history").await?;
        let proxy = HttpProxy::start(s3.address()).await?;
        self.stream = self.stream.on_s3(&s3, &bucket, &proxy.endpoint())?;
        self.store = Some((s3, bucket, proxy));
        Ok(self)
    }

    /// The proxy in front of the store.
    pub fn proxy(&self) -> Result<&HttpProxy> {
        self.store.as_ref().map(|(_, _, proxy)| proxy).context(|| "this stream is on a volume")
    }

    /// The bucket.
    pub fn bucket(&self) -> Result<&Bucket> {
        self.store.as_ref().map(|(_, bucket, _)| bucket).context(|| "this stream is on a volume")
    }

    /// A proxy of its own in front of the store, for one of several workers.
    pub async fn another_proxy(&self) -> Result<HttpProxy> {
        let (s3, _, _) = self.store.as_ref().context(|| "this stream is on a volume")?;
        HttpProxy::start(s3.address()).await
    }

    /// The same stream for another process, past the proxy.
    pub fn second_past_the_proxy(&self) -> Result<Stream> {
        match &self.store {
            Some((s3, _, _)) => self.second_through(&s3.endpoint()),
            None => self.stream.second(),
        }
    }

    /// The same stream for another process, with the store at this endpoint.
    pub fn second_through(&self, endpoint: &str) -> Result<Stream> {
        self.stream.second()?.with(&json!({"archive": {"s3": {"endpoint": endpoint}}}))
    }

    /// Writers of the next burst; its transactions are others than those of earlier ones.
    pub async fn writers(&mut self) -> Result<Writers> {
        self.seed += 1;
        Writers::start(&self.server, self.seed, self.connections).await
    }

    /// Starts the worker and waits until it streams.
    pub async fn streaming(&self) -> Result<Worker> {
        let worker = self.stream.start()?;
        streams(&worker).await?;
        Ok(worker)
    }

    /// The position that the stored checkpoint names.
    pub fn checkpointed(&self) -> Result<Option<FilePosition>> {
        let file = self.stream.config.checkpoint.file.as_ref();
        let path = &file.context(|| "this stream has no checkpoint file")?.path;
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        let record: Value = serde_json::from_str(&text).context(|| "read the checkpoint")?;
        let (file, offset) = (record["file"].as_str(), record["pos"].as_u64());
        Ok(file.zip(offset).map(|(file, offset)| FilePosition::new(file, offset)))
    }

    /// Kills the worker with -9 once it has received and committed so much, while it has received more than is in
    /// the checkpoint. The report is from before the kill and the checkpoint from after it, so the order of the two
    /// is certain.
    /// `None` where the checkpoint had caught up by the time of the kill: that kill proves nothing.
    pub async fn kill_behind(
        &self,
        worker: &Worker,
        bytes: u64,
        commits: u64,
    ) -> Result<Option<(FilePosition, Option<FilePosition>)>> {
        let what = format!(
            "{commits} entries were written and {bytes} bytes received, not all of them durable"
        );
        let status = worker
            .until(what, STREAMS, |status| {
                status.counters.commits >= commits
                    && status.counters.bytes >= bytes
                    && is_behind(status)
            })
            .await?;
        worker.kill().await?;
        let received = status.received.as_ref().map(position).context(|| "nothing was received")?;
        let checkpointed = self.checkpointed()?;
        let behind = checkpointed.as_ref().is_none_or(|at| is_before(at, &received));
        Ok(behind.then_some((received, checkpointed)))
    }

    /// One transaction of so many rows of so many bytes.
    pub async fn large(&mut self, rows: u64, row_bytes: usize) -> Result<()> {
        self.done += workload::large(&self.server, rows, row_bytes).await?;
        Ok(())
    }

    /// Lets a worker archive everything, ends it in order and asks all oracles.
    pub async fn finish(&self, errors: &[&str]) -> Result<(LogFacts, Folded)> {
        self.server.run(&["FLUSH BINARY LOGS"]).await?;
        let worker = self.streaming().await?;
        worker.archived_all_of(&self.server, ARCHIVED).await?;
        let status = worker.terminate(DRAINED).await?;
        if !status.success() {
            return Err(Failure::new(format!("the worker ended with {status}, not in order")));
        }
        worker.check_log(errors)?;
        let tables = workload::tables(false);
        let archive = self.stream.archive();
        let (facts, folded) =
            oracle::check_all(&archive, &self.server, &tables, self.done.changes).await?;
        println!(
            "{}: {} changes of {} transactions in {} entries and {} epochs, {} raw objects, {} dead ones, \
             Delta version {}",
            self.server.kind().name(),
            self.done.changes,
            self.done.transactions,
            facts.entries,
            facts.epoch,
            facts.raw.len(),
            facts.unnamed.len(),
            folded.version,
        );
        // The last life swept; temporary files of killed writers wait until they are old.
        let left: Vec<_> = facts.unnamed.iter().filter(|key| !key.contains("/.tmp-")).collect();
        if !left.is_empty() {
            return Err(Failure::new(format!("dead objects are left: {left:?}")));
        }
        Ok((facts, folded))
    }
}

/// Waits until a worker streams.
pub async fn streams(worker: &Worker) -> Result<WorkerStatus> {
    worker.until("the worker streams", STREAMS, is_streaming).await
}

/// Waits for the end of a worker and gives its exit code.
pub async fn exit_code(worker: &Worker, limit: Duration) -> Result<i32> {
    let status = worker.process().wait(limit).await?;
    status.code().context(|| format!("the worker was ended by a signal: {status}"))
}

/// Waits until this key (or path in a proxy) of the log is there, by its file name.
pub async fn entry_exists(stream: &Stream, target: &str, limit: Duration) -> Result<()> {
    let archive = stream.archive();
    let name = entry_name(target);
    until(format!("log entry {name} exists"), limit, || async {
        let found = archive.list("log/").await?;
        let exists = found.iter().any(|(key, _)| entry_name(key) == name);
        Ok::<_, Failure>(Look::holds(exists, || format!("{} keys", found.len())))
    })
    .await
}

/// The last part of a key or of a request's path.
pub fn entry_name(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or(target);
    path.rsplit('/').next().unwrap_or(path)
}

/// From where the server stands now, so that the oracle counts only what the trial writes.
async fn from_here(stream: Stream, server: &Server) -> Result<Stream> {
    let (file, position) = server.position().await?;
    let position = json!({"file": file, "position": position});
    stream.with(&json!({"start": {"mode": "FilePosition", "filePosition": position}}))
}

fn is_streaming(status: &WorkerStatus) -> bool {
    status.phase == Phase::Streaming && status.source.connected
}

fn is_behind(status: &WorkerStatus) -> bool {
    let Some(received) = status.received.as_ref().map(position) else { return false };
    status.durable.as_ref().map(position).is_none_or(|durable| is_before(&durable, &received))
}

fn position(facet: &PositionFacet) -> FilePosition {
    FilePosition::new(facet.file.clone(), facet.offset)
}

fn is_before(one: &FilePosition, other: &FilePosition) -> bool {
    one.cmp_in_lineage(other).is_some_and(std::cmp::Ordering::is_lt)
}
