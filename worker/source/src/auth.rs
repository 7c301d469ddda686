//! Logging in: the exchange between the greeting's answer and the server's OK.
//!
//! The scrambles are `mysql_common`'s. Only plugins that never show the password to whoever answers
//! are spoken: `mysql_clear_password` and `mysql_old_password` are refused whatever the server says
//! (`refuses_to_send_the_password_in_clear`). A server's RSA key is looked at by [`key`] before a plugin is.

use mysql_common::auth::plugins::{AuthProc, ChallengeResponsePlugin, Context};
use mysql_common::packets::AuthPlugin;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) mod key;

use crate::error::{ServerError, SourceError};
use crate::handshake::{self, Greeting};
use crate::secret::Secret;
use crate::wire::Wire;

const OK: u8 = 0x00;
const MORE_DATA: u8 = 0x01;
const SWITCH: u8 = 0xfe;
const ERR: u8 = 0xff;
const KEY: &str = "the server's RSA key";
const KEY_MEND: &str = "set source.tls.mode to Required or above, or give the server a key of 2048 bits (caching_sha2_password_public_key_path, sha256_password_public_key_path)";

/// Who logs in, and over what.
pub(crate) struct Login<'a> {
    pub user: &'a str,
    pub password: &'a Secret,
    /// Over TLS the full exchange of caching_sha2_password sends the password itself; in clear text
    /// it is sealed with the server's RSA key.
    pub tls: bool,
    /// Whether a client certificate was shown.
    pub certificate: bool,
}

impl Login<'_> {
    /// What an account may require beyond its password; the server does not say.
    fn hint(&self) -> Option<&'static str> {
        match (self.tls, self.certificate) {
            (false, _) => Some(
                "; if the account was made with REQUIRE SSL or X509, set source.tls.mode to Required or above",
            ),
            (true, false) => Some(
                "; if the account was made with REQUIRE X509, set source.tls.clientCertSecretRef",
            ),
            (true, true) => None,
        }
    }
}

/// One plugin at work with the nonce it was started with.
struct Exchange<'a> {
    name: String,
    plugin: AuthProc,
    nonce: Vec<u8>,
    login: &'a Login<'a>,
    /// Whether the last answer asked for the server's RSA key.
    asked_for_key: bool,
}

struct Known<'a> {
    login: &'a Login<'a>,
    nonce: &'a [u8],
}

impl Context for Known<'_> {
    fn pass(&self) -> &[u8] {
        self.login.password.expose()
    }
    fn is_ipc_transport(&self) -> bool {
        false
    }
    fn is_tls_transport(&self) -> bool {
        self.login.tls
    }
    fn scramble(&self) -> &[u8] {
        self.nonce
    }
    fn server_key_pem(&self) -> Option<&[u8]> {
        None
    }
}

