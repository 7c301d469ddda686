//! A hundred ALTERs between inserts while the worker is held back, and a hundred more while it is away: every row is
//! told under the names its table had at that moment, with `binlog_row_metadata` FULL, MINIMAL and NO_LOG.
//!
//! With MINIMAL or NO_LOG the binlog holds no names, and the source tells only those of today: the worker follows the
//! statements. With something in each statement that it does not understand, exactly those rows are told whose names
//! somebody saw: those up to the first ALTER, which the worker knew, and those behind the last one, which the source
//! could still tell when the worker came there. The rows in between stand in raw and in gaps by name, each of them.
//!
//! Every value says the name of its column, so that no row is right under another one.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::worker_status::WorkerStatus;
use e2e::oracle::{self, ChangeRow};
use e2e::server::{Server, ServerKind};
use e2e::trial::{DRAINED, streams};
use e2e::worker::{Stream, Worker};
use e2e::{Context, Failure, Result};
use serde_json::{Map, Value, json};

const ALTERS: usize = 100;
const ARCHIVED: Duration = Duration::from_secs(90);
const TABLE: &str = "shop.burst";

/// The table as it is between two statements.
struct Burst {
    /// Names and whether the column is a text; else it is an INT.
    columns: Vec<(u64, bool)>,
    names: u64,
    rows: u64,
    /// Every row that was inserted, as it is to be told.
    told: Vec<Map<String, Value>>,
    /// What stands at the end of each ALTER.
    note: &'static str,
}

impl Burst {
    fn new(note: &'static str) -> Self {
        let columns = vec![(1, true), (2, false), (3, true), (4, false)];
        Self { columns, names: 4, rows: 0, told: Vec::new(), note }
    }

