//! The worker on one shape: from its claim on the log to the entries that name what it read.
//!
//! A worker does not end with a file, it waits for more; so its time is taken from the stamps of the log's own files.
//! The last entry only waited for its delay to pass: the time runs to the one before.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use e2e::oracle;
use e2e::server::Server;
use e2e::trial::streams;
use e2e::worker::Stream;
use e2e::{Context, Failure, Result, archive::Archive};
use serde_json::{Value, json};

use crate::measure::Run;
use crate::shape::Load;

const LIMIT: Duration = Duration::from_secs(600);
const DRAINED: Duration = Duration::from_secs(60);

/// What a worker kept of a shape.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Until the entry before the last one; processor time and memory are of the whole run.
    pub run: Run,
    /// Bytes of binlog, and changes, up to that entry.
    pub bytes: u64,
    pub changes: u64,
    /// Bytes of all raw objects and of all change files.
    pub raw_size: u64,
    pub changes_size: u64,
}

/// Archives one shape to a volume, raw alone or with its change log, and compares the bytes with the server's.
pub async fn archive(server: &Server, load: &Load, with_changes: bool) -> Result<Kept> {
    let stream = Stream::new("bench", server)?.with(&json!({
        // As the peers are run; what TLS takes is the same for all.
        "source": {"tls": {"mode": "Disabled"}, "heartbeatInterval": null},
        "start": {
            "mode": "FilePosition", "filePosition": {"file": load.file, "position": 4},
        },
        "checkpoint": {"interval": null},
        "archive": {
            "commit": {"maxDelay": "1s", "maxBytes": null}, "changes": {"enabled": with_changes},
        },
    }))?;
    let worker = stream.start()?;
    worker.archived_all_of(server, LIMIT).await?;
    let (cpu, memory) = (worker.process().cpu()?, worker.process().most_memory()?);
    if !worker.terminate(DRAINED).await?.success() {
        return Err(Failure::new("the worker did not end in order"));
    }
    worker.check_log(&[])?;
    let archive = stream.archive();
    let facts = oracle::check_log(&archive).await?;
    let lineage = facts.raw.first().map(|raw| raw.lineage.clone()).unwrap_or_default();
    oracle::check_raw(&archive, &facts, &lineage, server).await?;
    if with_changes {
        let rows: u64 = facts.changes.iter().map(|(_, rows)| rows).sum();
        if rows != load.changes {
            let written = load.changes;
            return Err(Failure::new(format!("{written} changes were written, {rows} are kept")));
        }
    }
    let size = async |prefix| -> Result<u64> {
        Ok(archive.list(prefix).await?.iter().map(|(_, size)| size).sum())
    };
    let sizes = (size("raw/").await?, size("changes/date=").await?);
    let (wall, bytes, changes) = measured(&archive).await?;
    let _removed = std::fs::remove_dir_all(stream.folder());
    let run = Run { wall, cpu, memory };
    Ok(Kept { run, bytes, changes, raw_size: sizes.0, changes_size: sizes.1 })
}

/// MiB of memory at most, and millicores, of a worker that has nothing to do for a minute.
pub async fn idle(server: &Server) -> Result<(f64, f64)> {
    const SPAN: Duration = Duration::from_secs(60);
    let (file, position) = server.position().await?;
    let stream = Stream::new("idle", server)?.with(&json!({
        "source": {"heartbeatInterval": null}, "checkpoint": {"interval": null},
        "start": {
            "mode": "FilePosition", "filePosition": {"file": file, "position": position},
        },
        "archive": {"commit": {"maxDelay": null, "maxBytes": null}},
    }))?;
    let worker = stream.start()?;
    streams(&worker).await?;
    let before = worker.process().cpu()?;
    tokio::time::sleep(SPAN).await;
    let used = worker.process().cpu()?.saturating_sub(before);
    let memory = worker.process().most_memory()? as f64 / f64::from(1 << 20);
    Ok((memory, used.as_secs_f64() * 1000.0 / SPAN.as_secs_f64()))
}

async fn measured(archive: &Archive) -> Result<(Duration, u64, u64)> {
    let Archive::Volume(root) = archive else {
        return Err(Failure::new("the bench is for volumes"));
    };
    let (mut claimed, mut commits) = (None, Vec::new());
    for (n, (_, entry)) in archive.entries().await?.iter().enumerate() {
        let stamp = stamp(&root.join(format!("log/{:08}/{n:012}.json", n / 10_000)))?;
        match entry["kind"].as_str() {
            Some("claim") => claimed = Some(stamp),
            Some("commit") => commits.push((stamp, entry.clone())),
            _ => {}
        }
    }
    commits.pop();
    let (claimed, (end, last)) = claimed
        .zip(commits.last())
        .context(|| "the shape is too small: the log has not two commits")?;
    let bytes = last["raw"]["to"]["pos"].as_u64().context(|| "an entry without a position")?;
    let rows = |entry: &Value| entry["changes"]["rows"].as_u64().unwrap_or_default();
    Ok((end.saturating_sub(claimed), bytes, commits.iter().map(|(_, entry)| rows(entry)).sum()))
}

/// When a file got its name, since 1970: the last thing that happens to an entry.
fn stamp(path: &Path) -> Result<Duration> {
    let metadata = std::fs::metadata(path).context(|| format!("look at {}", path.display()))?;
    let nanos = metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}
