use arrow_cast::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;

use super::*;
use binlog::Op;

/// A row whose every column follows from `n`.
fn with_row<T>(n: u64, take: impl FnOnce(&ChangeRow<'_>) -> T) -> T {
    let op = [Op::Insert, Op::Update, Op::Delete][(n % 3) as usize];
    let gtid = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{}", n / 4);
    let key = format!("[{n}]");
    let image = format!("{{\"id\":{n},\"name\":\"é{n}\",\"gone\":null}}");
    let changed: &[&str] = if op == Op::Update { &["name", "gone"] } else { &[] };
    let statement = format!("UPDATE t SET name = {}", n / 5);
    take(&ChangeRow {
        commit_time_us: 1_795_200_000_000_000 + n as i64 * 7,
        op,
        schema: if n % 7 < 4 { "shop" } else { "stock" },
        table: "orders",
        pk_text: (!n.is_multiple_of(5)).then_some(key.as_str()),
        pk_hash: (!n.is_multiple_of(5)).then_some(u64::MAX - n),
        before: (op != Op::Insert).then_some(image.as_str()),
        after: (op != Op::Delete).then_some(image.as_str()),
        changed,
        gtid: (n % 11 < 8).then_some(gtid.as_str()),
        file: "binlog.000007",
        position: n / 4 * 1000,
        event_ordinal: (n % 4) as u32,
        row_ordinal: 0,
        fingerprint: "ab12",
        server_id: u32::MAX,
        statement: (n % 10 < 6).then_some(statement.as_str()),
    })
}

/// The row of [`with_row`] as the file must show it.
fn expected(n: u64) -> Vec<String> {
    let text = |value: Option<&str>| value.unwrap_or("NULL").to_owned();
    with_row(n, |row| {
        vec![
            row.commit_time_us.to_string(),
            row.op.as_str().to_owned(),
            row.schema.to_owned(),
            row.table.to_owned(),
            text(row.pk_text),
            row.pk_hash.map_or("NULL".to_owned(), |hash| hash.cast_signed().to_string()),
            text(row.before),
            text(row.after),
            if row.op == Op::Update { format!("[{}]", row.changed.join(", ")) } else { text(None) },
            text(row.gtid),
            row.file.to_owned(),
            row.position.to_string(),
            row.event_ordinal.to_string(),
            row.row_ordinal.to_string(),
            row.fingerprint.to_owned(),
            row.server_id.to_string(),
            "0001-abc".to_owned(),
            text(row.statement),
        ]
    })
}

/// Every row of a file as text, read with the Parquet crate.
fn read(file: &ChangeFile) -> Vec<Vec<String>> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap().build().unwrap();
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let mut columns = batch.columns().to_vec();
        columns[0] = arrow_cast::cast(&columns[0], &arrow_schema::DataType::Int64).unwrap();
        let columns: Vec<ArrayFormatter<'_>> = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    rows
}

fn batch() -> ChangeBatch {
    ChangeBatch::new("0001-abc", ParquetSettings::default())
}

fn push(batch: &mut ChangeBatch, rows: std::ops::Range<u64>) {
    for n in rows {
        with_row(n, |row| batch.push(row)).unwrap();
    }
}

#[test]
fn a_file_holds_every_column_of_every_row() {
    let mut batch = batch();
    push(&mut batch, 0..500);
    batch.mark();
    let file = batch.seal().unwrap().unwrap();
    assert_eq!(read(&file), (0..500).map(expected).collect::<Vec<_>>());
    assert_eq!(file.rows, 500);
    assert_eq!(file.min_time_us, 1_795_200_000_000_000);
    assert_eq!(file.max_time_us, 1_795_200_000_000_000 + 499 * 7);
    assert_eq!(file.sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&file.bytes)));
    assert_eq!((batch.rows(), batch.estimated_bytes()), (0, 0));
}

#[test]
fn seal_gives_marked_rows_and_carries_the_rest() {
    let mut batch = batch();
    push(&mut batch, 0..10);
    batch.mark();
    push(&mut batch, 10..13);
    let first = batch.seal().unwrap().unwrap();
    assert_eq!(read(&first), (0..10).map(expected).collect::<Vec<_>>());
    assert_eq!((batch.rows(), batch.marked_rows()), (3, 0));
    assert_eq!(batch.open_bytes(), batch.estimated_bytes());
    assert!(batch.seal().unwrap().is_none());
    batch.mark();
    assert_eq!(read(&batch.seal().unwrap().unwrap()), (10..13).map(expected).collect::<Vec<_>>());
}

#[test]
fn a_part_is_refused_while_ended_transactions_wait() {
    let mut batch = batch();
    push(&mut batch, 0..4);
    batch.mark();
    push(&mut batch, 4..6);
    assert!(matches!(batch.seal_part(), Err(BatchError::MarkedRows(4))));
    batch.seal().unwrap().unwrap();
    assert_eq!(read(&batch.seal_part().unwrap().unwrap()), vec![expected(4), expected(5)]);
    assert!(batch.seal_part().unwrap().is_none());
}

#[test]
fn a_full_batch_refuses_and_stays() {
    let mut batch = ChangeBatch { max_bytes: 1000, ..batch() };
    let mut taken = 0;
    while with_row(taken, |row| batch.push(row)).is_ok() {
        taken += 1;
    }
    assert!(taken > 1);
    assert_eq!(batch.rows(), taken);
    batch.mark();
    let rows = read(&batch.seal().unwrap().unwrap());
    assert_eq!(rows, (0..taken).map(expected).collect::<Vec<_>>());
}

