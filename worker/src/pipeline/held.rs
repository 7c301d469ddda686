//! Transactions whose rows a stint does not want, because the change log holds them or the start left them out.

use crds::position::{Gtid, GtidSet};

/// See the module's text. The two differ on MariaDB, where a set is a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// Everything that the set covers: where a person said to start.
    Covered(GtidSet),
    /// Only what is known by its own id: a covered number that another server gave is another transaction.
    Seen(GtidSet),
}

impl Held {
    /// Whether the transaction's rows are not wanted.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match self {
            Self::Covered(set) => set.contains(gtid),
            Self::Seen(set) => set.has_seen(gtid),
        }
    }

    /// The set.
    pub fn set(&self) -> &GtidSet {
        match self {
            Self::Covered(set) | Self::Seen(set) => set,
        }
    }
}

#[cfg(test)]
mod tests {
    use crds::position::Flavor;

    use super::*;

    #[test]
    fn a_number_that_another_server_gave_is_another_transaction() {
        // Server 1 was archived to 105; server 2 had 100 of it when it was promoted.
        let archived = GtidSet::parse(Flavor::MariaDB, "0-1-105").unwrap();
        let seen = Held::Seen(archived.clone());
        let (old, new) = ("0-1-100".parse().unwrap(), "0-2-101".parse().unwrap());
        assert!(seen.contains(&old) && !seen.contains(&new));
        assert!(Held::Covered(archived).contains(&new), "a start is a position");
    }
}
