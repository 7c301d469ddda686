//! The control plane of a fleet: API server with its audit log, the two controllers that pods come from, the
//! scheduler, nodes that are objects only, kwok, and the chart.

use std::path::{Path, PathBuf};

use e2e::control_plane::{ControlPlane, Flags};
use e2e::{Context, Failure, Result, release, site};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

/// What the operator and the workers are named after in their requests.
pub const OPERATOR_AGENT: &str = "binlog-operator/";
pub const WORKER_AGENT: &str = "binlog-worker/";
/// Subject of the certificate with which this process plays workers.
const PLAYERS: &str = "players";
/// Addresses of the pods; all of them lead to this process.
const PODS: &str = "10.112.0.0/16";
const PODS_PER_NODE: usize = 250;

/// A running control plane; dropped, it ends.
pub struct Stage {
    pub plane: ControlPlane,
    /// Where the audit log grows.
    pub audit: PathBuf,
    /// Kubeconfigs of the operator, and of the workers that are played.
    pub operator: PathBuf,
    pub players: PathBuf,
}

impl Stage {
    /// Starts one with room for so many pods, and installs the chart.
    pub async fn start(count: usize) -> Result<Self> {
        route_pods_here().await?;
        let folder = site::folder("audit")?;
        let audit = folder.join("audit.log");
        let mut plane = ControlPlane::start_with(&flags(&folder, &audit)?).await?;
        start_scheduler(&mut plane)?;
        let client = plane.client().await?;
        let nodes: Api<Node> = Api::all(client);
        for number in 0..count.div_ceil(PODS_PER_NODE) {
            nodes.create(&PostParams::default(), &node(number)?).await?;
        }
        start_kwok(&mut plane)?;
        release::install(&plane, "--set minConfigMapIntervalSeconds=60").await?;
        let definition = "crd/binlogstreams.binlogstream.io";
        plane.kubectl(&["wait", "--for=condition=Established", definition]).await?;
        let operator = plane.kubeconfig("operator", &account())?;
        let players = plane.kubeconfig(PLAYERS, &format!("/O=system:masters/CN={PLAYERS}"))?;
        Ok(Self { plane, audit, operator, players })
    }
}

/// The operator's account, as a certificate says it.
fn account() -> String {
    let namespace = release::NAMESPACE;
    let groups = format!("/O=system:serviceaccounts/O=system:serviceaccounts:{namespace}");
    format!("{groups}/CN={}", release::OPERATOR)
}

/// Deployments and replica sets are all that a worker's pod needs; a default limit of 20 requests a second would be
/// what is measured. No taint by condition: the nodes have no kubelet, and nobody is to move pods away.
fn flags(folder: &Path, audit: &Path) -> Result<Flags> {
    let policy = folder.join("policy.yaml");
    let text = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "users": [release::OPERATOR, PLAYERS]},
            {"level": "None"},
        ],
    });
    std::fs::write(&policy, text.to_string()).context(|| "write the audit policy")?;
    let flags = |all: &[&str]| all.iter().map(|&flag| flag.to_owned()).collect();
    Ok(Flags {
        etcd: flags(&["--quota-backend-bytes=8589934592"]),
        apiserver: vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit.display()),
            "--audit-log-maxsize=10000".to_owned(),
            "--disable-admission-plugins=TaintNodesByCondition".to_owned(),
        ],
        manager: flags(&[
            "--controllers=deployment-controller,replicaset-controller",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
        ]),
    })
}

fn start_scheduler(plane: &mut ControlPlane) -> Result<()> {
    plane.kubeconfig("scheduler", "/CN=system:kube-scheduler")?;
    let port = site::free_port()?;
    plane.run("kube-scheduler", |command| {
        command
            .arg(format!("--secure-port={port}"))
            .args(["--kubeconfig=pki/scheduler.kubeconfig", "--leader-elect=false"])
            .args(["--kube-api-qps=1000", "--kube-api-burst=2000"]);
    })
}

fn node(number: usize) -> Result<Node> {
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": (PODS_PER_NODE + 6).to_string()});
    let name = format!("fake-{number}");
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": room, "allocatable": room},
    }))?)
}

fn start_kwok(plane: &mut ControlPlane) -> Result<()> {
    plane.kubeconfig("kwok", "/O=system:masters/CN=kwok")?;
    let settings = json!({
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration",
        "options": {"podPlayStageParallelism": 16},
    });
    std::fs::write(plane.folder().join("kwok.yaml"), settings.to_string())
        .context(|| "write kwok's settings")?;
    plane.run("kwok", |command| {
        command
            .args(["--kubeconfig=pki/kwok.kubeconfig", "--config=kwok.yaml"])
            .arg("--manage-all-nodes=true")
            .arg(format!("--cidr={PODS}"))
            .arg(format!("--node-ip={}", site::NODE_ADDRESS));
    })
}

/// Every address of a pod is one of this network namespace.
async fn route_pods_here() -> Result<()> {
    let output = tokio::process::Command::new("ip")
        .args(["route", "replace", "local", PODS, "dev", "lo"])
        .output()
        .await
        .context(|| "run ip (install it with: sudo apt-get install iproute2)")?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::new(format!("route {PODS} to this namespace: {error}")))
}
