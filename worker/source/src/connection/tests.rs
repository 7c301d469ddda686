use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::TlsSettings;
use crate::error::Class;
use crds::conditions::Reason;
use crds::endpoint::Guard;

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// A server of packets, by hand.
struct Server(TcpStream);

impl Server {
    async fn send(&mut self, sequence: u8, payload: &[u8]) {
        let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
        out.push(sequence);
        out.extend_from_slice(payload);
        self.0.write_all(&out).await.expect("sent");
    }

    async fn read(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await.expect("a header");
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.expect("a payload");
        payload
    }

    /// Greets without TLS, takes any account and the session's settings.
    async fn welcome(&mut self) {
        self.send(0, &greeting()).await;
        self.read().await;
        self.send(2, OK).await;
        for setting in [SESSION, ISOLATION] {
            let asked = self.read().await;
            assert_eq!(asked[1..], *setting.as_bytes());
            self.send(1, OK).await;
        }
    }
}

fn greeting() -> Vec<u8> {
    let mut out = b"\x0a8.4.7\0".to_vec();
    out.extend_from_slice(b"\x07\0\0\0ABCDEFGH\0\0\x82\xff\x02\0\x08\0\x15");
    out.extend_from_slice(&[0; 10]);
    out.extend_from_slice(b"IJKLMNOPQRST\0mysql_native_password\0");
    out
}

/// A listener on `host` and the configuration that leads to it.
async fn listen(host: &str, mode: TlsMode) -> (TcpListener, SourceConfig) {
    let bare = host.trim_matches(['[', ']']);
    let listener = TcpListener::bind((bare, 0)).await.expect("a port");
    let config = SourceConfig {
        host: host.to_owned(),
        port: listener.local_addr().expect("an address").port(),
        endpoints: Guard::default(),
        tls: TlsSettings { mode, ..TlsSettings::default() },
        username: "repl".to_owned(),
        password: "pw".into(),
        connect_timeout: Duration::from_secs(30),
        heartbeat_interval: Duration::from_secs(5),
        server_id: 7,
    };
    (listener, config)
}

async fn accept(listener: &TcpListener) -> Server {
    Server(listener.accept().await.expect("a client").0)
}

#[test]
fn a_label_holds_no_values() {
    let sql = "UPDATE s SET pos='secret' WHERE id=1";
    assert_eq!(label(sql), "ask the source (UPDATE s SET pos)");
    assert_eq!(label("SHOW BINARY LOGS"), "ask the source (SHOW BINARY LOGS)");
}

#[test]
fn quotes_what_could_end_a_literal() {
    assert_eq!(quote(r"a'b\c"), r"'a''b\\c'");
    assert_eq!(quote("\0é"), "'\\0é'");
}

#[tokio::test]
async fn connects_over_ipv6_with_and_without_brackets() {
    for host in ["::1", "[::1]"] {
        let (listener, config) = listen(host, TlsMode::Disabled).await;
        assert_eq!(config.address(), format!("[::1]:{}", config.port));
        let script = async { accept(&listener).await.welcome().await };
        let (connection, ()) = tokio::join!(connect(&config), script);
        let connection = connection.expect("connected");
        assert_eq!((connection.version(), connection.connection_id()), ("8.4.7", 7));
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_preferred() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Required).await;
    let script = async { accept(&listener).await.send(0, &greeting()).await };
    let (refused, ()) = tokio::join!(connect(&config), script);
    let error = refused.expect_err("no TLS");
    assert_eq!((error.reason(), error.class()), (Reason::TlsUnsupported, Class::Mend));

    let (listener, config) = listen("127.0.0.1", TlsMode::Preferred).await;
    let script = async { accept(&listener).await.welcome().await };
    let (connection, ()) = tokio::join!(connect(&config), script);
    assert_eq!(connection.expect("clear text").tls(), None, "and says so");
}

#[tokio::test]
async fn a_refusal_before_the_greeting_is_the_servers() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Disabled).await;
    let script = async {
        accept(&listener).await.send(0, b"\xff\x10\x04Too many connections").await;
    };
    let (refused, ()) = tokio::join!(connect(&config), script);
    let error = refused.expect_err("refused");
    assert_eq!((error.reason(), error.class()), (Reason::TooManyConnections, Class::Transient));
}

#[tokio::test]
async fn something_else_at_the_port_is_said_to_be_no_server() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Disabled).await;
    let script = async {
        let mut server = accept(&listener).await;
        server.0.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.expect("sent");
        server
    };
    let (refused, _server) = tokio::join!(connect(&config), script);
    let error = refused.expect_err("no greeting");
    assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_ends_at_the_limit() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Disabled).await;
    let (refused, _server) = tokio::join!(connect(&config), accept(&listener));
    let error = refused.expect_err("no greeting");
    assert_eq!(error.reason(), Reason::ConnectTimeout, "{error}");
}

#[tokio::test]
async fn an_unfinished_exchange_ends_the_connection() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Disabled).await;
    let script = async {
        let mut server = accept(&listener).await;
        server.welcome().await;
        server
    };
    let (connection, mut server) = tokio::join!(connect(&config), script);
    let mut connection = connection.expect("connected");
    tokio::select! {
        _ = connection.query("SELECT 1") => panic!("it was never answered"),
        asked = server.read() => assert_eq!(asked, b"\x03SELECT 1"),
    }
    // The answer to the first question, which must not be taken for the second one's.
    server.send(1, OK).await;
    let error = connection.query("SELECT 2").await.expect_err("unusable");
    assert!(matches!(error, SourceError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_refused_statement_leaves_the_connection_usable() {
    let (listener, config) = listen("127.0.0.1", TlsMode::Disabled).await;
    let script = async {
        let mut server = accept(&listener).await;
        server.welcome().await;
        server.read().await;
        server.send(1, b"\xff\xcb\x04#42000denied").await;
        server.read().await;
        server.send(1, OK).await;
        server
    };
    let asking = async {
        let mut connection = connect(&config).await.expect("connected");
        let refused = connection.query("SHOW BINARY LOGS").await.expect_err("denied");
        (refused.reason(), connection.execute("SELECT 1").await.is_ok())
    };
    let (answers, _server) = tokio::join!(asking, script);
    assert_eq!(answers, (Reason::MissingGrant, true));
}

#[tokio::test]
async fn a_host_that_leads_to_a_refused_address_is_not_connected_to() {
    let (listener, config) = listen("localhost", TlsMode::Disabled).await;
    let config = SourceConfig { endpoints: Guard::in_cluster(None, Vec::new()), ..config };
    let error = crate::transport::open(&config).await.expect_err("it is the pod itself");
    assert_eq!((error.reason(), error.class()), (Reason::EndpointNotAllowed, Class::Mend));
    assert!(error.to_string().contains("localhost"), "{error}");
    let knocked = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(knocked.is_err(), "nothing came");
}