    fn create(&self) -> String {
        let columns: Vec<_> =
            self.columns.iter().map(|column| format!(", {}", defined(*column))).collect();
        format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY{})", columns.concat())
    }

    fn insert(&mut self) -> String {
        self.rows += 1;
        let row = self.rows;
        let (mut image, mut cells) = (Map::new(), Vec::new());
        image.insert("id".into(), json!(row.to_string()));
        for &(name, is_text) in &self.columns {
            let value =
                if is_text { format!("c{name}.{row}") } else { (name * 10_000 + row).to_string() };
            cells.push(format!(", '{value}'"));
            image.insert(format!("c{name}"), json!(value));
        }
        self.told.push(image);
        format!("INSERT INTO {TABLE} VALUES ({row}{})", cells.concat())
    }

    fn new_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// The `nth` ALTER: each kind in turn, over other columns.
    fn alter(&mut self, nth: usize) -> String {
        let at = nth / 6 % self.columns.len();
        let last = self.columns.len() - 1;
        let action = match nth % 6 {
            0 => {
                let column = (self.new_name(), nth % 4 < 2);
                self.columns.insert(at + 1, column);
                format!("ADD COLUMN {} AFTER c{}", defined(column), self.columns[at].0)
            }
            1 => {
                let old = self.columns[at].0;
                self.columns[at].0 = self.new_name();
                format!("RENAME COLUMN c{old} TO c{}", self.columns[at].0)
            }
            // To the front: the same types in another order, or the same order of types under other names.
            2 => {
                let column = self.columns.remove(last);
                self.columns.insert(0, column);
                format!("MODIFY COLUMN {} AFTER id", defined(column))
            }
            3 => {
                let other = (at + 2) % self.columns.len();
                let (one, two) = (self.columns[at].0, self.columns[other].0);
                (self.columns[at].0, self.columns[other].0) = (two, one);
                format!("RENAME COLUMN c{one} TO c{two}, RENAME COLUMN c{two} TO c{one}")
            }
            // A dropped one and a new one of its type in its place.
            4 => {
                let (old, is_text) = self.columns[at];
                let new = (self.new_name(), is_text);
                self.columns[at] = new;
                let place =
                    if at == 0 { "id".into() } else { format!("c{}", self.columns[at - 1].0) };
                format!("DROP COLUMN c{old}, ADD COLUMN {} AFTER {place}", defined(new))
            }
            _ => format!("DROP COLUMN c{}", self.columns.remove(last).0),
        };
        format!("ALTER TABLE {TABLE} {action}{}", self.note)
    }

    /// All ALTERs, with inserts between them and around them.
    async fn run(&mut self, server: &Server) -> Result<()> {
        let mut statements = vec![self.insert()];
        for nth in 0..ALTERS {
            statements.push(self.alter(nth));
            statements.push(self.insert());
        }
        server.run(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}

fn defined((name, is_text): (u64, bool)) -> String {
    format!("c{name} {}", if is_text { "VARCHAR(40)" } else { "INT" })
}

/// What both bursts leave: the stream's status at its end, and what was inserted.
struct Bursts {
    server: Server,
    stream: Stream,
    burst: Burst,
    /// The file that both bursts stand in.
    file: String,
    lineage: String,
    status: WorkerStatus,
}

impl Bursts {
    async fn run(kind: ServerKind, setting: &str, note: &'static str) -> Result<Self> {
        let server = Server::builder(kind).option("binlog_row_metadata", setting).start().await?;
        let mut burst = Burst::new(note);
        server.run(&["CREATE DATABASE shop", &burst.create()]).await?;
        let (file, position) = server.position().await?;
        let at = json!({"file": file, "position": position});
        let stream = Stream::new("burst", &server)?
            .with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))?;

        let worker = stream.start()?;
        streams(&worker).await?;
        server.run(&[&burst.insert()]).await?;
        worker.archived_all_of(&server, ARCHIVED).await?;
        worker.freeze()?;
        burst.run(&server).await?;
        worker.thaw()?;
        worker.archived_all_of(&server, ARCHIVED).await?;
        ended(&worker).await?;

        burst.run(&server).await?;
        let witness = ["CREATE TABLE shop.witness (id INT)", "INSERT INTO shop.witness VALUES (1)"];
        server.run(&["SET GLOBAL binlog_row_metadata = FULL", witness[0], witness[1]]).await?;
        server.run(&["FLUSH BINARY LOGS"]).await?;
        let worker = stream.start()?;
        let status = worker.archived_all_of(&server, ARCHIVED).await?;
        ended(&worker).await?;

        let facts = oracle::check_log(&stream.archive()).await?;
        let lineage = facts.raw.last().context(|| "nothing was archived")?.lineage.clone();
        let (closed, _) = oracle::check_raw(&stream.archive(), &facts, &lineage, &server).await?;
        assert!(closed > 0, "raw holds every row, whatever is told of it");
        Ok(Self { server, stream, burst, file, lineage, status })
    }

    async fn told(&self) -> Result<BTreeSet<u64>> {
        told(&self.stream, &self.burst).await
    }

    /// Gives up what lies before this point, and decodes what lies behind it.
    async fn redecode(&self, from: Option<u64>) -> Result<(Option<i32>, String)> {
        let from = from.map(|offset| format!("{}/{}:{offset}", self.lineage, self.file));
        let arguments: Vec<&str> = from.iter().flat_map(|from| ["--from", from.as_str()]).collect();
        let output = self.stream.redecode(&arguments, &[]).await?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        println!("redecode {arguments:?}: {:?} {said}", output.status.code());
        Ok((output.status.code(), said))
    }

    /// Where the table's maps begin, and where its ALTERs end.
    async fn binlog(&self) -> Result<(Vec<u64>, Vec<u64>)> {
        let events = self.server.rows(&format!("SHOW BINLOG EVENTS IN '{}'", self.file)).await?;
        let offset =
            |event: &Vec<Option<String>>, at: usize| event.get(at)?.as_ref()?.parse::<u64>().ok();
        let (mut maps, mut alters) = (Vec::new(), Vec::new());
        for event in &events {
            let info = event[5].as_deref().unwrap_or_default();
            if info.contains(&format!("ALTER TABLE {TABLE}")) {
                alters.extend(offset(event, 4));
            } else if info.contains(&format!("({TABLE})")) {
                maps.extend(offset(event, 1));
            }
        }
        Ok((maps, alters))
    }

    /// Ranges of the table's gaps that have an end, in the file of the bursts.
    async fn given_up(&self) -> Result<Vec<(u64, u64)>> {
        let entries = self.stream.archive().entries().await?;
        let gaps =
            entries.iter().flat_map(|(_, entry)| entry["gaps"].as_array().into_iter().flatten());
        let range = |gap: &Value| {
            assert_eq!(
                (&gap["from"]["file"], &gap["to"]["file"]),
                (&json!(self.file), &json!(self.file))
            );
            Some((gap["from"]["pos"].as_u64()?, gap["to"]["pos"].as_u64()?))
        };
        let ours = gaps.filter(|gap| gap["table"] == TABLE && gap["to"].is_object());
        Ok(ours.filter_map(range).collect())
    }
}

async fn every_row_is_told(kind: ServerKind, setting: &str) -> Result<()> {
    let bursts = Bursts::run(kind, setting, "").await?;
    let (told, all) = (bursts.told().await?.len(), bursts.burst.told.len());
    println!("{} {setting}: {told} rows told of {all}", kind.name());
    assert_eq!(told, all);
    stands_still(&bursts.stream, &bursts.status, false).await
}

