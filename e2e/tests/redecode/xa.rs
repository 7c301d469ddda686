//! XA transactions around a gap: told again under the identity of what was prepared, where and when they were committed.

use std::collections::BTreeSet;

use e2e::oracle::ChangeRow;
use e2e::trial::streams;
use e2e::xa::{decide, prepare};

use super::*;

const TABLE: &str = "shop.held";
/// Rows of a megabyte: more of them than a worker keeps in memory.
const LARGE: u32 = 10;

fn id(row: &ChangeRow) -> u32 {
    let image = row.after.as_ref().or(row.before.as_ref());
    let id = image.and_then(|image| image["id"].as_str()).and_then(|id| id.parse().ok());
    id.unwrap_or_default()
}

/// What is told of the table, each row once: the prepared groups' ids, ordinals and keys, and other rows' keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    prepared: BTreeSet<(String, u32, u32, u32)>,
    plain: Vec<u32>,
}

impl Told {
    /// Two rows inserted and one changed, by a transaction of this number.
    fn small(&mut self, gtid: &str, number: u32) {
        for (event, row, id) in [(0, 0, number), (0, 1, number + 1), (1, 0, number + 1)] {
            self.prepared.insert((gtid.to_owned(), event, row, id));
        }
    }

    async fn by(stream: &Stream, gtids: &[&String]) -> Result<Self> {
        let mut told = Self::default();
        for row in oracle::rows(&stream.archive()).await? {
            let gtid = row.gtid.clone().filter(|gtid| gtids.contains(&gtid));
            match gtid {
                Some(gtid) => {
                    let place = (gtid, row.event_ordinal, row.row_ordinal, id(&row));
                    assert!(told.prepared.insert(place), "told twice: {row:?}");
                }
                None => told.plain.push(id(&row)),
            }
        }
        Ok(told)
    }
}

async fn insert(server: &Server, id: u32) -> Result<()> {
    server.run(&[&format!("INSERT INTO {TABLE} VALUES ({id}, 'plain')")]).await
}

async fn small(server: &Server, xid: &str, id: u32) -> Result<String> {
    let next = id + 1;
    let insert = format!("INSERT INTO {TABLE} VALUES ({id}, 'x'), ({next}, 'y')");
    let update = format!("UPDATE {TABLE} SET v = 'z' WHERE id = {next}");
    prepare(server, xid, &[&insert, &update]).await
}

/// More than is kept in memory, one row to an event.
async fn large(server: &Server, xid: &str, id: u32) -> Result<String> {
    let rows: Vec<String> = (0..LARGE)
        .map(|n| format!("INSERT INTO {TABLE} VALUES ({}, REPEAT('v', 1048576))", id + n))
        .collect();
    prepare(server, xid, &rows.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn ended(worker: &Worker) -> Result<()> {
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])
}

async fn streaming(stream: &Stream) -> Result<Worker> {
    let worker = stream.start()?;
    streams(&worker).await?;
    Ok(worker)
}

async fn tells_prepared_transactions(kind: ServerKind) -> Result<()> {
    let server = Server::builder(kind).start().await?;
    let create = format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY, v LONGTEXT)");
    server.run(&["CREATE DATABASE shop", &create]).await?;
    let (file, position) = server.position().await?;
    let at = json!({"file": file, "position": position});
    let stream = Stream::new("xa", &server)?
        .with(&json!({"start": {"mode": "FilePosition", "filePosition": at}}))?;
    let worker = streaming(&stream).await?;

    // Prepared while all is well, in entries of their own, and committed when the table stands still.
    let before = small(&server, "before", 10).await?;
    let before_large = large(&server, "large before", 30).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    server.run(&[BLIND]).await?;
    row_metadata(&server, least(kind)).await?;
    insert(&server, 1).await?;
    let what = "the table stands still by name";
    worker.until(what, NAMED, |status| stopped(status) == [TABLE]).await?;
    let within = small(&server, "within", 12).await?;
    decide(&server, "COMMIT", "within").await?;
    let within_large = large(&server, "large within", 50).await?;
    small(&server, "rolled back", 14).await?;
    decide(&server, "ROLLBACK", "rolled back").await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    for xid in ["large within", "before", "large before"] {
        decide(&server, "COMMIT", xid).await?;
    }
    // Nobody but this range says what its table map means.
    let open = small(&server, "open", 16).await?;
    insert(&server, 2).await?;
    row_metadata(&server, "FULL").await?;
    let named = small(&server, "named", 18).await?;
    insert(&server, 3).await?;
    worker.archived_all_of(&server, ARCHIVED).await?;
    ended(&worker).await?;

    let gtids = [&before, &before_large, &within, &within_large, &open, &named];
    let mut expected = Told::default();
    assert_eq!(Told::by(&stream, &gtids).await?, expected, "nothing of it is told while it stands");
    for armed in VOLUME_BEFORE {
        dies_at(&stream, armed).await?;
    }
    let said = ended_with(&stream.redecode(&[], &[]).await?, 1)?;
    assert!(said.contains("XA transaction X'6f70656e',X'',1"), "{said}");
    expected.small(&before, 10);
    expected.small(&within, 12);
    for (gtid, from) in [(&before_large, 30), (&within_large, 50)] {
        expected.prepared.extend((0..LARGE).map(|n| (gtid.clone(), n, 0, from + n)));
    }
    expected.plain.push(1);
    assert_eq!(Told::by(&stream, &gtids).await?, expected);
    let rows = oracle::rows(&stream.archive()).await?;
    let plain = rows.iter().find(|row| id(row) == 1).map(|row| row.commit_time);
    assert!(rows.iter().all(|row| Some(row.commit_time) >= plain), "their commit is their verdict");

    // Its verdict is archived: now the rest is told.
    let worker = streaming(&stream).await?;
    decide(&server, "COMMIT", "open").await?;
    let status = worker.archived_all_of(&server, ARCHIVED).await?;
    assert_eq!(stopped(&status), [TABLE]);
    ended(&worker).await?;
    dies_at(&stream, VOLUME_BEHIND[0]).await?;
    let again = ended_with(&stream.redecode(&[], &[]).await?, 0)?;
    assert!(again.contains("0 rows"), "{again}");
    expected.small(&open, 16);
    expected.plain.extend([2, 3]);
    // What names its columns is left to who reads its verdict.
    let worker = streaming(&stream).await?;
    decide(&server, "COMMIT", "named").await?;
    let status = worker.archived_all_of(&server, ARCHIVED).await?;
    assert!(status.decoding.healthy, "{:?}", status.decoding);
    ended(&worker).await?;
    expected.small(&named, 18);
    assert_eq!(Told::by(&stream, &gtids).await?, expected);
    oracle::check_log(&stream.archive()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_prepared_transactions_with_their_verdict_on_mysql_97() -> Result<()> {
    tells_prepared_transactions(ServerKind::MySql97).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_prepared_transactions_with_their_verdict_on_mariadb_10_11() -> Result<()> {
    tells_prepared_transactions(ServerKind::MariaDb1011).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_prepared_transactions_with_their_verdict_on_mariadb_11_8() -> Result<()> {
    tells_prepared_transactions(ServerKind::MariaDb118).await
}
