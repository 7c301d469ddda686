//! A stream as people have it: a BinlogStream on the cluster, its worker in a pod, its status.

mod owned;
mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crds::conditions::ConditionType;
use crds::position::FilePosition;
use crds::v1alpha1::{BinlogStream, BinlogStreamStatus, Condition, ConditionStatus};
use crds::worker_status::{Phase, PositionFacet, WorkerStatus};
use hyper::StatusCode;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::cluster::Cluster;
use crate::control_plane::ControlPlane;
use crate::process::{self, Signal};
use crate::s3::{ACCESS_KEY, Bucket, REGION, S3, SECRET_KEY};
use crate::server::Server;
use crate::wait::{Look, until};
use crate::worker::merge;
use crate::{Context, Failure, Result, http, site};

pub use owned::Owned;

/// Longest until a stream that was just applied streams, or a pod that was stopped is gone.
pub const SETTLED: Duration = Duration::from_secs(90);
const HTTP_LIMIT: Duration = Duration::from_secs(3);
const PREFIX: &str = "pods";
const CONTAINER: &str = "worker";
const MANAGER: &str = "e2e";

/// A BinlogStream from a server to a bucket with its checkpoint in a ConfigMap, in a namespace of
/// its own with the Secrets it names.
pub struct StreamResource {
    /// The cluster whose node runs its pods; none where the test does.
    cluster: Option<&'static Cluster>,
    client: kube::Client,
    /// The namespace, which is also the stream's name.
    pub name: String,
    spec: Value,
    bucket: Bucket,
    endpoint: String,
}

impl StreamResource {
    /// Makes the namespace, the Secrets and a bucket. The stream itself comes with
    /// [`create`](Self::create); it starts after what the server has executed now.
    pub async fn new(
        cluster: &'static Cluster,
        name: &str,
        server: &Server,
        s3: &S3,
    ) -> Result<Self> {
        Self::made(Some(cluster), cluster.client().await?, name, server, s3).await
    }

    /// The same in a control plane without a node.
    pub async fn new_in(
        plane: &ControlPlane,
        name: &str,
        server: &Server,
        s3: &S3,
    ) -> Result<Self> {
        Self::made(None, plane.client().await?, name, server, s3).await
    }

    async fn made(
        cluster: Option<&'static Cluster>,
        client: kube::Client,
        name: &str,
        server: &Server,
        s3: &S3,
    ) -> Result<Self> {
        let bucket = s3.bucket(name).await?;
        let spec = json!({
            "source": {
                "host": site::NODE_ADDRESS, "port": server.port(), "heartbeatInterval": "1s",
                "credentialsSecretRef": {"name": "source"}, "tls": {"mode": "Preferred"},
            },
            "start": {"mode": "GtidSet", "gtidSet": server.gtids().await?},
            "checkpoint": {"interval": "3s"},
            "archive": {
                "s3": {
                    "bucket": name, "prefix": PREFIX, "region": REGION, "forcePathStyle": true,
                    "endpoint": s3.endpoint_for_pods(), "credentialsSecretRef": {"name": "store"},
                },
                "commit": {"maxDelay": "500ms", "maxBytes": "4Mi"},
            },
        });
        let endpoint = s3.endpoint();
        let resource = Self { cluster, client, name: name.into(), spec, bucket, endpoint };
        resource.prepare().await?;
        Ok(resource)
    }

    /// The same resource for another control plane: namespace, name, source and bucket are the same.
    pub async fn applied_in(&self, plane: &ControlPlane) -> Result<Self> {
        let resource = Self {
            cluster: None,
            client: plane.client().await?,
            name: self.name.clone(),
            spec: self.spec.clone(),
            bucket: self.bucket.clone(),
            endpoint: self.endpoint.clone(),
        };
        resource.prepare().await?;
        Ok(resource)
    }

