//! What the operator changes by itself takes turns, stops when it does harm and goes on when that is mended; what
//! somebody changes by hand is taken back, and what is not the operator's stays.
//!
//! Both tests work on the one operator, so one waits for the other.

#[path = "rollouts/drift.rs"]
mod drift;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crds::conditions::ConditionType;
use crds::v1alpha1::{BinlogStream, ConditionStatus};
use e2e::cluster::Cluster;
use e2e::release::installed;
use e2e::release::{NAMESPACE, upgrade};
use e2e::resource::{SETTLED, StreamResource, said};
use e2e::s3::S3;
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, throughout, until};
use e2e::{Context, Failure, Result, http, workload};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::sync::Mutex;

/// Held by the test that works on the operator.
static OPERATOR: Mutex<()> = Mutex::const_new(());

const STREAMS: usize = 6;
const AT_ONCE: usize = 2;
/// Failures after which nothing more is touched.
const MOST_FAILURES: usize = 3;
/// Longest until a change has gone through the whole fleet.
const ROLLED: Duration = Duration::from_secs(180);
const ARCHIVED: Duration = Duration::from_secs(60);
/// How long is looked whether something stays as it is.
const WHILE: Duration = Duration::from_secs(4);

/// A few streams of one server, ready.
struct Fleet {
    cluster: &'static Cluster,
    client: kube::Client,
    server: Server,
    _s3: S3,
    streams: Vec<StreamResource>,
}

impl Fleet {
    async fn start() -> Result<Self> {
        let cluster = installed().await?;
        let worker = format!("docker.io/library/binlog-worker:{}", env!("CARGO_PKG_VERSION"));
        cluster.tag(&worker, "docker.io/library/binlog-worker:next").await?;
        let server = Server::builder(ServerKind::MariaDb118).start().await?;
        workload::prepare(&server).await?;
        let s3 = S3::start().await?;
        let mut streams = Vec::new();
        for number in 1..=STREAMS {
            let name = format!("rolled-{number}");
            let stream = StreamResource::new(cluster, &name, &server, &s3).await?;
            stream.create().await?;
            streams.push(stream);
        }
        for stream in &streams {
            stream.ready().await?;
        }
        Ok(Self { cluster, client: cluster.client().await?, server, _s3: s3, streams })
    }

    fn stream(&self, name: &str) -> Result<&StreamResource> {
        self.streams.iter().find(|stream| stream.name == name).context(|| format!("no {name}"))
    }

    /// The fleet's Deployments as they are at one moment.
    async fn workers(&self) -> Result<Workers> {
        let ours = ListParams::default().labels("app.kubernetes.io/name=binlog-worker");
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let mut all = deployments.list(&ours).await?.items;
        all.retain(|one| {
            one.metadata.namespace.as_deref().is_some_and(|of| of.starts_with("rolled-"))
        });
        assert_eq!(all.len(), STREAMS);
        Ok(Workers(all))
    }

    /// What each stream says of its rollout: name, status and reason of Reconciling.
    async fn reconciling(&self) -> Result<Vec<(String, ConditionStatus, String)>> {
        let streams: Api<BinlogStream> = Api::all(self.client.clone());
        let all = streams.list(&ListParams::default()).await?.items.into_iter();
        all.filter(|stream| {
            self.stream(stream.metadata.name.as_deref().unwrap_or_default()).is_ok()
        })
        .map(|stream| {
            let status = stream.status.unwrap_or_default();
            let said = said(&status, ConditionType::Reconciling)?;
            let name = stream.metadata.name.unwrap_or_default();
            Ok((name, said.status, said.reason.clone()))
        })
        .collect()
    }

