//! The leader changes: killed, it is followed; frozen, it is followed too, and thawed it writes nothing more.

use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;

use super::*;

/// The Lease's 15 s, seen up to 2 s late, and a start.
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// A thawed leader learns within a request that its time is over.
const ENDS: Duration = Duration::from_secs(10);

async fn candidate(cluster: &'static Cluster, name: &str) -> Result<Operator> {
    Operator::start(cluster, name, &["led"], &[]).await
}

/// Changes the specification and waits until the status is about it.
async fn obeyed(stream: &StreamResource, events: u32) -> Result<()> {
    stream.patch(json!({"spec": {"batch": {"maxEvents": events}}})).await?;
    until(format!("{} is looked after", stream.name), SHOWN, || async {
        let object = stream.api::<BinlogStream>().get(&stream.name).await?;
        let seen = object.status.and_then(|status| status.observed_generation);
        let wanted = object.metadata.generation;
        Ok::<_, Failure>(Look::holds(seen == wanted, || format!("{seen:?} of {wanted:?}")))
    })
    .await
}

async fn holder(cluster: &Cluster) -> Result<Option<String>> {
    let leases: Api<Lease> = Api::namespaced(cluster.client().await?, e2e::release::NAMESPACE);
    let lease = leases.get("binlog-operator").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity))
}

/// Versions of all that the operator writes.
async fn versions(stream: &StreamResource) -> Result<Vec<Option<String>>> {
    let object = stream.api::<BinlogStream>().get(&stream.name).await?;
    let maps = stream.api::<ConfigMap>().get(&format!("{}-worker", stream.name)).await?;
    Ok(vec![object.metadata.resource_version, maps.metadata.resource_version])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_or_frozen_is_followed_and_thawed_writes_nothing_more() -> Result<()>
{
    let (server, s3) =
        (Server::builder(ServerKind::MariaDb1011).start().await?, S3::start().await?);
    let cluster = Cluster::shared().await?;
    workload::prepare(&server).await?;
    let first = candidate(cluster, "first").await?;
    first.leads(SETTLED).await?;
    let second = candidate(cluster, "second").await?;
    let stream = StreamResource::new(cluster, "led", &server, &s3).await?;
    let stream = stream.with(&json!({"state": "Stopped"}));
    stream.create().await?;
    stream.says(READY, NOT, &["Stopped"], SETTLED).await?;
    obeyed(&stream, 101).await?;
    assert_eq!(second.metric("binlog_operator_leader").await?.as_deref(), Some("0"));

    let killed = Instant::now();
    first.kill().await?;
    second.leads(TAKEN_OVER).await?;
    println!("led: the second leads {:?} after the first was killed", killed.elapsed());
    assert_eq!(holder(cluster).await?.as_deref(), Some("second"));
    obeyed(&stream, 102).await?;

    let third = candidate(cluster, "third").await?;
    let frozen = Instant::now();
    second.freeze()?;
    third.leads(TAKEN_OVER).await?;
    println!("led: the third leads {:?} after the second was frozen", frozen.elapsed());
    // What the frozen one remembers is of the past now.
    obeyed(&stream, 103).await?;
    let before = versions(&stream).await?;

    second.thaw()?;
    let status = second.ends(ENDS).await?;
    assert!(!status.success(), "{status}");
    second.check_log(&["lost the lease"], &[])?;
    throughout("what the new leader wrote stands", Duration::from_secs(5), || async {
        let now = versions(&stream).await?;
        Ok::<_, Failure>(Look::holds(now == before, || format!("{now:?}, was {before:?}")))
    })
    .await?;
    assert_eq!(holder(cluster).await?.as_deref(), Some("third"));
    obeyed(&stream, 104).await?;
    third.check_log(&[], &[])
}
