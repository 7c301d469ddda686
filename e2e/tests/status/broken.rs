//! A dozen streams and one that cannot run, applied at once: each says why and what mends it and touches nothing, and those
//! that are mended become Ready by themselves.

use std::time::Instant;

use crds::conditions::Reason;
use e2e::pki::Authority;
use e2e::proxy::{HttpProxy, Moment, Pick};
use e2e::resource::said;
use e2e::site;
use hyper::StatusCode;
use serde_json::Value;

use super::*;

/// Longest until a dozen pods run on two cores.
const PODS_RUN: Duration = Duration::from_secs(120);

/// What the streams of the dozen need.
struct Scene {
    /// All streams' but two.
    main: Server,
    /// Writes no binlog.
    unlogged: Server,
    /// Logs statements.
    statements: Server,
    s3: S3,
    /// Answers 403 to everything.
    refuses: HttpProxy,
    /// Signed the certificate of `main`.
    authority: Authority,
}

impl Scene {
    async fn set() -> Result<Self> {
        let authority = Authority::new(&site::folder("authority")?, "Test authority")?;
        let names = format!("IP:{},IP:127.0.0.1", site::NODE_ADDRESS);
        let leaf = authority.issue("server", "/CN=source", &names)?;
        let main = Server::builder(ServerKind::MySql97).tls(&leaf, &authority.certificate());
        let maria = |kind, option, value: &str| Server::builder(kind).option(option, value).start();
        let (main, unlogged, statements) = tokio::try_join!(
            main.start(),
            maria(ServerKind::MariaDb118, "skip_log_bin", "1"),
            maria(ServerKind::MariaDb1011, "binlog_format", "STATEMENT"),
        )?;
        workload::prepare(&main).await?;
        // A first file with transactions, purged; an account that may do less than it must.
        main.run(&[
            "FLUSH BINARY LOGS",
            "CREATE USER granted IDENTIFIED BY 'repl'",
            "GRANT REPLICATION CLIENT ON *.* TO granted",
        ])
        .await?;
        let (newest, _) = main.position().await?;
        main.run(&[&format!("PURGE BINARY LOGS TO '{newest}'")]).await?;
        let s3 = S3::start().await?;
        let refuses = HttpProxy::start(s3.address()).await?;
        let denied = StatusCode::FORBIDDEN;
        refuses.answer(Pick::all(), denied, "AccessDenied", Moment::BeforeForward);
        Ok(Self { main, unlogged, statements, s3, refuses, authority })
    }

    async fn stream(&self, name: &str, server: &Server, change: &Value) -> Result<StreamResource> {
        let stream = StreamResource::new(installed().await?, name, server, &self.s3).await?;
        Ok(stream.with(change))
    }
}

struct Case {
    stream: StreamResource,
    reason: Reason,
    /// What the message must hold: what mends it.
    mend: &'static str,
}

/// The cases that are mended in the end come first.
async fn cases(scene: &Scene) -> Result<Vec<Case>> {
    let earliest = json!({"start": {"mode": "Earliest", "gtidSet": null}});
    let purged = json!({"file": "binlog.000001", "position": 4});
    let purged = json!({"mode": "FilePosition", "filePosition": purged, "gtidSet": null});
    let no_secret = json!({"source": {"credentialsSecretRef": {"name": "later"}}});
    let verified = json!({"mode": "VerifyCA", "caRef": {"name": "authority"}});
    let refused = json!({"archive": {"s3": {"endpoint": scene.refuses.endpoint_for_pods()}}});
    let main = &scene.main;
    let mut cases = Vec::new();
    for (name, server, change, reason, mend) in [
        ("wrong-password", main, json!({}), Reason::AuthFailed, "check the username and password"),
        ("no-secret", main, no_secret, Reason::SecretMissing, "create the Secret"),
        ("no-grant", main, json!({}), Reason::MissingGrant, "GRANT REPLICATION SLAVE"),
        ("other-ca", main, json!({"source": {"tls": verified}}), Reason::TlsFailed, "source.tls"),
        ("no-permission", main, refused, Reason::ArchiveAccessDenied, "s3:ListBucket"),
        (
            "log-bin-off",
            &scene.unlogged,
            earliest.clone(),
            Reason::BinlogDisabled,
            "log_bin=binlog",
        ),
        (
            "statements",
            &scene.statements,
            earliest,
            Reason::BinlogFormatNotRow,
            "binlog_format=ROW",
        ),
        ("purged", main, json!({"start": purged}), Reason::BinlogPurged, "start.mode: Earliest"),
        (
            "own-id",
            main,
            json!({"serverId": main.port()}),
            Reason::ServerIdConflict,
            "spec.serverId",
        ),
        (
            "no-bucket",
            main,
            json!({"archive": {"s3": {"bucket": "absent"}}}),
            Reason::BucketNotFound,
            "create the bucket",
        ),
        (
            "nobody-listens",
            main,
            json!({"source": {"port": site::free_port()?}}),
            Reason::ConnectionRefused,
            "source.port",
        ),
        (
            "no-host",
            main,
            json!({"source": {"host": "no-such-host.invalid"}}),
            Reason::DnsFailure,
            "source.host",
        ),
        (
            "detour",
            main,
            json!({"source": {"host": "detour"}}),
            Reason::EndpointNotAllowed,
            "is the Kubernetes API server",
        ),
    ] {
        let stream = scene.stream(name, server, &change).await?;
        if reason == Reason::EndpointNotAllowed {
            lead_to_the_api_server(&stream).await?;
        }
        cases.push(Case { stream, reason, mend });
    }
    let [password, _, grant, ca, ..] = &cases[..] else {
        return Err(Failure::new("too few cases"));
    };
    password.stream.set_secret("source", &[("username", "repl"), ("password", "wrong")]).await?;
    grant.stream.set_secret("source", &[("username", "granted"), ("password", "repl")]).await?;
    let stranger = Authority::new(&site::folder("stranger")?, "Somebody else")?;
    set_authority(&ca.stream, &stranger).await?;
    Ok(cases)
}

