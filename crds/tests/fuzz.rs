//! Hostile input, at length: what the other side of a store, a pod or a server may have written.

use crds::checkpoint::{Checkpoint, CheckpointError};
use crds::position::{FileName, FilePosition, Flavor, Gtid, GtidSet};
use crds::worker_status::WorkerStatus;
use fuzz::{Bound, Target, outcome};

/// A tree of values takes dozens of bytes for one of its text, and what is hashed of it as much again.
const TREE: Bound = Bound { base: 1 << 20, factor: 600 };

const FLAVORS: [Flavor; 2] = [Flavor::MySQL, Flavor::MariaDB];
const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn no_input_panics_hangs_or_allocates_without_bound() {
    let targets = vec![
        Target::new("gtid sets", gtid_sets(), TREE, read_sets),
        Target::new("gtids", gtids(), TREE, read_gtid),
        Target::new("file positions", files(), TREE, read_files),
        Target::new(
            "checkpoints",
            vec![include_bytes!("data/checkpoint.json").to_vec()],
            TREE,
            |input| text(input).map_or(0, read_checkpoint),
        ),
        Target::new(
            "worker reports",
            vec![include_bytes!("data/status.json").to_vec()],
            TREE,
            |input| {
                outcome(
                    &serde_json::from_slice::<WorkerStatus>(input)
                        .map_err(|error| error.to_string()),
                )
            },
        ),
    ];
    fuzz::run(targets).unwrap_or_else(|findings| panic!("{findings}"));
}

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// As servers write them: MySQL breaks lines after commas.
fn gtid_sets() -> Vec<Vec<u8>> {
    let sets = [
        String::new(),
        format!("{UUID}:1-5:7:9-9223372036854775806"),
        format!("{UUID}:1-3,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:5:blue:1-2:green:7"),
        "0-1-100".to_owned(),
        "0-1-18446744073709551615,0-2-7,4294967295-4294967295-1".to_owned(),
    ];
    let pairs = sets.iter().flat_map(|a| sets.iter().map(move |b| format!("{a}|{b}")));
    pairs.map(String::into_bytes).collect()
}

/// Two sets, each read back from its text, and all that is done with two.
fn read_sets(input: &[u8]) -> u64 {
    let Some((left, right)) = text(input).map(|text| text.split_once('|').unwrap_or((text, "")))
    else {
        return 0;
    };
    outcome(&FLAVORS.map(|flavor| {
        let sets = [left, right].map(|text| GtidSet::parse(flavor, text));
        for set in sets.iter().flatten() {
            let again =
                [set.to_string(), set.to_full_text()].map(|text| GtidSet::parse(flavor, &text));
            assert!(again.iter().all(|again| again.as_ref() == Ok(set)), "{set} reads as another");
        }
        let [Ok(left), Ok(right)] = &sets else { return Err(sets.clone()) };
        let both = left.union(right).unwrap();
        assert!(left.is_subset_of(&both) && right.is_subset_of(&both));
        let ahead = left.subtract(right).unwrap();
        assert_eq!(ahead.is_empty(), left.is_subset_of(right));
        Ok((both.to_string(), ahead.to_string(), left.unseen_by(right).unwrap().to_string()))
    }))
}

fn gtids() -> Vec<Vec<u8>> {
    let ids = [format!("{UUID}:7"), format!("{UUID}:blue:7"), "0-1-100".to_owned()];
    ids.map(String::into_bytes).to_vec()
}

fn read_gtid(input: &[u8]) -> u64 {
    let Some(text) = text(input) else { return 0 };
    outcome(&FLAVORS.map(|flavor| {
        let gtid = Gtid::parse(flavor, text)?;
        assert_eq!(Gtid::parse(flavor, &gtid.to_string()).as_ref(), Ok(&gtid));
        let mut set = GtidSet::new(flavor);
        set.add(&gtid)?;
        assert!(set.contains(&gtid) && set.has_seen(&gtid));
        Ok::<_, crds::position::GtidError>(gtid)
    }))
}

fn files() -> Vec<Vec<u8>> {
    ["binlog.000001|binlog.1000000", "a.b.000007|a.b.7", "odd|.1"].map(Into::into).to_vec()
}

fn read_files(input: &[u8]) -> u64 {
    let Some((left, right)) = text(input).and_then(|text| text.split_once('|')) else { return 0 };
    let (a, b) = (FilePosition::new(left, 4), FilePosition::new(right, 5));
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    outcome(&(FileName::of(left), a.cmp_in_lineage(&b), a.cmp(&b)))
}

/// A record whose checksum does not hold is read again with the right one, which only hid what lies deeper.
fn read_checkpoint(text: &str) -> u64 {
    let record = match Checkpoint::from_json(text) {
        Err(CheckpointError::Checksum { found, computed }) if !found.is_empty() => {
            Checkpoint::from_json(&text.replace(&found, &computed))
        }
        record => record,
    };
    if let Ok(record) = &record {
        let again = Checkpoint::from_json(&record.to_json().unwrap()).unwrap();
        assert_eq!(
            Checkpoint { crc32c: String::new(), ..again },
            Checkpoint { crc32c: String::new(), ..record.clone() }
        );
    }
    outcome(&record)
}
