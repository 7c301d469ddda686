//! A plain HTTP/1.1 client: one request, one connection.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::wait::within;
use crate::{Context, Result};

/// Sends one request and reads the whole answer.
pub async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Response<Bytes>> {
    let doing = format!("{} {} of {address}", request.method(), request.uri());
    within(&doing, limit, exchange(address, request)).await?.context(|| &doing)
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(address).await.context(|| "connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context(|| "start to speak HTTP")?;
    let asked = async move {
        let answer = sender.send_request(request).await.context(|| "send the request")?;
        let (parts, body) = answer.into_parts();
        let bytes = body.collect().await.context(|| "read the answer")?.to_bytes();
        Ok(Response::from_parts(parts, bytes))
    };
    // The connection ends once the sender inside `asked` is dropped with it.
    let (answer, _connection) = tokio::join!(asked, connection);
    answer
}

/// GET of a path; the status and the body as text.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<(StatusCode, String)> {
    let request = Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Full::default())
        .context(|| format!("build GET {path}"))?;
    let answer = send(address, request, limit).await?;
    Ok((answer.status(), String::from_utf8_lossy(answer.body()).into_owned()))
}
