//! The checkpoint's ConfigMap against a small API server that keeps one object.

use std::sync::{Arc, Mutex};

use archive::checkpoint::{
    Checkpoint, CheckpointStore, ConfigMapStore, Loaded, RecordContext, Replace, Saved, record,
};
use archive::store::memory::MemoryStore;
use crds::conditions::Reason;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::faulty::Faulty;
use crate::common::ready;

#[derive(Default)]
struct Server {
    /// The ConfigMap; none if it does not exist.
    object: Option<Value>,
    version: u64,
    /// Somebody else writes between the next read and the write after it.
    intrudes: Option<String>,
    refuses: Option<u16>,
    writes: usize,
}

impl Server {
    fn answer(&mut self, verb: &str, body: &[u8]) -> (u16, Value) {
        if let Some(code) = self.refuses {
            return (code, failure(code));
        }
        let Some(object) = self.object.clone() else { return (404, failure(404)) };
        if verb == "GET" {
            if let Some(text) = self.intrudes.take() {
                self.store(&json!({"checkpoint.json": text}));
            }
            return (200, object);
        }
        let sent: Value = serde_json::from_slice(body).unwrap();
        let current = json!(self.version.to_string());
        if sent["metadata"]["resourceVersion"] != current {
            return (409, failure(409));
        }
        self.writes += 1;
        self.store(&sent["data"].clone());
        (200, self.object.clone().unwrap())
    }

    fn store(&mut self, data: &Value) {
        self.version += 1;
        self.object = Some(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "orders-checkpoint", "namespace": "shop",
                         "resourceVersion": self.version.to_string()}
        }));
    }
}

fn failure(code: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
           "message": "refused", "reason": "Refused"})
}

async fn serve(mut stream: TcpStream, server: Arc<Mutex<Server>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = request.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length: usize = length.unwrap_or_default();
        while request.len() < head + length {
            stream.read_buf(&mut request).await?;
        }
        let verb = text.split(' ').next().unwrap_or_default().to_uppercase();
        let (code, body) = server.lock().unwrap().answer(&verb, &request[head..head + length]);
        let body = body.to_string();
        let reply = format!(
            "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(reply.as_bytes()).await?;
        request.drain(..head + length);
    }
}

/// A server with an empty object, and the store that talks to it.
async fn started() -> (Arc<Mutex<Server>>, ConfigMapStore) {
    let mut server = Server::default();
    server.store(&Value::Null);
    let server = Arc::new(Mutex::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&shared)));
        }
    });
    let config = kube::Config::new(format!("http://{address}").parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    (server, ConfigMapStore::new(client, "shop", "orders-checkpoint"))
}

async fn saved() -> Checkpoint {
    let log = ready(&Faulty::new(&MemoryStore::default()).shared(), "one").await;
    record(log.state(), &RecordContext::default()).unwrap()
}

#[tokio::test]
async fn an_empty_map_is_filled_and_then_only_moves_forward() {
    let (_server, store) = started().await;
    let first = saved().await;
    assert_eq!(store.load().await.unwrap(), Loaded::Absent);
    assert_eq!(store.save(&first, Replace::Older).await.unwrap(), Saved::Stored);
    let next = Checkpoint { n: first.n + 1, ..first.clone() };
    assert_eq!(store.save(&next, Replace::Older).await.unwrap(), Saved::Stored);
    assert!(matches!(store.save(&first, Replace::Older).await.unwrap(), Saved::Stale(_)));
    let Loaded::Found(found) = store.load().await.unwrap() else { panic!("not found") };
    assert_eq!(found.n, next.n);
}

#[tokio::test]
async fn a_write_between_read_and_write_is_seen() {
    let (server, store) = started().await;
    let old = saved().await;
    let new = Checkpoint { n: 50, ..old.clone() };
    server.lock().unwrap().intrudes = Some(new.to_json().unwrap());
    let outcome = store.save(&old, Replace::Older).await.unwrap();
    assert!(matches!(outcome, Saved::Stale(_)), "{outcome:?}");
    assert_eq!(server.lock().unwrap().writes, 0);
    let Loaded::Found(found) = store.load().await.unwrap() else { panic!("not found") };
    assert_eq!(found.n, 50);
}

#[tokio::test]
async fn a_map_that_is_gone_or_refused_is_reported() {
    let (server, store) = started().await;
    let record = saved().await;
    server.lock().unwrap().object = None;
    let gone = store.save(&record, Replace::Older).await.unwrap_err();
    assert_eq!(gone.reason, Reason::CheckpointWriteFailed);
    assert!(gone.to_string().contains("shop/orders-checkpoint"), "{gone}");
    server.lock().unwrap().refuses = Some(403);
    let refused = store.load().await.unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointAccessDenied);
    assert!(refused.to_string().contains("Role"), "{refused}");
    server.lock().unwrap().refuses = Some(409);
    assert_eq!(store.load().await.unwrap_err().reason, Reason::CheckpointConflict);
}
