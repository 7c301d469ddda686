//! Positions in a binlog: file and offset, and GTID sets of both flavours. Pure algebra, no I/O.
//!
//! Invariants:
//! - files are ordered by their number, not by their text: `binlog.999999` is before
//!   `binlog.1000000` (`files_are_ordered_by_number` in `position/file.rs`);
//! - a set's canonical text parses to the same set (`text_round_trips` in `tests/position.rs`);
//! - no operation walks single transaction numbers: the cost follows the number of intervals, so a
//!   set of 2^62 transactions is as cheap as one (`huge_intervals_are_cheap`);
//! - parsing allocates only in proportion to its input, whose length has a bound
//!   (`hostile_text_is_refused`).

mod file;
mod gtid;
mod gtid_mariadb;
mod gtid_mysql;

pub use file::{FileName, FilePosition};
pub use gtid::{Gtid, GtidError, GtidSet};
pub use gtid_mariadb::MariaDbGtidSet;
pub use gtid_mysql::{MAX_GNO, MySqlGtidSet};

use serde::{Deserialize, Serialize};

/// Which of the two server families a source belongs to.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub enum Flavor {
    /// MySQL and its close relatives (Percona Server, Aurora, RDS, Cloud SQL for MySQL).
    MySQL,
    /// MariaDB.
    MariaDB,
}

impl Flavor {
    /// The word used in specs, records and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MySQL => "MySQL",
            Self::MariaDB => "MariaDB",
        }
    }
}

impl std::fmt::Display for Flavor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
