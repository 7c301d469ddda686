//! The cluster of the tests is a real one: pods run, names resolve, service addresses lead to them.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::control_plane::ControlPlane;
use e2e::server::{Server, ServerKind};
use e2e::wait::{Look, until};
use e2e::{Failure, Result, site};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PAUSE: &str = "docker.io/local/pause:1";
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_comes_back_within_seconds_of_a_kill() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.namespace("pods").await?;
    cluster.run_pod("pods", "pause", PAUSE).await?;
    for killed in 1..=3 {
        cluster.kill_container("pods", "pause", "main").await?;
        until(format!("restart {killed}"), LIMIT, || async {
            let path = "-o=jsonpath={.status.containerStatuses[0].restartCount} {.status.phase} \
                        {.status.containerStatuses[0].state}";
            let state = cluster.kubectl(&["get", "pod", "-n", "pods", "pause", path]).await?;
            let back = state.starts_with(&format!("{killed} Running {{\"running\""));
            Ok::<_, Failure>(Look::holds(back, || state))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_name_resolves_and_its_address_leads_to_the_server() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let server = Server::builder(ServerKind::MariaDb118).start().await?;
    cluster.namespace("shop").await?;
    cluster.expose("shop", "mysql", 3306, server.port()).await?;
    let services: Api<Service> = Api::namespaced(cluster.client().await?, "shop");
    let address = services.get("mysql").await?.spec.and_then(|spec| spec.cluster_ip).unwrap();
    let resolved = until("the name resolves", LIMIT, || async {
        let resolved = resolve("mysql.shop.svc.cluster.local").await?;
        Ok::<_, Failure>(Look::from_option(resolved, || "no such name".into()))
    })
    .await?;
    assert_eq!(resolved, address);
    until("the service address routes", LIMIT, || async {
        let mut stream = TcpStream::connect((address.as_str(), 3306)).await?;
        let mut greeting = [0; 64];
        let read = stream.read(&mut greeting).await?;
        stream.shutdown().await?;
        let greeting = String::from_utf8_lossy(&greeting[..read]).into_owned();
        Ok::<_, Failure>(Look::holds(greeting.contains("11.8."), || greeting))
    })
    .await
}

/// Asks the cluster's DNS for one A record.
async fn resolve(name: &str) -> Result<Option<String>> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((site::NODE_ADDRESS, 53)).await?;
    // Header: id 1, recursion desired, one question.
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    // Root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query).await?;
    let mut answer = [0; 512];
    let read = socket.recv(&mut answer).await?;
    let answers = u16::from_be_bytes([answer[6], answer[7]]);
    // The address is the last thing of an answer with one record.
    let address = &answer[read - 4..read];
    Ok((answers == 1).then(|| address.iter().map(u8::to_string).collect::<Vec<_>>().join(".")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_bare_control_plane_is_another_cluster() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let second = ControlPlane::start().await?;
    let uid = ["get", "namespace", "kube-system", "-o=jsonpath={.metadata.uid}"];
    let (one, two) = (cluster.kubectl(&uid).await?, second.kubectl(&uid).await?);
    assert!(!one.is_empty() && one != two, "{one} {two}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_talks_to_the_cluster() -> Result<()> {
    let cluster = Cluster::shared().await?;
    assert!(cluster.helm(&["list", "--all-namespaces"]).await?.contains("NAMESPACE"));
    Ok(())
}