impl<'a> Exchange<'a> {
    fn start(name: &str, nonce: &[u8], login: &'a Login<'a>) -> Result<Self, SourceError> {
        let unsupported =
            || SourceError::AuthPlugin { user: login.user.to_owned(), plugin: name.to_owned() };
        let plugin = match AuthPlugin::from_bytes(name.as_bytes()) {
            known @ (AuthPlugin::CachingSha2Password
            | AuthPlugin::MysqlNativePassword
            | AuthPlugin::Sha256Password
            | AuthPlugin::Ed25519) => known.init().map_err(|_| unsupported())?,
            _ => return Err(unsupported()),
        };
        let nonce = nonce.to_vec();
        Ok(Self { name: name.to_owned(), plugin, nonce, login, asked_for_key: false })
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Option<Vec<u8>>, SourceError> {
        let failed = |problem| SourceError::Auth {
            user: self.login.user.to_owned(),
            plugin: self.name.clone(),
            problem,
        };
        let key;
        let challenge = if self.asked_for_key {
            let checked = key::checked(challenge, self.login.password.expose().len());
            key = checked.map_err(|problem| failed(format!("{KEY} {problem}; {KEY_MEND}")))?;
            &key
        } else {
            challenge
        };
        let known = Known { login: self.login, nonce: &self.nonce };
        let response = self.plugin.run(known, challenge);
        let response = response.map_err(|error| failed(error.to_string()))?;
        let answer = response.data().map(<[u8]>::to_vec);
        self.asked_for_key = !self.login.tls
            && match &self.plugin {
                AuthProc::CachingSha2Password(_) => answer.as_deref() == Some(&[2]),
                AuthProc::Sha256Password(_) => answer.as_deref() == Some(&[1]),
                _ => false,
            };
        Ok(answer)
    }

    fn first(&mut self) -> Result<Option<Vec<u8>>, SourceError> {
        let nonce = self.nonce.clone();
        self.answer(&nonce)
    }
}

/// Sends the response to `greeting` and answers until the server is satisfied.
pub(crate) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    greeting: &Greeting,
    login: &Login<'_>,
) -> Result<(), SourceError> {
    let doing = || format!("authenticate as {:?}", login.user);
    // A default plugin we do not speak is no reason to give up: the account may use another, to
    // which the server then switches.
    let mut exchange = match Exchange::start(&greeting.plugin, &greeting.nonce, login) {
        Ok(exchange) => exchange,
        Err(_) => Exchange::start("mysql_native_password", &greeting.nonce, login)?,
    };
    let first = exchange.first()?.unwrap_or_default();
    let capabilities = handshake::client_capabilities(greeting.capabilities, login.tls);
    let response = handshake::response(capabilities, login.user, &exchange.name, &first)
        .map_err(|problem| SourceError::protocol(doing(), problem))?;
    wire.send(&response).await.map_err(|e| SourceError::wire(doing(), e))?;

    loop {
        let packet = wire.packet().await.map_err(|e| SourceError::wire(doing(), e))?;
        let answer = match packet {
            [OK, ..] => return Ok(()),
            [ERR, ..] => return Err(refused(login, packet)),
            [MORE_DATA, challenge @ ..] => {
                let challenge = challenge.to_vec();
                exchange.answer(&challenge)?
            }
            [SWITCH] => {
                return Err(SourceError::AuthPlugin {
                    user: login.user.to_owned(),
                    plugin: "mysql_old_password".to_owned(),
                });
            }
            [SWITCH, request @ ..] => {
                let (name, nonce) = split_switch(request);
                exchange = Exchange::start(&name, &nonce, login)?;
                exchange.first()?
            }
            _ => return Err(SourceError::protocol(doing(), "an unknown kind of packet")),
        };
        if let Some(answer) = answer {
            wire.send(&answer).await.map_err(|e| SourceError::wire(doing(), e))?;
        }
    }
}

/// Plugin name and nonce of a switch request. All servers but for ed25519 end the nonce with a zero
/// that is not part of it.
fn split_switch(request: &[u8]) -> (String, Vec<u8>) {
    let end = request.iter().position(|byte| *byte == 0).unwrap_or(request.len());
    let name = String::from_utf8_lossy(&request[..end]).into_owned();
    let nonce = request.get(end + 1..).unwrap_or_default();
    let nonce = match nonce {
        [head @ .., 0] if head.len() == 20 => head,
        all => all,
    };
    (name, nonce.to_vec())
}

fn refused(login: &Login<'_>, packet: &[u8]) -> SourceError {
    let user = login.user.to_owned();
    let Some(error) = ServerError::parse(packet) else {
        let doing = format!("authenticate as {user:?}");
        return SourceError::protocol(doing, "an ERR packet cut short");
    };
    match error.code {
        // ER_SECURE_TRANSPORT_REQUIRED; MariaDB says it in the text of an access denied.
        3159 => SourceError::TlsRequired { user, error },
        1045 if error.message.contains("require_secure_transport") => {
            SourceError::TlsRequired { user, error }
        }
        1045 | 1698 | 3118 | 4151 => SourceError::AccessDenied { user, error, hint: login.hint() },
        _ => SourceError::server(format!("authenticate as {user:?}"), error),
    }
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
