//! Table maps without names, described by what the source's `information_schema` says.

use binlog::{ChangeDecoder, EventType, Filter, SchemaRecord, SourceColumn, SourceTable};
use crds::position::Flavor;

use crate::support::{MYSQL, Reader, Rows, event};

/// `t.t (id BIGINT UNSIGNED NOT NULL, n VARCHAR(10), e ENUM('a','b'), d DECIMAL(10,2), at DATETIME(3))`.
fn map(optional: &[u8]) -> Vec<u8> {
    let head = [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01t\0\x01t\0"].concat();
    let fixed =
        [&[5, 8, 15, 254, 246, 18][..], &[7, 40, 0, 247, 1, 10, 2, 3], &[0b1_1110]].concat();
    event(EventType::TABLE_MAP.0, 0, 0, &[&head, &fixed, optional].concat())
}

fn column(name: &str, data_type: &str, column_type: &str) -> SourceColumn {
    SourceColumn {
        name: name.into(),
        data_type: data_type.into(),
        column_type: column_type.into(),
        nullable: true,
        ..SourceColumn::default()
    }
}

fn source() -> SourceTable {
    let id = SourceColumn {
        nullable: false,
        precision: Some(20),
        ..column("id", "bigint", "bigint(20) unsigned")
    };
    let text = Some(45);
    let n =
        SourceColumn { octets: Some(40), collation: text, ..column("n", "varchar", "varchar(10)") };
    let members = vec![b"a".to_vec(), b"b".to_vec()];
    let e = SourceColumn { members, collation: text, ..column("e", "enum", "enum('a','b')") };
    let d = SourceColumn {
        precision: Some(10),
        scale: Some(2),
        ..column("d", "decimal", "decimal(10,2)")
    };
    let at = SourceColumn { fraction: Some(3), ..column("at", "datetime", "datetime(3)") };
    SourceTable {
        columns: vec![id, n, e, d, at],
        key: vec!["id".into()],
        is_primary: true,
        collation: None,
    }
}

/// What comes of the map when the source says this.
fn described(optional: &[u8], source: &SourceTable) -> Result<SchemaRecord, String> {
    let mut reader = Reader::new(MYSQL.flavor, Filter::default());
    reader.decoder = ChangeDecoder::new(MYSQL.flavor, Filter::default()).asking();
    let begin = [&[0; 8][..], &[1, 0, 0, 0, 0], b"t\0", b"BEGIN"].concat();
    let begin = event(EventType::QUERY.0, 0, 0, &begin);
    for event in [MYSQL.events()[0], &begin, &map(optional)] {
        reader.read(event, &mut Rows::default()).unwrap();
    }
    let description = reader.decoder.unnamed().unwrap().describe(MYSQL.flavor, source)?;
    reader.decoder.answer(Ok(description)).unwrap();
    assert_eq!(reader.decoder.unnamed(), None);
    Ok(reader.decoder.take_new_schemas().pop().unwrap())
}

#[test]
fn a_map_without_names_is_completed_by_what_the_source_says() {
    // The signs of the two numbers, and one character set for the text.
    for given in [&[][..], &[1, 1, 0x80, 2, 1, 45]] {
        let record = described(given, &source()).unwrap();
        let columns: Vec<_> =
            record.columns.iter().map(|c| (c.name.as_str(), c.type_name.as_str())).collect();
        let types = ["bigint unsigned", "varchar", "enum", "decimal(10,2)", "datetime(3)"];
        assert_eq!(columns, ["id", "n", "e", "d", "at"].into_iter().zip(types).collect::<Vec<_>>());
        assert_eq!(
            (record.columns[2].members.join(","), record.primary_key.join(",")),
            ("a,b".into(), "id".into())
        );
        assert_eq!(record.columns[1].charset.as_deref(), Some("utf8mb4"));
    }
}

#[test]
fn a_table_without_a_primary_key_has_none() {
    let bare = SourceTable { key: Vec::new(), ..source() };
    assert_eq!(described(&[], &bare).unwrap().primary_key, [""; 0]);
}

#[test]
fn columns_that_differ_in_anything_describe_nothing() {
    type Change = fn(&mut SourceTable);
    let changes: [(&[u8], Change, &str); 10] = [
        (&[], |t| drop(t.columns.pop()), "5 columns"),
        (&[], |t| t.columns[0].nullable = true, "nullability"),
        (&[], |t| t.columns[0].data_type = "int".into(), "type"),
        (&[], |t| t.columns[1].octets = Some(41), "type"),
        (&[], |t| t.columns[2].members = vec![b"x".to_vec(); 256], "type"),
        (&[], |t| t.columns[3].scale = Some(3), "type"),
        (&[], |t| t.columns[4].fraction = Some(6), "type"),
        (&[1, 1, 0x80], |t| t.columns[0].column_type = "bigint(20)".into(), "sign"),
        (&[2, 1, 45], |t| t.columns[1].collation = Some(8), "character sets"),
        (&[], |t| t.key = vec!["gone".into()], "primary key"),
    ];
    for (given, change, what) in changes {
        let mut source = source();
        change(&mut source);
        let why = described(given, &source).unwrap_err();
        assert!(why.contains(what), "{what}: {why}");
    }
}

#[test]
fn a_refused_table_stops_with_the_reason_and_asks_again_behind_a_statement() {
    let mut decoder = ChangeDecoder::new(Flavor::MySQL, Filter::default()).asking();
    let mut reader = Reader::new(Flavor::MySQL, Filter::default());
    std::mem::swap(&mut reader.decoder, &mut decoder);
    let begin = [&[0; 8][..], &[1, 0, 0, 0, 0], b"t\0", b"BEGIN"].concat();
    let begin = event(EventType::QUERY.0, 0, 0, &begin);
    for event in [MYSQL.events()[0], &begin, &map(&[])] {
        reader.read(event, &mut Rows::default()).unwrap();
    }
    let table = reader.decoder.unnamed().unwrap().table.clone();
    reader.decoder.answer(Err("nobody knows".to_owned())).unwrap();
    reader.read(&map(&[]), &mut Rows::default()).unwrap();
    assert_eq!(reader.decoder.unnamed(), None, "it is asked for once");
    let row = [7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 5, 0x1f, 0x1e, 1, 0, 0, 0, 0, 0, 0, 0];
    reader.read(&event(EventType::WRITE_ROWS.0, 0, 0, &row), &mut Rows::default()).unwrap();
    assert_eq!(reader.decoder.stopped()[&table].reason, "nobody knows");
    reader.decoder.forget(&table);
    reader.read(&map(&[]), &mut Rows::default()).unwrap();
    assert!(reader.decoder.unnamed().is_some());
}
