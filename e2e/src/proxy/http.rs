//! An HTTP proxy in front of an S3 server. It forwards requests as they are (the signature covers
//! the Host header, so that is kept) and injects the faults that a test asks for.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::rules::{Fault, Held, Hold, Moment, Pick, Rules, Verdict};
use crate::{Context, Failure, Result, site};

/// Most requests that can wait in one hold.
const HELD: usize = 64;
/// Longest an answer of the store is waited for.
const FORWARD_LIMIT: Duration = Duration::from_mins(2);

/// A request that went through.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Request headers.
    pub headers: HeaderMap,
    /// Bytes of the request body.
    pub sent: u64,
    /// The status the client got; `None` where it got no answer.
    pub status: Option<StatusCode>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    rules: Mutex<Rules>,
    seen: Mutex<Vec<Seen>>,
}

/// A running proxy; dropped, it ends with its connections.
#[derive(Debug)]
pub struct HttpProxy {
    state: Arc<State>,
    port: u16,
    _ends: DropGuard,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the proxy closes the connection")]
struct Closed;

type Answer = Response<Full<Bytes>>;

impl HttpProxy {
    /// Starts a proxy on a free port.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let port = site::free_port()?;
        let listener =
            TcpListener::bind(("0.0.0.0", port)).await.context(|| "listen for the proxy")?;
        let state = Arc::new(State { upstream, rules: Mutex::default(), seen: Mutex::default() });
        let end = CancellationToken::new();
        tokio::spawn(accept(listener, state.clone(), end.clone()));
        Ok(Self { state, port, _ends: end.drop_guard() })
    }

    /// The port, on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The endpoint for processes of the namespace.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The endpoint for pods.
    pub fn endpoint_for_pods(&self) -> String {
        format!("http://{}:{}", site::NODE_ADDRESS, self.port)
    }

    fn add(&self, pick: Pick, fault: Fault) {
        self.rules(|rules| rules.add(pick, fault));
    }

    fn rules<T>(&self, with: impl FnOnce(&mut Rules) -> T) -> T {
        with(&mut self.state.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds the picked requests at a moment; the test lets them go.
    pub fn hold(&self, pick: Pick, moment: Moment) -> Hold {
        let (sender, arrivals) = mpsc::channel(HELD);
        self.add(pick, Fault::Hold(moment, sender));
        Hold { arrivals, held: VecDeque::new() }
    }

    /// Answers the picked requests with an S3 error; `AfterForward` still lets the store do the work.
    pub fn answer(&self, pick: Pick, status: StatusCode, code: &str, moment: Moment) {
        self.add(pick, Fault::Answer { status, code: code.into(), moment });
    }

    /// Closes the connection of the picked requests without an answer.
    pub fn drop_reply(&self, pick: Pick, moment: Moment) {
        self.add(pick, Fault::DropReply(moment));
    }

    /// Cuts the answers of the picked requests in half.
    pub fn truncate(&self, pick: Pick) {
        self.add(pick, Fault::Truncate);
    }

    /// Delays the picked requests on their way to the store.
    pub fn delay(&self, pick: Pick, time: Duration) {
        self.add(pick, Fault::Delay(time));
    }

    /// Takes the picked requests and never answers.
    pub fn black_hole(&self, pick: Pick) {
        self.add(pick, Fault::BlackHole);
    }

    /// Shifts the store's clock as the client sees it (Date and Last-Modified), in seconds.
    pub fn shift_clock(&self, seconds: i64) {
        self.rules(|rules| rules.clock_shift = seconds);
    }

    /// Ends all faults; requests that are held go on, those in a black hole stay there.
    pub fn clear(&self) {
        self.rules(Rules::clear);
    }

    /// All requests so far, in order of their end.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, end: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => return,
            },
        };
        let (state, end) = (state.clone(), end.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| serve(state.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = end.cancelled() => {}
                // An error is the closed connection that a fault asked for, or the client's own.
                _ = connection => {}
            }
        });
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Closed> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let mut seen = Seen {
        method: parts.method.clone(),
        target: target.clone(),
        headers: parts.headers.clone(),
        sent: body.len() as u64,
        status: None,
    };
    let mut outgoing = Request::new(Full::new(body));
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = parts.uri;
    *outgoing.headers_mut() = parts.headers;
    // A task of its own: a request in flight reaches the store even if its client is killed.
    let fate = tokio::spawn({
        let (state, target) = (state.clone(), target);
        async move { faulty(&state, outgoing, &target).await }
    });
    let answer = fate.await.unwrap_or(Err(Closed));
    seen.status = answer.as_ref().ok().map(Response::status);
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    answer
}

