//! One test per shape of certificate, each over a real handshake on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

/// Certificates made by the `openssl` command: as people and servers make them, without names and
/// as version 1 too.
struct Pki(TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(TempDir::new().expect("a temporary directory"));
        pki.ca("ca");
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) {
        let made = Command::new("openssl")
            .args(arguments.split_whitespace().map(|word| word.replace('~', " ")))
            .current_dir(self.0.path())
            .output()
            .expect("openssl is needed: apt-get install openssl");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "openssl {arguments}: {said}");
    }

    fn ca(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
             -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }

    fn request(&self, name: &str, common_name: &str) {
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
             -subj /CN={common_name} -keyout {name}.key -out {name}.csr"
        ));
    }

    /// A leaf of `ca` with the given extensions (one a line), valid for `days`.
    fn leaf(&self, name: &str, ca: &str, extensions: &str, days: i32) {
        self.request(name, name);
        std::fs::write(self.path("ext"), extensions).expect("written");
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial \
             -days {days} -extfile ext -out {name}.pem"
        ));
    }

    fn settings(&self, mode: TlsMode, ca: Option<&str>) -> TlsSettings {
        TlsSettings { mode, ca: ca.map(|name| self.path(name)), ..TlsSettings::default() }
    }

    fn with_name(&self, name: &str) -> TlsSettings {
        let settings = self.settings(TlsMode::VerifyFull, Some("ca.pem"));
        TlsSettings { server_name: Some(name.to_owned()), ..settings }
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .expect("a PEM file")
        .collect::<Result<_, _>>()
        .expect("certificates")
}

/// A server with certificate `name`, which asks for a client's of `client_ca` if one is given.
fn server(pki: &Pki, name: &str, client_ca: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            for root in certificates(&pki.path(ca)) {
                roots.add(root).expect("a root");
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let chain = certificates(&pki.path(&format!("{name}.pem")));
    let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{name}.key"))).expect("a key");
    // By a resolver: `with_single_cert` parses the certificate, and refuses one of version 1.
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a signing key");
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
}

/// One handshake with a server that shows `name`; then the server says one byte, so that a late
/// refusal of a client certificate is seen.
async fn handshake(
    server: ServerConfig,
    settings: &TlsSettings,
    host: &str,
) -> Result<TlsSession, SourceError> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("a client");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        if let Ok(mut stream) = acceptor.accept(tcp).await {
            stream.write_all(b"x").await.expect("written");
            stream.shutdown().await.ok();
        }
    });
    let client = TlsClient::load(settings, host).await?;
    let tcp = TcpStream::connect(address).await.expect("connected");
    let (mut stream, session) = client.wrap(tcp).await?;
    let mut byte = [0];
    if let Err(error) = stream.read_exact(&mut byte).await {
        return Err(TlsError::late_alert(host, &error).map_or_else(
            || SourceError::Io { doing: "read".to_owned(), error },
            SourceError::from,
        ));
    }
    serve.await.expect("the server ends");
    Ok(session)
}

fn fault(result: Result<TlsSession, SourceError>) -> CertificateFault {
    match result {
        Err(SourceError::Tls(TlsError::Certificate { fault, .. })) => fault,
        other => panic!("a refused certificate was due: {other:?}"),
    }
}

/// Every failure is told with two mends, one of them a field of the spec.
fn mends(result: Result<TlsSession, SourceError>) -> String {
    let error = result.expect_err("refused").to_string();
    assert!(error.contains("source.tls.") && error.contains(", or "), "two mends: {error}");
    error
}

