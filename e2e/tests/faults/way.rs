//! The way to the store: through a proxy, past it, and when it is down.

use crds::worker_status::WorkerStatus;
use e2e::pki::Authority;
use e2e::proxy::ForwardProxy;

use super::*;

/// Each entry, each object and each probe went through the proxy, and the archive is whole.
#[tokio::test(flavor = "multi_thread")]
async fn everything_for_s3_goes_through_the_proxy_and_its_fall_is_named() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MySql97).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, ForwardProxy::start().await?);
    let stream = Stream::new("proxied", &server)?.on_s3(&s3, &bucket, &s3.endpoint())?;
    let through = json!({"archive": {"s3": {"proxy": {"url": proxy.url()}}}});
    let stream = from_here(stream.with(&through)?, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    let mut done = workload::large(&server, 1_000, 100).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    let seen = proxy.seen();
    let puts = format!("PUT {}/{}/", s3.endpoint(), bucket.name());
    let objects = bucket.list("history/e2e/proxied/").await?;
    let put = seen.iter().filter(|line| line.starts_with(&puts)).count();
    println!("proxied: {} requests, {put} puts, {} objects", seen.len(), objects.len());
    assert!(put >= objects.len(), "{} objects by {put} puts: {seen:?}", objects.len());

    let port = proxy.port();
    drop(proxy);
    done += workload::large(&server, 1_000, 100).await?;
    let named = format!("through proxy 127.0.0.1:{port}");
    let down = worker
        .until("the fall of the proxy is named", SHOWN, |status: &WorkerStatus| {
            status.archive.reason == Reason::ArchiveUnreachable
                && status.archive.message.contains(&named)
        })
        .await?;
    println!("proxy down: {}", down.archive.message);
    unready(&worker, SHOWN, Reason::ArchiveUnreachable).await?;
    let proxy = ForwardProxy::start_at(port).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    ready(&worker, SHOWN).await?;
    assert!(!proxy.seen().is_empty(), "the archive was reached past the proxy");
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_store_is_reached_by_tunnels_alone() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, ForwardProxy::start().await?);
    let authority = Authority::new(&site::folder("s3-pki")?, "store authority")?;
    let leaf = authority.issue("store", "/CN=store", "IP:127.0.0.1")?;
    let (_tls, port) = s3.over_tls(&leaf).await?;
    let stream = Stream::new("tunnelled", &server)?.on_s3(
        &s3,
        &bucket,
        &format!("https://127.0.0.1:{port}"),
    )?;
    let through = json!({"caFile": authority.certificate(), "proxy": {"url": proxy.url()}});
    let through = json!({"archive": {"s3": through}});
    let stream = from_here(stream.with(&through)?, &server).await?;
    let worker = stream.start()?;
    streaming(&worker).await?;
    let done = workload::large(&server, 1_000, 100).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    let seen = proxy.seen();
    println!("tunnelled: {} tunnels", seen.len());
    let tunnel = format!("CONNECT 127.0.0.1:{port}");
    assert!(!seen.is_empty() && seen.iter().all(|line| *line == tunnel), "{seen:?}");
    assert!(worker.terminate(DRAINED).await?.success());
    oracle::check_all(&stream.archive(), &server, &workload::tables(false), done.changes).await?;
    worker.check_log(&[])
}

/// Only the field counts, not what the environment of a container says; and `noProxy` takes hosts out.
#[tokio::test(flavor = "multi_thread")]
async fn neither_the_environment_nor_a_host_of_no_proxy_leads_to_a_proxy() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, ForwardProxy::start().await?);
    let url = proxy.url();
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"];
    let environment: Vec<_> = names.map(|name| (name, url.as_str())).into();
    let plain = Stream::new("direct", &server)?.on_s3(&s3, &bucket, &s3.endpoint())?;
    let past = json!({"archive": {"s3": {"proxy": {"url": url, "noProxy": ["127.0.0.0/8"]}}}});
    for stream in [plain.clone(), plain.with(&past)?] {
        let worker = stream.start_with(&environment)?;
        streaming(&worker).await?;
        worker.archived_all_of(&server, ARCHIVED).await?;
        assert!(worker.terminate(DRAINED).await?.success());
        worker.check_log(&[])?;
    }
    assert_eq!(proxy.seen(), Vec::<String>::new());
    Ok(())
}

/// The role's credentials are asked for by the same way as the store; the node's own service is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_credential_service_is_asked_through_the_proxy() -> Result<()> {
    let (server, s3) = (shop(ServerKind::MariaDb118).await?, S3::start().await?);
    let (bucket, proxy) = (s3.bucket("history").await?, ForwardProxy::start().await?);
    let stream = Stream::new("role", &server)?.on_s3(&s3, &bucket, &s3.endpoint())?;
    let token = stream.folder().join("token");
    std::fs::write(&token, "header.claims.signature")?;
    let through = json!({"credentialFiles": null, "proxy": {"url": proxy.url()}});
    let stream = stream.with(&json!({"archive": {"s3": through}}))?;

    let worker = stream.start()?;
    worker.until("it has no credentials", SILENT, |status| status.phase == Phase::Waiting).await?;
    worker.kill().await?;
    assert_eq!(proxy.seen(), Vec::<String>::new(), "the node's role was asked for");

    let token = token.display().to_string();
    let worker = stream.start_with(&[
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/history"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
    ])?;
    until("the proxy is asked for the credential service", SHOWN, || async {
        worker.process().check_runs()?;
        let seen = proxy.seen();
        let asked = seen.iter().any(|line| line.starts_with("CONNECT sts."));
        Ok::<_, Failure>(Look::holds(asked, || format!("{seen:?}")))
    })
    .await?;
    println!("role: {:?}", proxy.seen());
    worker.kill().await
}
