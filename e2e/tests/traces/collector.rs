//! A collector of traces for tests: takes OTLP by HTTP, keeps what it was sent, and can fall silent.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use e2e::{Context, Result, site};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Method and path.
    pub line: String,
    /// Of the body.
    pub content_type: String,
    /// The header that the Secret holds.
    pub authorization: String,
    /// The body.
    pub bytes: Bytes,
}

/// A span with what was said of its process.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Attributes of the resource.
    pub resource: BTreeMap<String, Value>,
    pub name: String,
    pub attributes: BTreeMap<String, Value>,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    /// Empty where it begins a trace.
    pub parent: Vec<u8>,
    /// It came with log lines.
    pub events: usize,
}

#[derive(Debug, Default)]
struct State {
    is_silent: bool,
    posted: Vec<Posted>,
}

/// The collector; dropped, it takes no more connections.
pub struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    pub async fn start() -> Result<Self> {
        let address = format!("{}:{}", site::NODE_ADDRESS, site::free_port()?);
        let listener = TcpListener::bind(&address).await.context(|| format!("bind {address}"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, serving })
    }

    /// What `tracing.otlp.endpoint` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it takes connections and requests, and answers none.
    pub fn fall_silent(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_silent = true;
    }

    /// What was sent so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).posted.clone()
    }

    /// The spans in it.
    pub fn spans(&self) -> Result<Vec<Seen>> {
        let mut spans = Vec::new();
        for posted in self.posted() {
            let request = ExportTraceServiceRequest::decode(posted.bytes)
                .context(|| "read an ExportTraceServiceRequest")?;
            for of_resource in request.resource_spans {
                let resource = map(of_resource.resource.unwrap_or_default().attributes);
                let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| Seen {
                    resource: resource.clone(),
                    name: span.name,
                    attributes: map(span.attributes),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    events: span.events.len(),
                }));
            }
        }
        Ok(spans)
    }
}

fn map(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let value = |value: Option<AnyValue>| value.and_then(|value| value.value);
    let pairs = attributes.into_iter();
    pairs.filter_map(|pair| Some((pair.key, value(pair.value)?))).collect()
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| take(request, Arc::clone(&state)));
        // A client that hangs up is none of its business.
        tokio::spawn(async move {
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn take(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (content_type, authorization) = (header("content-type"), header("authorization"));
    let line = format!("{} {}", head.method, head.uri.path());
    let body = body.collect().await.map(http_body_util::Collected::to_bytes);
    let is_silent = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_silent
            && let Ok(bytes) = &body
        {
            let bytes = bytes.clone();
            state.posted.push(Posted { line, content_type, authorization, bytes });
        }
        state.is_silent
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
    let mut answer = Response::new(Full::default());
    if body.is_err() {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(answer)
}
