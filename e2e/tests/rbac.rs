//! What the identities of operator and worker may do: what they need, no Secret, nothing of another stream, no shell.
//! Asked of the authorizer, then tried with their own tokens.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::release::{NAMESPACE, OPERATOR, installed};
use e2e::wait::{Look, until};
use e2e::{Context, Result, rights};
use hyper::{Method, Request, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

const HOME: &str = "rights";
const WORKER: &str = "system:serviceaccount:rights:one-worker";
/// Names alone would be too much too.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const LIMIT: Duration = Duration::from_secs(60);

/// Two streams in one namespace with what the operator makes for them. Stopped, they need no source.
async fn streams() -> Result<&'static Cluster> {
    let cluster = installed().await?;
    cluster.namespace(HOME).await?;
    let client = cluster.client().await?;
    let streams: Api<crds::v1alpha1::BinlogStream> = Api::namespaced(client.clone(), HOME);
    for name in ["one", "two"] {
        let stream = json!({
            "apiVersion": "binlogstream.io/v1alpha1", "kind": "BinlogStream",
            "metadata": {"name": name},
            "spec": {
                "state": "Stopped",
                "source": {"host": "mysql.shop.svc", "credentialsSecretRef": {"name": "source"}},
                "archive": {"s3": {"bucket": "history", "prefix": name}},
            },
        });
        streams.create(&PostParams::default(), &serde_json::from_value(stream)?).await?;
    }
    cluster
        .kubectl(&["create", "secret", "generic", "source", "-n", HOME, "--from-literal=a=b"])
        .await?;
    cluster.run_pod(HOME, "bystander", "docker.io/local/pause:1").await?;
    let maps: Api<ConfigMap> = Api::namespaced(client, HOME);
    until("the operator made the checkpoints", LIMIT, || async {
        let made = maps.get_opt("one-checkpoint").await?.is_some()
            && maps.get_opt("two-checkpoint").await?.is_some();
        Ok::<_, kube::Error>(Look::holds(made, || "not yet".into()))
    })
    .await?;
    Ok(cluster)
}

/// A client that holds nothing but an account's token.
async fn client_of(cluster: &Cluster, namespace: &str, account: &str) -> Result<Client> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client().await?, namespace);
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let made = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    let token = made.status.context(|| "no token was made")?.token;
    let kubeconfig: Kubeconfig = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://127.0.0.1:{}", cluster.port()),
            "certificate-authority": cluster.authority().certificate(),
        }}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context(|| "use the token")?;
    Ok(Client::try_from(config)?)
}

/// The status of a raw request.
async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<StatusCode> {
    ask_for(client, method, path, body, "application/json").await
}

async fn ask_for(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Value>,
    accept: &str,
) -> Result<StatusCode> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", accept)
        .header("content-type", "application/merge-patch+json")
        .body(Body::from(body.map(|body| body.to_string()).unwrap_or_default().into_bytes()))
        .context(|| format!("build a request for {path}"))?;
    Ok(client.send(request).await?.status())
}

/// One story: both identities on the same objects.
#[tokio::test(flavor = "multi_thread")]
async fn reach_no_secret_no_shell_and_nothing_of_another_stream() -> Result<()> {
    let cluster = streams().await?;
    asks_the_authorizer(cluster).await?;
    let operator = client_of(cluster, NAMESPACE, "binlog-operator").await?;
    let worker = client_of(cluster, HOME, "one-worker").await?;
    for (who, client) in [("operator", &operator), ("worker", &worker)] {
        for path in [
            "/api/v1/secrets",
            "/api/v1/secrets?watch=true",
            "/api/v1/namespaces/rights/secrets",
            "/api/v1/namespaces/rights/secrets?watch=true",
            "/api/v1/namespaces/rights/secrets/source",
            "/api/v1/namespaces/binlog-system/secrets",
            "/api/v1/namespaces/kube-system/secrets",
            "/api/v1/nodes",
        ] {
            for accept in ["application/json", METADATA] {
                let status = ask_for(client, Method::GET, path, None, accept).await?;
                assert_eq!(status, StatusCode::FORBIDDEN, "{who}: GET {path} as {accept}");
            }
        }
        let pod = "/api/v1/namespaces/rights/pods/bystander";
        for call in ["exec?command=sh", "attach", "portforward?ports=80", "proxy"] {
            let status = ask(client, Method::POST, &format!("{pod}/{call}"), None).await?;
            assert_eq!(status, StatusCode::FORBIDDEN, "{who}: POST {call}");
        }
        let accounts = "/api/v1/namespaces/rights/serviceaccounts";
        let token =
            ask(client, Method::POST, &format!("{accounts}/two-worker/token"), None).await?;
        assert_eq!(token, StatusCode::FORBIDDEN, "{who}: a token of another worker");
    }
    tries_config_maps(&worker).await
}

/// With the worker's token: its own checkpoint, and nobody else's.
async fn tries_config_maps(worker: &Client) -> Result<()> {
    let maps = "/api/v1/namespaces/rights/configmaps";
    let label = json!({"metadata": {"labels": {"tried": "yes"}}});
    for (path, allowed) in [
        (format!("{maps}/one-checkpoint"), true),
        (format!("{maps}/two-checkpoint"), false),
        (format!("{maps}/two-worker"), false),
        (format!("{maps}/one-worker"), false),
    ] {
        for (method, body) in [(Method::GET, None), (Method::PATCH, Some(label.clone()))] {
            let status = ask(worker, method.clone(), &path, body).await?;
            let expected = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{method} {path}");
        }
    }
    for path in [
        maps.to_owned(),
        format!("{maps}?fieldSelector=metadata.name%3Dtwo-checkpoint"),
        format!("{maps}?watch=true&fieldSelector=metadata.name%3Dtwo-checkpoint"),
        "/apis/binlogstream.io/v1alpha1/namespaces/rights/binlogstreams".to_owned(),
        "/api/v1/namespaces/rights/pods".to_owned(),
    ] {
        let status = ask(worker, Method::GET, &path, None).await?;
        assert_eq!(status, StatusCode::FORBIDDEN, "GET {path}");
    }
    let gone = ask(worker, Method::DELETE, &format!("{maps}/one-checkpoint"), None).await?;
    assert_eq!(gone, StatusCode::FORBIDDEN, "a worker cannot delete its checkpoint");
    Ok(())
}

/// Every cell of the table, in namespaces with and without streams, and over the whole cluster.
async fn asks_the_authorizer(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    let everywhere = [HOME, NAMESPACE, "kube-system", ""];
    let mut wrong = rights::differences(&client, OPERATOR, &everywhere, &[]).await?;
    let others = [NAMESPACE, "kube-system", ""];
    wrong.extend(rights::differences_of_worker(&client, WORKER, HOME, &others).await?);
    for what in ["get configmaps two-checkpoint", "update configmaps one-worker"] {
        if rights::may(&client, WORKER, HOME, what).await? {
            wrong.push(format!("a worker may {what}"));
        }
    }
    // The Lease of its own name, where it runs.
    for (what, namespace, expected) in [
        ("create leases.coordination.k8s.io", NAMESPACE, true),
        ("update leases.coordination.k8s.io binlog-operator", NAMESPACE, true),
        ("update leases.coordination.k8s.io other", NAMESPACE, false),
        ("create leases.coordination.k8s.io", HOME, false),
        ("get namespaces kube-system", "", true),
        ("get namespaces", "", false),
    ] {
        if rights::may(&client, OPERATOR, namespace, what).await? != expected {
            wrong.push(format!("the operator in {namespace:?}: {what} is not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
