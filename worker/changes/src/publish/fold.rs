//! Many log entries as the file actions of one version: a file that comes and goes within them is
//! left out. Held by `a_file_added_and_removed_inside_is_left_out`.

use std::collections::BTreeMap;

use archive::Entry;
use archive::entry::{ChangeFile, MaintainOp, Objects};
use archive::layout::CHANGES;
use jiff::Timestamp;
use serde_json::json;

use super::action::{Add, Line, Remove, encode_path};
use crate::schema::PARTITION;

/// Net effect of consecutive entries on the table.
#[derive(Debug)]
pub(super) struct Fold {
    /// Number of the first entry.
    pub(super) first: u64,
    /// Number of the last entry.
    pub(super) last: u64,
    /// Time of the last entry, milliseconds since 1970.
    pub(super) time_ms: i64,
    adds: BTreeMap<String, Add>,
    removes: BTreeMap<String, Remove>,
}

impl Fold {
    /// Nothing yet, from entry `first` on.
    pub(super) fn new(first: u64) -> Fold {
        Fold { first, last: first, time_ms: 0, adds: BTreeMap::new(), removes: BTreeMap::new() }
    }

    /// Takes the next entry; `objects` is what it or its list names.
    pub(super) fn take(&mut self, entry: &Entry, objects: &Objects) {
        self.last = entry.n;
        self.time_ms = entry.time.as_millisecond();
        if let Some(maintain) = &entry.maintain {
            // Compaction moves rows from file to file: who follows changes need not look.
            let data_change = !matches!(maintain.op, MaintainOp::CompactChanges);
            for path in maintain.remove.iter().filter_map(|key| key.strip_prefix(CHANGES)) {
                self.remove(path, data_change);
            }
            for file in &maintain.add {
                self.add(file, data_change);
            }
        }
        for file in &objects.changes {
            self.add(file, true);
        }
    }

    fn remove(&mut self, path: &str, data_change: bool) {
        let path = encode_path(path);
        if self.adds.remove(&path).is_none() {
            let remove = Remove {
                path: path.clone(),
                deletion_timestamp: Some(self.time_ms),
                data_change,
                extended_file_metadata: None,
                partition_values: None,
                size: None,
            };
            self.removes.insert(path, remove);
        }
    }

    fn add(&mut self, file: &ChangeFile, data_change: bool) {
        let path = encode_path(&file.path);
        let partition = BTreeMap::from([(PARTITION.to_owned(), Some(file.date.clone()))]);
        let add = Add {
            path: path.clone(),
            partition_values: partition,
            size: file.bytes.cast_signed(),
            modification_time: self.time_ms,
            data_change,
            stats: Some(stats(file)),
        };
        self.removes.remove(&path);
        self.adds.insert(path, add);
    }

    /// Files added and removed.
    pub(super) fn actions(&self) -> usize {
        self.adds.len() + self.removes.len()
    }

    /// Whether the version only adds.
    pub(super) fn appends(&self) -> bool {
        self.removes.is_empty()
    }

    /// The file actions, removes first.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let removes = self
            .removes
            .values()
            .map(|remove| Line { remove: Some(remove.clone()), ..Line::default() });
        let adds = self.adds.values().map(|add| Line { add: Some(add.clone()), ..Line::default() });
        removes.chain(adds)
    }
}

/// Statistics of a file. Readers take times as milliseconds, so the largest is rounded up: a reader
/// that prunes by it never misses a row. Times that no calendar has are left out.
fn stats(file: &ChangeFile) -> String {
    let floor = file.min_time.div_euclid(1000);
    let ceil = file.max_time.div_euclid(1000) + i64::from(file.max_time.rem_euclid(1000) > 0);
    let stats = match (iso_ms(floor), iso_ms(ceil)) {
        (Some(min), Some(max)) => json!({
            "numRecords": file.rows,
            "minValues": {"commit_time": min},
            "maxValues": {"commit_time": max},
            "nullCount": {"commit_time": 0},
        }),
        _ => json!({"numRecords": file.rows}),
    };
    stats.to_string()
}

fn iso_ms(ms: i64) -> Option<String> {
    // Readers want four digits of year.
    let years = -62_135_596_800_000..253_402_300_800_000;
    let time = Timestamp::from_millisecond(ms).ok().filter(|_| years.contains(&ms))?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use archive::EntryKind;
    use archive::entry::Maintain;

    use super::super::action::encode;
    use super::super::test_log::{entry_of, file};
    use super::*;

    fn maintain(n: u64, op: MaintainOp, add: &[&str], remove: &[&str]) -> Entry {
        let remove = remove.iter().map(|path| format!("changes/{path}")).collect();
        let maintain = Maintain {
            add: add.iter().map(|path| file(path)).collect(),
            remove,
            ..Maintain::new(op)
        };
        let mut entry = entry_of(n, &[]);
        entry.kind = EntryKind::Maintain;
        entry.changes = None;
        entry.maintain = Some(maintain);
        entry
    }

    fn lines(entries: &[Entry]) -> String {
        let mut fold = Fold::new(entries[0].n);
        for entry in entries {
            let changes = entry.changes.as_ref().map(|span| span.files.clone()).unwrap_or_default();
            fold.take(entry, &Objects { raw: Vec::new(), changes });
        }
        let lines: Vec<Line> = fold.lines().collect();
        String::from_utf8(encode(&lines).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn file_actions_are_the_golden_ones() {
        let entries = [
            entry_of(4, &["date=2026-11-21/1-2.parquet"]),
            maintain(5, MaintainOp::Redecode, &["date=2026-11-21/b%41.parquet"], &["old.parquet"]),
            maintain(6, MaintainOp::CompactChanges, &["big.parquet"], &["small.parquet"]),
        ];
        insta::assert_snapshot!("file_actions", lines(&entries));
    }

    #[test]
    fn a_file_added_and_removed_inside_is_left_out() {
        let entries =
            [entry_of(1, &["a", "b"]), maintain(2, MaintainOp::CompactChanges, &["c"], &["a"])];
        let text = lines(&entries);
        assert!(!text.contains("\"path\":\"a\""), "{text}");
        assert!(text.contains("\"path\":\"b\"") && text.contains("\"path\":\"c\""), "{text}");
        assert!(!text.contains("remove"), "{text}");
    }

    #[test]
    fn the_largest_time_is_rounded_up_to_the_millisecond() {
        let mut file = file("a");
        file.min_time = 1_790_000_000_000_999;
        file.max_time = 1_790_000_001_000_001;
        let text = stats(&file);
        assert!(
            text.contains("\"minValues\":{\"commit_time\":\"2026-09-21T14:13:20.000Z\"}"),
            "{text}"
        );
        assert!(
            text.contains("\"maxValues\":{\"commit_time\":\"2026-09-21T14:13:21.001Z\"}"),
            "{text}"
        );
        file.min_time = -1;
        assert!(stats(&file).contains("1969-12-31T23:59:59.999Z"));
    }

    #[test]
    fn a_time_outside_the_calendar_leaves_only_the_count() {
        let mut file = file("a");
        file.max_time = i64::MAX;
        assert_eq!(stats(&file), format!("{{\"numRecords\":{}}}", file.rows));
    }
}
