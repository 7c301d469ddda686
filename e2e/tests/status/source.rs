//! The source is gone, or silent: not Ready in time, and back by itself.

use e2e::proxy::TcpProxy;
use e2e::resource::said;

use super::*;

/// Waits until the stream is not Ready for one of these reasons, says so in the table, and claims to know nothing
/// of its lag.
async fn lost(stream: &StreamResource, reasons: &[&str], limit: Duration) -> Result<()> {
    let status = stream.says(ConditionType::Ready, ConditionStatus::False, reasons, limit).await?;
    let ready = said(&status, ConditionType::Ready)?;
    println!("{}: {} {}", stream.name, ready.reason, ready.message);
    assert!(!ready.message.is_empty());
    assert_eq!(said(&status, ConditionType::SourceConnected)?.status, ConditionStatus::False);
    assert_eq!(said(&status, ConditionType::CaughtUp)?.status, ConditionStatus::Unknown);
    assert_eq!(said(&status, ConditionType::ArchiveHealthy)?.status, ConditionStatus::True);
    let line = stream.line().await?;
    assert_eq!((&*line["READY"], &*line["LAG"]), ("False", "?"), "{line:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_source_is_seen_within_half_a_minute_and_its_return_too() -> Result<()> {
    let (mut server, s3) = stage(ServerKind::MySql97).await?;
    let stream = StreamResource::new(installed().await?, "killed", &server, &s3).await?;
    stream.create().await?;
    let mut done = workload::large(&server, 1_000, 100).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    well(&stream).await?;
    server.kill().await?;
    lost(&stream, &["ConnectionLost", "ConnectionRefused"], SHOWN).await?;
    let refused = ["ConnectionRefused"];
    stream.says(ConditionType::Ready, ConditionStatus::False, &refused, SHOWN).await?;
    server.start().await?;
    done += workload::large(&server, 1_000, 100).await?;
    finish(&stream, &server, done.changes, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_packets_are_seen_within_a_minute_and_their_return_too() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb1011).await?;
    let proxy = TcpProxy::start(server.address()).await?;
    let stream = StreamResource::new(installed().await?, "dropped", &server, &s3).await?;
    let stream = stream.with(&json!({"source": {"port": proxy.port()}}));
    stream.create().await?;
    let mut done = workload::large(&server, 1_000, 100).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    well(&stream).await?;
    proxy.black_hole(true);
    lost(&stream, &["HeartbeatMissed", "ConnectTimeout"], SILENT).await?;
    done += workload::large(&server, 1_000, 100).await?;
    proxy.black_hole(false);
    finish(&stream, &server, done.changes, &[]).await
}
