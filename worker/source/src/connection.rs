//! A control connection: log in, ask short questions, or become a dump.
//!
//! Invariants:
//! - an exchange that was cut short (time limit, cancelled future) makes the connection unusable
//!   instead of pairing the next question with an old answer
//!   (`an_unfinished_exchange_ends_the_connection`);
//! - an answer has a bound of bytes and rows, and a time limit;
//! - TLS is never given up silently: only `Preferred` goes on in clear text, and only where the
//!   server offers none (`a_server_without_tls_is_refused_unless_preferred`).

use std::time::Duration;

use tokio::time::timeout;

use crate::auth::{self, Login};
use crate::config::{SourceConfig, TlsMode};
use crate::error::{ServerError, SourceError};
use crate::handshake::{self, Greeting};
use crate::result_set::{self, Answer, ResultSet};
use crate::tls::{TlsClient, TlsError, TlsSession};
use crate::transport::{self, Transport};
use crate::wire::{Wire, WireError};

/// Limit of one statement on a control connection.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
const CONTROL_BUFFER: usize = 16 << 10;
/// Largest single packet of an answer: a fragmented GTID set is some 100 kB.
const CONTROL_PACKET: usize = 16 << 20;
/// Largest packet before the login is over: a greeting, a nonce, an RSA key, a refusal.
const LOGIN_PACKET: usize = 64 << 10;
const COM_QUERY: u8 = 0x03;
const COM_QUIT: u8 = 0x01;

/// What every connection is set to, whatever the server's globals say: quoting as
/// [`crate::quote`] does it, times in UTC, each statement its own transaction.
const SESSION: &str = "SET SESSION sql_mode='STRICT_ALL_TABLES', time_zone='+00:00', autocommit=1";
/// A global READ UNCOMMITTED would show the columns of an ALTER that is not in the binlog yet, and may never be. A
/// statement of its own, because the variable has another name on each flavor.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A logged-in connection to the source.
pub struct Connection {
    pub(crate) wire: Wire<Transport>,
    version: String,
    id: u32,
    address: String,
    tls: Option<TlsSession>,
    usable: bool,
    pub(crate) server_id: u32,
    pub(crate) heartbeat: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("version", &self.version)
            .field("id", &self.id)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Connects, agrees on TLS, logs in and sets the session up. Files of `config.tls` are read now.
///
/// # Errors
/// Anything [`SourceError`] names but for dumps; each step has `config.connect_timeout`.
pub async fn connect(config: &SourceConfig) -> Result<Connection, SourceError> {
    let limit = config.connect_timeout;
    let address = config.address();
    // Before any packet: a missing CA file is named even while the server is away.
    let tls = match config.tls.mode {
        TlsMode::Disabled => None,
        _ => Some(TlsClient::load(&config.tls, config.bare_host()).await?),
    };
    let slow = |doing: &str| SourceError::Timeout { doing: format!("{doing} {address}"), limit };
    let tcp = timeout(limit, transport::open(config)).await.map_err(|_| slow("connect to"))??;
    let mut connection =
        timeout(limit, log_in(config, tcp, tls)).await.map_err(|_| slow("log in at"))??;
    connection.execute(SESSION).await?;
    connection.execute(ISOLATION).await?;
    Ok(connection)
}

async fn log_in(
    config: &SourceConfig,
    tcp: tokio::net::TcpStream,
    tls: Option<TlsClient>,
) -> Result<Connection, SourceError> {
    let address = config.address();
    let doing = || format!("read the greeting of {address}");
    let mut wire = Wire::new(Transport::Plain(tcp), CONTROL_BUFFER, LOGIN_PACKET);
    let packet = wire.packet().await.map_err(|e| SourceError::wire(doing(), e))?;
    if let Some(error) = ServerError::parse(packet) {
        // Too many connections, host blocked: said before the greeting.
        return Err(SourceError::server(format!("connect to {address}"), error));
    }
    let greeting =
        Greeting::parse(packet).map_err(|problem| SourceError::protocol(doing(), problem))?;

    let mut session = None;
    if let Some(tls) = tls {
        if greeting.offers_tls() {
            (wire, session) = upgrade(wire, &greeting, &tls, &address).await?;
        } else if config.tls.mode != TlsMode::Preferred {
            return Err(TlsError::NotOffered { mode: config.tls.mode, address }.into());
        }
    }
    let login = Login {
        user: &config.username,
        password: &config.password,
        tls: session.is_some(),
        certificate: session.is_some() && config.tls.cert.is_some(),
    };
    auth::log_in(&mut wire, &greeting, &login).await.map_err(|error| late_alert(config, error))?;
    wire.set_limits(CONTROL_BUFFER, CONTROL_PACKET);
    Ok(Connection {
        wire,
        version: greeting.version,
        id: greeting.connection_id,
        address,
        tls: session,
        usable: true,
        server_id: config.server_id,
        heartbeat: config.heartbeat_interval,
    })
}

async fn upgrade(
    mut wire: Wire<Transport>,
    greeting: &Greeting,
    tls: &TlsClient,
    address: &str,
) -> Result<(Wire<Transport>, Option<TlsSession>), SourceError> {
    let doing = || format!("start tls with {address}");
    let capabilities = handshake::client_capabilities(greeting.capabilities, true);
    wire.send(&handshake::ssl_request(capabilities))
        .await
        .map_err(|e| SourceError::wire(doing(), e))?;
    let sequence = wire.sequence();
    let Some(Transport::Plain(tcp)) = wire.into_io() else {
        return Err(SourceError::protocol(doing(), "bytes in clear text after the greeting"));
    };
    let (stream, session) = tls.wrap(tcp).await?;
    let mut wire = Wire::new(Transport::Tls(Box::new(stream)), CONTROL_BUFFER, LOGIN_PACKET);
    wire.set_sequence(sequence);
    Ok((wire, Some(session)))
}

/// A TLS 1.3 server refuses our certificate only after its handshake is done.
fn late_alert(config: &SourceConfig, error: SourceError) -> SourceError {
    if let SourceError::Io { error: io, .. } = &error
        && let Some(alert) = TlsError::late_alert(config.bare_host(), io)
    {
        return alert.into();
    }
    error
}

impl Connection {
    /// A connection that is logged in already.
    #[cfg(test)]
    pub(crate) fn over(transport: Transport) -> Self {
        Self {
            wire: Wire::new(transport, CONTROL_BUFFER, CONTROL_PACKET),
            version: String::new(),
            id: 1,
            address: "db:3306".to_owned(),
            tls: None,
            usable: true,
            server_id: 7,
            heartbeat: Duration::from_secs(15),
        }
    }

