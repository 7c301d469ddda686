//! make_table DIR ROWS [deny|allow] [VERSIONS]
//!
//! Writes a published change table of ROWS realistic rows under DIR/changes, and prints how fast the
//! rows became Parquet on one thread. For trying readers, and for choosing the Parquet settings:
//! ZSTD=<level> and GROUP=<rows> override the defaults.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::entry::{ChangeFile as Named, ChangeSpan, ENTRY_FORMAT, Writer};
use archive::store::VolumeStore;
use archive::{Entry, EntryKind, Point, Store, layout};
use binlog::{ChangeRow, ChangeSink, Op};
use changes::{ChangeBatch, ForeignWriters, ParquetSettings, PublishSettings, Publisher};
use jiff::Timestamp;
use uuid::Uuid;

const ARCHIVE: Uuid = Uuid::from_u128(0x0190_0000_0000_4000_8000_0000_0000_0001);
const START_US: i64 = 1_795_200_000_000_000;

/// Texts of one row, kept between rows so that only the batch is measured.
#[derive(Default)]
struct Texts {
    key: String,
    before: String,
    after: String,
    gtid: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, rows, ..] = arguments.as_slice() else {
        return Err("usage: make_table DIR ROWS [deny|allow] [VERSIONS]".into());
    };
    let foreign_writers = match arguments.get(3).map(String::as_str) {
        Some("allow") => ForeignWriters::Allow,
        _ => ForeignWriters::Deny,
    };
    let versions: u64 = arguments.get(4).map_or(Ok(3), |text| text.parse())?;
    let rows: u64 = rows.parse()?;
    let settings = PublishSettings { foreign_writers, ..PublishSettings::default() };
    std::fs::create_dir_all(folder)?;
    let store: Arc<dyn Store> = Arc::new(VolumeStore::new(folder));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write(store, rows, versions.max(1), settings))
}

async fn write(
    store: Arc<dyn Store>,
    rows: u64,
    versions: u64,
    settings: PublishSettings,
) -> Result<(), Box<dyn Error>> {
    let mut publisher = Publisher::open(Arc::clone(&store), ARCHIVE, settings).await?;
    let mut batch = ChangeBatch::new("0001-3e11fa47", parquet_settings()?);
    let mut texts = Texts::default();
    let (mut push, mut encode) = (Duration::ZERO, Duration::ZERO);
    let (mut estimated, mut stored) = (0, 0);
    let first = publisher.next_entry();
    for n in first..first + versions {
        for row in rows * (n - first) / versions..rows * (n - first + 1) / versions {
            push += push_row(&mut batch, &mut texts, row)?;
        }
        batch.mark();
        estimated += batch.estimated_bytes();
        let started = Instant::now();
        let Some(file) = batch.seal()? else { continue };
        encode += started.elapsed();
        stored += file.bytes.len();
        let time = Timestamp::from_microsecond(START_US + n.cast_signed() * 3_600_000_000)?;
        let date = layout::day(time);
        let named = Named {
            path: layout::change_path(&date, 1, n),
            date,
            bytes: file.bytes.len() as u64,
            sha256: file.sha256,
            rows: file.rows,
            min_time: file.min_time_us,
            max_time: file.max_time_us,
        };
        store.put(&format!("{}{}", layout::CHANGES, named.path), file.bytes).await?;
        publisher.publish(&[entry(n, time, named)]).await?;
    }
    let rate = |time: Duration| (rows as f64 / time.as_secs_f64()) as u64;
    println!(
        "{{\"rows\": {rows}, \"version\": {}, \"estimatedBytes\": {estimated}, \"bytes\": {stored}, \
         \"pushRowsPerSecond\": {}, \"encodeRowsPerSecond\": {}, \"rowsPerSecond\": {}}}",
        publisher.published().unwrap_or_default(),
        rate(push),
        rate(encode),
        rate(push + encode),
    );
    Ok(())
}

fn parquet_settings() -> Result<ParquetSettings, Box<dyn Error>> {
    let mut settings = ParquetSettings::default();
    if let Ok(level) = std::env::var("ZSTD") {
        settings.zstd_level = level.parse()?;
    }
    if let Ok(rows) = std::env::var("GROUP") {
        settings.row_group_rows = rows.parse()?;
    }
    Ok(settings)
}

/// One row of an order table: a third each of inserts, updates and deletes, four to a transaction.
fn push_row(
    batch: &mut ChangeBatch,
    texts: &mut Texts,
    n: u64,
) -> Result<Duration, Box<dyn Error>> {
    let Texts { key, before, after, gtid } = texts;
    for text in [&mut *key, &mut *before, &mut *after, &mut *gtid] {
        text.clear();
    }
    // A cheap scramble, so that values do not compress for being consecutive.
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let id = mixed % 5_000_000;
    write!(key, "[{id}]")?;
    write!(gtid, "3e11fa47-71ca-11e1-9e33-c80aa9429562:{}", n / 4 + 1)?;
    for (image, step) in [(&mut *before, 0), (&mut *after, 1)] {
        write!(
            image,
            "{{\"id\":{id},\"customer\":{},\"amount\":\"{}.{:02}\",\"state\":\"{}\",\
             \"note\":\"order {:016x} placed by phone\",\"updated\":\"2026-11-21 09:{:02}:{:02}.{:06}\",\
             \"weight\":{},\"gift\":null}}",
            mixed >> 44,
            (mixed >> 20) % 1000,
            (mixed >> 30) % 100,
            ["new", "paid", "sent", "done"][((mixed >> 50) as usize + step) % 4],
            mixed,
            n / 60_000 % 60,
            n / 1000 % 60,
            n % 1_000_000,
            mixed % 997,
        )?;
    }
    let op = [Op::Insert, Op::Update, Op::Delete][(n % 3) as usize];
    let row = ChangeRow {
        commit_time_us: START_US + (n / 4).cast_signed() * 250,
        op,
        schema: "shop",
        table: "orders",
        pk_text: Some(key),
        pk_hash: Some(mixed),
        before: (op != Op::Insert).then_some(before.as_str()),
        after: (op != Op::Delete).then_some(after.as_str()),
        changed: if op == Op::Update { &["state"] } else { &[] },
        gtid: Some(gtid),
        file: "binlog.000007",
        position: n / 4 * 1400,
        event_ordinal: (n % 4) as u32,
        row_ordinal: 0,
        fingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        server_id: 1,
        statement: None,
    };
    let started = Instant::now();
    batch.push(&row)?;
    Ok(started.elapsed())
}

fn entry(n: u64, time: Timestamp, file: Named) -> Entry {
    let point = |pos| Point::new("0001-3e11fa47", "binlog.000007", pos);
    let rows = file.rows;
    let changes = ChangeSpan {
        from: point(n),
        to: point(n + 1),
        files: vec![file],
        rows,
        transactions: rows / 4,
        schemas: Vec::new(),
        schema_list: None,
    };
    Entry {
        format: ENTRY_FORMAT,
        archive: ARCHIVE,
        n,
        epoch: 1,
        kind: EntryKind::Commit,
        prev: None,
        time,
        writer: Writer { instance: "example".to_owned(), version: "0.1.0".to_owned() },
        at: None,
        raw: None,
        changes: Some(changes),
        xa: None,
        gaps: Vec::new(),
        gap_list: None,
        list: None,
        claim: None,
        gap: None,
        lineage: None,
        maintain: None,
        consents: Vec::new(),
        state: None,
        extra: serde_json::Map::default(),
    }
}
