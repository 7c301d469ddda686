//! Schemas as table maps describe them.

use binlog::{EventType, Filter, SchemaRecord};

use crate::support::{ALL, MYSQL, Reader, Recording, Rows, event, reseal};

fn schemas(recording: &Recording, change: impl Fn(&mut Vec<u8>)) -> Vec<SchemaRecord> {
    let mut reader = Reader::new(recording.flavor, Filter::default());
    for event in recording.events() {
        let mut event = event.to_vec();
        change(&mut event);
        reader.read(&event, &mut Rows::default()).unwrap();
    }
    reader.decoder.take_new_schemas()
}

#[test]
fn schema_record_is_golden() {
    for recording in &ALL {
        let schemas = schemas(recording, |_| {});
        insta::with_settings!({ snapshot_path => "../data/schemas", prepend_module_to_snapshot => false }, {
            insta::assert_json_snapshot!(recording.name, schemas);
        });
        let json = serde_json::to_string(&schemas).unwrap();
        assert_eq!(serde_json::from_str::<Vec<SchemaRecord>>(&json).unwrap(), schemas);
    }
}

#[test]
fn the_fingerprint_does_not_depend_on_the_table_id() {
    for recording in &ALL {
        let other_ids = |event: &mut Vec<u8>| {
            let rows = [19, 23, 24, 25, 30, 31, 32, 39, 166, 167, 168].contains(&event[4]);
            if rows {
                event[20] ^= 0x55;
                reseal(event);
            }
        };
        assert_eq!(schemas(recording, other_ids), schemas(recording, |_| {}));
    }
}

#[test]
fn a_schema_is_handed_out_once_and_an_altered_one_again() {
    for recording in &ALL {
        let schemas = schemas(recording, |_| {});
        let mut fingerprints: Vec<_> = schemas.iter().map(|schema| &schema.fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), schemas.len());
        let widths: Vec<_> = schemas
            .iter()
            .filter(|schema| schema.table == "j")
            .map(|schema| schema.columns.len())
            .collect();
        assert_eq!(widths, [2, 3], "{}", recording.name);
        assert!(schemas.iter().all(|schema| schema.table != "bare"));
    }
}

#[test]
fn rows_of_a_table_that_was_not_announced_are_an_error() {
    for recording in &ALL {
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let outcome = recording.events().into_iter().try_for_each(|event| {
            let mut event = event.to_vec();
            if event[4] == EventType::TABLE_MAP.0 {
                event[20] ^= 0x55;
                reseal(&mut event);
            }
            reader.read(&event, &mut Rows::default()).map(drop)
        });
        assert!(outcome.unwrap_err().contains("did not announce its table"));
    }
}

/// MySQL counts a VECTOR among the columns with a character set; only what stands behind it shows that.
#[test]
fn text_behind_a_vector_has_its_own_character_set() {
    const VECTOR: u8 = 242;
    const VARCHAR: u8 = 15;
    let types = [2, VECTOR, VARCHAR, 3, 4, 40, 0, 3];
    let map = [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01s\0\x01t\0", &types].concat();
    // The default collation, then index and collation of the others; names.
    let map = [&map[..], &[2, 3, 63, 1, 45, 4, 4, 1, b'v', 1, b't']].concat();
    let row = [
        &[7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 2, 3, 0][..],
        &[4, 0, 0, 0, 0, 0, 0x80, 0x3f, 2],
        "é".as_bytes(),
    ];
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    let mut rows = Rows::default();
    reader.read(MYSQL.events()[0], &mut rows).unwrap();
    for (event_type, body) in [(EventType::TABLE_MAP, map), (EventType::WRITE_ROWS, row.concat())] {
        reader.read(&event(event_type.0, 0, 0, &body), &mut rows).unwrap();
    }
    assert_eq!(rows.0[0].after.as_deref(), Some(r#"{"v":{"$hex":"0000803f"},"t":"é"}"#));
}