    /// The server's version as its greeting says it: `5.5.5-10.11.18-MariaDB-log`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The server's id of this connection, as in its process list.
    pub fn connection_id(&self) -> u32 {
        self.id
    }

    /// What TLS was agreed on; `None` is clear text (to be reported where the mode is `Preferred`).
    pub fn tls(&self) -> Option<&TlsSession> {
        self.tls.as_ref()
    }

    /// Asks a question and reads all rows of the answer.
    ///
    /// # Errors
    /// The server's refusal, a broken connection, 30 s without an end, or an answer above its bound.
    pub async fn query(&mut self, sql: &str) -> Result<ResultSet, SourceError> {
        match self.ask(sql).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Done { .. } => Ok(ResultSet::empty(label(sql))),
        }
    }

    /// Runs a statement; gives the number of rows it affected.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn execute(&mut self, sql: &str) -> Result<u64, SourceError> {
        match self.ask(sql).await? {
            Answer::Done { affected } => Ok(affected),
            Answer::Rows(_) => Ok(0),
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Answer, SourceError> {
        let doing = label(sql);
        if !self.usable {
            return Err(SourceError::Closed { doing });
        }
        self.usable = false;
        let exchange = async {
            let wire = &mut self.wire;
            let sent = wire.command(COM_QUERY, sql.as_bytes()).await;
            sent.map_err(|e| SourceError::wire(doing.as_str(), e))?;
            result_set::read(wire, &doing).await
        };
        let answer = match timeout(STATEMENT_LIMIT, exchange).await {
            Err(_) => Err(SourceError::Timeout { doing, limit: STATEMENT_LIMIT }),
            Ok(answer) => answer,
        };
        // A refusal ends the exchange as properly as an answer does.
        self.usable = matches!(answer, Ok(_) | Err(SourceError::Server { .. }));
        answer
    }

    /// Says good-bye. Dropping the connection is as safe; this saves the server a log line.
    pub async fn close(mut self) {
        if self.usable {
            let quit = self.wire.command(COM_QUIT, &[]);
            if let Ok(Err(error)) = timeout(Duration::from_secs(1), quit).await {
                tracing::debug!(%error, "close the connection");
            }
        }
    }

    /// Sends a command without a result set and takes its OK.
    pub(crate) async fn plain(
        &mut self,
        code: u8,
        argument: &[u8],
        doing: &str,
    ) -> Result<(), SourceError> {
        self.usable = false;
        let exchange = async {
            self.wire.command(code, argument).await?;
            let packet = self.wire.packet().await?;
            Ok::<_, WireError>((packet.first() == Some(&0), ServerError::parse(packet)))
        };
        let answer = timeout(STATEMENT_LIMIT, exchange).await.map_err(|_| {
            SourceError::Timeout { doing: doing.to_owned(), limit: STATEMENT_LIMIT }
        })?;
        match answer.map_err(|e| SourceError::wire(doing, e))? {
            (true, _) => {
                self.usable = true;
                Ok(())
            }
            (false, Some(error)) => {
                self.usable = true;
                Err(SourceError::server(doing, error))
            }
            (false, None) => Err(SourceError::protocol(doing, "an unknown kind of packet")),
        }
    }
}

/// A statement's name for messages: its words up to the first value.
fn label(sql: &str) -> String {
    let end = sql.find(['\'', '"', '(', '=', '`']).unwrap_or(sql.len());
    let words = sql.get(..end).unwrap_or_default().split_whitespace().take(6);
    format!("ask the source ({})", words.collect::<Vec<_>>().join(" "))
}

/// A string literal. Sound because each session has its backslash escapes on and speaks utf8mb4.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests;
