//! An archive that takes nothing for a while: what is received meanwhile waits in memory and on disk, within bounds.

use e2e::proxy::HttpProxy;
use e2e::s3::Bucket;
use e2e::workload::Done;

use super::*;

const MIB: u64 = 1 << 20;
/// More than memory, the smallest spool and what is under way hold together.
const TRANSACTIONS: u64 = 48;
const ROWS: u64 = 48;
const ROW_BYTES: usize = 87_000;
/// The most memory that a worker may ever take, whatever waits.
const MEMORY: u64 = 300 * MIB;
const CAUGHT_UP: Duration = Duration::from_secs(180);

/// A stream whose bucket stopped to answer, and what was written since.
struct Blocked {
    server: Server,
    _s3: S3,
    _bucket: Bucket,
    proxy: HttpProxy,
    stream: Stream,
    worker: Worker,
    done: Done,
    /// Where the source stood when the bucket stopped, and where it stands now.
    from: u64,
    end: u64,
}

impl Blocked {
    async fn behind(kind: ServerKind, name: &str, size: &str) -> Result<Self> {
        let server = shop(kind).await?;
        let s3 = S3::start().await?;
        let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
        let stream = Stream::new(name, &server)?.on_s3(&s3, &bucket, &proxy.endpoint())?;
        let stream = stream.with(&json!({"spool": {"size": size}}))?;
        let stream = from_here(stream, &server).await?;
        let worker = stream.start()?;
        streaming(&worker).await?;
        let mut done = workload::large(&server, 100, 100).await?;
        worker.archived_all_of(&server, ARCHIVED).await?;
        proxy.black_hole(Pick::all());
        let (file, from) = server.position().await?;
        for _ in 0..TRANSACTIONS {
            done += workload::large(&server, ROWS, ROW_BYTES).await?;
        }
        let (same, end) = server.position().await?;
        assert_eq!(file, same, "offsets of two files say nothing");
        Ok(Self { server, _s3: s3, _bucket: bucket, proxy, stream, worker, done, from, end })
    }

    /// Bytes on disk, by the metric.
    async fn spooled(&self) -> Result<u64> {
        let (_, text) = self.worker.get("/metrics").await?;
        let name = "binlog_worker_spooled_bytes ";
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        value.context(|| format!("no {name}in {text}"))
    }

    /// Offset up to which the worker has read.
    async fn received(&self) -> Result<u64> {
        let received = self.worker.status().await?.received.context(|| "nothing was received")?;
        Ok(received.offset)
    }

    /// Files in the spool.
    fn files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(self.stream.config.work_dir.join("spool"))?.count())
    }

    /// Lets the bucket answer again: everything becomes durable and is whole.
    async fn mended(self) -> Result<()> {
        self.proxy.clear();
        self.worker.archived_all_of(&self.server, CAUGHT_UP).await?;
        ready(&self.worker, SHOWN).await?;
        assert_eq!((self.files()?, self.spooled().await?), (0, 0), "the spool is empty");
        let memory = self.worker.process().most_memory()?;
        println!("{}: {} MiB of memory at most", self.stream.config.name, memory / MIB);
        assert!(memory < MEMORY, "{memory} bytes of memory");
        assert!(self.worker.terminate(DRAINED).await?.success());
        let (archive, changes) = (self.stream.archive(), self.done.changes);
        oracle::check_all(&archive, &self.server, &workload::tables(false), changes).await?;
        self.worker.check_log(&[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_archive_is_absorbed_by_the_disk_and_reading_goes_on() -> Result<()> {
    let blocked = Blocked::behind(ServerKind::MySql97, "absorbed", "1Gi").await?;
    let end = blocked.end;
    blocked
        .worker
        .until("all of it is received", ARCHIVED, |status| {
            status.received.as_ref().is_some_and(|received| received.offset >= end)
        })
        .await?;
    let (spooled, files) = (blocked.spooled().await?, blocked.files()?);
    println!("absorbed: {} MiB in {files} files", spooled / MIB);
    let written = end - blocked.from;
    assert!(written > 180 * MIB && spooled > 32 * MIB, "{written} written, {spooled} on disk");
    let memory = blocked.worker.process().most_memory()?;
    assert!(memory < MEMORY, "{memory} bytes of memory while it waits");
    blocked.mended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_stops_reading_at_its_bound_and_loses_nothing() -> Result<()> {
    const SIZE: u64 = 64 * MIB;
    let blocked = Blocked::behind(ServerKind::MariaDb118, "full", "64Mi").await?;
    until("the spool is full", ARCHIVED, || async {
        let spooled = blocked.spooled().await?;
        Ok::<_, Failure>(Look::holds(spooled > SIZE * 3 / 4, || format!("{spooled} bytes")))
    })
    .await?;
    throughout("reading stands and the bound holds", Duration::from_secs(8), || async {
        let (spooled, received) = (blocked.spooled().await?, blocked.received().await?);
        let holds = spooled <= SIZE && received < blocked.end;
        Ok::<_, Failure>(Look::holds(holds, || format!("{spooled} on disk, {received} received")))
    })
    .await?;
    let received = blocked.received().await? - blocked.from;
    println!("full: {} MiB received, {} files", received / MIB, blocked.files()?);
    assert!(received > 64 * MIB, "{received} bytes received");
    blocked.mended().await
}
