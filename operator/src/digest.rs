//! A short digest of an object as it is sent.

use std::{fmt, num::ParseIntError, str::FromStr};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Half a SHA-256 of an object's JSON; in hex where it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// The digest of no object.
    pub const NONE: Digest = Digest([0; 16]);
}

/// The digest of an object.
///
/// # Errors
/// When the object cannot be written as JSON.
pub fn digest<K: Serialize>(object: &K) -> Result<Digest, serde_json::Error> {
    let text = serde_json::to_vec(object)?;
    let mut half = [0; 16];
    half.iter_mut().zip(Sha256::digest(text)).for_each(|(byte, of)| *byte = of);
    Ok(Digest(half))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Digest(u128::from_str_radix(text, 16)?.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_was_written() {
        let of = digest(&[1, 2, 3]).unwrap();
        assert_eq!(of.to_string(), "a615eeaee21de5179de080de8c3052c8");
        assert_eq!(of.to_string().parse(), Ok(of));
        assert_ne!(digest(&"another").unwrap(), of);
        assert!("from the future".parse::<Digest>().is_err());
    }
}
