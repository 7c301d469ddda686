//! Nobody is there to look: workers go on, the status stands as it was last written, and whoever comes back tells
//! what is true by then.

use crds::annotations::COMMIT_NOW;
use e2e::proxy::TcpProxy;
use e2e::site;

use super::*;

/// How long no operator runs.
const AWAY: Duration = Duration::from_secs(20);
/// What a worker says whose packets are swallowed.
const SILENT: [&str; 2] = ["HeartbeatMissed", "ConnectTimeout"];

/// What the status says of Ready, and the version of the whole object.
async fn shown(stream: &StreamResource) -> Result<(ConditionStatus, Option<String>)> {
    let streams: Api<BinlogStream> = stream.api();
    let object = streams.get(&stream.name).await?;
    let status = object.status.unwrap_or_default();
    Ok((said(&status, READY)?.status, object.metadata.resource_version))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_workers_go_on_and_its_return_tells_what_is_true() -> Result<()> {
    let mut stage = Stage::set(ServerKind::MariaDb118, &["alone", "cut"]).await?;
    let proxy = TcpProxy::start(stage.server.address()).await?;
    let behind = json!({"source": {"port": proxy.port()}});
    let (alone, cut) = (stage.stream("alone").await?, stage.stream("cut").await?.with(&behind));
    for stream in [&alone, &cut] {
        stream.create().await?;
    }
    for stream in [&alone, &cut] {
        stream.ready().await?;
        stream.says(ConditionType::CaughtUp, IS, &["CaughtUp", "Idle"], SETTLED).await?;
    }
    let (before, epoch) = (alone.status().await?, worker(&alone).await?);

    stage.operator.kill().await?;
    let stood = (shown(&alone).await?, shown(&cut).await?);
    proxy.black_hole(true);
    let absence = async {
        throughout("nobody writes a status", AWAY * site::scale()?, || async {
            let now = (shown(&alone).await?, shown(&cut).await?);
            Ok::<_, Failure>(Look::holds(now == stood, || format!("{now:?}")))
        })
        .await?;
        alone.archived_all_of(&stage.server, ARCHIVED).await
    };
    let ((), mut done) = under_load(&stage.server, absence).await?;
    until("the one that is cut off knows it", SHOWN, || async {
        let source = cut.report().await?.source;
        Ok::<_, Failure>(Look::holds(!source.connected, || format!("{source:?}")))
    })
    .await?;
    // What is shown meanwhile is old, and says how old.
    let old = cut.status().await?;
    assert_eq!(said(&old, READY)?.status, IS);
    let looked =
        old.lag.and_then(|lag| lag.observed_at).context(|| "no time of the lag is shown")?;
    let age = jiff::Timestamp::now().duration_since(looked.0);
    println!("cut: the lag that is shown was looked at {age:?} ago");
    assert!(age.as_secs() >= AWAY.as_secs().cast_signed(), "{age:?}");

    let durable = alone.report().await?.durable.context(|| "nothing is durable")?;
    stage.operator.restart()?;
    stage.operator.leads(SETTLED).await?;
    cut.says(READY, NOT, &SILENT, SHOWN).await?;
    // A position alone waits until the stored one is five minutes old; with what is written at once it is shown.
    alone.annotate(COMMIT_NOW, "after the absence").await?;
    until("the position is shown", SHOWN, || async {
        let position = alone.status().await?.position.unwrap_or_default();
        let there = position.file.as_deref() == Some(&durable.file)
            && position.offset >= Some(durable.offset);
        Ok::<_, Failure>(Look::holds(there, || format!("{position:?}")))
    })
    .await?;
    // It was well all the time, and no flip was made up.
    let after = alone.ready().await?;
    assert_eq!(said(&after, READY)?, said(&before, READY)?);
    assert_eq!(worker(&alone).await?, epoch);

    proxy.black_hole(false);
    cut.ready().await?;
    done += workload::large(&stage.server, 100, 100).await?;
    stage.finish(&alone, done, &[]).await?;
    stage.finish(&cut, done, &[]).await
}
