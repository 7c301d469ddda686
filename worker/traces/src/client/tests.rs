//! Each against a collector on loopback, a thread that gives one answer. The client blocks its thread, as it does the
//! one that empties the queue.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread::JoinHandle;

use futures::executor::block_on;
use hyper::StatusCode;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// Long enough for any machine; no test waits for it.
const AMPLE: Duration = Duration::from_secs(60);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a request with a body of `body` and gives one answer.
fn answer(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"spans") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the request ended early: {request:?}");
        request.extend_from_slice(&piece[..read]);
    }
    // Who asks may hang up in the middle of an answer that is too long.
    drop(stream.write_all(answer).and_then(|()| stream.flush()));
    String::from_utf8(request).unwrap()
}

fn plain(says: Vec<u8>) -> (SocketAddr, JoinHandle<String>) {
    let (listener, address) = listen();
    (address, std::thread::spawn(move || answer(listener.accept().unwrap().0, &says)))
}

fn post_to(collector: &Collector, url: &str) -> Result<Response<Bytes>, HttpError> {
    let request = Request::post(url).header("x-tenant", "shop").body(Bytes::from("spans")).unwrap();
    block_on(collector.send_bytes(request))
}

fn collector(limit: Duration, ca: Option<PathBuf>) -> Collector {
    Collector::new(limit, ca, Trouble::default())
}

#[test]
fn spans_are_posted_with_the_headers_and_the_answer_is_read() {
    let (address, seen) = plain(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec());
    let collector = collector(AMPLE, None);
    let answer = post_to(&collector, &format!("http://{address}/in/v1/traces")).unwrap();
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"ok"[..]));
    let request = seen.join().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /in/v1/traces http/1.1\r\n"), "{request}");
    for header in [format!("host: {address}"), "x-tenant: shop".to_owned()] {
        assert!(request.contains(&format!("{header}\r\n")), "{header}: {request}");
    }
    assert_eq!(collector.trouble.take(), None);
}

#[test]
fn a_refusal_is_an_answer_and_is_remembered_without_its_body() {
    let (address, _) =
        plain(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nx-api-key".to_vec());
    let collector = collector(AMPLE, None);
    let answer = post_to(&collector, &format!("http://{address}/v1/traces")).unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(collector.trouble.take().as_deref(), Some("it answered 401 Unauthorized"));
}

#[test]
fn a_collector_that_says_nothing_is_given_up() {
    let (listener, address) = listen();
    let collector = collector(Duration::from_millis(50), None);
    let error = post_to(&collector, &format!("http://{address}/v1/traces")).unwrap_err();
    assert_eq!(error.to_string(), "no answer within 50 ms");
    drop(listener);
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    endless.resize(endless.len() + 2 * LONGEST, b' ');
    let (address, _) = plain(endless);
    let error = post_to(&collector(AMPLE, None), &format!("http://{address}/")).unwrap_err();
    assert!(error.to_string().contains("length limit exceeded"), "{error}");
}

#[test]
fn nobody_there_is_named() {
    let (listener, address) = listen();
    drop(listener);
    let collector = collector(AMPLE, None);
    let error = post_to(&collector, &format!("http://{address}/v1/traces")).unwrap_err();
    assert!(error.to_string().starts_with(&format!("connect to {address}: ")), "{error}");
    assert_eq!(collector.trouble.take(), Some(error.to_string()));
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let made = made.expect("openssl is needed: apt-get install openssl");
    assert!(made.status.success(), "openssl {arguments}: {made:?}");
}

/// A self-made certificate for 127.0.0.1.
fn certificate(folder: &Path) {
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=collector \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout key.pem \
         -out ca.pem",
    );
}

/// A collector that shows it.
fn encrypted(folder: &Path) -> (SocketAddr, JoinHandle<Option<String>>) {
    certificate(folder);
    let chain = vec![CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let (listener, address) = listen();
    let serving = std::thread::spawn(move || {
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(session, listener.accept().unwrap().0);
        // A client that trusts nobody ends here.
        stream.conn.complete_io(&mut stream.sock).ok()?;
        Some(answer(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
    });
    (address, serving)
}

#[test]
fn an_encrypted_collector_is_verified_by_the_authority_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (address, seen) = encrypted(folder.path());
    let ca = Some(folder.path().join("ca.pem"));
    let answer = post_to(&collector(AMPLE, ca), &format!("https://{address}/v1/traces")).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(seen.join().unwrap().unwrap().ends_with("spans"));
}

#[test]
fn an_encrypted_collector_that_nobody_vouches_for_gets_nothing() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificate(other.path());
    let (address, seen) = encrypted(folder.path());
    let ca = Some(other.path().join("ca.pem"));
    let error =
        post_to(&collector(AMPLE, ca), &format!("https://{address}/v1/traces")).unwrap_err();
    assert!(error.to_string().starts_with("shake hands with 127.0.0.1: "), "{error}");
    assert_eq!(seen.join().unwrap(), None);
}

#[test]
fn an_authority_that_cannot_be_read_is_named_with_its_variable() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, address) = listen();
    for contents in [None, Some("no certificate at all")] {
        let path = folder.path().join("ca.pem");
        if let Some(contents) = contents {
            std::fs::write(&path, contents).unwrap();
        }
        let url = format!("https://{address}/v1/traces");
        let error = post_to(&collector(AMPLE, Some(path.clone())), &url).unwrap_err().to_string();
        let named = error.contains(&path.display().to_string());
        assert!(named && error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
    }
    drop(listener);
}
