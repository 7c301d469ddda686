//! What bad input and bad days do to a worker outside Kubernetes: the closed reason and the mend in its report,
//! nothing written that should not be, nothing lost when things come back, and no restart of the process.

#[path = "faults/away.rs"]
mod away;
#[path = "faults/broken.rs"]
mod broken;
#[path = "faults/slow.rs"]
mod slow;
#[path = "faults/way.rs"]
mod way;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crds::conditions::Reason;
use crds::worker_status::{LagState, Phase};
use e2e::oracle;
use e2e::process::Process;
use e2e::proxy::{HttpProxy, Pick, TcpProxy};
use e2e::s3::S3;
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::worker::{Stream, Worker};
use e2e::workload::{self, Writers};
use e2e::{Context, Failure, Result, http, site};
use hyper::StatusCode;
use serde_json::json;

/// Longest until a fault shows, and until a mended stream runs: what the product promises.
const SHOWN: Duration = Duration::from_secs(30);
/// Longest until a silent connection is taken for lost: what the product promises.
const SILENT: Duration = Duration::from_secs(60);
const STREAMS: Duration = Duration::from_secs(30);
const ARCHIVED: Duration = Duration::from_secs(60);
const DRAINED: Duration = Duration::from_secs(30);

/// A server with the workload's schema.
async fn shop(kind: ServerKind) -> Result<Server> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    Ok(server)
}

/// `stream`, beginning where the server stands now.
async fn from_here(stream: Stream, server: &Server) -> Result<Stream> {
    let (file, position) = server.position().await?;
    let at = json!({"file": file, "position": position});
    stream.with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))
}

async fn streaming(worker: &Worker) -> Result<()> {
    let streams = |status: &crds::worker_status::WorkerStatus| {
        status.phase == Phase::Streaming && status.source.connected
    };
    worker.until("the stream runs", STREAMS, streams).await.map(drop)
}

/// Waits until `/readyz` says no for this reason.
async fn unready(worker: &Worker, limit: Duration, reason: Reason) -> Result<()> {
    until(format!("/readyz says {reason}"), limit, || async {
        worker.process().check_runs()?;
        let (status, text) = worker.get("/readyz").await?;
        let said =
            status == StatusCode::SERVICE_UNAVAILABLE && text.starts_with(&format!("{reason}: "));
        Ok::<_, Failure>(Look::holds(said, || format!("{status} {text}")))
    })
    .await
}

