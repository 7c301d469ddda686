//! Streams that cannot run, all at once: each says why and what mends it, touches nothing, and runs once mended.

use std::path::PathBuf;
use std::time::Instant;

use crds::worker_status::WorkerStatus;
use e2e::pki::Authority;
use serde_json::Value;

use super::*;

/// How a stream is broken before its worker starts.
enum Break {
    /// A change of its configuration; the mend is the configuration as it was.
    Config(Value),
    /// Other contents of a file it names; `None` takes the file away.
    File(PathBuf, Option<String>),
    /// Statements on the first server, and those that mend it.
    Sql(&'static [&'static str], &'static [&'static str]),
    /// The bucket refuses every request.
    Refusal,
    /// Done to a server before; see [`Servers`].
    Server,
}

struct Case {
    name: &'static str,
    stream: Stream,
    /// It ran well before, so there is an archive and a checkpoint to be left alone.
    ran: bool,
    fault: Break,
    reason: Reason,
    /// What the message must hold: what mends it.
    mend: &'static str,
}

struct Servers {
    /// All streams' but two.
    main: Server,
    /// Writes its binlog, then does not.
    unlogged: Server,
    /// Logs rows, then statements.
    statements: Server,
}

impl Servers {
    async fn start(leaf: &e2e::pki::Leaf, authority: &Authority) -> Result<Self> {
        let main = Server::builder(ServerKind::MySql97)
            .tls(leaf, &authority.certificate())
            .start()
            .await?;
        let unlogged = Server::builder(ServerKind::MariaDb118).start().await?;
        let statements = Server::builder(ServerKind::MariaDb1011).start().await?;
        for server in [&main, &unlogged, &statements] {
            workload::prepare(server).await?;
        }
        // A first file with transactions, purged; what was executed is known.
        main.run(&["FLUSH BINARY LOGS"]).await?;
        let (newest, _) = main.position().await?;
        main.run(&[&format!("PURGE BINARY LOGS TO '{newest}'")]).await?;
        let grants = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO granted";
        main.run(&["CREATE USER granted IDENTIFIED BY 'repl'", grants]).await?;
        Ok(Self { main, unlogged, statements })
    }

    async fn stop_logging(&mut self) -> Result<()> {
        self.configure(|text| format!("{text}skip_log_bin\n")).await?;
        self.statements.run(&["SET GLOBAL binlog_format = STATEMENT"]).await
    }

    async fn log_again(&mut self) -> Result<()> {
        self.configure(|text| text.replace("skip_log_bin\n", "")).await?;
        self.statements.run(&["SET GLOBAL binlog_format = ROW"]).await
    }

    async fn configure(&mut self, change: impl Fn(&str) -> String) -> Result<()> {
        let file = self.unlogged.data().with_file_name("my.cnf");
        std::fs::write(&file, change(&std::fs::read_to_string(&file)?))?;
        self.unlogged.stop().await?;
        self.unlogged.start().await
    }
}