    /// Waits until all run the image of this tag and are ready, and sees that never more than allowed are under way.
    /// Returns whether some said meanwhile that they wait.
    async fn all_get(&self, tag: &str) -> Result<bool> {
        let waited = std::sync::atomic::AtomicBool::new(false);
        until(format!("all run {tag}"), ROLLED, || async {
            let workers = self.workers().await?;
            let (with, rolling) = (workers.with(tag), workers.rolling_to(tag));
            if rolling.len() > AT_ONCE {
                return Ok(Look::Never(format!("{rolling:?} are replaced at once")));
            }
            let said = self.reconciling().await?;
            if said.iter().any(|(_, _, reason)| reason == "RolloutWaiting") {
                waited.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let done = with.len() == STREAMS
                && rolling.is_empty()
                && said.iter().all(|(_, status, _)| *status == ConditionStatus::False);
            Ok::<_, Failure>(Look::holds(done, || {
                format!("{with:?}, under way {rolling:?}; {said:?}")
            }))
        })
        .await?;
        for stream in &self.streams {
            stream.ready().await?;
        }
        Ok(waited.into_inner())
    }

    /// Waits until the rollout of a tag is halted, and gives those it touched and those it did not.
    async fn halted(&self, tag: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        until("the rollout is halted", ROLLED, || async {
            let workers = self.workers().await?;
            let (touched, noted) = (workers.with(tag), workers.names(is_noted));
            let said = self.reconciling().await?;
            let left: BTreeSet<_> = said
                .iter()
                .filter(|(_, status, reason)| {
                    *status == ConditionStatus::True && reason == "RolloutHalted"
                })
                .map(|(name, ..)| name.clone())
                .collect();
            let all_told = touched.len() >= MOST_FAILURES
                && touched == noted
                && touched.len() + left.len() == STREAMS;
            let seen = || format!("touched {touched:?}, noted {noted:?}; {said:?}");
            Ok::<_, Failure>(Look::from_option(
                (all_told && touched.is_disjoint(&left)).then(|| (touched.clone(), left.clone())),
                seen,
            ))
        })
        .await
    }

    /// Sees for a while that nobody else is touched and that the others are ready.
    async fn stays(&self, tag: &str, touched: &BTreeSet<String>) -> Result<()> {
        throughout("a halted rollout touches nobody", WHILE, || async {
            let workers = self.workers().await?;
            let now = workers.with(tag);
            let unready: Vec<_> =
                workers.unready().into_iter().filter(|name| !touched.contains(name)).collect();
            let holds = now == *touched && unready.is_empty();
            Ok::<_, Failure>(Look::holds(holds, || format!("{now:?} touched, unready {unready:?}")))
        })
        .await
    }

    /// Waits until the metrics of the one operator that leads hold this line.
    async fn operator_shows(&self, line: &str) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
        until(format!("the operator shows {line}"), SETTLED, || async {
            let mut texts = Vec::new();
            for pod in pods.list(&operators).await?.items {
                let Some(address) = pod.status.and_then(|status| status.pod_ip) else { continue };
                let address: SocketAddr =
                    format!("{address}:8080").parse().context(|| "read an address")?;
                if let Ok((_, text)) = http::get(address, "/metrics", WHILE).await {
                    texts.push(text);
                }
            }
            let leads = |text: &&String| text.contains("binlog_operator_leader 1");
            let holds =
                texts.iter().filter(leads).any(|text| text.lines().any(|said| said == line));
            Ok::<_, Failure>(Look::holds(holds, || {
                let rollout = texts.iter().flat_map(|text| text.lines());
                rollout.filter(|said| said.contains("_rollout_")).collect::<Vec<_>>().join("; ")
            }))
        })
        .await
    }
}

struct Workers(Vec<Deployment>);

impl Workers {
    fn names(&self, wanted: impl Fn(&Deployment) -> bool) -> BTreeSet<String> {
        let names = self.0.iter().filter(|one| wanted(one));
        names.filter_map(|one| one.metadata.namespace.clone()).collect()
    }

    fn with(&self, tag: &str) -> BTreeSet<String> {
        self.names(|one| image(one).ends_with(&format!(":{tag}")))
    }

    fn rolling_to(&self, tag: &str) -> BTreeSet<String> {
        self.with(tag).intersection(&self.names(is_rolling)).cloned().collect()
    }