    async fn prepare(&self) -> Result<()> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        self.set_secret("source", &[("username", "repl"), ("password", "repl")]).await?;
        let key = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
        self.set_secret("store", &key).await
    }

    /// Changes the specification before [`create`](Self::create): objects are merged, `null` removes a key.
    #[must_use = "the changed stream is returned"]
    pub fn with(mut self, change: &Value) -> Self {
        merge(&mut self.spec, change);
        self
    }

    /// Makes a Secret of the stream's namespace, or gives it these contents. The account of the source is in
    /// `source`, the access key of the store in `store`.
    pub async fn set_secret(&self, name: &str, pairs: &[(&str, &str)]) -> Result<()> {
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), ByteString(value.into()));
        let secret = Secret {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            data: Some(pairs.iter().map(pair).collect()),
            ..Secret::default()
        };
        let params = PatchParams::apply(MANAGER).force();
        self.api::<Secret>().patch(name, &params, &Patch::Apply(&secret)).await?;
        Ok(())
    }

    /// Objects of the stream's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates the stream.
    pub async fn create(&self) -> Result<()> {
        let stream = json!({
            "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
            "metadata": {"name": self.name}, "spec": self.spec,
        });
        let streams: Api<BinlogStream> = self.api();
        streams.create(&PostParams::default(), &serde_json::from_value(stream)?).await?;
        Ok(())
    }

    /// Deletes the stream and returns at once.
    pub async fn delete(&self) -> Result<()> {
        let streams: Api<BinlogStream> = self.api();
        streams.delete(&self.name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Merges a change into the stream on the cluster.
    pub async fn patch(&self, change: Value) -> Result<()> {
        let streams: Api<BinlogStream> = self.api();
        streams.patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Sets `spec.state`.
    pub async fn set_state(&self, state: &str) -> Result<()> {
        self.patch(json!({"spec": {"state": state}})).await
    }

    /// Sets an annotation, over one of this key, as a person who consents to something does.
    pub async fn annotate(&self, key: &str, value: &str) -> Result<()> {
        self.patch(json!({"metadata": {"annotations": {key: value}}})).await
    }

    /// What the operator says.
    pub async fn status(&self) -> Result<BinlogStreamStatus> {
        let streams: Api<BinlogStream> = self.api();
        Ok(streams.get(&self.name).await?.status.unwrap_or_default())
    }

    /// The stream's line in `kubectl get streams`, by the heads of the columns.
    pub async fn line(&self) -> Result<BTreeMap<String, String>> {
        let shown = self.cluster()?.kubectl(&["get", "streams", "-n", &self.name]).await?;
        table::first_line(&shown).context(|| format!("read the table of {}:\n{shown}", self.name))
    }

    /// Waits until a condition has this status and one of these reasons.
    pub async fn says(
        &self,
        kind: ConditionType,
        status: ConditionStatus,
        reasons: &[&str],
        limit: Duration,
    ) -> Result<BinlogStreamStatus> {
        until(format!("{} says {kind} {status:?} {reasons:?}", self.name), limit, || async {
            let found = self.status().await?;
            let fits = |reason: &str| reasons.contains(&reason);
            let holds =
                said(&found, kind).is_ok_and(|said| said.status == status && fits(&said.reason));
            let all = said_by(&found);
            Ok::<_, Failure>(Look::from_option(holds.then_some(found), || all))
        })
        .await
    }

    /// Waits until the stream streams and is Ready.
    pub async fn ready(&self) -> Result<BinlogStreamStatus> {
        self.says(ConditionType::Ready, ConditionStatus::True, &["Streaming"], SETTLED).await
    }

    /// The worker's pods that are not ending.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let selector = format!("{}={}", crds::annotations::STREAM_LABEL, self.name);
        let pods: Api<Pod> = self.api();
        let mut pods = pods.list(&ListParams::default().labels(&selector)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// The worker's one pod.
    pub async fn pod(&self) -> Result<Pod> {
        let mut pods = self.pods().await?;
        if pods.len() > 1 {
            return Err(Failure::new(format!("{} has {} worker pods", self.name, pods.len())));
        }
        pods.pop().context(|| format!("{} has no worker pod", self.name))
    }

    /// Waits until no pod of the stream is left, ending ones included.
    pub async fn no_pod(&self) -> Result<()> {
        let pods: Api<Pod> = self.api();
        until(format!("{} has no pod", self.name), SETTLED, || async {
            let left = pods.list(&ListParams::default()).await?.items.len();
            Ok::<_, Failure>(Look::holds(left == 0, || format!("{left} pods")))
        })
        .await
    }

    /// The worker's own report, asked for at the pod's address.
    pub async fn report(&self) -> Result<WorkerStatus> {
        report_of(self.pod().await?).await
    }

    /// GET of a path of the worker's admin server.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        http::get(address_of(self.pod().await?)?, path, HTTP_LIMIT).await
    }

    /// A second pod like the worker's own, of which the Deployment knows nothing. Gives its report
    /// once it streams.
    pub async fn start_second(&self, name: &str) -> Result<WorkerStatus> {
        let mut spec = self.pod().await?.spec.context(|| "a pod without a specification")?;
        spec.node_name = None;
        let annotations = self.pod().await?.metadata.annotations;
        let name_only = Some(name.to_owned());
        let metadata = ObjectMeta { name: name_only, annotations, ..ObjectMeta::default() };
        let pod = Pod { metadata, spec: Some(spec), status: None };
        let pods: Api<Pod> = self.api();
        pods.create(&PostParams::default(), &pod).await?;
        until(format!("{name} streams"), SETTLED, || async {
            let report = report_of(pods.get(name).await?).await?;
            let streams = report.phase == Phase::Streaming && report.source.connected;
            let seen = format!("{:?}: {}", report.phase, report.message);
            Ok::<_, Failure>(Look::from_option(streams.then_some(report), || seen))
        })
        .await
    }

    /// Ends it in order and waits until it has drained.
    pub async fn remove_second(&self, name: &str) -> Result<()> {
        let pods: Api<Pod> = self.api();
        pods.delete(name, &DeleteParams::default()).await?;
        until(format!("{name} has drained"), SETTLED, || async {
            let left = pods.get_opt(name).await?;
            Ok::<_, Failure>(Look::holds(left.is_none(), || "it is still there".into()))
        })
        .await
    }

    /// The report of a pod of this name.
    pub async fn report_of(&self, name: &str) -> Result<WorkerStatus> {
        report_of(self.api::<Pod>().get(name).await?).await
    }

    /// Waits until everything up to the server's present end is durable.
    pub async fn archived_all_of(&self, server: &Server, limit: Duration) -> Result<()> {
        self.archived_by(async || self.report().await, server, limit).await
    }

    /// The same, as one of several workers reports it.
    pub async fn archived_by(
        &self,
        report: impl AsyncFn() -> Result<WorkerStatus>,
        server: &Server,
        limit: Duration,
    ) -> Result<()> {
        self.reaches("durable", report, server, limit, |report| report.durable.as_ref()).await
    }

    /// Waits until everything up to the server's present end is read, durable or not.
    pub async fn received_all_of(&self, server: &Server, limit: Duration) -> Result<()> {
        let report = async || self.report().await;
        self.reaches("received", report, server, limit, |report| report.received.as_ref()).await
    }

    async fn reaches(
        &self,
        what: &str,
        report: impl AsyncFn() -> Result<WorkerStatus>,
        server: &Server,
        limit: Duration,
        pick: impl Fn(&WorkerStatus) -> Option<&PositionFacet>,
    ) -> Result<()> {
        let (file, offset) = server.position().await?;
        let end = FilePosition::new(file, offset);
        let (end, report, pick) = (&end, &report, &pick);
        until(format!("{}: {end:?} is {what}", self.name), limit, || async move {
            let report = report().await?;
            let at = pick(&report).map(|at| FilePosition::new(at.file.clone(), at.offset));
            let holds = at.as_ref().and_then(|at| at.cmp_in_lineage(end));
            let holds = holds.is_some_and(std::cmp::Ordering::is_ge);
            Ok::<_, Failure>(Look::holds(holds, || {
                format!("{at:?}, {:?} {}", report.phase, report.message)
            }))
        })
        .await
    }

    /// The position that the checkpoint ConfigMap names.
    pub async fn checkpointed(&self) -> Result<Option<FilePosition>> {
        Ok(self.checkpoint().await?.map(|(_, at)| at))
    }

    /// The entry that the checkpoint ConfigMap names, and its position.
    pub async fn checkpoint(&self) -> Result<Option<(u64, FilePosition)>> {
        let maps: Api<ConfigMap> = self.api();
        let data = maps.get(&format!("{}-checkpoint", self.name)).await?.data.unwrap_or_default();
        let Some(text) = data.get("checkpoint.json") else { return Ok(None) };
        let record: Value = serde_json::from_str(text).context(|| "read the checkpoint")?;
        let (file, offset) = (record["file"].as_str(), record["pos"].as_u64());
        let at = file.zip(offset).map(|(file, offset)| FilePosition::new(file, offset));
        Ok(record["n"].as_u64().zip(at))
    }

    /// Kills the worker's container with -9, as a crash would.
    pub async fn kill(&self) -> Result<()> {
        let pod = self.pod().await?.metadata.name.unwrap_or_default();
        self.cluster()?.kill_container(&self.name, &pod, CONTAINER).await
    }

    fn cluster(&self) -> Result<&'static Cluster> {
        self.cluster.context(|| format!("{} is in a control plane without a node", self.name))
    }

    /// Sends a signal to the worker's process.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        let pod = self.pod().await?.metadata.name.unwrap_or_default();
        let pid = self.cluster()?.container_pid(&self.name, &pod, CONTAINER).await?;
        process::send(pid, signal)
    }

    /// A file as the worker's process sees it.
    pub async fn file(&self, path: &str) -> Result<Vec<u8>> {
        let pod = self.pod().await?.metadata.name.unwrap_or_default();
        let pid = self.cluster()?.container_pid(&self.name, &pod, CONTAINER).await?;
        let file = format!("/proc/{pid}/root{path}");
        std::fs::read(&file).context(|| format!("read {path} of pod {pod}"))
    }

    /// Restarts of the worker's container, as the pod counts them.
    pub async fn restarts(&self) -> Result<i32> {
        let statuses = self.pod().await?.status.and_then(|status| status.container_statuses);
        Ok(statuses.into_iter().flatten().map(|status| status.restart_count).sum())
    }

    /// The log of the worker's container, the one before its last restart included.
    pub async fn log(&self) -> Result<String> {
        let pod = self.pod().await?.metadata.name.unwrap_or_default();
        let words = ["logs", "-n", &self.name, &pod, "-c", CONTAINER];
        let mut log = String::new();
        if self.restarts().await? > 0 {
            let before: Vec<_> = words.into_iter().chain(["--previous"]).collect();
            log = self.cluster()?.kubectl(&before).await?;
        }
        log.push_str(&self.cluster()?.kubectl(&words).await?);
        Ok(log)
    }

    /// Stops the stream and waits until its pod has drained.
    pub async fn stop(&self) -> Result<()> {
        self.set_state("Stopped").await?;
        self.says(ConditionType::Paused, ConditionStatus::True, &["Stopped"], SETTLED).await?;
        self.no_pod().await
    }

    /// The bucket made for it, looked into past the pods.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// Where the archive is, looked into past the pods.
    pub fn archive(&self) -> Archive {
        let root = format!("{PREFIX}/{0}/{0}", self.name);
        Archive::S3 { bucket: self.bucket.clone(), endpoint: self.endpoint.clone(), root }
    }
}

fn address_of(pod: Pod) -> Result<SocketAddr> {
    let address = pod.status.and_then(|status| status.pod_ip).context(|| "no address yet")?;
    let address = format!("{address}:8080");
    address.parse().context(|| format!("read the pod's address {address}"))
}

async fn report_of(pod: Pod) -> Result<WorkerStatus> {
    let (_, text) = http::get(address_of(pod)?, "/status", HTTP_LIMIT).await?;
    serde_json::from_str(&text).context(|| format!("read /status: {text}"))
}

/// What a status says of one condition.
pub fn said(status: &BinlogStreamStatus, kind: ConditionType) -> Result<&Condition> {
    let said = status.conditions.iter().find(|said| said.kind() == Some(kind));
    said.context(|| format!("the status says nothing of {kind}"))
}

/// All conditions in one line.
fn said_by(status: &BinlogStreamStatus) -> String {
    let each = status.conditions.iter().map(|said| {
        let more = if said.type_ == "Ready" { said.message.as_str() } else { "" };
        format!("{} {:?}/{} {more}", said.type_, said.status, said.reason)
    });
    each.collect::<Vec<_>>().join("; ")
}
