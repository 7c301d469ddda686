//! A node: containerd and kubelet on an address of the bridge; with the first one kube-proxy and CoreDNS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

use super::{Cluster, NODE};
use crate::control_plane::{ControlPlane, PODS};
use crate::process::Process;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

const SOCKET: &str = "containerd.sock";
const LIMIT: Duration = Duration::from_secs(30);

/// What one node has of its own.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its files, and the socket of its containerd.
    pub folder: PathBuf,
    /// Keys and kubeconfigs of the control plane.
    pki: PathBuf,
    name: String,
    address: String,
    /// Keeps ports, bridges and pod addresses of several nodes apart.
    number: u8,
}

impl Place {
    /// The node that every cluster has.
    fn first(plane: &ControlPlane) -> Self {
        let folder = plane.folder().to_path_buf();
        Self { folder, ..Self::numbered(plane, 0, NODE, site::NODE_ADDRESS) }
    }

    /// One of several nodes.
    pub fn numbered(plane: &ControlPlane, number: u8, name: &str, address: &str) -> Self {
        let (pki, folder) = (plane.folder().join("pki"), plane.folder().join(name));
        Self { folder, pki, name: name.into(), address: address.into(), number }
    }

    fn kubeconfig(&self) -> String {
        format!("kubelet-{}", self.name)
    }

    fn serving(&self) -> String {
        format!("kubelet-server-{}", self.name)
    }

    /// Makes its folder and its certificates.
    pub fn prepare(&self, plane: &ControlPlane) -> Result<()> {
        std::fs::create_dir_all(&self.folder).context(|| "make the node's folder")?;
        let Self { name, address, .. } = self;
        let user = format!("/O=system:nodes/CN=system:node:{name}");
        plane.kubeconfig(&self.kubeconfig(), &user)?;
        let names = format!("DNS:{name},IP:{address}");
        plane.authority().issue(&self.serving(), &format!("/CN={name}"), &names).map(drop)
    }
}

pub(super) async fn start(plane: &mut ControlPlane) -> Result<()> {
    let place = Place::first(plane);
    let folder = place.folder.clone();
    plane.kubeconfig("scheduler", "/CN=system:kube-scheduler")?;
    plane.kubeconfig("proxy", "/CN=system:kube-proxy")?;
    plane.kubeconfig("dns", "/O=system:masters/CN=dns")?;
    place.prepare(plane)?;
    let port = site::free_port()?;
    plane.run("kube-scheduler", |command| {
        command
            .arg(format!("--secure-port={port}"))
            .args(["--kubeconfig=pki/scheduler.kubeconfig", "--leader-elect=false"]);
    })?;
    start_dns(plane, &folder)?;
    plane.adopt(containerd(&place).await?);
    import(&folder, &Cluster::pause_image()?).await?;
    plane.adopt(kubelet(&place, &[])?);
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

pub(super) async fn containerd(place: &Place) -> Result<Process> {
    let (folder, number) = (&place.folder, place.number);
    let shown = folder.display();
    std::fs::create_dir_all(folder.join("cni")).context(|| "make the CNI folder")?;
    let network = json!({
        "cniVersion": "1.0.0", "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": format!("cni{number}"), "isGateway": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": folder.join("ipam"),
                    "ranges": [[{"subnet": format!("10.244.{number}.0/24")}]], "routes": [{"dst": "0.0.0.0/0"}],
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
    let process = Process::spawn("containerd", command, &folder.join("containerd.log"))?;
    until("containerd answers", LIMIT, || async {
        ctr(folder, &["version"]).await.map(|_| Look::Yes(()))
    })
    .await?;
    Ok(process)
}

/// Starts the kubelet, which registers its node with these taints.
pub(super) fn kubelet(place: &Place, taints: &[Taint]) -> Result<Process> {
    let Place { folder, pki, name, address, number } = place;
    // Ports of others are those of the first, ten by ten.
    let port = |first: u16| first + 10 * u16::from(*number);
    let settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs", "cgroupRoot": make_cgroup(*number)?, "failCgroupV1": false,
        "port": port(10_250), "healthzPort": port(10_248), "registerWithTaints": taints,
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
        "tlsCertFile": pki.join(format!("{}.crt", place.serving())),
        "tlsPrivateKeyFile": pki.join(format!("{}.key", place.serving())),
    });
    // JSON, which is YAML too: serde_yaml does not know how serde_json may hold numbers.
    std::fs::write(folder.join("kubelet.yaml"), settings.to_string())
        .context(|| "write the kubelet's settings")?;
    let kubeconfig = pki.join(format!("{}.kubeconfig", place.kubeconfig()));
    let mut command = Command::new(site::program("kubelet")?);
    command
        .current_dir(folder)
        .arg("--config=kubelet.yaml")
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--root-dir={}", folder.join("kubelet").display()))
        .arg(format!("--hostname-override={name}"))
        .arg(format!("--node-ip={address}"));
    Process::spawn("kubelet", command, &folder.join("kubelet.log"))
}

/// Makes the run's cgroup where a kubelet keeps its pods, in every hierarchy there is. What a kubelet finds there
/// and does not know it removes.
fn make_cgroup(number: u8) -> Result<String> {
    let run = site::cgroup()?;
    let name = if number == 0 { run } else { format!("{run}-node{number}") };
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
