//! What must hold after any run: the log is a chain, the raw bytes are the server's, the change log
//! folds to the server's tables, and nothing that is named is missing.

mod changes;
mod contents;
mod images;
mod log;
mod raw;
mod rows;
mod sums;

use std::collections::BTreeSet;

use crate::archive::Archive;
use crate::server::Server;
use crate::{Failure, Result};

pub use changes::{Difference, Folded, Table, fold};
pub use contents::{Contents, Listed, contents};
pub use images::{Change, changes};
pub use log::{LogFacts, RawObject, check_log};
pub use raw::check_raw;
pub use rows::{ChangeRow, rows};
pub use sums::{Sums, sum};

/// Everything at once, for a stream of one lineage whose worker has archived and published all of
/// the server's binlog. `changes` is what the workload committed.
pub async fn check_all(
    archive: &Archive,
    server: &Server,
    tables: &[Table],
    changes: u64,
) -> Result<(LogFacts, Folded)> {
    let facts = check_log(archive).await?;
    let lineages: BTreeSet<_> = facts.raw.iter().map(|raw| raw.lineage.clone()).collect();
    for lineage in &lineages {
        check_raw(archive, &facts, lineage, server).await?;
    }
    let folded = fold(archive, server, tables).await?;
    folded.check()?;
    let named: BTreeSet<_> =
        facts.changes.iter().filter_map(|(key, _)| key.strip_prefix("changes/")).collect();
    let published: BTreeSet<_> = folded.files.iter().map(String::as_str).collect();
    if named != published {
        let difference: Vec<_> = named.symmetric_difference(&published).collect();
        return Err(Failure::new(format!("log and Delta table name other files: {difference:?}")));
    }
    let logged: u64 = facts.changes.iter().map(|(_, rows)| rows).sum();
    if folded.rows != changes || logged != changes {
        return Err(Failure::new(format!(
            "the source committed {changes} changes, the log names {logged}, the Delta table has {}",
            folded.rows
        )));
    }
    Ok((facts, folded))
}
