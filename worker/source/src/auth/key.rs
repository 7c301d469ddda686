//! The RSA key that a server without TLS shows, for the password to be sealed with.
//!
//! `mysql_common` panics on a damaged key and on one too small for the password, and works for as long as a
//! huge one asks for. So a key is read here first, and what is handed on is written anew from its two numbers
//! (`a_bad_rsa_key_is_an_error`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// A key of 16384 bits has some 3 kB as text.
const MOST_TEXT: usize = 8 << 10;
/// What sealing with SHA-1 OAEP takes of a block, and the zero that ends the password.
const OVERHEAD: usize = 42 + 1;
/// Servers make keys of 2048 bits. A shorter one, made by hand, seals nothing that is recorded today for good.
const BITS: std::ops::RangeInclusive<usize> = 2048..=16384;
/// 3 and 65537 are in use.
const MOST_EXPONENT_BYTES: usize = 4;

/// The same key in a form without surprises, if `password` bytes can be sealed with it.
pub(crate) fn checked(shown: &[u8], password: usize) -> Result<Vec<u8>, &'static str> {
    const DAMAGED: &str = "cannot be read";
    if shown.len() > MOST_TEXT {
        return Err("is larger than any key in use");
    }
    let (_, pem) = parse_x509_pem(shown).map_err(|_| DAMAGED)?;
    let (modulus, exponent) = match pem.label.as_str() {
        "RSA PUBLIC KEY" => {
            let (_, key) = RSAPublicKey::from_der(&pem.contents).map_err(|_| DAMAGED)?;
            (key.modulus.to_vec(), key.exponent.to_vec())
        }
        "PUBLIC KEY" => {
            let (_, info) = SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| DAMAGED)?;
            match info.parsed() {
                Ok(PublicKey::RSA(key)) => (key.modulus.to_vec(), key.exponent.to_vec()),
                Ok(_) => return Err("is not one of RSA"),
                Err(_) => return Err(DAMAGED),
            }
        }
        _ => return Err("is not a public key"),
    };
    let modulus = odd(&modulus).ok_or("has an impossible modulus")?;
    let exponent = odd(&exponent).ok_or("has an impossible exponent")?;
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    if !BITS.contains(&bits) {
        return Err("does not have 2048 to 16384 bits");
    }
    if exponent.len() > MOST_EXPONENT_BYTES || exponent == [1] {
        return Err("has an impossible exponent");
    }
    // The block as mysql_common counts its bytes: one less where a single bit stands out.
    if password + OVERHEAD > (bits + 6) / 8 {
        return Err("is too small for the password");
    }
    Ok(written(modulus, exponent))
}

/// A positive odd number without its leading zeros.
fn odd(number: &[u8]) -> Option<&[u8]> {
    let negative = number.first().is_some_and(|first| first & 0x80 != 0);
    let start = number.iter().position(|byte| *byte != 0)?;
    let odd = number.last().is_some_and(|last| last & 1 == 1);
    (odd && !negative).then(|| &number[start..])
}

/// PKCS#1, as text; lengths are all written in two bytes.
pub(super) fn written(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [integer(modulus), integer(exponent)].concat();
    let text = STANDARD.encode(element(0x30, &numbers));
    format!("-----BEGIN RSA PUBLIC KEY-----\n{text}\n-----END RSA PUBLIC KEY-----\n").into_bytes()
}

fn integer(magnitude: &[u8]) -> Vec<u8> {
    // A zero in front keeps it positive.
    element(0x02, &[&[0], magnitude].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}
