//! What S3 settings and faults look like without a server.

use std::time::{Duration, Instant};

use archive::store::s3::KeyFiles;
use archive::store::{S3Settings, S3Store, Store, StoreClass};
use bytes::Bytes;

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
        proxy: None,
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let id = directory.path().join("id");
    let secret = directory.path().join("secret");
    std::fs::write(&id, "AK\n").unwrap();
    std::fs::write(&secret, "SK").unwrap();
    let keys = KeyFiles { access_key_id: id, secret_access_key: secret, session_token: None };
    // Port 9 of the loopback: nothing listens.
    let store = S3Store::new(S3Settings { keys: Some(keys), ..settings("http://127.0.0.1:9") });
    let error = store.get("stream.json").await.unwrap_err();
    assert_eq!(error.class, StoreClass::Unreachable, "{error}");
    assert!(error.to_string().contains("s3://history/prod/stream.json"), "{error}");
    let error = store.create("x", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.ambiguous(), "{error}");
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