async fn what_is_not_told_is_a_gap_by_name(kind: ServerKind, setting: &str) -> Result<()> {
    // A note that hides what follows it is not looked into.
    let mut bursts = Bursts::run(kind, setting, " # by hand").await?;
    stands_still(&bursts.stream, &bursts.status, true).await?;
    // The first one, and the one in front of the first ALTER.
    let mut told = BTreeSet::from([1, 2]);
    assert_eq!(bursts.told().await?, told, "nothing else is known without a word of the source");
    // One more row, with names: by it the row behind the last ALTER is known.
    let insert = bursts.burst.insert();
    bursts.server.run(&[&insert]).await?;
    let worker = bursts.stream.start()?;
    worker.archived_all_of(&bursts.server, ARCHIVED).await?;
    ended(&worker).await?;
    let (code, said) = bursts.redecode(None).await?;
    assert!(code == Some(1) && said.contains("stays open") && said.contains("0 rows"), "{said}");

    let (maps, alters) = bursts.binlog().await?;
    assert_eq!((maps.len(), alters.len()), (2 * ALTERS + 3, 2 * ALTERS));
    // Behind the first hundred, and in front of the second.
    let (code, said) = bursts.redecode(Some(alters[ALTERS - 1])).await?;
    assert!(code == Some(1) && said.contains("2 rows"), "{said}");
    told.extend([ALTERS as u64 + 2, ALTERS as u64 + 3]);
    assert_eq!(bursts.told().await?, told);
    let (code, said) = bursts.redecode(Some(alters[2 * ALTERS - 1])).await?;
    assert!(code == Some(0) && said.contains("2 rows"), "{said}");
    told.extend([2 * ALTERS as u64 + 3, 2 * ALTERS as u64 + 4]);
    assert_eq!(bursts.told().await?, told);

    let gaps = bursts.given_up().await?;
    let missing = maps.iter().filter(|map| gaps.iter().any(|(from, to)| (from..to).contains(map)));
    let (missing, all) = (missing.count(), bursts.burst.told.len());
    println!(
        "{} {setting}: {} rows told, {missing} in {} gaps, of {all}",
        kind.name(),
        told.len(),
        gaps.len()
    );
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert_eq!(told.len() + missing, all, "each row is told or in a gap");
    Ok(())
}

async fn ended(worker: &Worker) -> Result<()> {
    if !worker.terminate(DRAINED).await?.success() {
        return Err(Failure::new("the worker did not end in order"));
    }
    worker.check_log(&[])
}

/// Ids of the rows that are told. Each is whole and under its own names.
async fn told(stream: &Stream, burst: &Burst) -> Result<BTreeSet<u64>> {
    let rows = oracle::rows(&stream.archive()).await?;
    assert!(rows.iter().any(|row| row.table_name == "witness"), "what is named is told");
    let is_told = |row: &&ChangeRow| row.table_name == "burst";
    let mut ids = BTreeSet::new();
    for row in rows.iter().filter(is_told) {
        let image = row.after.as_ref().context(|| "an insert without a row")?;
        let id: u64 = image["id"].as_str().and_then(|id| id.parse().ok()).context(|| "no id")?;
        assert_eq!((row.op.as_str(), image), ("insert", &burst.told[id as usize - 1]));
        assert!(ids.insert(id), "row {id} is told twice");
    }
    Ok(ids)
}

/// Whether the table stands still by name in the status, and a gap of the log says so, as it should be.
async fn stands_still(stream: &Stream, status: &WorkerStatus, expected: bool) -> Result<()> {
    let stopped: Vec<_> =
        status.decoding.stopped.iter().map(|facet| facet.table.as_str()).collect();
    let entries = stream.archive().entries().await?;
    let gaps = entries.iter().flat_map(|(_, entry)| entry["gaps"].as_array().into_iter().flatten());
    let named: BTreeSet<_> = gaps.filter_map(|gap| gap["table"].as_str()).collect();
    let tables: &[&str] = if expected { &[TABLE] } else { &[] };
    assert_eq!((stopped.as_slice(), named), (tables, tables.iter().copied().collect()));
    assert_eq!(status.decoding.healthy, !expected);
    Ok(())
}

/// A test for each server and setting.
macro_rules! bursts {
    ($($name:ident: $what:ident $kind:ident $setting:literal,)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> Result<()> {
            $what(ServerKind::$kind, $setting).await
        }
    )+};
}

bursts! {
    mysql_97_with_names: every_row_is_told MySql97 "FULL",
    mysql_97_without_names: every_row_is_told MySql97 "MINIMAL",
    mysql_97_not_understood: what_is_not_told_is_a_gap_by_name MySql97 "MINIMAL",
    mariadb_10_11_with_names: every_row_is_told MariaDb1011 "FULL",
    mariadb_10_11_without_names: every_row_is_told MariaDb1011 "MINIMAL",
    mariadb_10_11_without_anything: every_row_is_told MariaDb1011 "NO_LOG",
    mariadb_10_11_not_understood: what_is_not_told_is_a_gap_by_name MariaDb1011 "NO_LOG",
    mariadb_11_8_with_names: every_row_is_told MariaDb118 "FULL",
    mariadb_11_8_without_names: every_row_is_told MariaDb118 "MINIMAL",
    mariadb_11_8_without_anything: every_row_is_told MariaDb118 "NO_LOG",
    mariadb_11_8_not_understood: what_is_not_told_is_a_gap_by_name MariaDb118 "MINIMAL",
}
