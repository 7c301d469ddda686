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

const RSA_2048: &[u8] = include_bytes!("../../tests/data/rsa2048.pkcs8.pem");
const RSA_2048_PKCS1: &[u8] = include_bytes!("../../tests/data/rsa2048.pkcs1.pem");
const RSA_1024: &[u8] = include_bytes!("../../tests/data/rsa1024.pkcs8.pem");

/// Logs in without TLS with a password of `length` bytes at a server that shows `key`.
async fn shown(plugin: &str, key: &[u8], length: usize) -> Result<Vec<u8>, SourceError> {
    let (mut wire, mut server) = pair();
    let password = Secret::new(vec![b'p'; length]);
    let login = Login { user: "u", password: &password, tls: false, certificate: false };
    let script = async {
        let response = server.read().await;
        if plugin == "caching_sha2_password" {
            server.send(&[MORE_DATA, 4]).await;
            assert_eq!(server.read().await, [2], "asks for the RSA key");
        } else {
            assert_eq!(first_answer(&response), [1], "asks for the RSA key");
        }
        server.send(&[&[MORE_DATA], key].concat()).await;
        let sealed = server.read().await;
        server.send(&[OK, 0, 0, 2, 0, 0, 0]).await;
        sealed
    };
    let greeting = greeting(plugin);
    let logged_in = log_in(&mut wire, &greeting, &login);
    tokio::pin!(logged_in, script);
    tokio::select! {
        biased;
        done = &mut logged_in => done.map(|()| Vec::new()),
        sealed = &mut script => logged_in.await.map(|()| sealed),
    }
}

/// Keys as text around bytes that are none, and keys that nobody should seal with.
fn bad_keys() -> Vec<Vec<u8>> {
    use base64::Engine;
    let text = |label: &str, bytes: &[u8]| {
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
    };
    let mut keys = vec![
        Vec::new(),
        b"no key".to_vec(),
        b"-----BEGIN PUBLIC KEY-----\n".to_vec(),
        b"-----BEGIN PUBLIC KEY-----\n*\n-----END PUBLIC KEY-----\n".to_vec(),
        vec![b'-'; 100_000],
        RSA_2048[..RSA_2048.len() / 2].to_vec(),
        RSA_1024.to_vec(),
    ];
    for label in ["PUBLIC KEY", "RSA PUBLIC KEY"] {
        // Nothing, the wrong tag, lengths beyond the end, a length of 127 bytes, no numbers in it.
        for bytes in [&[][..], &[0x02, 0], &[0x30], &[0x30, 0x7f], &[0x30, 0xff, 1], &[0x30, 0]] {
            keys.push(text(label, bytes));
        }
    }
    let big = |bytes: usize| vec![0xff; bytes];
    for (modulus, exponent) in [
        (big(1), vec![3]),
        (big(40), vec![3]),
        (big(4096), vec![3]),
        (vec![0; 256], vec![3]),
        ([big(255), vec![0xfe]].concat(), vec![3]),
        (big(256), vec![]),
        (big(256), vec![1]),
        (big(256), vec![2]),
        (big(256), big(256)),
    ] {
        keys.push(key::written(&modulus, &exponent));
    }
    keys
}

#[tokio::test]
async fn a_bad_rsa_key_is_an_error() {
    for plugin in ["caching_sha2_password", "sha256_password"] {
        for key in bad_keys() {
            let error = shown(plugin, &key, 2).await.expect_err("refused");
            assert!(matches!(error, SourceError::Auth { .. }), "{error}");
            assert!(error.to_string().contains("source.tls.mode"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_password_is_sealed_with_the_servers_key_while_it_fits() {
    for key in [RSA_2048, RSA_2048_PKCS1] {
        for plugin in ["caching_sha2_password", "sha256_password"] {
            for (length, fits) in [(1, true), (213, true), (214, false), (300, false)] {
                let sealed = shown(plugin, key, length).await;
                assert_eq!(sealed.as_ref().ok().map(Vec::len), fits.then_some(256), "{length}");
            }
        }
    }
}

#[test]
fn a_good_rsa_key_keeps_its_numbers() {
    use mysql_common::crypto::rsa::PublicKey;
    for key in [RSA_2048, RSA_2048_PKCS1] {
        let (shown, checked) = (PublicKey::from_pem(key), key::checked(key, 20));
        let shown = shown.expect("a key");
        let handed_on = PublicKey::from_pem(checked.expect("a key")).expect("a key");
        assert_eq!(handed_on.modulus(), shown.modulus());
        assert_eq!(handed_on.exponent(), shown.exponent());
    }
}
