//! Row changes of real servers.

use binlog::{EventType, Filter, Op};

use crate::support::{ALL, MARIADB, MYSQL, Reader, Row, Rows, play, tables};

fn of<'a>(rows: &'a [Row], table: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.table == table).collect()
}

#[test]
fn identity_does_not_depend_on_the_filter() {
    for recording in &ALL {
        let whole = play(recording, Filter::default()).rows;
        for table in ["rec.j", "rec.texts", "rec.isam"] {
            let some = play(recording, tables(&[table])).rows;
            assert!(some.iter().eq(of(&whole, table)), "{} {table}", recording.name);
            assert!(!some.is_empty());
        }
    }
}

#[test]
fn ordinals_count_through_a_compressed_payload() {
    let rows = play(&MYSQL, tables(&["rec.j"])).rows;
    let payload: Vec<_> = rows
        .iter()
        .filter(|row| row.position == rows[2].position)
        .map(|row| (row.event, row.nth, row.op))
        .collect();
    let (insert, update, delete) = (Op::Insert, Op::Update, Op::Delete);
    assert_eq!(
        payload,
        [
            (0, 0, insert),
            (0, 1, insert),
            (1, 0, update),
            (1, 1, update),
            (1, 2, update),
            (1, 3, update),
            (2, 0, delete),
            (3, 0, insert)
        ]
    );
}

#[test]
fn a_compressed_payload_tells_its_tables() {
    let mut reader = Reader::new(MYSQL.flavor, tables(&["rec.texts"]));
    let mut seen = Vec::new();
    for event in MYSQL.events() {
        reader.read(event, &mut Rows::default()).unwrap();
        if event[4] == EventType::TRANSACTION_PAYLOAD.0 {
            seen.extend(reader.decoder.group_tables().map(|table| table.to_string()));
        }
    }
    assert!(seen.contains(&"rec.j".to_owned()), "{seen:?}");
}

#[test]
fn a_table_without_names_is_stopped_and_the_others_go_on() {
    for recording in &ALL {
        let played = play(recording, Filter::default());
        let stopped: Vec<_> = played.stopped.iter().collect();
        let [(name, stopped)] = stopped.as_slice() else { panic!("{stopped:?}") };
        assert_eq!(name.to_string(), "rec.bare");
        assert!(stopped.reason.contains("SET GLOBAL binlog_row_metadata=FULL"), "{stopped:?}");
        assert!(played.ended.iter().any(|ended| ended.from == stopped.since));
        let last = played.rows.last().unwrap();
        assert_eq!((last.table.as_str(), last.pk.as_deref()), ("rec.j", Some("[91]")));
    }
}

#[test]
fn a_stopped_table_can_be_resumed() {
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    let name = binlog::TableName { schema: "rec".to_owned(), table: "numbers".to_owned() };
    let since = crds::position::FilePosition::new("f", 4);
    reader.decoder.stop_table(
        name.clone(),
        binlog::StoppedTable { reason: "r".into(), since, since_row: (0, 0) },
    );
    let mut rows = Rows::default();
    for event in MYSQL.events() {
        let outcome = reader.read(event, &mut rows).unwrap().unwrap();
        if outcome.boundary && !of(&rows.0, "rec.times").is_empty() {
            reader.decoder.resume_table(&name);
        }
    }
    let ops: Vec<_> = of(&rows.0, "rec.numbers").iter().map(|row| row.op).collect();
    assert_eq!(ops, [Op::Update, Op::Delete]);
}

#[test]
fn absent_columns_are_left_out_and_null_is_null() {
    let rows = play(&MYSQL, tables(&["rec.numbers"])).rows;
    let [.., update, delete] = rows.as_slice() else { panic!() };
    assert_eq!(update.before.as_deref(), Some(r#"{"id":4}"#));
    assert_eq!(update.after.as_deref(), Some(r#"{"ti":5}"#));
    assert_eq!(update.changed, ["ti"]);
    assert_eq!((delete.op, delete.before.as_deref()), (Op::Delete, Some(r#"{"id":3}"#)));
    assert_eq!((delete.after.as_deref(), delete.pk.as_deref()), (None, Some("[3]")));
    assert!(rows[3].after.as_deref().unwrap().starts_with(r#"{"id":4,"ti":null,"tu":null"#));
}

#[test]
fn keys_are_in_key_order_and_hashed() {
    for recording in &ALL {
        let rows = play(recording, tables(&["rec.texts"])).rows;
        let key = r#"[{"$hex":"01020000"},"é€"]"#;
        assert_eq!(rows[0].pk.as_deref(), Some(key));
        // First 8 bytes of the SHA-256 of the text above: part of what archives keep.
        assert_eq!(rows[0].pk_hash, Some(KEY_HASH));
        assert!(rows.iter().all(|row| row.pk_hash.is_some()));
    }
}

const KEY_HASH: u64 = 17_368_621_097_874_441_241;

#[test]
fn the_statement_is_kept_while_it_runs() {
    let rows = play(&MYSQL, tables(&["rec.j"])).rows;
    assert_eq!(rows[0].statement.as_deref(), Some("INSERT INTO j VALUES (1,1),(2,2)"));
    assert_eq!(rows[2].statement, None);
    let rows = play(&MARIADB, tables(&["rec.j"])).rows;
    assert_eq!(rows[0].statement.as_deref(), Some("INSERT INTO j VALUES (1,1),(2,2)"));
    assert!(rows.iter().all(|row| row.statement.is_some()));
}

#[test]
fn commit_times_have_microseconds_where_the_source_has_them() {
    let rows = play(&MYSQL, Filter::default()).rows;
    assert!(rows.iter().any(|row| row.commit_time_us % 1_000_000 != 0));
    let rows = play(&MARIADB, Filter::default()).rows;
    assert!(rows.iter().all(|row| row.commit_time_us % 1_000_000 == 0));
    assert!(rows.iter().all(|row| row.commit_time_us > 1_700_000_000_000_000));
}
