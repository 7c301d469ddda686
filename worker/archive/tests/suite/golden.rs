//! What was written once is read for ever, and written the same way.

use archive::entry::{Entry, EntryKind};
use archive::stream_json::StreamJson;

macro_rules! golden {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!("../golden/", $name, ".json")))),+]
    };
}

#[test]
fn golden_entries_read_and_write_the_same_bytes() {
    for (name, text) in golden![
        "claim",
        "claim-redecode",
        "commit",
        "commit-lists",
        "commit-xa",
        "gap",
        "gap-set",
        "lineage",
        "lineage-mariadb",
        "lineage-reset",
        "maintain",
        "maintain-redecode"
    ] {
        let entry = Entry::from_bytes(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(Some(entry.kind.as_str()), name.split('-').next());
        assert!(entry.extra.is_empty(), "{name} has fields that nobody reads: {:?}", entry.extra);
        let written = entry.to_bytes().unwrap();
        assert_eq!(String::from_utf8_lossy(&written), text, "{name}");
    }
}

#[test]
fn the_golden_identity_reads_and_writes_the_same_text() {
    let text = include_str!("../golden/stream.json");
    let stream: StreamJson = serde_json::from_str(text).unwrap();
    assert!(stream.extra.is_empty());
    assert_eq!(serde_json::to_string(&stream).unwrap(), text.trim_end());
}

#[test]
fn unknown_fields_are_kept() {
    let text = include_str!("../golden/gap.json");
    let newer = text.replacen('{', r#"{"future":{"n":18446744073709551615,"x":[1.5,null]},"#, 1);
    let entry = Entry::from_bytes(newer.as_bytes()).unwrap();
    assert_eq!(entry.extra["future"]["n"], u64::MAX);
    let written = String::from_utf8(entry.to_bytes().unwrap().to_vec()).unwrap();
    assert!(written.contains(r#""future":{"n":18446744073709551615,"x":[1.5,null]}"#), "{written}");
}

#[test]
fn an_unknown_kind_is_kept_as_it_is() {
    let text = include_str!("../golden/gap.json").replace(r#""kind":"gap""#, r#""kind":"merge""#);
    let entry = Entry::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(entry.kind, EntryKind::Unknown("merge".to_owned()));
    assert!(!entry.is_known());
    assert_eq!(String::from_utf8_lossy(&entry.to_bytes().unwrap()), text);
}