#[test]
fn a_long_statement_stands_on_its_first_row_of_each_transaction_and_file() {
    let long = "x".repeat(5000);
    let mut batch = batch();
    let push = |batch: &mut ChangeBatch, position, event_ordinal, statement: Option<&str>| {
        let push = |row: &ChangeRow<'_>| {
            batch.push(&ChangeRow { position, event_ordinal, statement, ..*row })
        };
        with_row(1, push).unwrap();
    };
    for (position, event) in [(100, 0), (100, 0), (100, 1), (200, 0)] {
        push(&mut batch, position, event, Some(&long));
    }
    batch.mark();
    push(&mut batch, 300, 0, Some(&long));
    push(&mut batch, 300, 1, None);
    push(&mut batch, 300, 2, Some(&long));
    let statements =
        |file: ChangeFile| -> Vec<usize> { read(&file).iter().map(|row| row[17].len()).collect() };
    assert_eq!(statements(batch.seal().unwrap().unwrap()), [5000, 4, 4, 5000]);
    assert_eq!(statements(batch.seal_part().unwrap().unwrap()), [5000, 4, 5000]);
}

#[test]
fn a_statement_counts_once_among_the_bytes() {
    let long = "x".repeat(1 << 20);
    let mut batch = batch();
    for (position, event) in [(100, 0), (100, 0), (100, 1), (100, 2), (200, 0)] {
        let push = |row: &ChangeRow<'_>| {
            let statement = Some(long.as_str());
            batch.push(&ChangeRow { position, event_ordinal: event, statement, ..*row })
        };
        with_row(1, push).unwrap();
    }
    assert!(batch.estimated_bytes() >= long.len(), "{}", batch.estimated_bytes());
    assert!(batch.estimated_bytes() < long.len() * 2, "{}", batch.estimated_bytes());
}

#[test]
fn rows_keep_the_lineage_they_were_pushed_under() {
    let mut batch = batch();
    push(&mut batch, 0..2);
    batch.mark();
    batch.set_lineage("0002-def");
    push(&mut batch, 2..3);
    batch.mark();
    let rows = read(&batch.seal().unwrap().unwrap());
    let lineages: Vec<&str> = rows.iter().map(|row| row[16].as_str()).collect();
    assert_eq!(lineages, ["0001-abc", "0001-abc", "0002-def"]);
}

#[test]
fn carried_rows_are_copied_out() {
    let mut batch = batch();
    push(&mut batch, 0..10_000);
    batch.mark();
    push(&mut batch, 10_000..10_001);
    let whole = batch.estimated_bytes();
    drop(batch.cut().unwrap());
    assert!(batch.estimated_bytes() * 1000 < whole);
    assert!(batch.rows.allocated() * 100 < whole, "{}", batch.rows.allocated());
}

#[test]
fn a_file_shows_plain_types_without_arrow_metadata() {
    let mut batch = batch();
    push(&mut batch, 0..3);
    batch.mark();
    let file = batch.seal().unwrap().unwrap();
    let reader = SerializedFileReader::new(file.bytes).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert!(metadata.key_value_metadata().is_none());
    let mut schema = Vec::new();
    parquet::schema::printer::print_schema(&mut schema, metadata.schema());
    insta::assert_snapshot!("parquet_schema", String::from_utf8(schema).unwrap());
}

#[derive(Clone, Debug)]
enum Call {
    Push(u64),
    Mark,
    Rollback,
    RollbackTo(u64),
    Seal,
    Part,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (1u64..20).prop_map(Call::Push),
        3 => Just(Call::Mark),
        1 => Just(Call::Rollback),
        1 => (0u64..20).prop_map(Call::RollbackTo),
        1 => Just(Call::Seal),
        1 => Just(Call::Part),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_run_of_calls_gives_the_marked_rows_once_and_in_order(
        calls in proptest::collection::vec(call(), 1..60),
    ) {
        let mut batch = batch();
        let mut next = 0;
        // What the batch must hold: rows of ended transactions, then of the open one.
        let (mut marked, mut open) = (Vec::new(), Vec::new());
        for call in calls {
            match call {
                Call::Push(rows) => {
                    push(&mut batch, next..next + rows);
                    open.extend(next..next + rows);
                    next += rows;
                }
                Call::Mark => {
                    batch.mark();
                    marked.append(&mut open);
                }
                Call::Rollback => {
                    batch.rollback();
                    open.clear();
                }
                Call::RollbackTo(rows) => {
                    let savepoint = batch.savepoint();
                    push(&mut batch, next..next + rows);
                    next += rows;
                    // Rows of ended transactions may leave between the two.
                    let sealed = batch.seal().unwrap().map(|file| read(&file)).unwrap_or_default();
                    prop_assert_eq!(sealed, marked.drain(..).map(expected).collect::<Vec<_>>());
                    let bytes = savepoint.bytes;
                    batch.rollback_to(savepoint);
                    prop_assert_eq!(batch.open_bytes(), bytes);
                }
                Call::Seal => {
                    let rows = batch.seal().unwrap().map(|file| read(&file)).unwrap_or_default();
                    prop_assert_eq!(rows, marked.drain(..).map(expected).collect::<Vec<_>>());
                }
                Call::Part => match batch.seal_part() {
                    Err(BatchError::MarkedRows(waiting)) => {
                        prop_assert_eq!(waiting, marked.len() as u64);
                    }
                    part => {
                        prop_assert!(marked.is_empty());
                        let rows = part.unwrap().map(|file| read(&file)).unwrap_or_default();
                        prop_assert_eq!(rows, open.drain(..).map(expected).collect::<Vec<_>>());
                    }
                },
            }
            prop_assert_eq!(batch.rows(), (marked.len() + open.len()) as u64);
            prop_assert_eq!(batch.marked_rows(), marked.len() as u64);
            prop_assert_eq!(batch.estimated_bytes() == 0, batch.rows() == 0);
        }
    }
}
