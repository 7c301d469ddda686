//! What S3 settings and faults look like without a server.

use std::time::{Duration, Instant};

use archive::store::s3::KeyFiles;
use archive::store::{Create, S3Settings, S3Store, Store, StoreClass};
use bytes::Bytes;
use crds::endpoint::Guard;
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

fn settings(endpoint: &str) -> S3Settings {
    S3Settings {
        bucket: "history".to_owned(),
        prefix: "/prod/".to_owned(),
        region: None,
        endpoint: Some(endpoint.to_owned()),
        force_path_style: true,
        ca_file: None,
        keys: None,
        encryption: None,
        endpoints: Guard::default(),
        proxy: None,
    }
}

/// A store with a key, which the folder holds.
fn store(endpoint: &str) -> (tempfile::TempDir, S3Store) {
    let directory = tempfile::tempdir().unwrap();
    let id = directory.path().join("id");
    let secret = directory.path().join("secret");
    std::fs::write(&id, "AK\n").unwrap();
    std::fs::write(&secret, "SK").unwrap();
    let keys = KeyFiles { access_key_id: id, secret_access_key: secret, session_token: None };
    (directory, S3Store::new(S3Settings { keys: Some(keys), ..settings(endpoint) }))
}

/// The probe draws its creators together by this: a store that looks before it has the body has looked
/// for all of them before any of them writes.
#[tokio::test]
async fn a_create_in_turn_sends_its_head_first_and_its_body_in_its_turn() {
    const BODY: &[u8] = b"the body";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_keys, store) = store(&format!("http://{}", listener.local_addr().unwrap()));
    let (begin, turn) = oneshot::channel();
    let turn = turn.map(|begun: Result<(), _>| begun.unwrap()).boxed();
    let create = store.create_in_turn("x", Bytes::from_static(BODY), turn);
    let answer = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let (mut request, end) = (Vec::new(), b"\r\n\r\n");
        while !request.ends_with(end) {
            assert!(!request.ends_with(BODY), "the body came before its turn");
            assert_ne!(connection.read_buf(&mut request).await.unwrap(), 0);
        }
        begin.send(()).unwrap();
        let mut body = [0; BODY.len()];
        connection.read_exact(&mut body).await.unwrap();
        assert_eq!(body, BODY);
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let (made, ()) = tokio::join!(create, answer);
    assert_eq!(made.unwrap(), Create::Made);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    // Port 9 of the loopback: nothing listens.
    let (_keys, store) = store("http://127.0.0.1:9");
    let error = store.get("stream.json").await.unwrap_err();
    assert_eq!(error.class, StoreClass::Unreachable, "{error}");
    assert!(error.to_string().contains("s3://history/prod/stream.json"), "{error}");
    let error = store.create("x", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.ambiguous(), "{error}");
}

#[tokio::test]
async fn a_store_that_leads_to_the_pod_itself_is_refused_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoints = Guard::in_cluster(None, Vec::new());
    let (keys, _) = store("http://127.0.0.1:9");
    let key = |name: &str| keys.path().join(name);
    let key_files = KeyFiles {
        access_key_id: key("id"),
        secret_access_key: key("secret"),
        session_token: None,
    };
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let store = S3Store::new(S3Settings {
            keys: Some(key_files.clone()),
            endpoints: endpoints.clone(),
            ..settings(&format!("http://{host}:{port}"))
        });
        let error = store.get("stream.json").await.unwrap_err();
        assert_eq!(error.class, StoreClass::NotAllowed, "{error}");
        assert!(error.to_string().contains("own pod"), "{error}");
        assert!(!error.is_transient() && !error.ambiguous(), "{error}");
    }
    assert!(listener.accept().now_or_never().is_none(), "nothing connected");
}

#[tokio::test]
async fn missing_key_files_are_named() {
    let nowhere = |name: &str| std::path::PathBuf::from(format!("/nonexistent/{name}"));
    let keys = KeyFiles {
        access_key_id: nowhere("id"),
        secret_access_key: nowhere("secret"),
        session_token: None,
    };
    let store = S3Store::new(S3Settings { keys: Some(keys), ..settings("http://127.0.0.1:9") });
    let begun = Instant::now();
    let error = store.get("stream.json").await.unwrap_err();
    assert_eq!(error.class, StoreClass::Credentials, "{error}");
    assert!(error.to_string().contains("credentialsSecretRef"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_missing_authority_is_named_and_read_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.crt");
    let store =
        S3Store::new(S3Settings { ca_file: Some(ca.clone()), ..settings("https://127.0.0.1:9") });
    let error = store.get("stream.json").await.unwrap_err();
    assert_eq!(error.class, StoreClass::Tls, "{error}");
    assert!(error.to_string().contains("archive.s3.caRef"), "{error}");
    std::fs::write(&ca, "not a certificate").unwrap();
    let error = store.get("stream.json").await.unwrap_err();
    assert!(error.to_string().contains("no PEM certificate"), "{error}");
}
