//! `GET /status` of a worker, straight to its pod's address.
//!
//! One connection per poll, a limit on the whole exchange and on the size of the answer: a worker
//! that hangs or babbles costs the operator two seconds and one mebibyte, never more.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use crds::worker_status::WorkerStatus;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Limit of one poll.
pub const LIMIT: Duration = Duration::from_secs(2);
/// Longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// Why a worker's status could not be had. All of them are retried at the next poll.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No connection.
    #[error("connect to the worker at {address}: {error}")]
    Connect {
        /// Pod address and port.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The exchange broke.
    #[error("ask the worker at {address} for its status: {error}")]
    Exchange {
        /// Pod address and port.
        address: SocketAddr,
        /// What broke.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer other than 200.
    #[error("the worker at {address} answered {code}")]
    Refused {
        /// Pod address and port.
        address: SocketAddr,
        /// HTTP status code.
        code: u16,
    },
    /// An answer that is no status.
    #[error("read the status of the worker at {address}: {error}")]
    Unreadable {
        /// Pod address and port.
        address: SocketAddr,
        /// Where the JSON broke.
        error: serde_json::Error,
    },
    /// No answer in time.
    #[error("the worker at {address} gave no answer within {} s", LIMIT.as_secs())]
    TimedOut {
        /// Pod address and port.
        address: SocketAddr,
    },
}

impl PollError {
    /// A word for the metric.
    pub fn outcome(&self) -> &'static str {
        match self {
            PollError::Connect { .. } => "unreachable",
            PollError::Exchange { .. } => "broken",
            PollError::Refused { .. } => "refused",
            PollError::Unreadable { .. } => "unreadable",
            PollError::TimedOut { .. } => "timeout",
        }
    }
}

/// Asks the worker at `ip` for its status.
///
/// # Errors
/// See [`PollError`].
pub async fn status(ip: IpAddr, port: u16) -> Result<WorkerStatus, PollError> {
    let address = SocketAddr::new(ip, port);
    tokio::time::timeout(LIMIT, exchange(address))
        .await
        .unwrap_or(Err(PollError::TimedOut { address }))
}

async fn exchange(address: SocketAddr) -> Result<WorkerStatus, PollError> {
    let broken =
        |error: Box<dyn std::error::Error + Send + Sync>| PollError::Exchange { address, error };
    let stream =
        TcpStream::connect(address).await.map_err(|error| PollError::Connect { address, error })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let request = Request::get("/status")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.into()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        if response.status() != hyper::StatusCode::OK {
            return Err(PollError::Refused { address, code: response.status().as_u16() });
        }
        Limited::new(response.into_body(), LONGEST).collect().await.map_err(broken)
    };
    // Both halves run here, so no task outlives the poll.
    let body = match select(pin!(answer), pin!(connection)).await {
        Either::Left((body, _)) => body?,
        Either::Right((ended, answer)) => {
            ended.map_err(|error| broken(error.into()))?;
            answer.await?
        }
    };
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| PollError::Unreadable { address, error })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::status::tests::report;

    /// A worker that gives one answer, whatever is asked.
    async fn answering(head: &str, body: Vec<u8>) -> Result<WorkerStatus, PollError> {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
        let worker = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _read = stream.read(&mut request).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The asker may hang up in the middle of an answer that is too long.
            drop(stream.write_all(&body).await);
        };
        let asked = status(std::net::Ipv6Addr::LOCALHOST.into(), port);
        let (answer, ()) = futures::future::join(asked, worker).await;
        answer
    }

    #[tokio::test]
    async fn reads_a_status_over_ipv6() {
        let body = serde_json::to_vec(&report()).unwrap();
        assert_eq!(answering("200 OK", body).await.unwrap(), report());
    }

    #[tokio::test]
    async fn every_other_answer_is_told_apart() {
        let refused = answering("503 Service Unavailable", Vec::new()).await.unwrap_err();
        assert_eq!(refused.outcome(), "refused");
        let garbage = answering("200 OK", b"hello".to_vec()).await.unwrap_err();
        assert_eq!(garbage.outcome(), "unreadable");
        let endless = answering("200 OK", vec![b' '; LONGEST + 1]).await.unwrap_err();
        assert_eq!(endless.outcome(), "broken");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let error = status(std::net::Ipv6Addr::LOCALHOST.into(), port).await.unwrap_err();
        assert_eq!(error.outcome(), "unreachable");
    }
}
