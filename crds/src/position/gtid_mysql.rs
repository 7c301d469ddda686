//! MySQL: exact intervals per server UUID and tag.
//!
//! Each interval list is sorted, and its intervals neither overlap nor touch; every operation keeps
//! that (`operations_agree_with_a_plain_set` in `tests/position.rs`).

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::Flavor;
use super::gtid::{GtidError, normal_tag, parse_number, parse_uuid};

/// Largest transaction number the server hands out.
pub const MAX_GNO: u64 = i64::MAX as u64 - 1;
/// Longest tag, in characters.
pub(super) const MAX_TAG_LENGTH: usize = 32;

const BAD_TAG: &str = "is no tag of at most 32 letters, digits, _";

/// Intervals, both ends included.
type Intervals = Vec<(u64, u64)>;

/// A set of MySQL transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlGtidSet {
    /// UUID to tag (empty = untagged) to intervals. Neither map nor list is ever left empty.
    servers: BTreeMap<Uuid, BTreeMap<String, Intervals>>,
}

impl MySqlGtidSet {
    /// The text form: `uuid:1-5:9:tag:1-3, uuid:...`; a tag holds until the next tag or comma.
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let mut set = Self::default();
        for server in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            set.collect_server(server)?;
        }
        // Sorted once at the end: inserting each at its place would be quadratic in hostile text.
        for intervals in set.servers.values_mut().flat_map(BTreeMap::values_mut) {
            intervals.sort_unstable();
            *intervals = merge(intervals, &[]);
        }
        Ok(set)
    }

    fn collect_server(&mut self, text: &str) -> Result<(), GtidError> {
        let mut parts = text.split(':').map(str::trim);
        let uuid = parts
            .next()
            .and_then(parse_uuid)
            .ok_or_else(|| malformed(text, "does not start with a UUID"))?;
        let tags = self.servers.entry(uuid).or_default();
        let mut tag = String::new();
        let mut numbers_missing = true;
        for part in parts {
            if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                tag = normal_tag(part).ok_or_else(|| malformed(part, BAD_TAG))?;
                numbers_missing = true;
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (parse_number(first.trim()), parse_number(last.trim()))
            else {
                return Err(malformed(part, "is neither a number, an interval nor a tag"));
            };
            check(first, last)?;
            match tags.get_mut(&tag) {
                Some(intervals) => intervals.push((first, last)),
                None => drop(tags.insert(tag.clone(), vec![(first, last)])),
            }
            numbers_missing = false;
        }
        if numbers_missing {
            return Err(malformed(text, "names no transaction number"));
        }
        Ok(())
    }

    /// Whether it holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Whether the transaction is in the set.
    pub fn contains(&self, uuid: Uuid, tag: Option<&str>, gno: u64) -> bool {
        let Some(intervals) = self.intervals(uuid, tag.unwrap_or_default()) else { return false };
        let index = intervals.partition_point(|(_, last)| *last < gno);
        intervals.get(index).is_some_and(|(first, _)| *first <= gno)
    }

    /// Adds the transactions `first..=last` of one server and tag.
    ///
    /// # Errors
    /// The interval is empty or outside `1..=MAX_GNO`, or the tag is not one.
    pub fn add_range(
        &mut self,
        uuid: Uuid,
        tag: Option<&str>,
        first: u64,
        last: u64,
    ) -> Result<(), GtidError> {
        check(first, last)?;
        let tags = self.servers.entry(uuid).or_default();
        // The hot path, an untagged or known tag, allocates nothing.
        if let Some(intervals) = tags.get_mut(tag.unwrap_or_default()) {
            insert(intervals, first, last);
            return Ok(());
        }
        let normal = match tag.map(|text| (text, normal_tag(text))) {
            None => String::new(),
            Some((_, Some(normal))) => normal,
            Some((text, None)) => {
                let error = malformed(text, BAD_TAG);
                if tags.is_empty() {
                    self.servers.remove(&uuid);
                }
                return Err(error);
            }
        };
        insert(tags.entry(normal).or_default(), first, last);
        Ok(())
    }

    /// The intervals as (uuid, tag, first, last), both ends included, in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, Option<&str>, u64, u64)> + '_ {
        self.lists().flat_map(|(uuid, tag, intervals)| {
            let tag = (!tag.is_empty()).then_some(tag);
            intervals.iter().map(move |(first, last)| (uuid, tag, *first, *last))
        })
    }

    /// Number of transactions, saturating.
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (_, _, first, last)| sum.saturating_add(last - first + 1))
    }

    /// All transactions of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (uuid, tag, theirs) in other.lists() {
            let ours = all.servers.entry(uuid).or_default().entry(tag.to_owned()).or_default();
            *ours = merge(ours, theirs);
        }
        all
    }

    /// The transactions of this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (uuid, tag, ours) in self.lists() {
            let left = difference(ours, other.intervals(uuid, tag).unwrap_or_default());
            if !left.is_empty() {
                rest.servers.entry(uuid).or_default().insert(tag.to_owned(), left);
            }
        }
        rest
    }

    /// Whether every transaction of this set is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.lists().all(|(uuid, tag, ours)| {
            difference(ours, other.intervals(uuid, tag).unwrap_or_default()).is_empty()
        })
    }

    fn intervals(&self, uuid: Uuid, tag: &str) -> Option<&[(u64, u64)]> {
        self.servers.get(&uuid)?.get(tag).map(Vec::as_slice)
    }

    fn lists(&self) -> impl Iterator<Item = (Uuid, &str, &[(u64, u64)])> {
        self.servers.iter().flat_map(|(uuid, tags)| {
            tags.iter().map(move |(tag, intervals)| (*uuid, tag.as_str(), intervals.as_slice()))
        })
    }
}

