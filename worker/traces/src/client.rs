//! Posts spans to the collector: HTTP/1.1, one connection a request, a limit on the whole exchange and on the answer.
//!
//! It runs on the thread that empties the queue, with a runtime of its own for each request: whatever the collector
//! does, the program's own runtime has no part in it.

mod tls;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use self::tls::{Tls, TlsError};

/// Longest answer that is read; what a collector says of spans it refuses is a line.
const LONGEST: usize = 64 << 10;

/// What kept the last request from being answered, for the one log line that tells of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("start a runtime: {0}")]
    Runtime(std::io::Error),
    #[error("the endpoint has no host")]
    NoHost,
    #[error("connect to {host}:{port}: {error}")]
    Connect { host: String, port: u16, error: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("exchange with {host}: {error}")]
    Broken { host: String, error: HttpError },
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// The collector.
#[derive(Debug)]
pub(crate) struct Collector {
    limit: Duration,
    tls: Tls,
    trouble: Trouble,
}

impl Collector {
    pub(crate) fn new(limit: Duration, ca: Option<PathBuf>, trouble: Trouble) -> Self {
        Self { limit, tls: Tls::new(ca), trouble }
    }

    /// Blocks this thread for no longer than the limit.
    fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ExchangeError::Runtime)?;
        // The limit is a timer of that runtime, so it is made inside.
        let limited = async { tokio::time::timeout(self.limit, self.speak(request)).await };
        let answer = runtime.block_on(limited);
        // A look-up of the name that hangs is left behind.
        runtime.shutdown_background();
        answer.unwrap_or(Err(ExchangeError::TimedOut(self.limit)))
    }

    async fn speak(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ExchangeError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or(ExchangeError::NoHost)?;
        let is_encrypted = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, port))
            .await
            .map_err(|error| ExchangeError::Connect { host: host.to_owned(), port, error })?;
        let request = in_origin_form(request, &uri);
        let answer = if is_encrypted {
            post(self.tls.wrap(name, stream).await?, request).await
        } else {
            post(stream, request).await
        };
        answer.map_err(|error| ExchangeError::Broken { host: host.to_owned(), error })
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.exchange(request);
        self.trouble.set(match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        });
        Ok(answer?)
    }
}

/// The request as a server, not a proxy, is asked.
fn in_origin_form(request: Request<Bytes>, uri: &Uri) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = uri.path().parse().unwrap_or_default();
    let host = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host);
    }
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Request::from_parts(parts, Full::new(body))
}

async fn post<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(parts, body))
    };
    // Both halves run here, so no task outlives the request.
    match select(pin!(answer), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((ended, answer)) => {
            ended?;
            answer.await
        }
    }
}

#[cfg(test)]
mod tests;
