//! One transaction id and a set of them, of either flavour.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::gtid_mysql::{MAX_GNO, MAX_TAG_LENGTH};
use super::{Flavor, MariaDbGtidSet, MySqlGtidSet};

/// Longest text of a set that is read, in bytes. A fragmented set of a large fleet is some 100 kB.
pub const MAX_SET_TEXT: usize = 16 << 20;

/// Why a GTID or a GTID set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// The text is longer than [`MAX_SET_TEXT`].
    #[error("parse gtid set: {length} bytes of text, the limit is {MAX_SET_TEXT}")]
    TooLong {
        /// Length of the text.
        length: usize,
    },
    /// A part of the text is not of the expected form.
    #[error("parse {flavor} gtid: {part:?} {problem}")]
    Malformed {
        /// Which form was expected.
        flavor: Flavor,
        /// The part at fault, cut to 80 characters.
        part: String,
        /// What is wrong with it and what was expected.
        problem: &'static str,
    },
    /// A MySQL id met a MariaDB set or the other way round.
    #[error("combine gtids: one is of {left}, the other of {right}; a stream has one flavor")]
    FlavorMismatch {
        /// Flavor of the set.
        left: Flavor,
        /// Flavor of what was given.
        right: Flavor,
    },
}

impl GtidError {
    pub(super) fn malformed(flavor: Flavor, part: &str, problem: &'static str) -> Self {
        Self::Malformed { flavor, part: part.chars().take(80).collect(), problem }
    }
}

/// The id of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gtid {
    /// `uuid[:tag]:gno`.
    MySql {
        /// UUID of the server that committed it first.
        uuid: Uuid,
        /// Tag (MySQL 8.3 and later), in lower case.
        tag: Option<String>,
        /// Number of the transaction, from 1.
        gno: u64,
    },
    /// `domain-server-seq`.
    MariaDb {
        /// Replication domain.
        domain: u32,
        /// Id of the server that committed it first.
        server: u32,
        /// Sequence number in the domain.
        seq: u64,
    },
}

impl Gtid {
    /// The flavor this id belongs to.
    pub const fn flavor(&self) -> Flavor {
        match self {
            Self::MySql { .. } => Flavor::MySQL,
            Self::MariaDb { .. } => Flavor::MariaDB,
        }
    }

    /// Reads an id of the given flavor.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidError> {
        let text = text.trim();
        match flavor {
            Flavor::MySQL => parse_mysql(text),
            Flavor::MariaDB => parse_mariadb(text),
        }
    }
}

fn parse_mysql(text: &str) -> Result<Gtid, GtidError> {
    let bad = |problem| GtidError::malformed(Flavor::MySQL, text, problem);
    let mut parts = text.split(':').map(str::trim);
    let uuid =
        parts.next().and_then(parse_uuid).ok_or_else(|| bad("does not start with a UUID"))?;
    let (tag, number) = match (parts.next(), parts.next(), parts.next()) {
        (Some(number), None, _) => (None, number),
        (Some(tag), Some(number), None) => {
            (Some(normal_tag(tag).ok_or_else(|| bad("has a tag that is not one"))?), number)
        }
        _ => return Err(bad("is not uuid:number or uuid:tag:number")),
    };
    let gno = parse_number(number)
        .filter(|gno| (1..=MAX_GNO).contains(gno))
        .ok_or_else(|| bad("has a number outside 1..2^63-2"))?;
    Ok(Gtid::MySql { uuid, tag, gno })
}

fn parse_mariadb(text: &str) -> Result<Gtid, GtidError> {
    let bad = |problem| GtidError::malformed(Flavor::MariaDB, text, problem);
    let mut parts = text.split('-').map(str::trim);
    let (Some(domain), Some(server), Some(seq), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("is not domain-server-sequence"));
    };
    let small = |part: &str| parse_number(part).and_then(|n| u32::try_from(n).ok());
    Ok(Gtid::MariaDb {
        domain: small(domain).ok_or_else(|| bad("has a domain that is no 32-bit number"))?,
        server: small(server).ok_or_else(|| bad("has a server id that is no 32-bit number"))?,
        seq: parse_number(seq).ok_or_else(|| bad("has a sequence that is no 64-bit number"))?,
    })
}

/// Digits only: `u64::from_str` would take a leading `+`.
pub(super) fn parse_number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The two forms MySQL prints and takes: with dashes and without.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// A tag in lower case, if the text is one: a letter or `_`, then letters, digits, `_`.
pub(super) fn normal_tag(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let first = bytes.next()?;
    let ok = text.len() <= MAX_TAG_LENGTH
        && (first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    ok.then(|| text.to_ascii_lowercase())
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { uuid, tag: None, gno } => write!(f, "{uuid}:{gno}"),
            Self::MySql { uuid, tag: Some(tag), gno } => write!(f, "{uuid}:{tag}:{gno}"),
            Self::MariaDb { domain, server, seq } => write!(f, "{domain}-{server}-{seq}"),
        }
    }
}

impl FromStr for Gtid {
    type Err = GtidError;

    /// The flavors cannot be confused: only MySQL's form has a colon.
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let flavor = if text.contains(':') { Flavor::MySQL } else { Flavor::MariaDB };
        Self::parse(flavor, text)
    }
}

impl Serialize for Gtid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gtid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of transactions of one flavor.
///
/// The two flavors mean different things by it. MySQL's set lists exact intervals. MariaDB's is a
/// position: the last transaction of each domain, which covers all before it in that domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GtidSet {
    /// Exact intervals per server and tag.
    MySql(MySqlGtidSet),
    /// The last transaction of each domain.
    MariaDb(MariaDbGtidSet),
}

