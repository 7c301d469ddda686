//! Secrets are rotated while rows are written: in the order in which people do it right, and in the other one. The
//! worker is neither restarted nor replaced, keeps its epoch, and every row is there once.

use std::path::Path;

use e2e::pki::{Authority, Leaf};
use e2e::site;

use super::*;

/// Where the operator mounts what the streams here name.
const SECRETS: &str = "/etc/binlog-worker/secrets";
/// The worker asks who answers at the address each 30 s.
const ASKED: Duration = Duration::from_secs(60);

/// Updates a Secret and waits until the worker can see it.
async fn rotate(
    stream: &StreamResource,
    secret: &str,
    pairs: &[(&str, &str)],
    file: &str,
) -> Result<()> {
    stream.set_secret(secret, pairs).await?;
    let path = format!("{SECRETS}/{file}");
    until(format!("{} sees its new {file}", stream.name), SHOWN, || async {
        let seen = stream.file(&path).await?;
        let new = pairs.iter().any(|(_, value)| value.as_bytes() == seen);
        Ok::<_, Failure>(Look::holds(new, || format!("{} bytes", seen.len())))
    })
    .await
}

/// The stream says that waiting does not help, and why.
async fn stalls(stream: &StreamResource, kind: ConditionType, reason: &str) -> Result<()> {
    let status = stream.says(READY, NOT, &[reason], SHOWN).await?;
    let message = said(&status, READY)?.message.clone();
    println!("{}: {reason}: {message}", stream.name);
    stream.says(kind, NOT, &[reason], SHOWN).await?;
    stream.says(ConditionType::Stalled, IS, &[reason], SHOWN).await?;
    Ok(())
}

fn account(password: &str) -> [(&str, &str); 2] {
    [("username", "repl"), ("password", password)]
}

async fn set_password(server: &Server, password: &str) -> Result<()> {
    server.run(&[&format!("ALTER USER repl IDENTIFIED BY '{password}'")]).await
}