#[tokio::test]
async fn verify_ca_takes_a_certificate_without_names() {
    let pki = Pki::new();
    // As MySQL makes them: version 3, CA:FALSE, no subjectAltName.
    pki.leaf("auto", "ca", "basicConstraints=CA:FALSE", 30);
    let verify_ca = pki.settings(TlsMode::VerifyCA, Some("ca.pem"));
    handshake(server(&pki, "auto", None), &verify_ca, "db.example").await.expect("chain only");

    let verify_full = pki.settings(TlsMode::VerifyFull, Some("ca.pem"));
    let refused = handshake(server(&pki, "auto", None), &verify_full, "db.example").await;
    assert_eq!(fault(refused), CertificateFault::WrongName(Vec::new()));
    let text = mends(handshake(server(&pki, "auto", None), &verify_full, "db.example").await);
    assert!(text.contains("VerifyCA"), "{text}");
}

#[tokio::test]
async fn verify_full_takes_a_dns_name_of_the_certificate() {
    let pki = Pki::new();
    pki.leaf("san", "ca", "subjectAltName=DNS:db.example,DNS:*.pool.example", 30);
    let full = pki.settings(TlsMode::VerifyFull, Some("ca.pem"));
    for host in ["db.example", "DB.example", "a.pool.example"] {
        handshake(server(&pki, "san", None), &full, host).await.expect(host);
    }
    for host in ["other.example", "a.b.pool.example", "127.0.0.1"] {
        let refused = handshake(server(&pki, "san", None), &full, host).await;
        let CertificateFault::WrongName(names) = fault(refused) else { panic!("{host}") };
        assert!(names.iter().any(|name| name.contains("db.example")), "{names:?}");
    }
    // A VIP or a tunnel: the name to verify is given.
    let named = pki.with_name("db.example");
    handshake(server(&pki, "san", None), &named, "127.0.0.1").await.expect("serverName");
    let text = mends(handshake(server(&pki, "san", None), &full, "other.example").await);
    assert!(text.contains("serverName") && text.contains("db.example"), "{text}");
}

