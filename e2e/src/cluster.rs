//! A whole Kubernetes in the run's namespaces: a control plane and one real node with containerd,
//! kubelet, kube-proxy and DNS. Ready in seconds; ends with the namespace.

mod node;
mod second;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Namespace, Node, Pod, PodSpec, SeccompProfile, SecurityContext,
    Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::OnceCell;

use crate::control_plane::ControlPlane;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

pub use second::SecondNode;

/// The name of the one node.
pub const NODE: &str = "node0";
/// User id of pods that need none in particular.
const NOBODY: i64 = 65532;
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A running cluster. Everything of its [`ControlPlane`] is reached through it.
#[derive(Debug)]
pub struct Cluster {
    plane: ControlPlane,
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}

impl Cluster {
    /// The one cluster of this test program; the first caller starts it.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Result<Cluster>> = OnceCell::const_new();
        // A failure is kept: a second cluster does not fit beside the remains of the first.
        let shared = SHARED.get_or_init(Self::start).await;
        shared.as_ref().map_err(|failure| Failure::new(failure.to_string()))
    }

    /// Starts a cluster; only one fits into a namespace.
    pub async fn start() -> Result<Self> {
        let mut plane = ControlPlane::start().await?;
        node::start(&mut plane).await?;
        let cluster = Self { plane };
        cluster.await_node(NODE).await?;
        Ok(cluster)
    }

    async fn await_node(&self, name: &str) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        until(format!("{name} is Ready"), READY_LIMIT, || async {
            if let Err(ended) = self.check_runs() {
                return Ok(Look::Never(ended.to_string()));
            }
            let node = nodes.get(name).await?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
            Ok::<_, Failure>(Look::holds(ready, || format!("{conditions:?}")))
        })
        .await
    }

    /// Imports an image archive made by `e2e/image.sh`.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        node::import(self.folder(), archive).await
    }

    /// Gives an image of the node one more name.
    pub async fn tag(&self, image: &str, name: &str) -> Result<()> {
        node::tag(self.folder(), image, name).await
    }

    /// Makes a namespace and waits for its default service account.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        namespaces.create(&PostParams::default(), &namespace).await?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(client, name);
        until(format!("namespace {name} has its service account"), READY_LIMIT, || async {
            let account = accounts.get_opt("default").await?;
            Ok::<_, kube::Error>(Look::from_option(account.map(drop), || "none yet".into()))
        })
        .await
    }

    /// A service name for a server outside the cluster: `<name>.<namespace>.svc` leads to `target` on
    /// the node's address.
    pub async fn expose(&self, namespace: &str, name: &str, port: u16, target: u16) -> Result<()> {
        let client = self.client().await?;
        let metadata = ObjectMeta {
            name: Some(name.into()),
            labels: Some(BTreeMap::from([("kubernetes.io/service-name".into(), name.into())])),
            ..ObjectMeta::default()
        };
        let service = Service {
            metadata: metadata.clone(),
            spec: Some(ServiceSpec {
                ports: Some(vec![ServicePort { port: port.into(), ..ServicePort::default() }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        };
        let slice = EndpointSlice {
            metadata,
            address_type: "IPv4".into(),
            endpoints: vec![Endpoint {
                addresses: vec![site::NODE_ADDRESS.into()],
                ..Endpoint::default()
            }],
            ports: Some(vec![EndpointPort {
                port: Some(target.into()),
                ..EndpointPort::default()
            }]),
        };
        let create = PostParams::default();
        Api::namespaced(client.clone(), namespace).create(&create, &service).await?;
        Api::namespaced(client, namespace).create(&create, &slice).await?;
        Ok(())
    }

    /// Creates a pod of one container, of the restricted kind that alone is let in, and waits until it runs.
    pub async fn run_pod(&self, namespace: &str, name: &str, image: &str) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        let container = Container {
            name: "main".into(),
            image: Some(image.into()),
            image_pull_policy: Some("Never".into()),
            security_context: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".into()]),
                    ..Capabilities::default()
                }),
                run_as_non_root: Some(true),
                run_as_user: Some(NOBODY),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    ..SeccompProfile::default()
                }),
                ..SecurityContext::default()
            }),
            ..Container::default()
        };
        let pod = Pod {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }),
            ..Pod::default()
        };
        pods.create(&PostParams::default(), &pod).await?;
        until(format!("pod {namespace}/{name} runs"), READY_LIMIT, || async {
            let pod = pods.get(name).await?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            let runs = phase.as_deref() == Some("Running");
            Ok::<_, kube::Error>(Look::from_option(runs.then_some(pod), || format!("{phase:?}")))
        })
        .await
    }

    /// Kills every process of a pod's container with -9, as a crash would.
    pub async fn kill_container(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        node::kill_container(self.folder(), namespace, pod, container).await
    }

    /// The process id of a pod's container, for SIGSTOP and SIGCONT.
    pub async fn container_pid(&self, namespace: &str, pod: &str, container: &str) -> Result<u32> {
        node::container_pid(self.folder(), namespace, pod, container).await
    }

    /// The archive of the pause image, which every node holds as `docker.io/local/pause:1`.
    pub fn pause_image() -> Result<PathBuf> {
        site::cached("pause-image/pause.tar").context(|| "find the pause image")
    }
}
