//! Hostile input, at length: what somebody with the store's credentials may have put in the place of our objects.
//!
//! The corpus is the golden files, and each of them with one number at its largest.

use archive::entry::{Entry, ListRef, Stored, sha256};
use archive::fold::State;
use archive::layout;
use archive::log::read_objects;
use archive::store::Store;
use archive::store::memory::MemoryStore;
use archive::stream_json::StreamJson;
use bytes::Bytes;
use crds::position::Flavor;
use futures::executor::block_on;
use fuzz::{Bound, Target, outcome};

/// A tree of values takes dozens of bytes for one of its text, and a fold holds it a few times.
const TREE: Bound = Bound { base: 1 << 20, factor: 1_000 };
/// A zstd block of 128 KiB may take four bytes.
const UNPACKING: Bound = Bound { base: 8 << 20, factor: 400_000 };

macro_rules! golden {
    ($($name:literal),+) => {
        [$(include_str!(concat!("../golden/", $name, ".json"))),+]
    };
}

/// In an order that folds.
const GOLDEN: [&str; 10] = golden![
    "claim",
    "claim-redecode",
    "lineage",
    "lineage-mariadb",
    "commit",
    "commit-lists",
    "commit-xa",
    "gap",
    "maintain",
    "maintain-redecode"
];

#[test]
fn no_input_panics_hangs_or_allocates_without_bound() {
    let stream = include_bytes!("../golden/stream.json").to_vec();
    let targets = vec![
        Target::new("log entries", logs(), TREE, fold_all),
        Target::new("stream.json", vec![stream], TREE, |input| {
            outcome(&serde_json::from_slice::<StreamJson>(input).map_err(|error| error.to_string()))
        }),
        Target::new("keys", keys(), TREE, read_key),
        Target::new("lists", lists(), UNPACKING, read_list),
    ];
    fuzz::run(targets).unwrap_or_else(|findings| panic!("{findings}"));
}

#[test]
fn a_number_that_nobody_gave_is_refused() {
    let text = GOLDEN[4];
    for number in [r#""n":"#, r#""epoch":"#] {
        let (before, after) = text.split_once(number).unwrap();
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        for (value, read) in [(1_u64 << 62, true), (u64::MAX, false)] {
            let entry = Entry::from_bytes(format!("{before}{number}{value}{rest}").as_bytes());
            assert_eq!(entry.is_ok(), read, "{number}{value}");
        }
    }
}

/// The text with each of its numbers at the largest that its type may have.
fn with_largest_numbers(text: &str) -> Vec<String> {
    let digits = |at: &usize| text[*at..].starts_with(|c: char| c.is_ascii_digit());
    let numbers = text.match_indices(':').map(|(at, _)| at + 1).filter(digits);
    let large = [u64::MAX, i64::MAX as u64, u64::from(u32::MAX)];
    let with = |(at, number): (usize, u64)| {
        let rest = text[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{}{number}{rest}", &text[..at])
    };
    numbers.flat_map(|at| large.map(|number| (at, number))).map(with).collect()
}

fn logs() -> Vec<Vec<u8>> {
    let mut logs = vec![GOLDEN.concat()];
    for (nth, text) in GOLDEN.iter().enumerate() {
        logs.push(format!("{}{text}", GOLDEN[0]));
        logs.push(format!("{text}{}", GOLDEN[(nth + 1) % GOLDEN.len()]));
        for changed in with_largest_numbers(text) {
            logs.push(format!("{changed}{}", GOLDEN[4]));
        }
    }
    logs.into_iter().map(String::into_bytes).collect()
}

/// Entries of an input: a log has one in an object of its own, here each takes more memory than the line break before it.
const LINES: usize = 256;

/// Folds the lines. What ties an entry to the one before it is put right: it would only hide what lies deeper.
fn fold_all(input: &[u8]) -> u64 {
    let lines = input.split(|byte| *byte == b'\n').take(LINES);
    let lines: Vec<_> = lines.map(Entry::from_bytes).collect();
    let mut said = Vec::new();
    for flavor in [Flavor::MySQL, Flavor::MariaDB] {
        let mut state: Option<State> = None;
        for entry in lines.iter().flatten() {
            let bytes = entry.to_bytes().unwrap();
            assert_eq!(Entry::from_bytes(&bytes).as_ref().ok(), Some(entry));
            let mut entry = entry.clone();
            let folded = match &state {
                None => State::begin(flavor, &Stored { digest: sha256(&bytes), entry }),
                Some(before) => {
                    entry.archive = before.archive;
                    entry.n = before.n + 1;
                    entry.prev = Some(before.digest.clone());
                    entry.time = entry.time.max(before.time);
                    before.apply(&Stored { digest: sha256(&bytes), entry })
                }
            };
            said.push(folded.as_ref().map(State::resume).map_err(ToString::to_string));
            state = folded.ok().or(state);
        }
        if let Some(state) = state {
            let facts = (
                state.lineage(),
                state.holder(),
                state.next_lineage_id("x"),
                state.unwritable.clone(),
            );
            said.push(Err(format!("{facts:?}")));
        }
    }
    let problems: Vec<_> =
        lines.iter().map(|line| line.as_ref().err().map(ToString::to_string)).collect();
    outcome(&(said, problems))
}

fn keys() -> Vec<Vec<u8>> {
    let keys = [
        layout::entry(123_456),
        layout::raw("0001-x", "binlog.000001", 4, 5_000_000_000, 7, 3),
        format!("{}{}", layout::CHANGES, layout::change_path("2026-01-02", 8, 1)),
        layout::list(5, 9, "open-gaps.json"),
        layout::raw_file("a/b %é", ".."),
    ];
    keys.map(String::into_bytes).to_vec()
}

fn read_key(input: &[u8]) -> u64 {
    let Ok(key) = std::str::from_utf8(input) else { return 0 };
    let encoded = layout::encode(key);
    assert!(!encoded.contains('/') && encoded != "." && encoded != "..");
    outcome(&(
        layout::entry_number(key),
        layout::epoch_of(key),
        layout::seq_of(key),
        layout::raw_range(key),
    ))
}

fn lists() -> Vec<Vec<u8>> {
    let text = br#"{"raw":[{"key":"k","file":"b.000001","from":4,"to":9,"bytes":5,"sha256":"00"}],"changes":[]}"#;
    let zeros = vec![b'0'; 4 << 20];
    [&text[..], &zeros].map(|text| zstd::encode_all(text, 3).unwrap()).to_vec()
}

/// A list object under an entry that names it rightly.
fn read_list(input: &[u8]) -> u64 {
    let mut entry = Entry::from_bytes(GOLDEN[4].as_bytes()).unwrap();
    let key = layout::list(entry.n, entry.epoch, "json");
    entry.list = Some(ListRef { key: key.clone(), sha256: sha256(input) });
    let store = MemoryStore::default();
    block_on(store.create(&key, Bytes::copy_from_slice(input))).unwrap();
    outcome(&block_on(read_objects(&store, &entry)).map_err(|error| error.to_string()))
}
