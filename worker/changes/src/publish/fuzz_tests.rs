//! Hostile input, at length: what another writer, or somebody with the store's credentials, may have put into the
//! Delta log.

use std::collections::BTreeMap;

use bytes::Bytes;
use fuzz::{Bound, Target, outcome};

use super::action::{self, Line, Remove};
use super::checkpoint::tests::{add, heads};
use super::checkpoint::{self, Heads};
use super::table::{LastCheckpoint, Table};

/// A tree of values takes dozens of bytes for one of its text.
const TREE: Bound = Bound { base: 1 << 20, factor: 600 };
/// Pages unpack, and a batch of rows has room for all that it may hold.
const PAGES: Bound = Bound { base: 32 << 20, factor: 100_000 };

#[test]
fn no_input_panics_hangs_or_allocates_without_bound() {
    let hint = br#"{"version":20,"size":7,"sizeInBytes":900,"numOfAddFiles":3}"#;
    let targets = vec![
        Target::new("delta versions", versions(), TREE, read_version),
        Target::new("delta hints", vec![hint.to_vec()], TREE, |input| {
            outcome(&serde_json::from_slice::<LastCheckpoint>(input).map_err(|e| e.to_string()))
        }),
        Target::new("delta checkpoints", checkpoints(), PAGES, read_checkpoint),
    ];
    fuzz::run(targets).unwrap_or_else(|findings| panic!("{findings}"));
}

fn versions() -> Vec<Vec<u8>> {
    let Heads { protocol, metadata, txns } = heads(7);
    let remove = Remove {
        path: "b".to_owned(),
        deletion_timestamp: Some(1),
        data_change: true,
        extended_file_metadata: Some(true),
        partition_values: None,
        size: Some(9),
    };
    let lines = [
        Line::commit_info(1_790_000_000_123, 4, 9, true),
        Line { protocol, ..Line::default() },
        Line { meta_data: metadata, ..Line::default() },
        Line { txn: txns.into_values().next(), ..Line::default() },
        Line { add: Some(add("date=2026-11-21/1-2.parquet")), ..Line::default() },
        Line { remove: Some(remove), ..Line::default() },
    ];
    let whole = action::encode(&lines).unwrap();
    let single =
        lines.iter().map(|line| action::encode(std::slice::from_ref(line)).unwrap().to_vec());
    single.chain([whole.to_vec()]).collect()
}

fn read_version(input: &[u8]) -> u64 {
    let Ok(lines) = action::decode(input) else { return 0 };
    let again = action::decode(&action::encode(&lines).unwrap()).unwrap();
    assert_eq!(again, lines);
    let mut table = Table::default();
    table.apply(7, lines, "app");
    outcome(&table)
}

fn checkpoints() -> Vec<Vec<u8>> {
    let files = |count: usize| (0..count).map(|n| (format!("date=x/{n}"), Some(add("a"))));
    [0, 1, 40]
        .map(|count| {
            checkpoint::write(None, &files(count).collect(), &heads(7)).unwrap().bytes.to_vec()
        })
        .to_vec()
}

fn read_checkpoint(input: &[u8]) -> u64 {
    let bytes = Bytes::copy_from_slice(input);
    let read = checkpoint::read_heads(&bytes).map_err(|error| error.to_string());
    let next = checkpoint::write(Some(bytes), &BTreeMap::new(), &heads(7));
    outcome(&(read, next.map(|written| written.files).map_err(|error| error.to_string())))
}
