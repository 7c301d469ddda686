//! The release, as people take it from one version to another: by Helm.

use std::collections::BTreeSet;

use e2e::cluster::Cluster;
use e2e::previous::Previous;
use e2e::release::{self, NAMESPACE};
use e2e::resource::SETTLED;
use e2e::s3::SECRET_KEY;
use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result, logs, site};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::Value;

const OPERATORS: &str = "app.kubernetes.io/component=operator";

pub struct Release {
    pub previous: Previous,
    cluster: &'static Cluster,
    client: kube::Client,
}

impl Release {
    /// Installs the version before, with the images of both on the node.
    pub async fn install(cluster: &'static Cluster) -> Result<Self> {
        let previous = Previous::find()?;
        release::import_images(cluster).await?;
        previous.import(cluster).await?;
        let tag = &previous.tag;
        let flags = format!("--set image.tag={tag},worker.image.tag={tag} --wait --timeout 120s");
        release::install_chart(cluster, &previous.chart(), &flags).await?;
        Ok(Self { client: cluster.client().await?, previous, cluster })
    }

    /// To this version: its chart, and its own images again.
    pub async fn upgrade(&self) -> Result<()> {
        self.helm(
            "upgrade binlog-operator charts/binlog-operator --reset-then-reuse-values \
             --set image.tag=,worker.image.tag=",
        )
        .await
    }

    /// Back to what was installed first.
    pub async fn roll_back(&self) -> Result<()> {
        self.helm("rollback binlog-operator 1").await
    }

    async fn helm(&self, line: &str) -> Result<()> {
        let line = format!("{line} -n {NAMESPACE} --wait --timeout 120s");
        self.cluster.helm(&line.split_whitespace().collect::<Vec<_>>()).await.map(drop)
    }

    /// Waits until an operator of this version holds the Lease, and no other is left.
    pub async fn leads(&self, tag: &str) -> Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let operators = ListParams::default().labels(OPERATORS);
        until(format!("an operator of {tag} leads"), SETTLED, || async {
            let lease = leases.get("binlog-operator").await?.spec;
            let holder = lease.and_then(|spec| spec.holder_identity);
            let pods = pods.list(&operators).await?.items;
            let images: Vec<_> = pods.iter().map(image).collect();
            let holds = pods.iter().any(|pod| pod.metadata.name == holder)
                && images.iter().all(|image| image.ends_with(&format!(":{tag}")));
            Ok::<_, Failure>(Look::holds(holds, || format!("{holder:?} of {images:?}")))
        })
        .await
    }

    /// Every field of the definition that is served.
    pub async fn fields(&self) -> Result<BTreeSet<String>> {
        let words = ["get", "crd", "binlogstreams.binlogstream.io", "-o", "json"];
        fields(&serde_json::from_str(&self.cluster.kubectl(&words).await?)?)
    }

    /// Every field of this version's definition.
    pub fn own_fields() -> Result<BTreeSet<String>> {
        let file = site::tree().join("crds/generated/binlogstreams.yaml");
        fields(&serde_yaml::from_str(&std::fs::read_to_string(file)?)?)
    }

    /// No operator that runs now has logged an error.
    pub async fn complains_of_nothing(&self) -> Result<()> {
        let words = ["logs", "-n", NAMESPACE, "-l", OPERATORS, "--tail=-1"];
        logs::check(&self.cluster.kubectl(&words).await?, &[], &[SECRET_KEY])
    }
}

fn image(pod: &Pod) -> String {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container.and_then(|container| container.image.clone()).unwrap_or_default()
}

fn fields(definition: &Value) -> Result<BTreeSet<String>> {
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    let mut found = BTreeSet::new();
    walk(schema.context(|| "the definition has no schema")?, "", &mut found);
    Ok(found)
}

fn walk(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        walk(field, &path, found);
        found.insert(path);
    }
    if let Some(items) = schema.get("items") {
        walk(items, path, found);
    }
}
