//! One stream whose objects are edited and deleted by hand.

use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, Service};
use serde_json::json;

use super::*;

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

struct Subject {
    cluster: &'static Cluster,
    stream: StreamResource,
    worker: String,
}

impl Subject {
    /// Kubectl with the words of one line, in the stream's namespace.
    async fn kubectl(&self, line: &str) -> Result<()> {
        let words = ["-n", &self.stream.name].into_iter().chain(line.split(' '));
        self.cluster.kubectl(&words.collect::<Vec<_>>()).await.map(drop)
    }

    async fn deployment(&self) -> Result<Deployment> {
        Ok(self.stream.api::<Deployment>().get(&self.worker).await?)
    }

    /// Waits until the Deployment is as it should be.
    async fn comes_back(&self, what: &str, holds: impl Fn(&Deployment) -> bool) -> Result<()> {
        until(format!("{what} is taken back"), SETTLED, || async {
            let found = self.deployment().await?;
            Ok::<_, Failure>(Look::holds(holds(&found), || format!("{:?}", found.spec)))
        })
        .await
    }

    /// Waits until there is another object of this name than the one that was deleted.
    async fn is_made_again<K>(&self, name: &str, before: Option<String>) -> Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let objects: Api<K> = self.stream.api();
        until(format!("{name} is made again"), SETTLED, || async {
            let uid = objects.get_opt(name).await?.and_then(|object| object.uid());
            Ok::<_, Failure>(Look::holds(uid.is_some() && uid != before, || format!("{uid:?}")))
        })
        .await
    }
}

fn variables(deployment: &Deployment) -> Vec<EnvVar> {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.first());
    container.and_then(|container| container.env.clone()).unwrap_or_default()
}

/// Where the variable `POD_NAME` comes from: the field, and no value beside it.
fn names_its_pod(deployment: &Deployment) -> bool {
    variables(deployment).iter().any(|variable| {
        variable.name == "POD_NAME" && variable.value.is_none() && variable.value_from.is_some()
    })
}

fn holds_what_is_not_ours(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let restarted = template.and_then(|meta| meta.annotations.as_ref());
    deployment.annotations().get("example.com/team").is_some_and(|team| team == "shop")
        && deployment.labels().get("cost-centre").is_some_and(|centre| centre == "7")
        && restarted.is_some_and(|all| all.contains_key(RESTARTED_AT))
        && variables(deployment).iter().any(|variable| variable.name == "THEIRS")
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_what_is_ours_are_taken_back_and_what_is_not_ours_stays() -> Result<()> {
    let _operator = OPERATOR.lock().await;
    let cluster = installed().await?;
    let server = Server::builder(ServerKind::MariaDb118).start().await?;
    workload::prepare(&server).await?;
    let s3 = S3::start().await?;
    let stream = StreamResource::new(cluster, "drift", &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    let subject = Subject { cluster, stream, worker: "drift-worker".to_owned() };
    let ours = image(&subject.deployment().await?);

    subject.kubectl("scale deployment drift-worker --replicas=3").await?;
    let replicas = |found: &Deployment| found.spec.as_ref().and_then(|spec| spec.replicas);
    subject.comes_back("a second and a third pod", |found| replicas(found) == Some(1)).await?;
    subject.kubectl("set image deployment/drift-worker worker=docker.io/local/pause:1").await?;
    subject.comes_back("another image", |found| image(found) == ours).await?;
    subject.kubectl("set env deployment/drift-worker POD_NAME=somebody").await?;
    subject.comes_back("another value of a variable", names_its_pod).await?;

    let services: Api<Service> = subject.stream.api();
    let before = services.get(&subject.worker).await?.uid();
    subject.kubectl("delete service drift-worker").await?;
    subject.is_made_again::<Service>("drift-worker", before).await?;
    let maps: Api<ConfigMap> = subject.stream.api();
    let before = maps.get("drift-checkpoint").await?.uid();
    subject.kubectl("delete configmap drift-checkpoint").await?;
    subject.is_made_again::<ConfigMap>("drift-checkpoint", before).await?;

    subject.kubectl("annotate deployment drift-worker example.com/team=shop").await?;
    subject.kubectl("label deployment drift-worker cost-centre=7").await?;
    subject.kubectl("set env deployment/drift-worker THEIRS=yes").await?;
    until("its pod has the variable", SETTLED, || async {
        let found = subject.deployment().await?;
        Ok::<_, Failure>(Look::holds(is_ready(&found), || format!("{:?}", found.status)))
    })
    .await?;
    let pod = subject.stream.pod().await?.uid();
    subject.kubectl("rollout restart deployment drift-worker").await?;
    until("another pod has come", SETTLED, || async {
        let now: Vec<_> = subject.stream.pods().await?.iter().map(ResourceExt::uid).collect();
        let another = !now.is_empty() && !now.contains(&pod);
        Ok::<_, Failure>(Look::holds(another, || format!("{now:?}")))
    })
    .await?;
    throughout("what is not ours stays", WHILE, || async {
        let found = subject.deployment().await?;
        Ok::<_, Failure>(Look::holds(holds_what_is_not_ours(&found), || format!("{found:?}")))
    })
    .await?;
    // Not by chance: the operator writes the whole Deployment, and it still is.
    let labels = json!({"spec": {"worker": {"podMetadata": {"labels": {"tier": "history"}}}}});
    subject.stream.patch(labels).await?;
    let tier = |found: &Deployment| {
        let template = found.spec.as_ref().and_then(|spec| spec.template.metadata.clone());
        template.and_then(|meta| meta.labels).is_some_and(|labels| labels.contains_key("tier"))
    };
    until("the spec's edit is applied", SETTLED, || async {
        let found = subject.deployment().await?;
        Ok::<_, Failure>(Look::holds(tier(&found), || format!("{:?}", found.spec)))
    })
    .await?;
    let found = subject.deployment().await?;
    assert!(holds_what_is_not_ours(&found) && names_its_pod(&found), "{found:?}");
    subject.stream.ready().await?;
    until("the worker has filled its checkpoint again", SETTLED, || async {
        let at = subject.stream.checkpointed().await?;
        Ok::<_, Failure>(Look::from_option(at.map(drop), || "no data".into()))
    })
    .await?;
    subject.stream.delete().await
}
