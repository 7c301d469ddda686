//! The node: containerd, kubelet, kube-proxy and CoreDNS on the bridge's address.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::{Cluster, NODE};
use crate::control_plane::{ControlPlane, PODS};
use crate::process::Process;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

const SOCKET: &str = "containerd.sock";
const LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn start(plane: &mut ControlPlane) -> Result<()> {
    let folder = plane.folder().to_path_buf();
    plane.kubeconfig("scheduler", "/CN=system:kube-scheduler")?;
    plane.kubeconfig("proxy", "/CN=system:kube-proxy")?;
    plane.kubeconfig("dns", "/O=system:masters/CN=dns")?;
    plane.kubeconfig("kubelet", &format!("/O=system:nodes/CN=system:node:{NODE}"))?;
    let names = format!("DNS:{NODE},IP:{}", site::NODE_ADDRESS);
    plane.authority().issue("kubelet-server", &format!("/CN={NODE}"), &names)?;
    let port = site::free_port()?;
    plane.run("kube-scheduler", |command| {
        command
            .arg(format!("--secure-port={port}"))
            .args(["--kubeconfig=pki/scheduler.kubeconfig", "--leader-elect=false"]);
    })?;
    start_dns(plane, &folder)?;
    start_containerd(plane, &folder).await?;
    import(&folder, &Cluster::pause_image()?).await?;
    start_kubelet(plane, &folder)?;
    plane.run("kube-proxy", |command| {
        command
            .arg(format!("--cluster-cidr={PODS}"))
            .arg(format!("--hostname-override={NODE}"))
            .args(["--kubeconfig=pki/proxy.kubeconfig", "--proxy-mode=nftables"])
            .arg("--conntrack-max-per-core=0");
    })
}

fn start_dns(plane: &mut ControlPlane, folder: &Path) -> Result<()> {
    let kubeconfig = folder.join("pki/dns.kubeconfig");
    let corefile = format!(
        ".:53 {{\n  bind {}\n  errors\n  kubernetes cluster.local in-addr.arpa {{\n    \
         kubeconfig {}\n    ttl 1\n  }}\n}}\n",
        site::NODE_ADDRESS,
        kubeconfig.display()
    );
    std::fs::write(folder.join("Corefile"), corefile).context(|| "write the Corefile")?;
    plane.run("coredns", |command| {
        command.arg("Corefile");
    })
}

async fn start_containerd(plane: &mut ControlPlane, folder: &Path) -> Result<()> {
    let shown = folder.display();
    std::fs::create_dir_all(folder.join("cni")).context(|| "make the CNI folder")?;
    let network = json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": folder.join("ipam"),
                    "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    std::fs::write(folder.join("cni/pods.conflist"), network.to_string())
        .context(|| "write the CNI configuration")?;
    // restrict_oom_score_adj: a container may run where CAP_SYS_RESOURCE is withheld.
    let config = format!(
        r#"version = 2
root = "{shown}/containerd/root"
state = "{shown}/containerd/state"
[grpc]
  address = "{shown}/{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/local/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{shown}/cni"
"#
    );
    std::fs::write(folder.join("containerd.toml"), config).context(|| "write its settings")?;
    let mut command = Command::new("containerd");
    command.args(["--config", "containerd.toml"]).current_dir(folder);
    plane.adopt(Process::spawn("containerd", command, &folder.join("containerd.log"))?);
    until("containerd answers", LIMIT, || async {
        ctr(folder, &["version"]).await.map(|_| Look::Yes(()))
    })
    .await
}