impl GtidSet {
    /// The empty set of a flavor.
    pub fn new(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySQL => Self::MySql(MySqlGtidSet::default()),
            Flavor::MariaDB => Self::MariaDb(MariaDbGtidSet::default()),
        }
    }

    /// Reads a set; white space and line ends are allowed, as the servers print them. The empty
    /// text is the empty set.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, GtidError> {
        if text.len() > MAX_SET_TEXT {
            return Err(GtidError::TooLong { length: text.len() });
        }
        Ok(match flavor {
            Flavor::MySQL => Self::MySql(MySqlGtidSet::parse(text)?),
            Flavor::MariaDB => Self::MariaDb(MariaDbGtidSet::parse(text)?),
        })
    }

    /// The flavor this set belongs to.
    pub const fn flavor(&self) -> Flavor {
        match self {
            Self::MySql(_) => Flavor::MySQL,
            Self::MariaDb(_) => Flavor::MariaDB,
        }
    }

    /// Whether it holds no transaction.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(set) => set.is_empty(),
        }
    }

    /// Whether the transaction is covered. An id of the other flavor never is.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (Self::MySql(set), Gtid::MySql { uuid, tag, gno }) => {
                set.contains(*uuid, tag.as_deref(), *gno)
            }
            (Self::MariaDb(set), Gtid::MariaDb { domain, seq, .. }) => set.contains(*domain, *seq),
            _ => false,
        }
    }

    /// Whether this very transaction came by. On MySQL that is coverage; MariaDB's covers numbers
    /// whatever server gave them.
    pub fn has_seen(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (Self::MariaDb(set), Gtid::MariaDb { domain, server, seq }) => {
                set.has_seen(*domain, *server, *seq)
            }
            _ => self.contains(gtid),
        }
    }

    /// What `other` has not seen of this set.
    ///
    /// # Errors
    /// The sets are of different flavors.
    pub fn unseen_by(&self, other: &Self) -> Result<Self, GtidError> {
        Ok(match self.pair(other)? {
            Pair::MySql(a, b) => Self::MySql(a.subtract(b)),
            Pair::MariaDb(a, b) => Self::MariaDb(a.unseen_by(b)),
        })
    }

    /// All that the set knows, as [`GtidSet::parse`] reads it back: on MariaDB the last transaction
    /// of each server, of which the canonical text keeps only the latest of each domain.
    pub fn to_full_text(&self) -> String {
        let Self::MariaDb(set) = self else { return self.to_string() };
        let parts: Vec<String> =
            set.origins().map(|(domain, server, seq)| format!("{domain}-{server}-{seq}")).collect();
        parts.join(",")
    }

    /// Adds one transaction.
    ///
    /// # Errors
    /// The id is of the other flavor, or its number or tag is outside what the server allows.
    pub fn add(&mut self, gtid: &Gtid) -> Result<(), GtidError> {
        match (&mut *self, gtid) {
            (Self::MySql(set), Gtid::MySql { uuid, tag, gno }) => {
                set.add_range(*uuid, tag.as_deref(), *gno, *gno)
            }
            (Self::MariaDb(set), Gtid::MariaDb { domain, server, seq }) => {
                set.add(*domain, *server, *seq);
                Ok(())
            }
            _ => Err(GtidError::FlavorMismatch { left: self.flavor(), right: gtid.flavor() }),
        }
    }

    /// All transactions of either.
    ///
    /// # Errors
    /// The sets are of different flavors.
    pub fn union(&self, other: &Self) -> Result<Self, GtidError> {
        Ok(match self.pair(other)? {
            Pair::MySql(a, b) => Self::MySql(a.union(b)),
            Pair::MariaDb(a, b) => Self::MariaDb(a.union(b)),
        })
    }

    /// What this set holds and `other` does not. MariaDB: the domains in which this one is ahead.
    ///
    /// # Errors
    /// The sets are of different flavors.
    pub fn subtract(&self, other: &Self) -> Result<Self, GtidError> {
        Ok(match self.pair(other)? {
            Pair::MySql(a, b) => Self::MySql(a.subtract(b)),
            Pair::MariaDb(a, b) => Self::MariaDb(a.subtract(b)),
        })
    }

    /// Whether `other` covers everything in this set. Sets of different flavors never do, unless
    /// this one is empty.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        match self.pair(other) {
            Ok(Pair::MySql(a, b)) => a.is_subset_of(b),
            Ok(Pair::MariaDb(a, b)) => a.is_subset_of(b),
            Err(_) => self.is_empty(),
        }
    }

    fn pair<'a>(&'a self, other: &'a Self) -> Result<Pair<'a>, GtidError> {
        match (self, other) {
            (Self::MySql(a), Self::MySql(b)) => Ok(Pair::MySql(a, b)),
            (Self::MariaDb(a), Self::MariaDb(b)) => Ok(Pair::MariaDb(a, b)),
            _ => Err(GtidError::FlavorMismatch { left: self.flavor(), right: other.flavor() }),
        }
    }
}

enum Pair<'a> {
    MySql(&'a MySqlGtidSet, &'a MySqlGtidSet),
    MariaDb(&'a MariaDbGtidSet, &'a MariaDbGtidSet),
}

impl fmt::Display for GtidSet {
    /// Canonical text: one line, sorted, intervals merged. Equal sets print equal text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(set) => set.fmt(f),
        }
    }
}
