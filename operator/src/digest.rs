//! A short digest of an object as it is sent.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Half a SHA-256 of the object's JSON, in hex.
///
/// # Errors
/// When the object cannot be written as JSON.
pub fn digest<K: Serialize>(object: &K) -> Result<String, serde_json::Error> {
    let text = serde_json::to_vec(object)?;
    let digest = Sha256::digest(text);
    let half = digest.iter().take(16).fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    Ok(format!("{half:032x}"))
}
