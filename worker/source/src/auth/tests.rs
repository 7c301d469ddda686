use super::*;
use mysql_common::constants::CapabilityFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// What a server sends and receives, packet by packet, by hand.
struct Server(DuplexStream, u8);

impl Server {
    async fn read(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await.expect("a header");
        assert_eq!(header[3], self.1, "packet number");
        self.1 += 1;
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.expect("a payload");
        payload
    }

    async fn send(&mut self, payload: &[u8]) {
        let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
        out.push(self.1);
        self.1 += 1;
        out.extend_from_slice(payload);
        self.0.write_all(&out).await.expect("room");
    }
}

const NONCE: &[u8; 20] = b"ABCDEFGHIJKLMNOPQRST";

fn greeting(plugin: &str) -> Greeting {
    Greeting {
        version: "9.7.4".to_owned(),
        connection_id: 1,
        capabilities: CapabilityFlags::CLIENT_PROTOCOL_41,
        nonce: NONCE.to_vec(),
        plugin: plugin.to_owned(),
    }
}

fn pair() -> (Wire<DuplexStream>, Server) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let mut wire = Wire::new(near, 4096, 1 << 20);
    wire.set_sequence(1);
    (wire, Server(far, 1))
}

/// The plugin's first answer in a handshake response without attributes.
fn first_answer(response: &[u8]) -> &[u8] {
    let after_user = 32 + response[32..].iter().position(|b| *b == 0).expect("user ends") + 1;
    let length = usize::from(response[after_user]);
    &response[after_user + 1..after_user + 1 + length]
}

/// 70 bytes with everything a URL, a shell or SQL trips over, and not all of it UTF-8.
fn hostile_password() -> Secret {
    let mut bytes = "@:/?#%&'\"\\ `$(x) пароль 密碼 🔑 ".as_bytes().to_vec();
    bytes.resize(70, 0xfe);
    Secret::new(bytes)
}

#[tokio::test]
async fn caching_sha2_sends_the_password_itself_only_inside_tls() {
    let password = hostile_password();
    for tls in [true, false] {
        let (mut wire, mut server) = pair();
        let login = Login { user: "u", password: &password, tls, certificate: false };
        let script = async {
            let response = server.read().await;
            assert_eq!(first_answer(&response).len(), 32, "a scramble");
            server.send(&[MORE_DATA, 4]).await;
            let full = server.read().await;
            if tls {
                assert_eq!(full, [password.expose(), &[0]].concat());
            } else {
                assert_eq!(full, [2], "asks for the RSA key");
            }
            server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
        };
        let greeting = greeting("caching_sha2_password");
        let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
        done.expect("logged in");
    }
}

#[tokio::test]
async fn caching_sha2_takes_the_fast_road() {
    let (mut wire, mut server) = pair();
    let password = Secret::from("pw");
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        server.read().await;
        server.send(&[MORE_DATA, 3]).await;
        server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
    };
    let greeting = greeting("caching_sha2_password");
    let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
    done.expect("logged in");
}

#[tokio::test]
async fn native_password_scrambles_as_the_servers_do() {
    // SHA1(pw) xor SHA1(nonce + SHA1(SHA1(pw))), from the protocol's definition, precomputed.
    let expected = mysql_common::auth::plugins::mysql_native_password::scramble_native(
        b"zzzzzzzzzzzzzzzzzzzz",
        b"pw",
    )
    .expect("a scramble");
    let (mut wire, mut server) = pair();
    let password = Secret::from("pw");
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        server.read().await;
        // The nonce of a switch replaces the greeting's, its last zero is not part of it.
        server.send(b"\xfemysql_native_password\0zzzzzzzzzzzzzzzzzzzz\0").await;
        assert_eq!(server.read().await, expected);
        server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
    };
    let greeting = greeting("caching_sha2_password");
    let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
    done.expect("logged in");
}

#[tokio::test]
async fn ed25519_signs_the_nonce_of_the_switch() {
    let (mut wire, mut server) = pair();
    let password = Secret::from("foobar");
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        server.read().await;
        let mut switch = b"\xfeclient_ed25519\0".to_vec();
        switch.extend_from_slice(&[0; 32]);
        server.send(&switch).await;
        assert_eq!(server.read().await.len(), 64);
        server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
    };
    let greeting = greeting("mysql_native_password");
    let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
    done.expect("logged in");
}

#[tokio::test]
async fn refuses_to_send_the_password_in_clear() {
    for tls in [true, false] {
        for switch in
            [&b"\xfemysql_clear_password\0"[..], b"\xfemysql_old_password\0abcdefgh\0", b"\xfe"]
        {
            let (mut wire, mut server) = pair();
            let password = Secret::from("pw");
            let login = Login { user: "u", password: &password, tls, certificate: false };
            let script = async {
                server.read().await;
                server.send(switch).await;
            };
            let greeting = greeting("mysql_native_password");
            let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
            let error = done.expect_err("refused");
            assert!(matches!(error, SourceError::AuthPlugin { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn an_account_turned_away_is_told_what_to_check() {
    let (mut wire, mut server) = pair();
    let password = Secret::from("hunter2");
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        server.read().await;
        server
            .send(b"\xff\x15\x04#28000Access denied for user 'u'@'h' (using password: YES)")
            .await;
    };
    let greeting = greeting("mysql_native_password");
    let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
    let error = done.expect_err("refused");
    assert!(matches!(error, SourceError::AccessDenied { .. }));
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentialsSecretRef") && !text.contains("hunter2"), "{text}");
    assert!(text.contains("REQUIRE SSL"), "clear text: {text}");
}

#[tokio::test]
async fn an_unknown_default_plugin_waits_for_the_switch() {
    let (mut wire, mut server) = pair();
    let password = Secret::from("");
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        let response = server.read().await;
        assert!(first_answer(&response).is_empty(), "no password, no scramble");
        server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
    };
    let greeting = greeting("parsec");
    let (done, ()) = tokio::join!(log_in(&mut wire, &greeting, &login), script);
    done.expect("logged in");
}
