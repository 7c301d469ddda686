//! The first packets of a connection: the server's greeting and our answers to it.
//!
//! Parsed here and not with `mysql_common`: its greeting parser subtracts from an `i8` the peer
//! chose, which aborts a build with overflow checks on a hostile greeting
//! (`a_hostile_greeting_is_an_error`).

use mysql_common::constants::CapabilityFlags;

/// `utf8mb4_general_ci`, which both flavours know.
const UTF8MB4: u8 = 45;
/// Largest packet we announce to take.
const MAX_PACKET: u32 = 1 << 30;
const NONCE: usize = 20;

/// What the server says of itself before anything is agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// `9.7.4`, `5.5.5-10.11.18-MariaDB-log`.
    pub version: String,
    pub connection_id: u32,
    pub capabilities: CapabilityFlags,
    /// 20 bytes for the authentication plugin.
    pub nonce: Vec<u8>,
    /// Name of the server's default plugin.
    pub plugin: String,
}

impl Greeting {
    /// Reads a greeting of protocol 10.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, &'static str> {
        let mut rest = Fields(payload);
        if rest.take(1)? != [10] {
            return Err("not a greeting of protocol version 10");
        }
        let version = String::from_utf8_lossy(rest.until_zero()?).into_owned();
        let connection_id = u32::from_le_bytes(rest.array()?);
        let first = rest.take(8)?;
        rest.take(1)?;
        let low = u16::from_le_bytes(rest.array()?);
        rest.take(1 + 2)?;
        let high = u16::from_le_bytes(rest.array()?);
        let nonce_length = usize::from(rest.take(1)?[0]);
        rest.take(10)?;
        let capabilities =
            CapabilityFlags::from_bits_truncate(u32::from(low) | u32::from(high) << 16);
        let needed = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_PLUGIN_AUTH;
        if !capabilities.contains(needed) {
            return Err("a server older than MySQL 5.7 or MariaDB 10.2");
        }
        let second = rest.take(nonce_length.saturating_sub(8).max(13))?;
        let mut nonce = [first, second].concat();
        // The terminating zero, and what a server may add after it, are not part of the nonce.
        nonce.truncate(NONCE);
        let plugin = rest.rest().split(|byte| *byte == 0).next().unwrap_or_default();
        let plugin = String::from_utf8_lossy(plugin).into_owned();
        Ok(Self { version, connection_id, capabilities, nonce, plugin })
    }

    pub(crate) fn offers_tls(&self) -> bool {
        self.capabilities.contains(CapabilityFlags::CLIENT_SSL)
    }
}

/// What we ask for: no multi-statements, no LOCAL INFILE, so neither can be abused.
pub(crate) fn client_capabilities(server: CapabilityFlags, tls: bool) -> CapabilityFlags {
    let mut ours = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        // UPDATE counts the rows it matched: compare and swap rests on it.
        | CapabilityFlags::CLIENT_FOUND_ROWS
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    if tls {
        ours |= CapabilityFlags::CLIENT_SSL;
    }
    ours | (server & CapabilityFlags::CLIENT_CONNECT_ATTRS)
}

/// The short packet after which TLS starts.
pub(crate) fn ssl_request(capabilities: CapabilityFlags) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    out.extend_from_slice(&capabilities.bits().to_le_bytes());
    out.extend_from_slice(&MAX_PACKET.to_le_bytes());
    out.push(UTF8MB4);
    out.resize(32, 0);
    out
}

