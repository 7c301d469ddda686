use super::super::ForeignWriters;
use super::super::test_log::ARCHIVE;
use super::*;

pub(in crate::publish) fn heads(version: i64) -> Heads {
    let txn = Txn { app_id: ARCHIVE.to_string(), version, last_updated: Some(5) };
    let other = Txn { app_id: "other".into(), version: 1, last_updated: None };
    Heads {
        protocol: Some(Protocol::ours(ForeignWriters::Deny)),
        metadata: Some(MetaData::ours(ARCHIVE, 1_795_200_000_000)),
        txns: [txn, other].map(|txn| (txn.app_id.clone(), txn)).into(),
    }
}

pub(in crate::publish) fn add(path: &str) -> Add {
    Add {
        path: path.to_owned(),
        partition_values: BTreeMap::from([
            ("date".to_owned(), Some("2026-11-21".to_owned())),
            ("other".to_owned(), None),
        ]),
        size: 10,
        modification_time: 20,
        data_change: true,
        stats: (path != "bare").then(|| "{\"numRecords\":3}".to_owned()),
    }
}

fn all(bytes: Bytes) -> BTreeMap<String, Add> {
    let batches: Result<Vec<Vec<Add>>, PublishError> = read::adds(bytes).unwrap().collect();
    batches.unwrap().into_iter().flatten().map(|add| (add.path.clone(), add)).collect()
}

#[test]
fn a_checkpoint_is_the_one_before_and_what_changed() {
    // More files than one batch of rows, so that files cross batches.
    let names: Vec<String> = (0..BATCH_ROWS * 2 + 7).map(|n| format!("date=x/{n}")).collect();
    let mut since: BTreeMap<String, Option<Add>> =
        names.iter().map(|name| (name.clone(), Some(add(name)))).collect();
    since.insert("bare".into(), Some(add("bare")));
    since.insert("never there".into(), None);
    let first = write(None, &since, &heads(4)).unwrap();
    assert_eq!(first.files, names.len() as u64 + 1);
    assert_eq!(first.actions, first.files + 4);

    let changed = Add { size: 11, ..add(&names[3]) };
    let since = BTreeMap::from([
        (names[1].clone(), None),
        (names[3].clone(), Some(changed.clone())),
        ("new".to_owned(), Some(add("new"))),
    ]);
    let second = write(Some(first.bytes.clone()), &since, &heads(9)).unwrap();
    let mut expected = all(first.bytes);
    expected.remove(&names[1]);
    expected.insert(names[3].clone(), changed);
    expected.insert("new".into(), add("new"));
    assert_eq!(all(second.bytes.clone()), expected);
    assert_eq!(second.files, expected.len() as u64);
    assert_eq!(read_heads(&second.bytes).unwrap(), heads(9));
}

#[test]
fn a_torn_checkpoint_is_an_error() {
    let since = BTreeMap::from([("a".to_owned(), Some(add("a")))]);
    let whole = write(None, &since, &heads(1)).unwrap().bytes;
    for end in [0, 3, whole.len() / 2, whole.len() - 1] {
        assert!(read_heads(&whole.slice(..end)).is_err(), "{end} bytes");
    }
}

#[test]
fn the_columns_are_the_golden_ones() {
    let bytes = write(None, &BTreeMap::new(), &heads(1)).unwrap().bytes;
    let reader = parquet::file::reader::SerializedFileReader::new(bytes).unwrap();
    let metadata = parquet::file::reader::FileReader::metadata(&reader);
    let mut schema = Vec::new();
    parquet::schema::printer::print_schema(&mut schema, metadata.file_metadata().schema());
    insta::assert_snapshot!("checkpoint_schema", String::from_utf8(schema).unwrap());
}
