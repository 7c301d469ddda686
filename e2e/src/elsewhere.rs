//! A second cluster, for one resource applied in two: a bare control plane with the chart installed.
//!
//! It has no node. The tests run its pods as processes of the namespace: the programs of this build
//! with the arguments, files, rights and address that a kubelet would give them, and with the status
//! that it would report.

mod mounts;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use self::mounts::Mounts;
use crate::control_plane::ControlPlane;
use crate::process::Process;
use crate::resource::StreamResource;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, http, release, site};

/// Where the programs listen in their pods, and where the operator asks its workers.
const PORT: u16 = 8080;
const LIMIT: Duration = Duration::from_secs(30);
const HTTP_LIMIT: Duration = Duration::from_secs(3);

/// The second cluster, with its operator running.
pub struct Elsewhere {
    operator: PlayedPod,
    plane: ControlPlane,
}

impl Elsewhere {
    /// Starts it and installs the chart, rights and all.
    pub async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// The same with more of Helm's flags.
    pub async fn start_with(flags: &str) -> Result<Self> {
        Self::on(ControlPlane::start().await?, flags).await
    }

    /// The same on a control plane that runs, where something was made before.
    pub async fn on(plane: ControlPlane, flags: &str) -> Result<Self> {
        release::install(&plane, flags).await?;
        let definition = "crd/binlogstreams.binlogstream.io";
        plane.kubectl(&["wait", "--for=condition=Established", definition]).await?;
        let pods: Api<Pod> = Api::namespaced(plane.client().await?, release::NAMESPACE);
        let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
        let pod = until("the operator elsewhere has a pod", LIMIT, || async {
            let pod = pods.list(&operators).await?.items.pop();
            Ok::<_, kube::Error>(Look::from_option(pod, || "none".into()))
        })
        .await?;
        Ok(Self { operator: PlayedPod::run(&plane, pod).await?, plane })
    }

    /// Its control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Its operator.
    pub fn operator(&self) -> &PlayedPod {
        &self.operator
    }

    /// Runs the worker's pod of a stream that was applied here, once it was made.
    pub async fn run_worker(&self, stream: &StreamResource) -> Result<PlayedPod> {
        let pod = until(format!("{} has a pod elsewhere", stream.name), LIMIT, || async {
            stream.pod().await.map(Look::Yes)
        })
        .await?;
        PlayedPod::run(&self.plane, pod).await
    }
}

/// A pod whose one container runs as a process; this is its kubelet. Dropped, the process is killed.
pub struct PlayedPod {
    process: Process,
    pods: Api<Pod>,
    pod: Pod,
    mounts: Mounts,
    address: SocketAddr,
    started: Time,
}

impl PlayedPod {
    async fn run(plane: &ControlPlane, pod: Pod) -> Result<Self> {
        let client = plane.client().await?;
        let (namespace, name) = (field(&pod, "metadata.namespace"), field(&pod, "metadata.name"));
        let spec = pod.spec.clone().context(|| "a pod without a specification")?;
        let container = only_container(&pod)?;
        let address = SocketAddr::from((new_address().await?, PORT));
        let mounts = Mounts::new(client.clone(), &namespace, &spec, container, address)?;
        mounts.bring().await?;
        let mut command = Command::new(site::built(&container.name)?);
        command
            .args(container.args.iter().flatten().map(|argument| mounts.as_seen_here(argument)))
            .envs(environment(&client, &pod, container).await?)
            .env("KUBECONFIG", rights(plane, &pod)?)
            .env("LISTEN", address.to_string())
            .env("RUST_BACKTRACE", "1");
        let log = mounts.root().join(format!("{}.log", container.name));
        let process = Process::spawn(&name, command, &log)?;
        let pods = Api::namespaced(client, &namespace);
        let played = Self { process, pods, pod, mounts, address, started: Time(Timestamp::now()) };
        played.answers().await?;
        played.sync().await?;
        Ok(played)
    }

