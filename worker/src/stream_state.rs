//! The checkpoint's table, reached over a connection of its own that is made when it is needed.

use std::sync::Arc;
use std::time::Duration;

use archive::checkpoint::stream_state::{Sql, SqlError, SqlValue};
use async_trait::async_trait;
use source::{Connection, quote};
use tokio::sync::Mutex;

use crate::config::Current;
use crate::fault::{Fault, chain};
use crate::upstream::{Address, SecretFiles, settings};

/// Longest wait for one statement.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs the statements of the `stream_state` store.
pub struct StateServer {
    config: Current,
    secrets: Arc<SecretFiles>,
    connection: Mutex<Option<Connection>>,
}

impl StateServer {
    /// A server that is connected to at the first statement.
    pub fn new(config: Current, secrets: Arc<SecretFiles>) -> Self {
        Self { config, secrets, connection: Mutex::new(None) }
    }

    async fn connect(&self) -> Result<Connection, SqlError> {
        let config = self.config.borrow().clone();
        let Some(store) = &config.checkpoint.stream_state else {
            return Err(plain("checkpoint.streamState is not configured"));
        };
        // Absent parts are the source's: the table then stands beside the data.
        let source = &config.source;
        let own_account = store.password_file.is_some();
        let address = Address {
            host: store.host.as_deref().unwrap_or(&source.host),
            port: if store.host.is_some() { store.port } else { source.port },
            username: if own_account {
                store.username.as_deref()
            } else {
                source.username.as_deref()
            },
            username_file: if own_account {
                store.username_file.as_deref()
            } else {
                source.username_file.as_deref()
            },
            password_file: store.password_file.as_deref().unwrap_or(&source.password_file),
            tls: store.tls.as_ref().unwrap_or(&source.tls),
        };
        let settings = settings(&config, &address, &self.secrets, 0)
            .map_err(|Fault { message, .. }| plain(&message))?;
        source::connect(&settings).await.map_err(|error| failed(&error))
    }

    /// Runs `work` on the connection; a connection that failed is not used again.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, source::SourceError>,
    ) -> Result<T, SqlError> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let outcome = tokio::time::timeout(LIMIT, work(&mut connection)).await;
        match outcome {
            Ok(Ok(value)) => {
                *held = Some(connection);
                Ok(value)
            }
            Ok(Err(error)) => {
                if error.code().is_some() {
                    *held = Some(connection);
                }
                Err(failed(&error))
            }
            Err(_) => Err(plain("the server did not answer within 20 s")),
        }
    }
}

#[async_trait]
impl Sql for StateServer {
    async fn query(
        &self,
        statement: &str,
        values: &[SqlValue],
    ) -> Result<Vec<Vec<Option<String>>>, SqlError> {
        let sql = bind(statement, values)?;
        self.run(async |connection| {
            let rows = connection.query(&sql).await?;
            let width = rows.columns().len();
            let texts =
                |row: source::Row<'_>| (0..width).map(|column| row.text_at(column)).collect();
            Ok(rows.rows().map(texts).collect())
        })
        .await
    }

    async fn execute(&self, statement: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        let sql = bind(statement, values)?;
        self.run(async |connection| connection.execute(&sql).await).await
    }
}

/// Puts quoted values in place of `?`.
fn bind(statement: &str, values: &[SqlValue]) -> Result<String, SqlError> {
    let mut parts = statement.split('?');
    let mut sql = parts.next().unwrap_or_default().to_owned();
    let mut values = values.iter();
    for part in parts {
        let value =
            values.next().ok_or_else(|| plain("a statement has more places than values"))?;
        match value {
            SqlValue::Text(text) => sql.push_str(&quote(text)),
            SqlValue::Number(number) => sql.push_str(&number.to_string()),
            SqlValue::Null => sql.push_str("NULL"),
        }
        sql.push_str(part);
    }
    match values.next() {
        None => Ok(sql),
        Some(_) => Err(plain("a statement has fewer places than values")),
    }
}

fn failed(error: &source::SourceError) -> SqlError {
    SqlError { code: error.code(), message: chain(error) }
}

fn plain(message: &str) -> SqlError {
    SqlError { code: None, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_counted() {
        let values = [SqlValue::Text("it's".into()), SqlValue::Number(7), SqlValue::Null];
        let sql = bind("UPDATE t SET a = ?, n = ? WHERE b <=> ?", &values).unwrap();
        assert_eq!(sql, format!("UPDATE t SET a = {}, n = 7 WHERE b <=> NULL", quote("it's")));
        assert!(bind("SELECT ?", &[]).is_err());
        assert!(bind("SELECT 1", &values).is_err());
    }
}
