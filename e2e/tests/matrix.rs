//! One seeded workload in every cell of server, archive with its checkpoint store, and way to start: the change
//! log folds to the source's tables, no change is there twice, the raw files are the server's.
//!
//! The cells of S3 and ConfigMap that start from a GTID set run in pods: see `streams.rs`.

use std::time::Duration;

use e2e::control_plane::ControlPlane;
use e2e::oracle::{self, Folded};
use e2e::s3::S3;
use e2e::server::{Server, ServerKind};
use e2e::worker::{Stream, Worker};
use e2e::workload::{self, Plan};
use e2e::{Result, site};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::json;

const ARCHIVED_LIMIT: Duration = Duration::from_secs(180);
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    FilePosition,
    GtidSet,
}

/// A server of the cell's kind. MySQL by file position runs without GTIDs.
async fn server(kind: ServerKind, start: Start) -> Result<Server> {
    let builder = Server::builder(kind);
    let builder = if start == Start::FilePosition && kind.is_mysql() {
        builder.option("gtid_mode", "OFF")
    } else {
        builder
    };
    let server = builder.start().await?;
    workload::prepare(&server).await?;
    server
        .run(&[
            "CREATE DATABASE binlog_state",
            "GRANT SELECT, INSERT, UPDATE, CREATE ON binlog_state.* TO repl",
        ])
        .await?;
    Ok(server)
}

/// From where the server stands now, said in the cell's way.
async fn starting(stream: Stream, server: &Server, start: Start) -> Result<Stream> {
    let start = match start {
        Start::FilePosition => {
            let (file, position) = server.position().await?;
            json!({"mode": "FilePosition", "filePosition": {"file": file, "position": position}})
        }
        Start::GtidSet => json!({"mode": "GtidSet", "gtidSet": server.gtids().await?}),
    };
    stream.with(&json!({"start": start}))
}

/// Runs the workload under the worker and checks everything that must hold after it.
async fn check(
    kind: ServerKind,
    server: &Server,
    stream: &Stream,
    worker: &Worker,
) -> Result<Folded> {
    let scale = u64::from(site::scale()?);
    let plan = Plan { rows: Plan::SMALL.rows * scale, seed: 1 + kind as u64, ..Plan::SMALL };
    println!("{}: seed {}, {} rows", kind.name(), plan.seed, plan.rows);
    let done = workload::run(server, &plan).await?;
    server.run(&["FLUSH BINARY LOGS"]).await?;
    worker.archived_all_of(server, ARCHIVED_LIMIT * site::scale()?).await?;
    assert!(worker.terminate(DRAIN_LIMIT).await?.success());
    worker.check_log(&[])?;
    let tables = workload::tables(true);
    let (facts, folded) =
        oracle::check_all(&stream.archive(), server, &tables, done.changes).await?;
    println!(
        "{}: {} changes of {} transactions in {} entries, {} raw objects, Delta version {}",
        kind.name(),
        done.changes,
        done.transactions,
        facts.entries,
        facts.raw.len(),
        folded.version,
    );
    assert!(done.changes >= plan.rows);
    assert!(facts.closed.len() >= 3, "files that ended: {:?}", facts.closed);
    Ok(folded)
}

async fn volume_and_stream_state(kind: ServerKind, start: Start) -> Result<()> {
    let server = server(kind, start).await?;
    let stream = Stream::new("cell", &server)?.on_stream_state("binlog_state")?;
    let stream = starting(stream, &server, start).await?;
    let worker = stream.start()?;
    check(kind, &server, &stream, &worker).await?;
    let saved = server.rows("SELECT binlog_file, n FROM binlog_state.stream_state").await?;
    assert_eq!(saved.len(), 1, "one row for the stream: {saved:?}");
    Ok(())
}

async fn s3_and_config_map(kind: ServerKind, start: Start) -> Result<()> {
    let (server, s3, plane) =
        (server(kind, start).await?, S3::start().await?, ControlPlane::start().await?);
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await?, "default");
    let empty: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "cell-checkpoint"}}))?;
    maps.create(&PostParams::default(), &empty).await?;
    let bucket = s3.bucket("history").await?;
    let stream =
        Stream::new("cell", &server)?.on_s3(&s3, &bucket, &s3.endpoint())?.with(&json!({
            "checkpoint": {
                "store": "ConfigMap", "file": null,
                "configMap": {"namespace": "default", "name": "cell-checkpoint"},
            },
        }))?;
    let stream = starting(stream, &server, start).await?;
    let kubeconfig = plane.admin_kubeconfig();
    let worker = stream.start_with(&[("KUBECONFIG", &kubeconfig.display().to_string())])?;
    check(kind, &server, &stream, &worker).await?;
    let saved = maps.get("cell-checkpoint").await?.data.unwrap_or_default();
    assert!(saved.values().any(|record| record.contains("binlog_position")), "{saved:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_to_a_volume_by_file_position_without_gtids() -> Result<()> {
    volume_and_stream_state(ServerKind::MySql97, Start::FilePosition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_to_a_volume_by_gtid_set() -> Result<()> {
    volume_and_stream_state(ServerKind::MySql97, Start::GtidSet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_to_a_volume_by_file_position() -> Result<()> {
    volume_and_stream_state(ServerKind::MariaDb1011, Start::FilePosition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_to_a_volume_by_gtid_set() -> Result<()> {
    volume_and_stream_state(ServerKind::MariaDb1011, Start::GtidSet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_to_a_volume_by_file_position() -> Result<()> {
    volume_and_stream_state(ServerKind::MariaDb118, Start::FilePosition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_to_a_volume_by_gtid_set() -> Result<()> {
    volume_and_stream_state(ServerKind::MariaDb118, Start::GtidSet).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_to_s3_by_file_position_without_gtids() -> Result<()> {
    s3_and_config_map(ServerKind::MySql97, Start::FilePosition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_10_11_to_s3_by_file_position() -> Result<()> {
    s3_and_config_map(ServerKind::MariaDb1011, Start::FilePosition).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_11_8_to_s3_by_file_position() -> Result<()> {
    s3_and_config_map(ServerKind::MariaDb118, Start::FilePosition).await
}
