//! Late, caught up, idle: three states that must not be taken for each other.

use std::cell::Cell;
use std::num::NonZeroU32;

use crds::v1alpha1::LagState;
use e2e::proxy::TcpProxy;
use e2e::resource::said;
use e2e::site;

use super::*;

const IDLE: Duration = Duration::from_secs(20);
/// Older than what counts as the live edge, even when the stream is back at once.
const PAUSED: Duration = Duration::from_secs(20);
/// So slow that the operator, who asks every 5 s, sees the stream late: what is written in [`PAUSED`] takes more
/// than 10 s. A piece of the proxy comes well within the three heartbeats that may be missing.
const SLOW: Option<NonZeroU32> = NonZeroU32::new(100_000);

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_is_ready_and_not_late() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb118).await?;
    let stream = StreamResource::new(installed().await?, "idle", &server, &s3).await?;
    stream.create().await?;
    let done = workload::large(&server, 100, 100).await?;
    stream.archived_all_of(&server, ARCHIVED).await?;
    well(&stream).await?;
    let caught_up = ConditionType::CaughtUp;
    let before = stream.says(caught_up, ConditionStatus::True, &["Idle"], SHOWN).await?;
    throughout("an idle stream is ready and not late", IDLE, || async {
        let status = stream.status().await?;
        let ready = said(&status, ConditionType::Ready)?;
        let lag = status.lag.clone().context(|| "no lag is shown")?;
        let well = ready.status == ConditionStatus::True
            && ready.reason == "Streaming"
            && (lag.state, lag.seconds, &*lag.text) == (LagState::Idle, Some(0), "idle");
        Ok::<_, Failure>(Look::holds(well, || format!("{ready:?} {lag:?}")))
    })
    .await?;
    // Nothing flipped between two looks either.
    let after = stream.status().await?;
    for kind in [ConditionType::Ready, caught_up, ConditionType::SourceConnected] {
        assert_eq!(said(&after, kind)?, said(&before, kind)?);
    }
    finish(&stream, &server, done.changes, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_stream_says_that_it_is_late_and_then_that_it_has_caught_up() -> Result<()> {
    let (server, s3) = stage(ServerKind::MariaDb1011).await?;
    let proxy = TcpProxy::start(server.address()).await?;
    let stream = StreamResource::new(installed().await?, "resumed", &server, &s3).await?;
    let stream = stream.with(&json!({"source": {"port": proxy.port()}}));
    stream.create().await?;
    stream.ready().await?;
    stream.set_state("Paused").await?;
    let (paused, caught_up) = (ConditionType::Paused, ConditionType::CaughtUp);
    stream.says(paused, ConditionStatus::True, &["Paused"], SHOWN).await?;

    let changes = Cell::new(0);
    let span = PAUSED * site::scale()?.min(3);
    throughout("nobody claims to know how late a paused stream is", span, || async {
        changes.set(changes.get() + workload::large(&server, 100, 100).await?.changes);
        let status = stream.status().await?;
        let ready = said(&status, ConditionType::Ready)?;
        let unknown = said(&status, caught_up)?.status == ConditionStatus::Unknown
            && status.lag.as_ref().is_some_and(|lag| lag.text == "?");
        let paused = ready.status == ConditionStatus::False && ready.reason == "Paused";
        Ok::<_, Failure>(Look::holds(paused && unknown, || format!("{ready:?} {:?}", status.lag)))
    })
    .await?;

    proxy.slow_down(SLOW);
    stream.set_state("Running").await?;
    let late = stream.says(caught_up, ConditionStatus::False, &["CatchingUp"], SILENT).await?;
    let lag = late.lag.context(|| "no lag is shown")?;
    println!("{}: {} changes to read, lag {lag:?}", stream.name, changes.get());
    assert_eq!(lag.state, LagState::CatchingUp, "{lag:?}");
    assert!(lag.seconds > Some(0), "{lag:?}");
    let line = stream.line().await?;
    assert!(!["0s", "<10s", "idle", "?"].contains(&&*line["LAG"]), "{line:?}");
    proxy.slow_down(None);

    finish(&stream, &server, changes.get(), &[]).await
}