async fn faulty(
    state: &State,
    request: Request<Full<Bytes>>,
    target: &str,
) -> Result<Answer, Closed> {
    let fault =
        state.rules.lock().unwrap_or_else(PoisonError::into_inner).fault(request.method(), target);
    match fault {
        None => forward(state, request).await,
        Some(Fault::Hold(moment, arrivals)) => {
            if moment == Moment::BeforeForward {
                held(&arrivals, target).await?;
                return forward(state, request).await;
            }
            let answer = forward(state, request).await;
            held(&arrivals, target).await?;
            answer
        }
        Some(Fault::Answer { status, code, moment }) => {
            if moment == Moment::AfterForward {
                forward(state, request).await?;
            }
            Ok(s3_error(status, &code))
        }
        Some(Fault::DropReply(moment)) => {
            if moment == Moment::AfterForward {
                forward(state, request).await?;
            }
            Err(Closed)
        }
        Some(Fault::Truncate) => {
            let (mut parts, body) = forward(state, request).await?.into_parts();
            let bytes =
                body.collect().await.map_err(|never: Infallible| match never {})?.to_bytes();
            // The length stays that of the whole answer: the client sees the body end too early.
            parts.headers.insert(hyper::header::CONTENT_LENGTH, bytes.len().into());
            Ok(Response::from_parts(parts, Full::new(bytes.slice(..bytes.len() / 2))))
        }
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            forward(state, request).await
        }
        Some(Fault::BlackHole) => std::future::pending().await,
    }
}

/// Waits for the test's verdict on a held request.
async fn held(arrivals: &mpsc::Sender<Held>, target: &str) -> Result<(), Closed> {
    let (sender, verdict) = oneshot::channel();
    if arrivals.send(Held { target: target.into(), verdict: sender }).await.is_err() {
        // The test no longer listens: go on.
        return Ok(());
    }
    match verdict.await {
        Ok(Verdict::DropReply) => Err(Closed),
        Ok(Verdict::Continue) | Err(_) => Ok(()),
    }
}

async fn forward(state: &State, request: Request<Full<Bytes>>) -> Result<Answer, Closed> {
    let Ok(answer) = crate::http::send(state.upstream, request, FORWARD_LIMIT).await else {
        return Ok(s3_error(StatusCode::BAD_GATEWAY, "BadGateway"));
    };
    let mut answer = answer.map(Full::new);
    let shift = state.rules.lock().unwrap_or_else(PoisonError::into_inner).clock_shift;
    if shift != 0 {
        shift_times(answer.headers_mut(), shift);
    }
    Ok(answer)
}

fn s3_error(status: StatusCode, code: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>answered by the test's proxy</Message></Error>"
    );
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// The form of times in HTTP headers.
const HTTP_TIME: &str = "%a, %d %b %Y %H:%M:%S GMT";

fn shift_times(headers: &mut HeaderMap, seconds: i64) {
    if !headers.contains_key(hyper::header::DATE) {
        let now = jiff::Timestamp::now().strftime(HTTP_TIME).to_string();
        headers.extend(HeaderValue::from_str(&now).ok().map(|now| (hyper::header::DATE, now)));
    }
    for name in [hyper::header::DATE, hyper::header::LAST_MODIFIED] {
        if let Some(shifted) = shifted(headers, &name, seconds) {
            headers.insert(name, shifted);
        }
    }
}

fn shifted(headers: &HeaderMap, name: &HeaderName, seconds: i64) -> Option<HeaderValue> {
    let text = headers.get(name)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let moved = time.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()?;
    HeaderValue::from_str(&moved.strftime(HTTP_TIME).to_string()).ok()
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        Self::new(closed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shift_moves_both_times() {
        let mut headers = HeaderMap::new();
        let at = HeaderValue::from_static("Sat, 21 Nov 2026 10:00:00 GMT");
        headers.insert(hyper::header::DATE, at.clone());
        headers.insert(hyper::header::LAST_MODIFIED, at);
        shift_times(&mut headers, -960);
        for name in [hyper::header::DATE, hyper::header::LAST_MODIFIED] {
            assert_eq!(headers[name], "Sat, 21 Nov 2026 09:44:00 GMT");
        }
    }
}