/// A name that nothing is wrong with, until it is resolved.
async fn lead_to_the_api_server(stream: &StreamResource) -> Result<()> {
    let target = "kubernetes.default.svc.cluster.local";
    let create = ["create", "service", "externalname", "detour", "--external-name", target, "-n"];
    let arguments = [&create[..], &[stream.name.as_str()]].concat();
    installed().await?.kubectl(&arguments).await.map(drop)
}

async fn set_authority(stream: &StreamResource, authority: &Authority) -> Result<()> {
    let certificate = std::fs::read_to_string(authority.certificate())?;
    stream.set_secret("authority", &[("ca.crt", &certificate)]).await
}

async fn runs(stream: &StreamResource) -> Result<bool> {
    let containers = stream.pod().await?.status.and_then(|status| status.container_statuses);
    let mut states = containers.into_iter().flatten().filter_map(|container| container.state);
    Ok(states.any(|state| state.running.is_some()))
}

/// The bucket is empty, the checkpoint too, and the pod is the first one's first life.
async fn untouched(stream: &StreamResource) -> Result<()> {
    let objects = stream.bucket().list("").await?;
    assert!(objects.is_empty(), "{}: {objects:?}", stream.name);
    assert_eq!(stream.checkpointed().await?, None, "{}", stream.name);
    assert_eq!(stream.restarts().await?, 0, "{} was restarted", stream.name);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_streams_at_once_give_their_reasons_touch_nothing_and_run_once_mended() -> Result<()>
{
    let scene = Scene::set().await?;
    let cases = cases(&scene).await?;
    for case in &cases {
        case.stream.create().await?;
    }
    until("all pods run", PODS_RUN, || async {
        for case in &cases {
            if !runs(&case.stream).await? {
                return Ok(Look::NotYet(format!("that of {} does not", case.stream.name)));
            }
        }
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await?;
    // From here, not from the creation: how soon a dozen pods come up on two cores is the node's affair.
    let began = Instant::now();
    for Case { stream, reason, mend } in &cases {
        let left = SHOWN.saturating_sub(began.elapsed()).max(Duration::from_millis(300));
        let (ready, no) = (ConditionType::Ready, ConditionStatus::False);
        let status = stream.says(ready, no, &[reason.as_str()], left).await?;
        let message = &said(&status, ready)?.message;
        println!("{}: {reason} ({:?})\n    {message}", stream.name, began.elapsed());
        assert!(message.contains(mend), "{}: no {mend:?} in {message}", stream.name);
        let stalled = said(&status, ConditionType::Stalled)?.status;
        assert_eq!(stalled, ConditionStatus::of(reason.is_stalled()), "{}", stream.name);
        assert_eq!(status.reason.as_deref(), Some(reason.as_str()), "{}", stream.name);
    }
    let left = SHOWN.saturating_sub(began.elapsed());
    throughout("they go on trying and say the same", left, || async {
        for Case { stream, reason, .. } in &cases {
            let found = stream.status().await?.reason;
            if found.as_deref() != Some(reason.as_str()) {
                return Ok(Look::NotYet(format!("{}: {found:?}", stream.name)));
            }
        }
        Ok::<_, Failure>(Look::Yes(()))
    })
    .await?;
    let shown = installed().await?.kubectl(&["get", "streams", "-A"]).await?;
    println!("{shown}");
    for Case { stream, reason, .. } in &cases {
        untouched(stream).await?;
        let line = stream.line().await?;
        let (ready, status) = (&*line["READY"], &*line["STATUS"]);
        assert_eq!((ready, status), ("False", reason.as_str()), "{line:?}");
    }

    let [password, secret, grant, ca, permission, rest @ ..] = &cases[..] else {
        return Err(Failure::new("too few cases"));
    };
    let account = [("username", "repl"), ("password", "repl")];
    password.stream.set_secret("source", &account).await?;
    secret.stream.set_secret("later", &account).await?;
    scene.main.run(&["GRANT REPLICATION SLAVE ON *.* TO granted"]).await?;
    set_authority(&ca.stream, &scene.authority).await?;
    scene.refuses.clear();
    let began = Instant::now();
    for Case { stream, .. } in [password, secret, grant, ca, permission] {
        stream.ready().await?;
        println!("{}: Ready {:?} after the mends", stream.name, began.elapsed());
        assert_eq!(stream.restarts().await?, 0, "{} was restarted", stream.name);
    }
    for Case { stream, .. } in rest {
        untouched(stream).await?;
    }
    Ok(())
}
