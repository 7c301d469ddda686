//! A forward proxy as networks without a way out have them: tunnels by CONNECT, and requests with whole URLs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::wait::{Look, until};
use crate::{Context, Failure, Result, site};

/// Longest an answer of the far end is waited for.
const FORWARD_LIMIT: Duration = Duration::from_mins(2);

#[derive(Debug)]
struct State {
    seen: Mutex<Vec<String>>,
    end: CancellationToken,
}

/// A running proxy; dropped, it ends with its tunnels.
#[derive(Debug)]
pub struct ForwardProxy {
    state: Arc<State>,
    port: u16,
    _ends: DropGuard,
}

impl ForwardProxy {
    /// Starts a proxy on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_at(site::free_port()?).await
    }

    /// Starts a proxy on this port, as when one comes back.
    pub async fn start_at(port: u16) -> Result<Self> {
        let what = format!("port {port} is free for the proxy");
        let listener = until(what, Duration::from_secs(10), || async {
            Ok::<_, Failure>(Look::Yes(TcpListener::bind(("0.0.0.0", port)).await?))
        })
        .await?;
        let end = CancellationToken::new();
        let state = Arc::new(State { seen: Mutex::default(), end: end.clone() });
        tokio::spawn(accept(listener, state.clone()));
        Ok(Self { state, port, _ends: end.drop_guard() })
    }

    /// The port, on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL for processes of the namespace.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What came so far: `CONNECT host:port`, `PUT http://host:port/bucket/key`.
    pub fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let stream = tokio::select! {
            () = state.end.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => return,
            },
        };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| serve(state.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::select! {
                () = state.end.cancelled() => {}
                // An error is a connection that the client closed.
                _ = connection => {}
            }
        });
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let line = format!("{} {}", request.method(), request.uri());
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let host = request.uri().host().unwrap_or_default().to_owned();
    let port = request.uri().port_u16().unwrap_or(80);
    let tunnel = request.method() == Method::CONNECT;
    let passed = match TcpStream::connect((host, port)).await {
        Ok(far) if tunnel => {
            tokio::spawn(carry(state, request, far));
            return Ok(Response::default());
        }
        Ok(far) => match far.peer_addr() {
            Ok(address) => pass(address, request).await,
            Err(error) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    };
    Ok(passed.unwrap_or_else(|_| {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    }))
}

/// The request as its server wants it: with the path alone.
async fn pass(
    address: std::net::SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().context(|| "read the request's path")?;
    let body = body.collect().await.context(|| "read the request")?.to_bytes();
    let request = Request::from_parts(parts, Full::new(body));
    Ok(crate::http::send(address, request, FORWARD_LIMIT).await?.map(Full::new))
}

/// Copies both ways once the client has been told that the tunnel stands.
async fn carry(state: Arc<State>, request: Request<Incoming>, mut far: TcpStream) {
    let Ok(near) = hyper::upgrade::on(request).await else { return };
    let mut near = TokioIo::new(near);
    tokio::select! {
        () = state.end.cancelled() => {}
        // Either end may break; the other sees its connection closed.
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
    }
}
