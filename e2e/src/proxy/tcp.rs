//! A TCP proxy in front of a database: a virtual address that can move to another server, cut its
//! connections or swallow packets.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Context, Result, site};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
struct State {
    upstream: watch::Sender<SocketAddr>,
    swallows: watch::Sender<bool>,
    /// Bytes per second, each way of each connection.
    pace: watch::Sender<Option<NonZeroU32>>,
    /// Replaced at each cut; cancelling it ends the connections opened under it.
    cut: Mutex<CancellationToken>,
    open: watch::Sender<usize>,
}

/// A running proxy; dropped, it ends with its connections.
#[derive(Debug)]
pub struct TcpProxy {
    state: Arc<State>,
    port: u16,
    end: CancellationToken,
    _ends: DropGuard,
}

impl TcpProxy {
    /// Starts a proxy on a free port.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let port = site::free_port()?;
        let listener =
            TcpListener::bind(("0.0.0.0", port)).await.context(|| "listen for the proxy")?;
        let end = CancellationToken::new();
        let state = Arc::new(State {
            upstream: watch::Sender::new(upstream),
            swallows: watch::Sender::new(false),
            pace: watch::Sender::new(None),
            cut: Mutex::new(end.child_token()),
            open: watch::Sender::new(0),
        });
        tokio::spawn(accept(listener, state.clone(), end.clone()));
        Ok(Self { state, port, end: end.clone(), _ends: end.drop_guard() })
    }

    /// The port, on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another server; open ones stay where they are, as behind a virtual
    /// address that moved.
    pub fn switch(&self, upstream: SocketAddr) {
        self.state.upstream.send_replace(upstream);
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        let mut cut = self.state.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.cancel();
        *cut = self.end.child_token();
    }

    /// Swallows everything that is sent, both ways, connections staying open; `false` lets it flow
    /// again. New connections are accepted and get no answer.
    pub fn black_hole(&self, on: bool) {
        self.state.swallows.send_replace(on);
    }

    /// Lets only so many bytes per second through, each way of each connection; `None` lets them flow
    /// again. They come in pieces of up to 64 KiB.
    pub fn slow_down(&self, bytes_per_second: Option<NonZeroU32>) {
        self.state.pace.send_replace(bytes_per_second);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        *self.state.open.borrow()
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, end: CancellationToken) {
    loop {
        let client = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(_) => return,
            },
        };
        let state = state.clone();
        let cut = state.cut.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            state.open.send_modify(|open| *open += 1);
            tokio::select! {
                () = cut.cancelled() => {}
                () = carry(client, &state) => {}
            }
            state.open.send_modify(|open| *open -= 1);
        });
    }
}

async fn carry(client: TcpStream, state: &State) {
    let mut flows = state.swallows.subscribe();
    if flows.wait_for(|swallows| !swallows).await.is_err() {
        return;
    }
    let upstream = *state.upstream.borrow();
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(upstream)).await;
    let Ok(Ok(server)) = connected else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pipe(from_client, to_server, state) => {}
        () = pipe(from_server, to_client, state) => {}
    }
}

/// Copies until either end closes; while packets are swallowed it reads nothing on.
async fn pipe(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, state: &State) {
    let (mut swallows, mut pace) = (state.swallows.subscribe(), state.pace.subscribe());
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if swallows.wait_for(|swallows| !swallows).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        let slowed = *pace.borrow_and_update();
        if let Some(bytes_per_second) = slowed {
            let micros = read as u64 * 1_000_000 / u64::from(bytes_per_second.get());
            tokio::select! {
                () = tokio::time::sleep(Duration::from_micros(micros)) => {}
                _ = pace.changed() => {}
            }
        }
    }
}