/// Account, first answer of the plugin, and who we are.
pub(crate) fn response(
    capabilities: CapabilityFlags,
    user: &str,
    plugin: &str,
    auth: &[u8],
) -> Result<Vec<u8>, &'static str> {
    let length = u8::try_from(auth.len()).map_err(|_| "the first answer is over 255 bytes")?;
    if user.as_bytes().contains(&0) {
        return Err("the username holds a zero byte");
    }
    let mut out = ssl_request(capabilities);
    out.extend_from_slice(user.as_bytes());
    out.push(0);
    out.push(length);
    out.extend_from_slice(auth);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    if capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS) {
        let attributes = [
            ("_client_name", "binlog-worker"),
            ("_client_version", env!("CARGO_PKG_VERSION")),
            ("program_name", "binlog-worker"),
        ];
        let mut block = Vec::new();
        for text in attributes.iter().flat_map(|(name, value)| [name, value]) {
            // All far below 251 bytes, where a length is one byte.
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
        out.push(block.len() as u8);
        out.extend_from_slice(&block);
    }
    Ok(out)
}

/// A cursor that cannot run past its end.
struct Fields<'a>(&'a [u8]);

const SHORT: &str = "the greeting ends early";

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    fn until_zero(&mut self) -> Result<&'a [u8], &'static str> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &str, capabilities: u32, nonce_length: u8, plugin: &[u8]) -> Vec<u8> {
        let mut out = vec![10];
        out.extend_from_slice(version.as_bytes());
        out.push(0);
        out.extend_from_slice(&7u32.to_le_bytes());
        out.extend_from_slice(b"ABCDEFGH\0");
        out.extend_from_slice(&(capabilities as u16).to_le_bytes());
        out.push(255);
        out.extend_from_slice(&2u16.to_le_bytes());
        out.extend_from_slice(&((capabilities >> 16) as u16).to_le_bytes());
        out.push(nonce_length);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(b"IJKLMNOPQRST\0");
        out.extend_from_slice(plugin);
        out
    }

    const CAPABILITIES: u32 = 0x0008_8a00;

    #[test]
    fn reads_the_greeting_of_both_flavours() {
        for (version, plugin) in [
            ("9.7.4", &b"caching_sha2_password\0"[..]),
            ("5.5.5-10.11.18-MariaDB-log", b"mysql_native_password"),
        ] {
            let read = Greeting::parse(&greeting(version, CAPABILITIES, 21, plugin));
            let read = read.expect("a greeting");
            assert_eq!(read.version, version);
            assert_eq!(read.connection_id, 7);
            assert_eq!(read.nonce, b"ABCDEFGHIJKLMNOPQRST");
            assert_eq!(read.plugin.as_bytes(), plugin.split(|b| *b == 0).next().expect("name"));
            assert!(read.offers_tls());
        }
    }

    #[test]
    fn a_hostile_greeting_is_an_error() {
        let whole = greeting("8.0.44", CAPABILITIES, 21, b"caching_sha2_password\0");
        for end in 0..whole.len() - 22 {
            Greeting::parse(&whole[..end]).expect_err("cut short");
        }
        for length in [0, 127, 128, 255] {
            // Whatever the length byte says: an answer or an error, never an abort.
            let read = Greeting::parse(&greeting("8.0.44", CAPABILITIES, length, b"x\0"));
            assert_eq!(read.is_ok(), length == 0, "{length}");
        }
        assert!(Greeting::parse(&greeting("5.0", 0x200, 21, b"")).is_err());
        assert!(Greeting::parse(b"HTTP/1.1 400 Bad Request\r\n").is_err());
    }

    #[test]
    fn the_response_holds_user_answer_plugin_and_attributes() {
        let capabilities =
            client_capabilities(CapabilityFlags::from_bits_truncate(0xffff_ffff), false);
        assert!(!capabilities.contains(CapabilityFlags::CLIENT_LOCAL_FILES));
        assert!(!capabilities.contains(CapabilityFlags::CLIENT_MULTI_STATEMENTS));
        assert!(!capabilities.contains(CapabilityFlags::CLIENT_SSL));
        let packet = response(capabilities, "repl", "plug", &[1, 2, 3]).expect("a packet");
        assert_eq!(packet[8], UTF8MB4);
        assert_eq!(&packet[32..46], b"repl\0\x03\x01\x02\x03plug\0");
        assert_eq!(usize::from(packet[46]), packet.len() - 47);
        assert!(response(capabilities, "re\0pl", "plug", &[]).is_err());
    }
}