    async fn answers(&self) -> Result<()> {
        until(format!("{} answers", self.address), LIMIT, || async {
            if let Err(ended) = self.process.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let (code, text) = http::get(self.address, "/livez", HTTP_LIMIT).await?;
            Ok::<_, Failure>(Look::holds(code == StatusCode::OK, || text))
        })
        .await
    }

    /// One round of the kubelet: brings what has changed in maps and Secrets to the running process,
    /// probes it, and reports.
    pub async fn sync(&self) -> Result<()> {
        self.process.check_runs()?;
        self.mounts.bring().await?;
        let probe = http::get(self.address, "/readyz", HTTP_LIMIT).await;
        let ready = matches!(probe, Ok((StatusCode::OK, _)));
        let condition = |kind: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            json!({"type": kind, "status": status})
        };
        let container = only_container(&self.pod)?;
        let address = self.address.ip();
        let status = json!({
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "startTime": self.started,
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
            "containerStatuses": [{
                "name": container.name, "image": container.image, "imageID": "",
                "ready": ready, "started": true, "restartCount": 0,
                "state": {"running": {"startedAt": self.started}},
            }],
        });
        let patch = Patch::Merge(json!({"status": status}));
        let name = field(&self.pod, "metadata.name");
        self.pods.patch_status(&name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// A file as the process sees it, by its path in the pod.
    pub fn file(&self, path: &str) -> Result<String> {
        let file = self.mounts.as_seen_here(path);
        std::fs::read_to_string(&file).context(|| format!("read {file}"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGTERM, then waits for the end.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.process.terminate(limit).await
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// The container's name is that of its program.
fn only_container(pod: &Pod) -> Result<&Container> {
    let spec = pod.spec.as_ref().context(|| "a pod without a specification")?;
    spec.containers.first().context(|| "a pod without a container")
}

/// What the downward API says of a pod.
fn field(pod: &Pod, path: &str) -> String {
    let meta = &pod.metadata;
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        _ => None,
    };
    value.unwrap_or_default()
}

/// The container's variables. Of a Secret that is missing comes none, where the pod lets it be missing.
async fn environment(
    client: &Client,
    pod: &Pod,
    container: &Container,
) -> Result<Vec<(String, String)>> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &field(pod, "metadata.namespace"));
    let mut variables = Vec::new();
    for variable in container.env.iter().flatten() {
        let from = variable.value_from.clone().unwrap_or_default();
        let value = if let Some(from) = from.field_ref {
            Some(field(pod, &from.field_path))
        } else if let Some(from) = from.secret_key_ref {
            let data = secrets.get_opt(&from.name).await?.and_then(|secret| secret.data);
            let value = data.unwrap_or_default().remove(&from.key);
            let value = value.map(|value| String::from_utf8_lossy(&value.0).into_owned());
            if value.is_none() && from.optional != Some(true) {
                return Err(Failure::new(format!("{} has no key {}", from.name, from.key)));
            }
            value
        } else {
            Some(variable.value.clone().unwrap_or_default())
        };
        variables.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(variables)
}

/// A kubeconfig with the rights of the pod's account, as its token would give them.
fn rights(plane: &ControlPlane, pod: &Pod) -> Result<std::path::PathBuf> {
    let namespace = field(pod, "metadata.namespace");
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let account = account.context(|| "a pod without an account")?;
    let subject = format!(
        "/O=system:serviceaccounts/O=system:serviceaccounts:{namespace}\
         /CN=system:serviceaccount:{namespace}:{account}"
    );
    plane.kubeconfig(&format!("{namespace}-{account}"), &subject)
}

/// Gives the bridge one more address, for one more pod.
async fn new_address() -> Result<Ipv4Addr> {
    static LAST: AtomicU8 = AtomicU8::new(100);
    let address = Ipv4Addr::new(10, 88, 0, LAST.fetch_add(1, Ordering::Relaxed));
    site::give_address(&address.to_string()).await?;
    Ok(address)
}
