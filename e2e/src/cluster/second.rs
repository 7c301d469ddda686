//! A second node in the same namespaces, for tests that take a node away. Its taint keeps other tests' pods from it.

use k8s_openapi::api::core::v1::Taint;
use serde_json::{Value, json};

use super::Cluster;
use super::node::{self, Place};
use crate::process::{self, Process, Signal};
use crate::{Result, release, site};

const TAINT: &str = "e2e/apart";

/// The node; dropped, its kubelet and containerd are killed, and its containers run on until the namespaces end.
#[derive(Debug)]
pub struct SecondNode {
    place: Place,
    kubelet: Process,
    _containerd: Process,
}

impl SecondNode {
    /// The name of the node.
    pub const NAME: &'static str = "node1";

    /// Starts it with the images of this build. A cluster has one at most.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let address = "10.88.0.2";
        site::give_address(address).await?;
        let place = Place::numbered(cluster, 1, Self::NAME, address);
        place.prepare(cluster)?;
        let containerd = node::containerd(&place).await?;
        node::import(&place.folder, &Cluster::pause_image()?).await?;
        for archive in release::images()? {
            node::import(&place.folder, &archive).await?;
        }
        let kubelet = node::kubelet(&place, &[taint()])?;
        let second = Self { place, kubelet, _containerd: containerd };
        cluster.await_node(Self::NAME).await?;
        Ok(second)
    }

    /// The part of `spec.worker` by which a pod rather runs here than elsewhere, and elsewhere rather than nowhere.
    pub fn preferred() -> Value {
        json!({
            "tolerations": [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "preference": {"matchExpressions": [{
                    "key": "kubernetes.io/hostname", "operator": "In", "values": [Self::NAME],
                }]},
            }]}},
        })
    }

    /// Stops the kubelet in its tracks: the node does not report any more, and its pods run on.
    pub fn freeze(&self) -> Result<()> {
        self.kubelet.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.kubelet.signal(Signal::CONT)
    }

    /// Sends a signal to the process of a pod's container on this node.
    pub async fn signal(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        signal: Signal,
    ) -> Result<()> {
        let folder = &self.place.folder;
        let pid = node::container_pid(folder, namespace, pod, container).await?;
        process::send(pid, signal)
    }
}

fn taint() -> Taint {
    Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() }
}
