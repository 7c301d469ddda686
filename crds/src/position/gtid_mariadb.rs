//! MariaDB: the last transaction of each replication domain.
//!
//! Coverage compares sequence numbers per domain and ignores the server id: after a fail-over the
//! same history continues under another server id. Of two entries of one domain (a binlog state
//! lists one per server) the higher sequence number counts.
//!
//! Coverage says where a replica stands, not what it has seen: another server that was promoted
//! early, or rebuilt from a dump, writes other transactions under numbers that are covered. So the
//! set remembers the last number of each server beside ([`MariaDbGtidSet::has_seen`]).

use std::collections::BTreeMap;
use std::fmt;

use super::Flavor;
use super::gtid::{Gtid, GtidError};

/// The last transaction of each domain; it covers all transactions before it in the domain. Sets are
/// equal when these are.
#[derive(Clone, Debug, Default)]
pub struct MariaDbGtidSet {
    /// Domain to the last sequence number of each server that wrote in it; none is empty.
    domains: BTreeMap<u32, BTreeMap<u32, u64>>,
}

impl MariaDbGtidSet {
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let mut set = Self::default();
        if text.trim().is_empty() {
            return Ok(set);
        }
        for part in text.split(',') {
            if let Gtid::MariaDb { domain, server, seq } = Gtid::parse(Flavor::MariaDB, part)? {
                set.add(domain, server, seq);
            }
        }
        Ok(set)
    }

    /// Whether no domain has a transaction.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Whether the domain's position is at or past the sequence number.
    pub fn contains(&self, domain: u32, seq: u64) -> bool {
        self.last(domain).is_some_and(|(last, _)| seq <= last)
    }

    /// Whether this very transaction came by: its server wrote it, or a later one, in the domain.
    pub fn has_seen(&self, domain: u32, server: u32, seq: u64) -> bool {
        let last = self.domains.get(&domain).and_then(|servers| servers.get(&server));
        last.is_some_and(|last| seq <= *last)
    }

    /// Moves a domain forward; a sequence number behind the domain's position moves nothing.
    pub fn add(&mut self, domain: u32, server: u32, seq: u64) {
        let last = self.domains.entry(domain).or_default().entry(server).or_insert(seq);
        *last = (*last).max(seq);
    }

    /// Sequence number and server of the domain's position.
    fn last(&self, domain: u32) -> Option<(u64, u32)> {
        self.domains.get(&domain)?.iter().map(|(server, seq)| (*seq, *server)).max()
    }

    /// The positions as (domain, server, sequence), sorted by domain.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        let last = |domain| self.last(domain).map(|(seq, server)| (domain, server, seq));
        self.domains.keys().filter_map(move |domain| last(*domain))
    }

    /// The last transaction of each server in each domain, sorted, as (domain, server, sequence).
    pub fn origins(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.domains.iter().flat_map(|(domain, servers)| {
            servers.iter().map(|(server, seq)| (*domain, *server, *seq))
        })
    }

    /// The later position of each domain.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (domain, server, seq) in other.origins() {
            all.add(domain, server, seq);
        }
        all
    }

    /// The domains in which this set is ahead of `other`, with this set's positions.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let ahead = self.iter().filter(|(domain, _, seq)| !other.contains(*domain, *seq));
        let domains = ahead.filter_map(|(domain, ..)| {
            self.domains.get(&domain).map(|servers| (domain, servers.clone()))
        });
        Self { domains: domains.collect() }
    }

    /// What `other` has not seen of this set, each with the last number of its server.
    #[must_use]
    pub fn unseen_by(&self, other: &Self) -> Self {
        let mut unseen = Self::default();
        for (domain, server, seq) in self.origins() {
            if !other.has_seen(domain, server, seq) {
                unseen.add(domain, server, seq);
            }
        }
        unseen
    }

    /// Whether `other` is at or past this set in every domain.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.iter().all(|(domain, _, seq)| other.contains(domain, seq))
    }
}

impl PartialEq for MariaDbGtidSet {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for MariaDbGtidSet {}

impl fmt::Display for MariaDbGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, server, seq)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{seq}")?;
        }
        Ok(())
    }
}
