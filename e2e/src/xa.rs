//! XA transactions, each prepared on a connection of its own that then ends.

use std::time::Duration;

use crate::server::Server;
use crate::wait::{Look, until};
use crate::{Context, Failure, Result};

/// A server needs a moment to take a prepared transaction off a connection that ended.
const DECIDED: Duration = Duration::from_secs(10);

/// Prepares a transaction of these statements; the GTID of its group.
pub async fn prepare(server: &Server, xid: &str, statements: &[&str]) -> Result<String> {
    let (start, end, prepare) =
        (format!("XA START '{xid}'"), format!("XA END '{xid}'"), format!("XA PREPARE '{xid}'"));
    let all: Vec<&str> = [start.as_str()]
        .into_iter()
        .chain(statements.iter().copied())
        .chain([end.as_str(), prepare.as_str()])
        .collect();
    server.run(&all).await?;
    last_gtid(server).await
}

/// Ends a prepared transaction by `COMMIT` or `ROLLBACK`.
pub async fn decide(server: &Server, verdict: &str, xid: &str) -> Result<()> {
    let statement = format!("XA {verdict} '{xid}'");
    until(format!("{statement} is taken"), DECIDED, || async {
        let taken = server.run(&[&statement]).await;
        Ok::<_, Failure>(match taken {
            Ok(()) => Look::Yes(()),
            Err(refused) => Look::NotYet(refused.to_string()),
        })
    })
    .await
}

/// The group that was logged last.
async fn last_gtid(server: &Server) -> Result<String> {
    let set = server.gtids().await?;
    let last = set.rsplit(',').next().unwrap_or_default();
    if !server.kind().is_mysql() {
        return Ok(last.to_owned());
    }
    let (uuid, ranges) = set.split_once(':').context(|| format!("read {set}"))?;
    let number = ranges.rsplit([':', '-']).next().unwrap_or_default();
    Ok(format!("{uuid}:{number}"))
}
