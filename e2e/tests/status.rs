//! What a BinlogStream's status says, on a real cluster: of a blocked archive, of a stream that is late, idle, cut
//! off, behind a gap or broken from the start. Conditions are read from the resource and words from
//! `kubectl get streams`; a stream that comes back must have lost nothing.
//!
//! `faults.rs` and `lineage.rs` hold the same facts against the worker's own report, outside Kubernetes.

#[path = "status/archive.rs"]
mod archive;
#[path = "status/broken.rs"]
mod broken;
#[path = "status/gaps.rs"]
mod gaps;
#[path = "status/lag.rs"]
mod lag;
#[path = "status/source.rs"]
mod source;

use std::time::Duration;

use crds::conditions::ConditionType;
use crds::v1alpha1::ConditionStatus;
use e2e::release::installed;
use e2e::resource::{SETTLED, StreamResource};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::{Context, Failure, Result, logs, oracle, workload};
use serde_json::json;

/// Longest until a fault shows: what the product promises.
const SHOWN: Duration = Duration::from_secs(30);
/// Longest until silence shows: what the product promises.
const SILENT: Duration = Duration::from_secs(60);
const ARCHIVED: Duration = Duration::from_secs(90);

/// A server with the workload's schema and a store.
async fn stage(kind: ServerKind) -> Result<(Server, S3)> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    Ok((server, S3::start().await?))
}

/// Waits until the stream is well again in every word and nothing is left to read, archive or check: it ends the
/// stream, and asks all oracles.
async fn finish(
    stream: &StreamResource,
    server: &Server,
    changes: u64,
    errors: &[&str],
) -> Result<()> {
    stream.archived_all_of(server, ARCHIVED).await?;
    well(stream).await?;
    assert_eq!(stream.restarts().await?, 0, "{} was restarted", stream.name);
    logs::check(&stream.log().await?, errors, &[SECRET_KEY])?;
    stream.stop().await?;
    oracle::check_all(&stream.archive(), server, &workload::tables(false), changes).await?;
    Ok(())
}

/// Waits until the stream is Ready, has caught up, and its line in the table says so.
async fn well(stream: &StreamResource) -> Result<()> {
    stream.ready().await?;
    let caught_up = ["CaughtUp", "Idle"];
    stream.says(ConditionType::CaughtUp, ConditionStatus::True, &caught_up, SETTLED).await?;
    let good = ["0s", "idle"];
    until(format!("{} is neither late nor behind", stream.name), SETTLED, || async {
        let status = stream.status().await?;
        let lag = status.lag.map(|lag| lag.text).unwrap_or_default();
        let archived = status.archive.map(|archive| archive.text).unwrap_or_default();
        let well = good.contains(&&*lag) && archived == "current";
        Ok::<_, Failure>(Look::holds(well, || format!("lag {lag}, archived {archived}")))
    })
    .await?;
    let line = stream.line().await?;
    let shown = ["READY", "STATUS", "ARCHIVED"].map(|head| &*line[head]);
    assert_eq!(shown, ["True", "Streaming", "current"], "{line:?}");
    assert!(good.contains(&&*line["LAG"]), "{line:?}");
    Ok(())
}