/// Logins of the account that the source took, so far.
async fn logins(server: &Server) -> Result<u64> {
    let query = "SELECT COALESCE(SUM(total_connections), 0) FROM performance_schema.accounts \
                 WHERE user = 'repl'";
    let count = server.value(query).await?;
    count.parse().context(|| format!("read {count:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_needs_no_restart_and_locks_no_account() -> Result<()> {
    let stage = Stage::set(ServerKind::MySql97, &["password"]).await?;
    let server = &stage.server;
    // Locked by the fourth refusal in a row, for ever.
    server.run(&["ALTER USER repl FAILED_LOGIN_ATTEMPTS 4 PASSWORD_LOCK_TIME UNBOUNDED"]).await?;
    let stream = stage.stream("password").await?;
    stream.create().await?;
    stream.ready().await?;
    let before = worker(&stream).await?;

    let rotations = async {
        // The source first: until the Secret follows the worker is refused, and asks seldom.
        set_password(server, "second").await?;
        server.disconnect("repl").await?;
        stalls(&stream, ConditionType::SourceConnected, "AuthFailed").await?;
        stream.set_secret("source", &account("second")).await?;
        stream.ready().await?;

        // The Secret first: the open connection goes on, questions beside it use the new password.
        let refused = faults(&stream, "AuthFailed").await?;
        rotate(&stream, "source", &account("third"), "source/password").await?;
        set_password(server, "third").await?;
        let known = logins(server).await?;
        until("the worker logs in beside its dump", ASKED, || async {
            let now = logins(server).await?;
            Ok::<_, Failure>(Look::holds(now > known, || format!("{now} logins")))
        })
        .await?;
        server.disconnect("repl").await?;
        stream.archived_all_of(server, ARCHIVED).await?;
        stream.ready().await?;
        assert_eq!(faults(&stream, "AuthFailed").await?, refused, "it was refused again");
        Ok(())
    };
    let ((), done) = under_load(server, rotations).await?;
    assert_eq!(worker(&stream).await?, before);
    stage.finish(&stream, done, &[]).await
}

/// The files of a server's certificate, which it reads again when told to.
struct Certificate {
    files: Leaf,
    old: Authority,
    new: Authority,
}

impl Certificate {
    fn new(name: &str) -> Result<Self> {
        let authority = |age: &str| Authority::new(&site::folder(&format!("{name}-{age}"))?, age);
        let (old, new) = (authority("old")?, authority("new")?);
        Ok(Self { files: issue(&old)?, old, new })
    }

    /// Replaces certificate and key by what this authority signs.
    async fn replace(&self, server: &Server, by: &Authority) -> Result<()> {
        let leaf = issue(by)?;
        for (from, to) in
            [(&leaf.certificate, &self.files.certificate), (&leaf.key, &self.files.key)]
        {
            if from != to {
                std::fs::copy(from, to)?;
            }
        }
        let reload =
            if server.kind().is_mysql() { "ALTER INSTANCE RELOAD TLS" } else { "FLUSH SSL" };
        server.run(&[reload]).await
    }
}

fn issue(authority: &Authority) -> Result<Leaf> {
    let names = format!("IP:{},IP:127.0.0.1", site::NODE_ADDRESS);
    authority.issue("server", "/CN=source", &names)
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).context(|| format!("read {}", file.display()))
}

async fn authority_cell(kind: ServerKind, name: &str) -> Result<()> {
    let certificate = Certificate::new(name)?;
    let [old, new] = [&certificate.old, &certificate.new];
    let [old_text, new_text] = [text(&old.certificate())?, text(&new.certificate())?];
    // A server takes no certificate that its own authorities do not vouch for.
    let known = certificate.files.certificate.with_file_name("known.crt");
    std::fs::write(&known, format!("{old_text}{new_text}"))?;
    let server = Server::builder(kind).tls(&certificate.files, &known).start().await?;
    let stage = Stage::of(server, &[name], &[]).await?;
    let server = &stage.server;
    let tls = json!({"source": {"tls": {"mode": "VerifyFull", "caRef": {"name": "authority"}}}});
    let stream = stage.stream(name).await?.with(&tls);
    stream.set_secret("authority", &[("ca.crt", &old_text)]).await?;
    stream.create().await?;
    stream.ready().await?;
    let before = worker(&stream).await?;

    let rotations = async {
        // The server first: it is not trusted before the Secret names who signed it.
        certificate.replace(server, new).await?;
        server.disconnect("repl").await?;
        stalls(&stream, ConditionType::SourceConnected, "TlsFailed").await?;
        stream.set_secret("authority", &[("ca.crt", &new_text)]).await?;
        stream.ready().await?;

        // Both are trusted, then the server changes: nobody notices.
        let refused = faults(&stream, "TlsFailed").await?;
        let both = format!("{new_text}{old_text}");
        rotate(&stream, "authority", &[("ca.crt", &both)], "source/ca.crt").await?;
        certificate.replace(server, old).await?;
        server.disconnect("repl").await?;
        stream.archived_all_of(server, ARCHIVED).await?;
        stream.ready().await?;
        assert_eq!(faults(&stream, "TlsFailed").await?, refused, "it was refused again");
        Ok(())
    };
    let ((), done) = under_load(server, rotations).await?;
    assert_eq!(worker(&stream).await?, before);
    stage.finish(&stream, done, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_authority_needs_no_restart() -> Result<()> {
    tokio::try_join!(
        authority_cell(ServerKind::MySql97, "authority-mysql"),
        authority_cell(ServerKind::MariaDb118, "authority-maria"),
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_access_key_needs_no_restart() -> Result<()> {
    const OTHER: [&str; 2] = ["AKTESTTESTTESTTEST02", "rotated/secret+with=marks0123456"];
    let mut stage = Stage::set(ServerKind::MariaDb1011, &["keys"]).await?;
    let stream = stage.stream("keys").await?;
    stream.create().await?;
    stream.ready().await?;
    let before = worker(&stream).await?;
    let pairs = |[access, secret]: [&'static str; 2]| {
        [("AWS_ACCESS_KEY_ID", access), ("AWS_SECRET_ACCESS_KEY", secret)]
    };
    let (server, s3) = (&stage.server, &mut stage.s3);

    let rotations = async {
        // The store first: it does not know the worker's key, until the Secret follows.
        s3.rekey(OTHER[0], OTHER[1]).await?;
        stalls(&stream, ConditionType::ArchiveHealthy, "ArchiveAuthFailed").await?;
        stream.set_secret("store", &pairs(OTHER)).await?;
        stream.ready().await?;
        stream.archived_all_of(server, ARCHIVED).await?;

        // The Secret first. Of two keys that lead to one store, the worker takes the new one when the old is refused.
        let back = [e2e::s3::ACCESS_KEY, SECRET_KEY];
        rotate(&stream, "store", &pairs(back), "s3/access-key-id").await?;
        s3.rekey(back[0], back[1]).await?;
        Ok(())
    };
    let ((), done) = under_load(server, rotations).await?;
    stream.archived_all_of(&stage.server, ARCHIVED).await?;
    // It may have claimed again: to a worker a store that refuses it is not the one that it held.
    let Worker { pod, restarts, .. } = worker(&stream).await?;
    assert_eq!((pod, restarts), (before.pod, before.restarts));
    stage.finish(&stream, done, &[]).await
}