fn check(first: u64, last: u64) -> Result<(), GtidError> {
    if first == 0 || first > last || last > MAX_GNO {
        let part = format!("{first}-{last}");
        return Err(malformed(&part, "is no interval within 1..2^63-2"));
    }
    Ok(())
}

fn malformed(part: &str, problem: &'static str) -> GtidError {
    GtidError::malformed(Flavor::MySQL, part, problem)
}

/// Adds one interval, merging it with those it overlaps or touches.
fn insert(intervals: &mut Intervals, first: u64, last: u64) {
    let from = intervals.partition_point(|(_, end)| end.saturating_add(1) < first);
    let to = intervals.partition_point(|(start, _)| *start <= last.saturating_add(1));
    let touched = intervals.get(from..to).unwrap_or_default();
    let first = touched.first().map_or(first, |(start, _)| first.min(*start));
    let last = touched.last().map_or(last, |(_, end)| last.max(*end));
    intervals.splice(from..to, [(first, last)]);
}

/// Union of two lists, in one pass over both.
fn merge(left: &[(u64, u64)], right: &[(u64, u64)]) -> Intervals {
    let mut merged: Intervals = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if a.0 <= b.0 => left.next(),
            (_, Some(_)) => right.next(),
            (Some(_), None) => left.next(),
            (None, None) => return merged,
        };
        let Some(&(first, last)) = next else { return merged };
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
}

/// What `left` holds and `right` does not, in one pass over both.
fn difference(left: &[(u64, u64)], right: &[(u64, u64)]) -> Intervals {
    let mut rest = Intervals::new();
    let mut cuts = right.iter().peekable();
    for &(first, last) in left {
        let mut from = first;
        while cuts.next_if(|(_, end)| *end < from).is_some() {}
        let mut done = false;
        while let Some(&&(start, end)) = cuts.peek() {
            if start > last {
                break;
            }
            if start > from {
                rest.push((from, start - 1));
            }
            if end >= last {
                done = true;
                break;
            }
            from = end + 1;
            cuts.next();
        }
        if !done {
            rest.push((from, last));
        }
    }
    rest
}

impl fmt::Display for MySqlGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (uuid, tags)) in self.servers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{uuid}")?;
            for (tag, intervals) in tags {
                if !tag.is_empty() {
                    write!(f, ":{tag}")?;
                }
                for (first, last) in intervals {
                    write!(f, ":{first}")?;
                    if last > first {
                        write!(f, "-{last}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