fn cases(
    servers: &Servers,
    authority: &Authority,
    s3: &[Stream; 3],
    executed: &str,
) -> Result<Vec<Case>> {
    use Break::{Config, File, Refusal, Server as AtServer, Sql};

    let main = &servers.main;
    let case =
        |name, stream, ran, fault, reason, mend| Case { name, stream, ran, fault, reason, mend };
    let plain = |name: &str| Stream::new(name, main);
    let at = |file: &str, position: u64| {
        let at = json!({"file": file, "position": position});
        Break::Config(json!({"start": {"mode": "FilePosition", "filePosition": at}}))
    };
    let set = |set: &str| Break::Config(json!({"start": {"mode": "GtidSet", "gtidSet": set}}));
    let wrong_password = plain("wrong-password")?;
    let password = wrong_password.folder().join("password");
    let no_secret = plain("no-secret")?;
    let secret = no_secret.folder().join("password");
    let verified = |name: &str| {
        plain(name)?.with(
            &json!({"source": {"tls": {"mode": "VerifyCA", "caFile": authority.certificate()}}}),
        )
    };
    let stranger = Authority::new(&site::folder("stranger")?, "Somebody else")?;
    let other_ca = json!({"source": {"tls": {"caFile": stranger.certificate()}}});
    let no_ca = json!({"source": {"tls": {"caFile": "/nonexistent/ca.crt"}}});
    let [unknown_bucket, refused, wrong_key] = s3.clone();
    let s3_secret = wrong_key.folder().join("secret-key");
    let revoke: &[&str] = &["REVOKE REPLICATION SLAVE ON *.* FROM granted"];
    let grant: &[&str] = &["GRANT REPLICATION SLAVE ON *.* TO granted"];
    let granted = plain("no-grant")?.with(&json!({"source": {"username": "granted"}}))?;
    let nowhere = json!({"source": {"port": site::free_port()?}});
    let no_host = json!({"source": {"host": "no-such-host.invalid"}});
    let own_id = Break::Config(json!({"serverId": main.port()}));
    let unlogged = Stream::new("unlogged", &servers.unlogged)?;
    let statements = Stream::new("statements", &servers.statements)?;
    let unknown = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
    let more = format!("{executed},{unknown}");
    Ok(vec![
        case(
            "wrong password",
            wrong_password,
            true,
            File(password, Some("wrong".into())),
            Reason::AuthFailed,
            "check the username and password",
        ),
        case(
            "secret file missing",
            no_secret,
            true,
            File(secret, None),
            Reason::SecretMissing,
            "create the Secret",
        ),
        case(
            "missing grant",
            granted,
            true,
            Sql(revoke, grant),
            Reason::MissingGrant,
            "GRANT REPLICATION SLAVE",
        ),
        case("log_bin off", unlogged, true, AtServer, Reason::BinlogDisabled, "log_bin=binlog"),
        case(
            "format not ROW",
            statements,
            true,
            AtServer,
            Reason::BinlogFormatNotRow,
            "binlog_format=ROW",
        ),
        case(
            "purged position",
            plain("purged")?,
            false,
            at("binlog.000001", 4),
            Reason::BinlogPurged,
            "start.mode: Earliest",
        ),
        case(
            "unknown file",
            plain("no-file")?,
            false,
            at("binlog.000999", 4),
            Reason::PositionNotFound,
            "spec.start.filePosition",
        ),
        case(
            "position past the end",
            plain("no-position")?,
            false,
            at("binlog.000002", 1 << 40),
            Reason::PositionNotFound,
            "spec.start.filePosition",
        ),
        case(
            "purged GTIDs",
            plain("no-gtid")?,
            false,
            set(unknown),
            Reason::BinlogPurged,
            "spec.start.gtidSet",
        ),
        case(
            "unknown GTIDs",
            plain("more-gtid")?,
            false,
            set(&more),
            Reason::DivergentHistory,
            "spec.start.gtidSet",
        ),
        case(
            "the source's server id",
            plain("own-id")?,
            false,
            own_id,
            Reason::ServerIdConflict,
            "spec.serverId",
        ),
        case(
            "nothing listens",
            plain("refused")?,
            true,
            Config(nowhere),
            Reason::ConnectionRefused,
            "source.port",
        ),
        case(
            "no such host",
            plain("no-host")?,
            true,
            Config(no_host),
            Reason::DnsFailure,
            "source.host",
        ),
        case(
            "unknown authority",
            verified("other-ca")?,
            true,
            Config(other_ca),
            Reason::TlsFailed,
            "source.tls",
        ),
        case(
            "authority missing",
            verified("no-ca")?,
            true,
            Config(no_ca),
            Reason::SecretMissing,
            "ca.crt",
        ),
        case(
            "unknown bucket",
            unknown_bucket,
            true,
            Config(json!({"archive": {"s3": {"bucket": "absent"}}})),
            Reason::BucketNotFound,
            "bucket",
        ),
        case("no permission", refused, true, Refusal, Reason::ArchiveAccessDenied, "s3:"),
        case(
            "wrong secret key",
            wrong_key,
            true,
            File(s3_secret, Some("wrong".into())),
            Reason::ArchiveAuthFailed,
            "key",
        ),
    ])
}

/// Everything under the stream's root, and its checkpoint.
async fn untouchable(stream: &Stream) -> Result<(Vec<(String, u64)>, Option<Vec<u8>>)> {
    let kept = stream.archive().list("").await?;
    Ok((kept, std::fs::read(stream.folder().join("checkpoint.json")).ok()))
}

fn shows(case: &Case, status: &WorkerStatus) -> bool {
    let facets = [
        (status.source.reason, &status.source.message),
        (status.archive.reason, &status.archive.message),
    ];
    let said = |reason: Reason, message: &str| reason == case.reason && message.contains(case.mend);
    status.phase == Phase::Waiting
        && said(status.reason, &status.message)
        && facets.iter().any(|(reason, message)| said(*reason, message))
}

