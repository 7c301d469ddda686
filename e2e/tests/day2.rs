//! The days after the first: secrets are rotated, streams paused, in conflict and deleted in every state, pods evicted,
//! nodes lost, the operator away, killed and replaced. Nothing is lost by it, no worker is restarted for it, and the
//! status names what it is.
//!
//! Each test has an operator of its own for the namespaces of its streams, as a process: so it can be killed and frozen
//! without the others, on the one cluster, noticing.

#[path = "day2/absent.rs"]
mod absent;
#[path = "day2/churn.rs"]
mod churn;
#[path = "day2/conflicts.rs"]
mod conflicts;
#[path = "day2/leaders.rs"]
mod leaders;
#[path = "day2/moves.rs"]
mod moves;
#[path = "day2/rotation.rs"]
mod rotation;
#[path = "day2/states.rs"]
mod states;
#[path = "day2/stuck.rs"]
mod stuck;

use std::time::Duration;

use crds::conditions::ConditionType;
use crds::v1alpha1::{BinlogStream, ConditionStatus};
use e2e::cluster::Cluster;
use e2e::operator::Operator;
use e2e::resource::{SETTLED, StreamResource, said};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::workload::{self, Done};
use e2e::{Context, Failure, Result, logs, oracle};
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const READY: ConditionType = ConditionType::Ready;
const NOT: ConditionStatus = ConditionStatus::False;
const IS: ConditionStatus = ConditionStatus::True;
const UNKNOWN: ConditionStatus = ConditionStatus::Unknown;

/// Longest until a fault shows: what the product promises.
const SHOWN: Duration = Duration::from_secs(30);
const ARCHIVED: Duration = Duration::from_secs(90);
/// Time between two transactions of a load: the machine has other things to do.
const PACE: Duration = Duration::from_millis(100);

/// A server with the workload's schema, a store, and an operator for the streams of these names.
struct Stage {
    cluster: &'static Cluster,
    operator: Operator,
    server: Server,
    s3: S3,
}

impl Stage {
    async fn set(kind: ServerKind, names: &[&str]) -> Result<Self> {
        Self::of(Server::builder(kind).start().await?, names, &[]).await
    }

    /// The same with a server that runs, and more of the operator's flags. The first name is the operator's, too.
    async fn of(server: Server, names: &[&str], flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let s3 = S3::start().await?;
        workload::prepare(&server).await?;
        let operator = Operator::alone(cluster, names[0], names, flags).await?;
        Ok(Self { cluster, operator, server, s3 })
    }

    async fn stream(&self, name: &str) -> Result<StreamResource> {
        StreamResource::new(self.cluster, name, &self.server, &self.s3).await
    }

    /// Waits until the stream is well and all is archived, ends it, and asks all oracles.
    async fn finish(&self, stream: &StreamResource, done: Done, errors: &[&str]) -> Result<()> {
        stream.archived_all_of(&self.server, ARCHIVED).await?;
        stream.ready().await?;
        logs::check(&stream.log().await?, errors, &[SECRET_KEY])?;
        stream.stop().await?;
        let tables = workload::tables(false);
        oracle::check_all(&stream.archive(), &self.server, &tables, done.changes).await?;
        self.operator.check_log(&[], &[SECRET_KEY])
    }
}

/// Does `work` while rows are written all the time, and gives what was committed.
async fn under_load<T>(
    server: &Server,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Done)> {
    let over = CancellationToken::new();
    let load = async {
        let (mut done, mut tick) = (Done::default(), tokio::time::interval(PACE));
        while !over.is_cancelled() {
            tick.tick().await;
            done += workload::large(server, 20, 200).await?;
        }
        Ok::<_, Failure>(done)
    };
    let work = async {
        let value = work.await;
        over.cancel();
        value
    };
    tokio::try_join!(work, load)
}

/// The worker as it is now; a day-2 operation must leave it so.
#[derive(Debug, PartialEq, Eq)]
struct Worker {
    pod: Option<String>,
    restarts: i32,
    epoch: Option<u64>,
}

async fn worker(stream: &StreamResource) -> Result<Worker> {
    Ok(Worker {
        pod: stream.pod().await?.metadata.uid,
        restarts: stream.restarts().await?,
        epoch: stream.report().await?.epoch,
    })
}

/// How often the worker met a fault of this reason.
async fn faults(stream: &StreamResource, reason: &str) -> Result<u64> {
    let (_, text) = stream.get("/metrics").await?;
    let name = format!("binlog_worker_faults_total{{reason=\"{reason}\"");
    let line = text.lines().find(|line| line.starts_with(&name));
    let count = line.and_then(|line| line.rsplit(' ').next());
    count.map_or(Ok(0), |count| count.parse().context(|| format!("read {count:?}")))
}

/// Deletes the stream as `kubectl delete --cascade=foreground` does: it is there until all it owns is gone.
async fn delete_whole(stream: &StreamResource) -> Result<()> {
    let streams: Api<BinlogStream> = stream.api();
    streams.delete(&stream.name, &DeleteParams::foreground()).await?;
    Ok(())
}

/// Waits until the stream and all it owned are gone.
async fn gone(stream: &StreamResource, limit: Duration) -> Result<()> {
    let streams: Api<BinlogStream> = stream.api();
    until(format!("{} is deleted with all it owns", stream.name), limit, || async {
        if let Some(left) = streams.get_opt(&stream.name).await? {
            let finalizers = left.metadata.finalizers;
            return Ok(Look::NotYet(format!("it is there, held by {finalizers:?}")));
        }
        let left = stream.owned().await?;
        Ok::<_, Failure>(Look::holds(left.is_empty(), || format!("{left:?}")))
    })
    .await
}
