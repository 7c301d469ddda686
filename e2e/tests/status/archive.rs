//! The archive is away: reading goes on, the status blames the archive and nothing else, nothing is lost.

use std::cell::Cell;

use e2e::proxy::{HttpProxy, Moment, Pick};
use e2e::resource::said;
use hyper::StatusCode;

use super::*;

/// How long the source is written to while the archive is away and known to be.
const AWAY: Duration = Duration::from_secs(8);
/// What the archive can be blamed for; a store that swallows requests is late before it is unreachable.
const BLAMES: [&str; 3] = ["Behind", "ArchiveUnreachable", "ArchiveFailing"];

/// A stream to a bucket behind a proxy of its own.
async fn behind_proxy(name: &str, server: &Server, s3: &S3) -> Result<(StreamResource, HttpProxy)> {
    let proxy = HttpProxy::start(s3.address()).await?;
    let endpoint = json!({"archive": {"s3": {"endpoint": proxy.endpoint_for_pods()}}});
    let stream = StreamResource::new(installed().await?, name, server, s3).await?.with(&endpoint);
    stream.create().await?;
    Ok((stream, proxy))
}

/// Waits until the status blames the archive, and the source's half of it is as good as before.
async fn blamed(stream: &StreamResource) -> Result<()> {
    let (archive, ready) = (ConditionType::ArchiveHealthy, ConditionType::Ready);
    let status = stream.says(archive, ConditionStatus::False, &BLAMES, SILENT).await?;
    let archive = said(&status, archive)?;
    println!("{}: {} {}", stream.name, archive.reason, archive.message);
    assert!(!archive.message.is_empty(), "{} is not told why", stream.name);
    let ready = said(&status, ready)?;
    assert_eq!((ready.status, &ready.reason), (ConditionStatus::False, &archive.reason));
    assert_eq!(said(&status, ConditionType::SourceConnected)?.status, ConditionStatus::True);
    let line = stream.line().await?;
    println!("{line:?}");
    assert_eq!(line["READY"], "False", "{line:?}");
    assert!(BLAMES.contains(&&*line["STATUS"]), "{line:?}");
    assert!(line["ARCHIVED"].starts_with("behind ") || line["ARCHIVED"] == "failing", "{line:?}");
    assert!(["0s", "<10s", "idle"].contains(&&*line["LAG"]), "{line:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_bucket_is_blamed_while_reading_goes_on_and_nothing_is_lost() -> Result<()> {
    let (server, s3) = stage(ServerKind::MySql97).await?;
    let (swallowed, swallows) = behind_proxy("swallowed", &server, &s3).await?;
    let (refused, refuses) = behind_proxy("refused", &server, &s3).await?;
    let streams = [&swallowed, &refused];
    for stream in streams {
        stream.ready().await?;
    }
    let mut done = workload::large(&server, 1_000, 100).await?;
    for stream in streams {
        stream.archived_all_of(&server, ARCHIVED).await?;
        well(stream).await?;
    }

    swallows.black_hole(Pick::all());
    let failure = StatusCode::INTERNAL_SERVER_ERROR;
    refuses.answer(Pick::all(), failure, "InternalError", Moment::BeforeForward);
    done += workload::large(&server, 1_000, 100).await?;
    tokio::try_join!(blamed(&swallowed), blamed(&refused))?;

    let more = Cell::new(0);
    throughout("reading keeps up while the archive is away", AWAY, || async {
        more.set(more.get() + workload::large(&server, 10, 100).await?.changes);
        for stream in streams {
            let status = stream.status().await?;
            let archive = said(&status, ConditionType::ArchiveHealthy)?.status;
            let lag = status.lag.and_then(|lag| lag.seconds);
            if archive != ConditionStatus::False || lag.is_none_or(|seconds| seconds >= 10) {
                let seen = format!("{}: {archive:?}, lag {lag:?}", stream.name);
                return Ok(Look::NotYet(seen));
            }
        }
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await?;
    for stream in streams {
        stream.received_all_of(&server, SHOWN).await?;
    }

    swallows.clear();
    refuses.clear();
    let changes = done.changes + more.get();
    tokio::try_join!(
        finish(&swallowed, &server, changes, &[]),
        finish(&refused, &server, changes, &[])
    )?;
    Ok(())
}