impl Case {
    async fn break_it(&self, servers: &Servers, proxy: &HttpProxy) -> Result<Stream> {
        match &self.fault {
            Break::Config(change) => return self.stream.clone().with(change),
            Break::File(file, Some(text)) => std::fs::write(file, text)?,
            Break::File(file, None) => std::fs::remove_file(file)?,
            Break::Sql(statements, _) => servers.main.run(statements).await?,
            Break::Refusal => {
                let (all, moment) = (Pick::all(), e2e::proxy::Moment::BeforeForward);
                proxy.answer(all, StatusCode::FORBIDDEN, "AccessDenied", moment);
            }
            Break::Server => {}
        }
        Ok(self.stream.clone())
    }

    async fn mend_it(
        &self,
        servers: &Servers,
        proxy: &HttpProxy,
        good: Option<&[u8]>,
    ) -> Result<()> {
        match &self.fault {
            Break::Config(_) => self.stream.write()?,
            Break::File(file, _) => std::fs::write(file, good.unwrap_or_default())?,
            Break::Sql(_, statements) => servers.main.run(statements).await?,
            Break::Refusal => proxy.clear(),
            Break::Server => {}
        }
        Ok(())
    }

    fn server<'a>(&self, servers: &'a Servers) -> &'a Server {
        match self.reason {
            Reason::BinlogDisabled => &servers.unlogged,
            Reason::BinlogFormatNotRow => &servers.statements,
            _ => &servers.main,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_streams_at_once_give_their_reasons_touch_nothing_and_run_once_mended() -> Result<()>
{
    let authority = Authority::new(&site::folder("authority")?, "Test authority")?;
    let leaf = authority.issue("server", "/CN=localhost", "DNS:localhost,IP:127.0.0.1")?;
    let mut servers = Servers::start(&leaf, &authority).await?;
    let s3 = S3::start().await?;
    let (bucket, proxy) = (s3.bucket("history").await?, HttpProxy::start(s3.address()).await?);
    let on_s3 = |name: &str, endpoint: &str| {
        Stream::new(name, &servers.main)?.on_s3(&s3, &bucket, endpoint)
    };
    let s3_streams = [
        on_s3("no-bucket", &s3.endpoint())?,
        on_s3("no-permission", &proxy.endpoint())?,
        on_s3("wrong-key", &s3.endpoint())?,
    ];
    let cases = cases(&servers, &authority, &s3_streams, &servers.main.gtids().await?)?;

    for case in cases.iter().filter(|case| case.ran) {
        let worker = case.stream.start()?;
        worker.archived_all_of(case.server(&servers), ARCHIVED).await.context(|| case.name)?;
        assert!(worker.terminate(DRAINED).await?.success(), "{}", case.name);
    }

    servers.stop_logging().await?;
    let (mut workers, mut kept, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for case in &cases {
        kept.push(untouchable(&case.stream).await?);
        files.push(match &case.fault {
            Break::File(file, _) => Some(std::fs::read(file)?),
            _ => None,
        });
        workers.push(case.break_it(&servers, &proxy).await?.start()?);
    }
    let began = Instant::now();
    for (case, worker) in cases.iter().zip(&workers) {
        let left = SHOWN.saturating_sub(began.elapsed()).max(Duration::from_millis(300));
        let what = format!("{} is {} and says {:?}", case.name, case.reason, case.mend);
        let status = worker.until(what, left, |status| shows(case, status)).await?;
        println!(
            "{}: {} ({:?})\n    {}",
            case.name,
            status.reason,
            began.elapsed(),
            status.message
        );
        unready(worker, Duration::from_secs(5), case.reason).await?;
    }
    for (case, before) in cases.iter().zip(&kept) {
        assert_eq!(untouchable(&case.stream).await?, *before, "{} was touched", case.name);
    }

    servers.log_again().await?;
    for (case, good) in cases.iter().zip(&files) {
        case.mend_it(&servers, &proxy, good.as_deref()).await?;
    }
    let began = Instant::now();
    for (case, worker) in cases.iter().zip(&workers) {
        // The first attempt after the mend comes within 15 s.
        streaming(worker).await.context(|| format!("{} after its mend", case.name))?;
        worker.archived_all_of(case.server(&servers), ARCHIVED).await?;
        println!("{}: streams {:?} after the mends", case.name, began.elapsed());
        assert!(worker.terminate(DRAINED).await?.success(), "{}", case.name);
        oracle::check_log(&case.stream.archive()).await.context(|| case.name)?;
        worker.check_log(&[]).context(|| case.name)?;
    }
    Ok(())
}
