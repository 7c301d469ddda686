//! The rules of the checkpoint table, against a table in memory that knows the four statements.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use archive::checkpoint::{
    Checkpoint, CheckpointStore, Loaded, RecordContext, Replace, Saved, Sql, SqlError, SqlValue,
    StreamStateStore, record,
};
use archive::store::memory::MemoryStore;
use async_trait::async_trait;
use crds::conditions::Reason;

use crate::common::faulty::Faulty;
use crate::common::ready;

/// Rows by namespace and stream, once the table is made.
type Table = Option<BTreeMap<(String, String), Row>>;

#[derive(Clone, Default)]
struct Server {
    table: Arc<Mutex<Table>>,
    foreign: bool,
}

#[derive(Clone)]
struct Row {
    archive: String,
    n: u64,
    record: String,
}

fn text(value: &SqlValue) -> String {
    match value {
        SqlValue::Text(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

fn number(value: &SqlValue) -> u64 {
    match value {
        SqlValue::Number(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

fn error(code: u16) -> SqlError {
    SqlError { code: Some(code), message: format!("error {code}") }
}

#[async_trait]
impl Sql for Server {
    async fn query(
        &self,
        statement: &str,
        values: &[SqlValue],
    ) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        assert!(statement.starts_with("SELECT record FROM `audit`.`stream``state`"), "{statement}");
        if self.foreign {
            return Err(error(1054));
        }
        let table = self.table.lock().unwrap();
        let table = table.as_ref().ok_or_else(|| error(1146))?;
        let row = table.get(&(text(&values[0]), text(&values[1])));
        Ok(row.map(|row| vec![Some(row.record.clone())]).into_iter().collect())
    }

    async fn execute(&self, statement: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        assert_eq!(statement.matches('?').count(), values.len(), "{statement}");
        let mut table = self.table.lock().unwrap();
        if statement.starts_with("CREATE TABLE IF NOT EXISTS") {
            table.get_or_insert_default();
            return Ok(0);
        }
        let table = table.as_mut().ok_or_else(|| error(1146))?;
        if statement.starts_with("INSERT IGNORE") {
            let key = (text(&values[0]), text(&values[1]));
            let row =
                Row { archive: text(&values[2]), n: number(&values[3]), record: text(&values[7]) };
            let new = !table.contains_key(&key);
            table.entry(key).or_insert(row);
            return Ok(u64::from(new));
        }
        let row =
            Row { archive: text(&values[0]), n: number(&values[1]), record: text(&values[5]) };
        let Some(old) = table.get_mut(&(text(&values[6]), text(&values[7]))) else { return Ok(0) };
        let guard = statement.rsplit_once("name = ? AND ").unwrap().1;
        let holds = match guard {
            "archive_id = ? AND n < ?" => {
                old.archive == text(&values[8]) && old.n < number(&values[9])
            }
            "archive_id = ? AND n = ?" => {
                old.archive == text(&values[8]) && old.n == number(&values[9])
            }
            "1 = 1" => true,
            other => panic!("{other}"),
        };
        if holds {
            *old = row;
        }
        Ok(u64::from(holds))
    }
}

fn store(server: &Server) -> StreamStateStore<Server> {
    StreamStateStore::new(server.clone(), "audit", "stream`state", "shop", "orders")
}

async fn saved() -> Checkpoint {
    let log = ready(&Faulty::new(&MemoryStore::default()).shared(), "one").await;
    record(log.state(), &RecordContext::default()).unwrap()
}

#[tokio::test]
async fn a_row_is_made_moved_and_read_back() {
    let server = Server::default();
    let store = store(&server);
    let first = saved().await;
    assert_eq!(store.load().await.unwrap(), Loaded::Absent, "no table is no checkpoint");
    assert_eq!(store.save(&first, Replace::Older).await.unwrap(), Saved::Stored);
    let next = Checkpoint { n: 9, pos: 77, ..first };
    assert_eq!(store.save(&next, Replace::Older).await.unwrap(), Saved::Stored);
    let Loaded::Found(found) = store.load().await.unwrap() else { panic!("not found") };
    assert_eq!((found.n, found.pos), (9, 77));
    let other = StreamStateStore::new(server, "audit", "stream`state", "shop", "stock");
    assert_eq!(other.load().await.unwrap(), Loaded::Absent, "a row per stream");
}

#[tokio::test]
async fn a_zombie_cannot_take_a_row_back() {
    let server = Server::default();
    let store = store(&server);
    let old = saved().await;
    let new = Checkpoint { n: 9, ..old.clone() };
    assert_eq!(store.save(&new, Replace::Older).await.unwrap(), Saved::Stored);
    assert!(matches!(store.save(&old, Replace::Older).await.unwrap(), Saved::Stale(_)));
    let other = Checkpoint { n: 99, archive: uuid::Uuid::new_v4(), ..old };
    assert!(matches!(store.save(&other, Replace::Older).await.unwrap(), Saved::Stale(_)));
    assert_eq!(store.save(&other, Replace::Consented).await.unwrap(), Saved::Stored);
}

#[tokio::test]
async fn a_foreign_table_is_refused_and_a_torn_row_rebuilt() {
    let foreign = Server { foreign: true, ..Server::default() };
    let refused = store(&foreign).load().await.unwrap_err();
    assert_eq!(refused.reason, Reason::CheckpointTableInvalid);
    assert!(refused.to_string().contains("state import"), "{refused}");
    let server = Server::default();
    let store = store(&server);
    let first = saved().await;
    store.save(&first, Replace::Older).await.unwrap();
    if let Some(table) = server.table.lock().unwrap().as_mut() {
        for row in table.values_mut() {
            row.record = row.record.replace("\"n\":1", "\"n\":2");
        }
    }
    assert!(matches!(store.load().await.unwrap(), Loaded::Bad(_)), "an edited row is seen");
    assert_eq!(store.save(&first, Replace::Older).await.unwrap(), Saved::Stored);
}
