//! The byte stream under a connection: TCP, or TLS over it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::config::SourceConfig;
use crate::error::SourceError;

/// Idle time before the kernel probes the peer, and between probes.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// TCP, or TLS over it.
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(test)]
    Script(crate::fuzz_tests::Script),
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buf),
            #[cfg(test)]
            Self::Script(script) => Pin::new(script).poll_read(context, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, buf),
            #[cfg(test)]
            Self::Script(script) => Pin::new(script).poll_write(context, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(test)]
            Self::Script(script) => Pin::new(script).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(test)]
            Self::Script(script) => Pin::new(script).poll_shutdown(context),
        }
    }
}

/// Resolves the host and takes the first address that answers. The caller sets the time limit. An address that is
/// refused ends it: whoever may set a name's addresses may put a good one beside it.
pub(crate) async fn open(config: &SourceConfig) -> Result<TcpStream, SourceError> {
    let host = config.bare_host();
    let resolve = |error| SourceError::Resolve { host: host.to_owned(), error };
    let addresses = tokio::net::lookup_host((host, config.port)).await.map_err(resolve)?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    for address in &addresses {
        if let Some(refused) = config.endpoints.address(address.ip()) {
            let (host, address) = (host.to_owned(), address.ip());
            return Err(SourceError::NotAllowed { host, address, refused });
        }
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut any = false;
    for address in addresses {
        any = true;
        match TcpStream::connect(address).await {
            Ok(stream) => {
                return prepare(stream)
                    .map_err(|error| SourceError::Connect { address: config.address(), error });
            }
            Err(error) => last = error,
        }
    }
    if any {
        Err(SourceError::Connect { address: config.address(), error: last })
    } else {
        Err(resolve(last))
    }
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}
