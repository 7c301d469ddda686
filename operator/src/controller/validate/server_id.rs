//! Server ids for streams that name none.
//!
//! An id is derived from the stream's UID, so that it is the same whoever computes it, and moved on
//! while another stream has it. It is then pinned in `status.serverId`: a peer that comes or goes
//! later never changes it. Ids lie in a range that people do not use by hand and that fits a signed
//! 32-bit integer, which some tools take it for.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

const FIRST: u32 = 1_000_000_000;
const COUNT: u32 = 1_147_483_647;

/// An id for the stream with this UID that is not in `taken`.
pub fn allot(uid: &str, taken: &BTreeSet<u32>) -> u32 {
    // More streams than ids cannot be.
    candidates(uid).find(|id| !taken.contains(id)).unwrap_or(FIRST)
}

/// The ids that a stream may be allotted, in order.
pub fn candidates(uid: &str) -> impl Iterator<Item = u32> + use<> {
    let digest = Sha256::digest(uid.as_bytes());
    let seed = digest.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let from = seed % u64::from(COUNT);
    (0..COUNT).map(move |step| FIRST + ((from + u64::from(step)) % u64::from(COUNT)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_stream_gets_the_same_id_and_a_taken_one_is_passed_over() {
        let uid = "7b1c1e3e-0f0a-4a44-8f55-8f1c5f2b0c11";
        let id = allot(uid, &BTreeSet::new());
        assert_eq!(id, allot(uid, &BTreeSet::new()));
        assert!((FIRST..FIRST + COUNT).contains(&id));
        let next = allot(uid, &BTreeSet::from([id]));
        assert_ne!(next, id);
        assert!((FIRST..FIRST + COUNT).contains(&next));
    }

    #[test]
    fn ten_thousand_streams_get_ten_thousand_ids() {
        let mut taken = BTreeSet::new();
        for n in 0..10_000 {
            assert!(taken.insert(allot(&format!("uid-{n}"), &taken)));
        }
    }
}
