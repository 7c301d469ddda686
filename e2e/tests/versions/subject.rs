//! A stream with its source, what is written to that, and its worker before and after a step of the release.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crds::conditions::ConditionType;
use crds::v1alpha1::{BinlogStream, ConditionStatus};
use e2e::cluster::Cluster;
use e2e::resource::{StreamResource, said};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, until};
use e2e::workload::{self, Done, Writers};
use e2e::{Context, Failure, Result, logs, oracle};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::watch::{Reached, Watch};

/// Longest until a stream runs as the version that leads wants it.
const ROLLED: Duration = Duration::from_secs(180);
const ARCHIVED: Duration = Duration::from_secs(120);
/// Longest until the published table has all that is durable.
const PUBLISHED: Duration = Duration::from_secs(120);
/// Between two transactions: the machine has other things to do.
const PACE: Duration = Duration::from_millis(150);

pub struct Subject {
    pub stream: Arc<StreamResource>,
    pub server: Server,
    /// What was committed.
    pub done: Done,
    pub reached: Reached,
    /// Its worker waits for another version.
    pub stands: bool,
    /// Tag of the image that its specification names.
    pinned: Option<String>,
    steps: u32,
}

/// What goes on while the release is taken a step further.
pub struct UnderWay {
    writers: Writers,
    watch: Watch,
    before: Worker,
}

/// The worker of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Worker {
    /// The template of its pod.
    template: Value,
    /// How many templates there have been.
    revision: u64,
    pod: String,
    restarts: i32,
}

impl Subject {
    /// Makes the stream with a source of its own.
    pub async fn new(
        cluster: &'static Cluster,
        name: &str,
        kind: ServerKind,
        s3: &S3,
        spec: Value,
    ) -> Result<Self> {
        let server = Server::builder(kind).start().await?;
        workload::prepare(&server).await?;
        let stream = StreamResource::new(cluster, name, &server, s3).await?.with(&spec);
        stream.create().await?;
        Ok(Self {
            stream: Arc::new(stream),
            server,
            done: Done::default(),
            reached: Reached::default(),
            stands: false,
            pinned: None,
            steps: 0,
        })
    }

    /// The same, with the tag of the image that its specification names.
    pub fn pinned_to(self, tag: &str) -> Self {
        Self { pinned: Some(tag.to_owned()), ..self }
    }

    /// Begins to write and to look, and waits until what is written becomes durable.
    pub async fn begin(&mut self) -> Result<UnderWay> {
        self.steps += 1;
        let before = self.worker().await?;
        let watch = Watch::begin(Arc::clone(&self.stream), self.reached.clone());
        let writers = Writers::paced(&self.server, u64::from(self.steps), 1, PACE).await?;
        if !std::mem::take(&mut self.stands) {
            self.goes_on().await?;
        }
        Ok(UnderWay { writers, watch, before })
    }

    /// Waits until what is written now is durable.
    pub async fn goes_on(&self) -> Result<()> {
        self.stream.archived_all_of(&self.server, ARCHIVED).await
    }

    /// Waits until the version of this tag has taken the stream up: what is edited under it shows in the status, the
    /// worker runs its image (or the one that is asked for), and the stream is Ready.
    pub async fn is_taken_up(&self, tag: &str) -> Result<()> {
        self.stream.patch(json!({"spec": {"batch": {"maxEvents": 500 + self.steps}}})).await?;
        let tag = self.pinned.as_deref().unwrap_or(tag);
        until(format!("{} is taken up with {tag}", self.stream.name), ROLLED, || async {
            let deployment = self.deployment().await?;
            let has_come =
                is_settled(&deployment) && image(&deployment).ends_with(&format!(":{tag}"));
            let stream = self.stream.api::<BinlogStream>().get(&self.stream.name).await?;
            let (generation, status) =
                (stream.metadata.generation, stream.status.unwrap_or_default());
            let ready = said(&status, ConditionType::Ready)?;
            let rolls = said(&status, ConditionType::Reconciling)?;
            let holds = has_come
                && rolls.status == ConditionStatus::False
                && ready.status == ConditionStatus::True
                && ready.observed_generation == generation
                && status.observed_generation == generation;
            Ok::<_, Failure>(Look::holds(holds, || {
                let seen = status.observed_generation;
                format!("{} {seen:?} of {generation:?}, {ready:?}, {rolls:?}", image(&deployment))
            }))
        })
        .await
    }

    /// Ends the writes; what is told of the worker must be what its template says.
    pub async fn end(&mut self, under_way: UnderWay, what: &str) -> Result<()> {
        let UnderWay { writers, watch, before } = under_way;
        self.done += writers.stop().await?;
        self.goes_on().await?;
        let (after, seen) = (self.worker().await?, watch.end().await?);
        self.reached = seen.reached;
        let name = &self.stream.name;
        let fate = if after.template == before.template {
            assert_eq!(after, before, "{name}: its template is the same");
            "kept its pod"
        } else {
            assert_eq!(after.revision, before.revision + 1, "{name}: one roll-out");
            assert_eq!(after.restarts, 0, "{name}");
            "has a new pod"
        };
        assert_eq!(seen.pods, BTreeSet::from([before.pod, after.pod]), "{name}: no pod between");
        let (changes, reached) = (self.done.changes, &self.reached);
        println!("{what}: {name} {fate}; {changes} changes so far, {reached}");
        Ok(())
    }

    /// All oracles, once the published table is as far as the log.
    pub async fn holds_each_row_once(&self) -> Result<()> {
        let (archive, tables) = (self.stream.archive(), workload::tables(false));
        until(format!("{} holds each row once", self.stream.name), PUBLISHED, || async {
            oracle::check_all(&archive, &self.server, &tables, self.done.changes).await?;
            Ok::<_, Failure>(Look::Yes(()))
        })
        .await
    }

    /// Its worker has logged no error.
    pub async fn complains_of_nothing(&self) -> Result<()> {
        logs::check(&self.stream.log().await?, &[], &[SECRET_KEY])
    }

    async fn deployment(&self) -> Result<Deployment> {
        let name = format!("{}-worker", self.stream.name);
        Ok(self.stream.api::<Deployment>().get(&name).await?)
    }

    async fn worker(&self) -> Result<Worker> {
        let deployment = self.deployment().await?;
        let revision = deployment.annotations().get("deployment.kubernetes.io/revision");
        let revision = revision.and_then(|number| number.parse().ok());
        let template = deployment.spec.map(|spec| spec.template);
        Ok(Worker {
            template: serde_json::to_value(template)?,
            revision: revision.context(|| "the Deployment has no revision")?,
            pod: self.stream.pod().await?.uid().unwrap_or_default(),
            restarts: self.stream.restarts().await?,
        })
    }
}

fn image(deployment: &Deployment) -> &str {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.first());
    container.and_then(|container| container.image.as_deref()).unwrap_or_default()
}

/// Whether its one pod is made from its newest template and ready, and no roll of it is noted any more.
fn is_settled(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas];
    status.observed_generation >= deployment.metadata.generation
        && counts.iter().all(|count| *count == Some(1))
        && !deployment.annotations().contains_key("binlogstream.io/roll")
}