fn start_kubelet(plane: &mut ControlPlane, folder: &Path) -> Result<()> {
    let settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": folder.join("pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": make_cgroup()?, "failCgroupV1": false,
        "clusterDNS": [site::NODE_ADDRESS], "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}/{SOCKET}", folder.display()),
        // Config maps reach pods, and crashed containers come back, within a second.
        "syncFrequency": "1s", "configMapAndSecretChangeDetectionStrategy": "Watch",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "evictionHard": {
            "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi",
        },
        "failSwapOn": false, "imageGCHighThresholdPercent": 100, "resolvConf": "/dev/null",
        "podLogsDir": folder.join("pods"),
        "tlsCertFile": folder.join("pki/kubelet-server.crt"),
        "tlsPrivateKeyFile": folder.join("pki/kubelet-server.key"),
    });
    // JSON, which is YAML too: serde_yaml does not know how serde_json may hold numbers.
    std::fs::write(folder.join("kubelet.yaml"), settings.to_string())
        .context(|| "write the kubelet's settings")?;
    let root = folder.join("kubelet");
    plane.run("kubelet", |command| {
        command
            .args(["--config=kubelet.yaml", "--kubeconfig=pki/kubelet.kubeconfig"])
            .arg(format!("--root-dir={}", root.display()))
            .arg(format!("--hostname-override={NODE}"))
            .arg(format!("--node-ip={}", site::NODE_ADDRESS));
    })
}

/// Makes the run's cgroup where the kubelet keeps its pods, in every hierarchy there is.
fn make_cgroup() -> Result<String> {
    let name = site::cgroup()?;
    let top = Path::new("/sys/fs/cgroup");
    if top.join("cgroup.controllers").exists() {
        std::fs::create_dir_all(top.join(&name)).context(|| "make the run's cgroup")?;
    } else {
        for hierarchy in std::fs::read_dir(top).context(|| "list the cgroup hierarchies")? {
            let hierarchy = hierarchy.context(|| "list the cgroup hierarchies")?.path();
            if !hierarchy.is_dir() {
                continue;
            }
            let group = hierarchy.join(&name);
            std::fs::create_dir_all(&group).context(|| "make the run's cgroup")?;
            // A new cpuset group has neither processors nor memory until it is given some.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = std::fs::read(hierarchy.join(file)) {
                    std::fs::write(group.join(file), value).context(|| "fill the cpuset")?;
                }
            }
        }
    }
    Ok(format!("/{name}"))
}

pub(super) async fn import(folder: &Path, archive: &Path) -> Result<()> {
    let archive = archive.display().to_string();
    ctr(folder, &["--namespace", "k8s.io", "images", "import", &archive]).await.map(drop)
}

pub(super) async fn tag(folder: &Path, image: &str, name: &str) -> Result<()> {
    ctr(folder, &["--namespace", "k8s.io", "images", "tag", image, name]).await.map(drop)
}

pub(super) async fn kill_container(
    folder: &Path,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<()> {
    let id = container_id(folder, namespace, pod, container).await?;
    ctr(folder, &["--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", "--all", &id])
        .await
        .map(drop)
}

pub(super) async fn container_pid(
    folder: &Path,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<u32> {
    let id = container_id(folder, namespace, pod, container).await?;
    let tasks = ctr(folder, &["--namespace", "k8s.io", "tasks", "ls"]).await?;
    tasks
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&id.as_str()))
        .and_then(|words| words.get(1)?.parse().ok())
        .context(|| format!("container {container} of pod {namespace}/{pod} has no task:\n{tasks}"))
}

/// The newest container of that name; containerd keeps the ended ones until the kubelet removes them.
async fn container_id(
    folder: &Path,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<String> {
    let label = |name: &str, value: &str| format!("labels.\"io.kubernetes.{name}\"=={value}");
    let filter = [
        label("pod.namespace", namespace),
        label("pod.name", pod),
        label("container.name", container),
    ]
    .join(",");
    let containers =
        ctr(folder, &["--namespace", "k8s.io", "containers", "ls", "--quiet", &filter]).await?;
    let tasks = ctr(folder, &["--namespace", "k8s.io", "tasks", "ls"]).await?;
    let runs = |id: &&str| {
        tasks.lines().any(|line| line.starts_with(*id) && line.trim_end().ends_with("RUNNING"))
    };
    containers
        .lines()
        .find(runs)
        .map(str::to_owned)
        .context(|| format!("no running container {container} in pod {namespace}/{pod}"))
}

/// Runs containerd's client.
async fn ctr(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new("ctr")
        .arg("--address")
        .arg(folder.join(SOCKET))
        .args(arguments)
        .output()
        .await
        .context(|| "run ctr (install it with: sudo apt-get install containerd)")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failure::new(format!(
        "ctr {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    )))
}
