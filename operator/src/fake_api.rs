//! An API server for tests: a function answers, and what was asked is remembered.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    http::{Method, StatusCode, Uri},
};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Like `PATCH deployments/orders-worker`; the namespace is left out.
    pub what: String,
    /// Its body, if it is JSON.
    pub body: Value,
}

/// An answer: HTTP code and body.
pub(crate) type Answer = (u16, Value);

/// The server; it ends with the test's runtime.
pub(crate) struct FakeApi {
    /// Asks it.
    pub client: Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeApi {
    /// Starts one on a free port.
    pub async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> FakeApi {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (remembered, answer) = (Arc::clone(&asked), Arc::new(answer));
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let request = Asked {
                what: format!("{method} {}", below_namespace(uri.path())),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            };
            let (code, answer) = answer(&request);
            remembered.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let code = StatusCode::from_u16(code).unwrap();
            async move { (code, Json(answer)) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        // The client makes a TLS configuration whether it needs one or not.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = Config::new(format!("http://{address}").parse().unwrap());
        FakeApi { client: Client::try_from(config).unwrap(), asked }
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests so far that are not mere looks.
    pub fn written(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| !asked.what.starts_with("GET ")).collect()
    }
}

/// Metadata of an object as the API gives it.
pub(crate) fn metadata(uid: &str, generation: i64) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": "some", "uid": uid, "generation": generation,
            "resourceVersion": generation.to_string()},
    })
}

/// A refusal in the API's form.
pub(crate) fn refusal(code: u16, message: &str) -> Answer {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code});
    (code, status)
}

fn below_namespace(path: &str) -> &str {
    let inside = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/'));
    inside.map_or(path, |(_, object)| object)
}