    fn unready(&self) -> BTreeSet<String> {
        self.names(|one| !is_ready(one))
    }
}

fn image(deployment: &Deployment) -> String {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.first());
    container.and_then(|container| container.image.clone()).unwrap_or_default()
}

/// Whether the one pod it asks for is made from its newest template, and ready.
fn is_ready(deployment: &Deployment) -> bool {
    is_observed(deployment) && has_its_pod(deployment)
}

/// Whether it is replaced by the operator. Taking the note of that off is a generation as well, of which the status
/// does not tell for a moment.
fn is_rolling(deployment: &Deployment) -> bool {
    !has_its_pod(deployment) || (is_noted(deployment) && !is_observed(deployment))
}

/// Whether the operator has noted that it replaces the pod and has not seen the end of it.
fn is_noted(deployment: &Deployment) -> bool {
    deployment.annotations().contains_key("binlogstream.io/roll")
}

/// Whether the status is of the newest generation.
fn is_observed(deployment: &Deployment) -> bool {
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    observed >= deployment.metadata.generation
}

/// Whether the status tells of one pod, which is made from the template that was observed, and ready.
fn has_its_pod(deployment: &Deployment) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    [status.updated_replicas, status.ready_replicas, status.replicas].iter().all(|n| *n == Some(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_image_takes_turns_and_a_bad_one_stops_after_three_failures() -> Result<()> {
    let _operator = OPERATOR.lock().await;
    let fleet = Fleet::start().await?;
    let at_once = format!("rollout.atOnce={AT_ONCE}");

    upgrade(fleet.cluster, &[&at_once, "image.pullPolicy=Never", "worker.image.tag=next"]).await?;
    assert!(fleet.all_get("next").await?, "nobody said that he waits");
    fleet.operator_shows("binlog_operator_rollout_halted 0").await?;

    upgrade(fleet.cluster, &["worker.image.tag=missing"]).await?;
    let (touched, left) = fleet.halted("missing").await?;
    println!("touched {touched:?}, left {left:?}");
    assert!(touched.len() < MOST_FAILURES + AT_ONCE, "more than three and those under way");
    fleet.stays("missing", &touched).await?;
    fleet.operator_shows("binlog_operator_rollout_halted 1").await?;
    for name in &touched {
        let stream = fleet.stream(name)?;
        let bad = ["ImagePullFailed"];
        stream.says(ConditionType::Ready, ConditionStatus::False, &bad, SETTLED).await?;
        let events = ["get", "events", "-n", name, "--field-selector", "reason=RolloutHalted"];
        let events = fleet.cluster.kubectl(&events).await?;
        assert!(events.contains("Warning") && events.contains(name.as_str()), "{name}: {events}");
    }

    // Those that wait stream, and do what they are told.
    fleet.server.run(&["CREATE TABLE shop.meanwhile (id INT PRIMARY KEY)"]).await?;
    for name in &left {
        fleet.stream(name)?.archived_all_of(&fleet.server, ARCHIVED).await?;
    }
    let one = fleet.stream(left.first().context(|| "nobody was left alone")?)?;
    one.set_state("Paused").await?;
    one.says(ConditionType::Paused, ConditionStatus::True, &["Paused"], SETTLED).await?;
    one.set_state("Running").await?;
    one.ready().await?;
    fleet.stays("missing", &touched).await?;

    // A leader that knows nothing of it goes on where the last one was.
    let pods = ["delete", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator"];
    fleet.cluster.kubectl(&pods).await?;
    fleet.operator_shows("binlog_operator_rollout_halted 1").await?;
    fleet.stays("missing", &touched).await?;

    upgrade(fleet.cluster, &["worker.image.tag=next"]).await?;
    fleet.all_get("next").await?;
    fleet.operator_shows("binlog_operator_rollout_halted 0").await?;
    for stream in &fleet.streams {
        stream.archived_all_of(&fleet.server, ARCHIVED).await?;
        stream.delete().await?;
    }
    Ok(())
}