#[tokio::test]
async fn verify_full_takes_an_address_of_the_certificate() {
    let pki = Pki::new();
    pki.leaf("ip", "ca", "subjectAltName=IP:127.0.0.1,IP:::1", 30);
    let full = pki.settings(TlsMode::VerifyFull, Some("ca.pem"));
    for host in ["127.0.0.1", "::1"] {
        handshake(server(&pki, "ip", None), &full, host).await.expect(host);
    }
    let refused = handshake(server(&pki, "ip", None), &full, "127.0.0.2").await;
    assert!(matches!(fault(refused), CertificateFault::WrongName(_)));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_both_verifying_modes() {
    let pki = Pki::new();
    pki.leaf("old", "ca", "subjectAltName=DNS:db.example", -1);
    for mode in [TlsMode::VerifyCA, TlsMode::VerifyFull] {
        let settings = pki.settings(mode, Some("ca.pem"));
        let refused = handshake(server(&pki, "old", None), &settings, "db.example").await;
        assert_eq!(fault(refused), CertificateFault::Expired);
    }
    let settings = pki.settings(TlsMode::VerifyCA, Some("ca.pem"));
    mends(handshake(server(&pki, "old", None), &settings, "db.example").await);
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_by_both_verifying_modes() {
    let pki = Pki::new();
    pki.ca("other");
    pki.leaf("server", "other", "subjectAltName=DNS:db.example", 30);
    for mode in [TlsMode::VerifyCA, TlsMode::VerifyFull] {
        let settings = pki.settings(mode, Some("ca.pem"));
        let refused = handshake(server(&pki, "server", None), &settings, "db.example").await;
        assert_eq!(fault(refused), CertificateFault::UnknownIssuer);
    }
    let settings = pki.settings(TlsMode::VerifyCA, Some("ca.pem"));
    mends(handshake(server(&pki, "server", None), &settings, "db.example").await);
}

#[tokio::test]
async fn a_version_1_certificate_is_taken_by_all_but_verify_full() {
    let pki = Pki::new();
    // `openssl x509 -req` without an extension file.
    pki.request("hand", "db.example");
    let sign =
        "x509 -req -in hand.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out hand.pem";
    pki.openssl(sign);
    let (required, ca) = (TlsMode::Required, pki.settings(TlsMode::VerifyCA, Some("ca.pem")));
    handshake(server(&pki, "hand", None), &pki.settings(required, None), "x").await.expect("any");
    handshake(server(&pki, "hand", None), &ca, "x").await.expect("signed by the CA");
    let full = pki.settings(TlsMode::VerifyFull, Some("ca.pem"));
    let refused = handshake(server(&pki, "hand", None), &full, "db.example").await;
    assert_eq!(fault(refused), CertificateFault::WrongName(Vec::new()));

    // A CA of the same name and another key; a leaf used as a CA; a certificate out of time.
    std::fs::rename(pki.path("ca.pem"), pki.path("real.pem")).expect("renamed");
    std::fs::rename(pki.path("ca.key"), pki.path("real.key")).expect("renamed");
    pki.ca("ca");
    let refused = handshake(server(&pki, "hand", None), &ca, "x").await;
    assert_eq!(fault(refused), CertificateFault::UnknownIssuer);
    pki.leaf("leaf", "real", "basicConstraints=CA:FALSE", 30);
    pki.openssl("x509 -req -in hand.csr -CA leaf.pem -CAkey leaf.key -CAcreateserial -days 30 -out hand.pem");
    let leaf = pki.settings(TlsMode::VerifyCA, Some("leaf.pem"));
    let refused = handshake(server(&pki, "hand", None), &leaf, "x").await;
    assert_eq!(fault(refused), CertificateFault::UnknownIssuer);
    pki.openssl(&sign.replace("-days 30", "-days -1"));
    let refused = handshake(server(&pki, "hand", None), &ca, "x").await;
    assert_eq!(fault(refused), CertificateFault::Expired);
}

#[tokio::test]
async fn required_takes_any_certificate() {
    let pki = Pki::new();
    pki.ca("other");
    pki.leaf("old", "other", "basicConstraints=CA:FALSE", -1);
    for mode in [TlsMode::Required, TlsMode::Preferred] {
        let settings = pki.settings(mode, None);
        let session = handshake(server(&pki, "old", None), &settings, "not a name").await;
        assert_eq!(session.expect("any certificate").protocol, "TLSv1_3");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_when_it_is_itself_the_ca_file() {
    let pki = Pki::new();
    // `openssl req -x509` says CA:TRUE, which no chain allows for a server.
    let settings = pki.settings(TlsMode::VerifyCA, Some("ca.pem"));
    handshake(server(&pki, "ca", None), &settings, "db.example").await.expect("exactly this one");
    pki.ca("twin");
    let settings = pki.settings(TlsMode::VerifyCA, Some("twin.pem"));
    fault(handshake(server(&pki, "ca", None), &settings, "db.example").await);
}

#[tokio::test]
async fn a_bundle_and_an_intermediate_work_as_vendors_ship_them() {
    let pki = Pki::new();
    pki.leaf("middle", "ca", "basicConstraints=critical,CA:TRUE", 30);
    pki.leaf("leaf", "middle", "subjectAltName=DNS:db.example", 30);
    let chain = ["leaf.pem", "middle.pem"].map(|n| std::fs::read(pki.path(n)).expect("a file"));
    std::fs::write(pki.path("leaf.pem"), chain.concat()).expect("written");
    pki.ca("other");
    let bundle = ["other.pem", "ca.pem"].map(|n| std::fs::read(pki.path(n)).expect("a file"));
    std::fs::write(pki.path("bundle.pem"), bundle.concat()).expect("written");
    let settings = pki.settings(TlsMode::VerifyFull, Some("bundle.pem"));
    handshake(server(&pki, "leaf", None), &settings, "db.example").await.expect("a chain of three");
}

#[tokio::test]
async fn client_certificates_of_each_key_form_are_shown() {
    let pki = Pki::new();
    pki.leaf("server", "ca", "subjectAltName=DNS:db.example", 30);
    pki.leaf("client", "ca", "extendedKeyUsage=clientAuth", 30);
    pki.openssl("ec -in client.key -out client-sec1.key");
    pki.openssl("req -new -newkey rsa:2048 -nodes -subj /CN=rsa -keyout rsa8.key -out rsa.csr");
    pki.openssl("rsa -traditional -in rsa8.key -out rsa1.key");
    pki.openssl("x509 -req -in rsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out rsa.pem");
    for (cert, key) in [
        ("client.pem", "client.key"),
        ("client.pem", "client-sec1.key"),
        ("rsa.pem", "rsa8.key"),
        ("rsa.pem", "rsa1.key"),
    ] {
        let settings = TlsSettings {
            cert: Some(pki.path(cert)),
            key: Some(pki.path(key)),
            ..pki.settings(TlsMode::VerifyFull, Some("ca.pem"))
        };
        let server = server(&pki, "server", Some("ca.pem"));
        handshake(server, &settings, "db.example").await.expect(key);
    }
    // None, and one of another CA.
    let none = pki.settings(TlsMode::VerifyFull, Some("ca.pem"));
    pki.ca("other");
    pki.leaf("stranger", "other", "extendedKeyUsage=clientAuth", 30);
    let stranger = TlsSettings {
        cert: Some(pki.path("stranger.pem")),
        key: Some(pki.path("stranger.key")),
        ..none.clone()
    };
    for settings in [none, stranger] {
        let server = server(&pki, "server", Some("ca.pem"));
        let error = handshake(server, &settings, "db.example").await.expect_err("refused");
        assert!(matches!(error, SourceError::Tls(TlsError::ClientRefused { .. })), "{error:?}");
        assert!(error.to_string().contains("clientCertSecretRef"), "{error}");
    }
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be_are_named() {
    let pki = Pki::new();
    pki.leaf("client", "ca", "extendedKeyUsage=clientAuth", 30);
    std::fs::write(pki.path("empty.pem"), "").expect("written");
    let load = |ca: &str, cert: Option<&str>, key: Option<&str>| {
        let settings = TlsSettings {
            cert: cert.map(|name| pki.path(name)),
            key: key.map(|name| pki.path(name)),
            ..pki.settings(TlsMode::VerifyCA, Some(ca))
        };
        async move { TlsClient::load(&settings, "db.example").await.map(|_| ()) }
    };
    let missing = load("absent.pem", None, None).await.expect_err("no file");
    assert!(matches!(&missing, SourceError::File { .. }), "{missing}");
    assert!(missing.to_string().contains("caRef"), "{missing}");
    for (ca, cert, key) in [
        ("empty.pem", None, None),
        ("ca.pem", Some("empty.pem"), Some("client.key")),
        ("ca.pem", Some("client.pem"), Some("client.pem")),
    ] {
        let error = load(ca, cert, key).await.expect_err("not PEM");
        assert!(matches!(error, SourceError::Tls(TlsError::Pem { .. })), "{error}");
    }
    let error = load("ca.pem", Some("client.pem"), Some("ca.key")).await.expect_err("no pair");
    assert!(matches!(error, SourceError::Tls(TlsError::ClientKey { .. })), "{error}");
    let error = load("ca.pem", Some("client.pem"), None).await.expect_err("half");
    assert!(matches!(error, SourceError::Config { .. }), "{error}");
}

#[tokio::test]
async fn a_replaced_ca_is_seen_at_the_next_connect() {
    let pki = Pki::new();
    pki.leaf("server", "ca", "subjectAltName=DNS:db.example", 30);
    pki.ca("other");
    std::fs::copy(pki.path("other.pem"), pki.path("mounted.pem")).expect("copied");
    let settings = pki.settings(TlsMode::VerifyFull, Some("mounted.pem"));
    fault(handshake(server(&pki, "server", None), &settings, "db.example").await);
    std::fs::copy(pki.path("ca.pem"), pki.path("mounted.pem")).expect("copied");
    handshake(server(&pki, "server", None), &settings, "db.example").await.expect("the new CA");
}