async fn ready(worker: &Worker, limit: Duration) -> Result<()> {
    until("/readyz says yes", limit, || async {
        let (status, text) = worker.get("/readyz").await?;
        Ok::<_, Failure>(Look::holds(status == StatusCode::OK, || format!("{status} {text}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typo_in_the_configuration_ends_the_process_and_names_the_field() -> Result<()> {
    let stream = Stream::from_port("typo", site::free_port()?)?;
    let good = stream.config.to_yaml().context(|| "write the configuration")?;
    let file = stream.folder().join("typo.yaml");
    for (right, wrong, named) in [
        ("heartbeatInterval:", "heartbeatIntervall:", "source.heartbeatIntervall"),
        ("heartbeatInterval: 1s", "heartbeatInterval: 1 day", "source.heartbeatInterval"),
        ("mode: Earliest", "mode: Oldest", "start.mode"),
        ("store: File", "store: Fil", "checkpoint.store"),
    ] {
        assert!(good.contains(right), "{right} is not in {good}");
        std::fs::write(&file, good.replace(right, wrong))?;
        let output =
            Command::new(site::built("worker")?).args(["run", "--config"]).arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{wrong}: {said}");
        assert!(said.contains(named), "{wrong}: {named} is not named: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typo_in_the_configuration_of_a_pod_is_told_and_waited_for() -> Result<()> {
    let server = shop(ServerKind::MariaDb118).await?;
    let stream = from_here(Stream::new("pod-typo", &server)?, &server).await?;
    let good = stream.config.to_yaml().context(|| "write the configuration")?;
    let file = stream.folder().join("typo.yaml");
    std::fs::write(&file, good.replace("heartbeatInterval:", "heartbeatIntervall:"))?;
    let mut command = Command::new(site::built("worker")?);
    command.args(["run", "--config"]).arg(&file).env("POD_UID", "e1cfaf8a");
    let process = Process::spawn("pod-typo", command, &stream.folder().join("typo.log"))?;
    let says = async |address: SocketAddr, what: &str| {
        until(format!("{address} says {what}"), SHOWN, || async {
            process.check_runs()?;
            let (_, text) = http::get(address, "/readyz", STREAMS).await?;
            Ok::<_, Failure>(Look::holds(text.contains(what), || text.clone()))
        })
        .await
    };
    let everywhere = SocketAddr::from(([127, 0, 0, 1], 8080));
    says(everywhere, "ConfigInvalid").await?;
    says(everywhere, "source.heartbeatIntervall").await?;
    std::fs::write(&file, &good)?;
    let own = stream.config.listen.parse().context(|| "read the listen address")?;
    says(own, "ok").await?;
    // While it runs a bad text changes nothing, and is told.
    std::fs::write(&file, good.replace("maxDelay: 500ms", "maxDelay: 500"))?;
    says(own, "archive.commit.maxDelay").await?;
    std::fs::write(&file, &good)?;
    says(own, "ok").await?;
    assert!(process.terminate(DRAINED).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_is_ready_and_not_late() -> Result<()> {
    let server = shop(ServerKind::MariaDb118).await?;
    let worker = Stream::new("idle", &server)?.start()?;
    streaming(&worker).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    worker.until("it is idle", SHOWN, |status| status.lag.state == LagState::Idle).await?;
    let entries = worker.status().await?.archive.n;
    throughout("an idle stream is ready and not late", Duration::from_secs(20), || async {
        let (code, text) = worker.get("/readyz").await?;
        let lag = worker.status().await?.lag;
        let well = code == StatusCode::OK && lag.state == LagState::Idle && lag.seconds == Some(0);
        Ok::<_, Failure>(Look::holds(well, || format!("{text} {lag:?}")))
    })
    .await?;
    let status = worker.status().await?;
    assert_eq!(status.archive.n, entries, "an idle source makes no entries");
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_source_is_seen_and_comes_back() -> Result<()> {
    let mut server = shop(ServerKind::MySql97).await?;
    let worker = Stream::new("killed", &server)?.start()?;
    streaming(&worker).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    server.kill().await?;
    unready(&worker, SHOWN, Reason::ConnectionRefused).await?;
    server.start().await?;
    ready(&worker, STREAMS).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_packets_are_missed_heartbeats() -> Result<()> {
    let server = shop(ServerKind::MariaDb1011).await?;
    let proxy = TcpProxy::start(server.address()).await?;
    let stream = from_here(Stream::from_port("dropped", proxy.port())?, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    proxy.black_hole(true);
    unready(&worker, SILENT, Reason::HeartbeatMissed).await?;
    let done = workload::large(&server, 2_000, 100).await?;
    proxy.black_hole(false);
    ready(&worker, SILENT).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

/// Reading goes on while the archive is away; both halves of the report say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_bucket_is_the_archives_fault_and_nothing_is_lost() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MySql97).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    let stream = Stream::new("blocked", &server)?.on_s3(&s3, &bucket, &proxy.endpoint())?;
    let stream = from_here(stream, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    let mut done = workload::large(&server, 1_000, 100).await?;
    let durable = worker.archived_all_of(&server, ARCHIVED).await?.archive.n;
    proxy.black_hole(Pick::all());
    done += workload::large(&server, 1_000, 100).await?;
    let (_, end) = server.position().await?;
    let behind = worker
        .until("the archive's facet fails while the source's does not", SILENT, |status| {
            !status.archive.healthy
                && status.source.connected
                && status.received.as_ref().is_some_and(|received| received.offset >= end)
        })
        .await?;
    println!("blocked: {} {}", behind.archive.reason, behind.archive.message);
    let behinds = [Reason::Behind, Reason::ArchiveUnreachable];
    assert!(behinds.contains(&behind.archive.reason), "{:?}", behind.archive);
    assert!(!behind.archive.message.is_empty(), "the message names the mend");
    assert!(behind.lag.seconds.is_some_and(|seconds| seconds < 10), "{:?}", behind.lag);
    assert!(behind.archive.pending_bytes > 0, "{:?}", behind.archive);
    assert_eq!(behind.archive.n, durable, "nothing became durable behind the blocked bucket");
    unready(&worker, SHOWN, behind.archive.reason).await?;
    proxy.clear();
    worker.archived_all_of(&server, ARCHIVED).await?;
    ready(&worker, SHOWN).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_stream_lets_go_of_the_source_and_catches_up_when_resumed() -> Result<()> {
    let server = shop(ServerKind::MariaDb118).await?;
    let stream = from_here(Stream::new("paused", &server)?, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    stream.clone().with(&json!({"state": "Paused"}))?.write()?;
    unready(&worker, SHOWN, Reason::Paused).await?;
    until("the source has no dump of ours", SHOWN, || async {
        let dumps = server
            .rows("SELECT ID FROM information_schema.processlist WHERE USER = 'repl'")
            .await?;
        Ok::<_, Failure>(Look::holds(dumps.is_empty(), || format!("{dumps:?}")))
    })
    .await?;
    let stays_paused = |seconds| {
        throughout("a paused stream stays paused", Duration::from_secs(seconds), || async {
            let status = worker.status().await?;
            let paused = status.phase == Phase::Paused && !status.source.connected;
            Ok::<_, Failure>(Look::holds(paused, || format!("{status:?}")))
        })
    };
    let writers = Writers::start(&server, 11, 2).await?;
    stays_paused(6).await?;
    let done = writers.stop().await?;
    // Older than what counts as the live edge.
    stays_paused(11).await?;
    stream.write()?;
    let behind = worker
        .until("it says that it is behind", STREAMS, |status| {
            status.lag.state == LagState::CatchingUp
        })
        .await?;
    println!("resumed: {} changes to read, lag {:?}", done.changes, behind.lag.seconds);
    assert!(behind.lag.seconds > Some(0), "{:?}", behind.lag);
    worker.archived_all_of(&server, ARCHIVED).await?;
    let caught_up = |status: &crds::worker_status::WorkerStatus| {
        matches!(status.lag.state, LagState::CaughtUp | LagState::Idle)
            && status.lag.seconds == Some(0)
    };
    worker.until("it says that it has caught up", SHOWN, caught_up).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_under_load_makes_durable_what_was_received() -> Result<()> {
    let server = shop(ServerKind::MySql97).await?;
    let stream = from_here(Stream::new("drained", &server)?, &server).await?;
    let mut worker = stream.start()?;
    streaming(&worker).await?;
    let writers = Writers::start(&server, 12, 4).await?;
    for _ in 0..3 {
        let before = worker.status().await?.counters.rows;
        worker.until("it reads on", SHOWN, |status| status.counters.rows > before + 2_000).await?;
        assert!(worker.terminate(DRAINED).await?.success());
        let newest = stream.archive().entries().await?.len() as u64 - 1;
        let saved = std::fs::read_to_string(stream.folder().join("checkpoint.json"))?;
        let saved: serde_json::Value = serde_json::from_str(&saved)?;
        println!("drained: entry {newest}, checkpoint {saved}");
        assert_eq!(find_n(&saved), Some(newest), "the checkpoint follows the log to its end");
        worker = stream.start()?;
        streaming(&worker).await?;
    }
    let done = writers.stop().await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

/// The entry number in a checkpoint record, wherever the record keeps it.
fn find_n(value: &serde_json::Value) -> Option<u64> {
    let fields = value.as_object()?;
    fields.get("n").and_then(serde_json::Value::as_u64).or_else(|| fields.values().find_map(find_n))
}

/// Column names are only in the binlog with `binlog_row_metadata=FULL`, and the account may not ask for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_decoded_stops_by_name_and_raw_goes_on() -> Result<()> {
    let server = shop(ServerKind::MySql97).await?;
    let stream = from_here(Stream::new("stopped", &server)?, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    server
        .run(&[
            "REVOKE SELECT ON *.* FROM repl@'%'",
            "CREATE TABLE shop.nameless (id INT PRIMARY KEY, what VARCHAR(20))",
            "SET GLOBAL binlog_row_metadata = MINIMAL",
        ])
        .await?;
    server.run(&["INSERT INTO shop.nameless VALUES (1, 'a'), (2, 'b')"]).await?;
    let stopped = worker
        .until("the table's stop is reported", SHOWN, |status| !status.decoding.healthy)
        .await?
        .decoding;
    println!("stopped: {stopped:?}");
    assert_eq!(stopped.reason, Reason::TableStopped);
    assert_eq!(stopped.stopped_count, 1);
    assert_eq!(stopped.stopped[0].table, "shop.nameless");
    assert!(stopped.message.contains("binlog_row_metadata"), "no mend: {}", stopped.message);
    server.run(&["SET GLOBAL binlog_row_metadata = FULL"]).await?;
    let done = workload::large(&server, 2_000, 100).await?;
    server.run(&["INSERT INTO shop.nameless VALUES (3, 'c')", "FLUSH BINARY LOGS"]).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    worker.kill().await?;
    // What stands stays standing: the log holds it, not the process.
    let worker = stream.start()?;
    streaming(&worker).await?;
    let still = worker.status().await?.decoding;
    worker.until("the stop is still reported", SHOWN, |status| !status.decoding.healthy).await?;
    assert!(still.stopped_count <= 1, "{still:?}");
    assert!(worker.terminate(DRAINED).await?.success());
    // Raw is the server's file byte for byte; the other tables' rows are all there, the stopped one's are not.
    let (facts, folded) =
        oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes)
            .await?;
    assert_eq!(folded.rows, done.changes);
    assert!(!facts.closed.is_empty());
    let gap = stream
        .archive()
        .entries()
        .await?
        .into_iter()
        .find_map(|(_, entry)| entry["gaps"].as_array().and_then(|gaps| gaps.first().cloned()));
    let gap = gap.context(|| "no entry names the table's gap")?;
    assert_eq!(gap["table"], "shop.nameless", "{gap}");
    worker.check_log(&["shop.nameless"])
}
