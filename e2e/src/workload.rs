//! The seeded workload of all cells: several tables, inserts, updates and deletes in transactions of
//! mixed size, rollbacks, savepoints, an ALTER under way, rotations, one very large transaction.

mod writer;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::oracle::Table;
use crate::server::Server;
use crate::wait::within;
use crate::{Context, Failure, Result};
use writer::Writer;

/// Rows of one INSERT of the large transaction.
const LARGE_BATCH: u64 = 1_000;
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything random follows from it; tests print it.
    pub seed: u64,
    /// Row changes to commit in all, those of the large transaction included, at least.
    pub rows: u64,
    /// Connections that write at once.
    pub writers: u32,
    /// Rows of the one large transaction; 0 for none.
    pub large_rows: u64,
    /// Bytes of text in each of them.
    pub large_row_bytes: usize,
}

impl Plan {
    /// 50 000 row changes by one writer, 3 rotations, a transaction of 16 MB.
    pub const SMALL: Self =
        Self { seed: 1, rows: 50_000, writers: 1, large_rows: 16_000, large_row_bytes: 1_000 };
}

/// What was committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Row changes, as the change log counts them.
    pub changes: u64,
    /// Transactions with at least one.
    pub transactions: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.changes += other.changes;
        self.transactions += other.transactions;
    }
}

/// Makes the workload's schema `shop`.
pub async fn prepare(server: &Server) -> Result<()> {
    server
        .run(&[
            "CREATE DATABASE shop CHARACTER SET utf8mb4",
            "CREATE TABLE shop.orders (id BIGINT UNSIGNED PRIMARY KEY, customer VARCHAR(64) NOT NULL, \
             amount DECIMAL(12,2) NOT NULL, state ENUM('new','paid','shipped') NOT NULL, \
             placed DATETIME(6) NOT NULL, n INT NOT NULL, note TEXT NULL)",
            "CREATE TABLE shop.items (order_id BIGINT UNSIGNED NOT NULL, line INT NOT NULL, \
             sku VARBINARY(16) NOT NULL, quantity SMALLINT NOT NULL, PRIMARY KEY (order_id, line))",
            // Without a primary key.
            "CREATE TABLE shop.journal (at TIMESTAMP(3) NOT NULL, writer INT NOT NULL, \
             what VARCHAR(200) NOT NULL)",
            "CREATE TABLE shop.blobs (id BIGINT UNSIGNED PRIMARY KEY, body MEDIUMTEXT NOT NULL)",
        ])
        .await
}

/// The tables for the oracle. `altered` says whether the ALTER of [`run`] has happened.
pub fn tables(altered: bool) -> Vec<Table> {
    let table = |name: &str, key: &[&str], columns: &[(&str, &str)]| Table {
        name: format!("shop.{name}"),
        key: key.iter().map(ToString::to_string).collect(),
        columns: columns.iter().map(|(name, sql)| ((*name).into(), (*sql).into())).collect(),
        defaults: [].into(),
    };
    let plain = |names: &[&'static str]| -> Vec<(&'static str, &'static str)> {
        names.iter().map(|name| (*name, *name)).collect()
    };
    let mut orders = table(
        "orders",
        &["id"],
        &plain(&["id", "customer", "amount", "state", "placed", "n", "note"]),
    );
    if altered {
        orders.columns.push(("extra".into(), "extra".into()));
        orders.defaults.insert("extra".into(), "7".into());
    }
    vec![
        orders,
        table(
            "items",
            &["order_id", "line"],
            &[
                ("order_id", "order_id"),
                ("line", "line"),
                ("sku", "LOWER(HEX(sku))"),
                ("quantity", "quantity"),
            ],
        ),
        table("journal", &[], &plain(&["at", "writer", "what"])),
        table("blobs", &["id"], &plain(&["id", "body"])),
    ]
}

/// Runs the whole plan on a prepared server: the ALTER at 40 % of the rows, a rotation at each
/// quarter, the large transaction at half.
pub async fn run(server: &Server, plan: &Plan) -> Result<Done> {
    let mut writers = Vec::new();
    for number in 0..plan.writers {
        writers.push(Writer::connect(server, plan.seed, number).await?);
    }
    let mut done = Done::default();
    for (percent, event) in [
        (25, Event::Rotate),
        (40, Event::Alter),
        (50, Event::RotateAndLarge),
        (75, Event::Rotate),
        (100, Event::Nothing),
    ] {
        let until = plan.rows * percent / 100;
        let each = until.saturating_sub(done.changes).div_ceil(u64::from(plan.writers.max(1)));
        let mut running = JoinSet::new();
        for mut writer in std::mem::take(&mut writers) {
            running.spawn(async move {
                let mut written = Done::default();
                while written.changes < each {
                    written += writer.transaction().await?;
                }
                Ok::<_, Failure>((writer, written))
            });
        }
        while let Some(ended) = running.join_next().await {
            let (writer, written) = ended??;
            writers.push(writer);
            done += written;
        }
        match event {
            Event::Nothing => {}
            Event::Alter => {
                server
                    .run(&["ALTER TABLE shop.orders ADD COLUMN extra INT NOT NULL DEFAULT 7"])
                    .await?;
            }
            Event::Rotate => server.run(&["FLUSH BINARY LOGS"]).await?,
            Event::RotateAndLarge => {
                server.run(&["FLUSH BINARY LOGS"]).await?;
                done += large(server, plan.large_rows, plan.large_row_bytes).await?;
            }
        }
    }
    Ok(done)
}

#[derive(Clone, Copy)]
enum Event {
    Nothing,
    Rotate,
    RotateAndLarge,
    Alter,
}

/// One transaction that inserts so many rows of so many bytes into `shop.blobs`.
pub async fn large(server: &Server, rows: u64, row_bytes: usize) -> Result<Done> {
    if rows == 0 {
        return Ok(Done::default());
    }
    let mut connection = server.connect().await?;
    let first: u64 = connection
        .query_first("SELECT COALESCE(MAX(id), 0) + 1 FROM shop.blobs")
        .await?
        .context(|| "find the next id of shop.blobs")?;
    connection.query_drop("BEGIN").await?;
    let end = first + rows;
    for batch in (first..end).step_by(LARGE_BATCH as usize) {
        // Text that does not compress to nothing.
        let values: Vec<_> = (batch..end.min(batch + LARGE_BATCH))
            .map(|id| format!("({id}, RPAD(SHA2({id}, 256), {row_bytes}, SHA2({id}, 512)))"))
            .collect();
        let insert = format!("INSERT INTO shop.blobs (id, body) VALUES {}", values.join(", "));
        connection.query_drop(insert).await.context(|| "write the large transaction")?;
    }
    connection.query_drop("COMMIT").await?;
    connection.disconnect().await?;
    Ok(Done { changes: rows, transactions: 1 })
}

/// Writers that write until they are stopped.
#[derive(Debug)]
pub struct Writers {
    stop: CancellationToken,
    running: JoinSet<Result<Done>>,
}

impl Writers {
    /// Starts so many writers on a prepared server.
    pub async fn start(server: &Server, seed: u64, writers: u32) -> Result<Self> {
        Self::paced(server, seed, writers, Duration::ZERO).await
    }

    /// The same, each with so much time between two transactions.
    pub async fn paced(server: &Server, seed: u64, writers: u32, pace: Duration) -> Result<Self> {
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        for number in 0..writers {
            let mut writer = Writer::connect(server, seed, number).await?;
            let stop = stop.clone();
            running.spawn(async move {
                let mut done = Done::default();
                while !stop.is_cancelled() {
                    done += writer.transaction().await?;
                    if !pace.is_zero() {
                        stop.run_until_cancelled(tokio::time::sleep(pace)).await;
                    }
                }
                Ok(done)
            });
        }
        Ok(Self { stop, running })
    }

    /// Lets each end its transaction and gives what all committed.
    pub async fn stop(mut self) -> Result<Done> {
        self.stop.cancel();
        let mut done = Done::default();
        let joined = async {
            while let Some(ended) = self.running.join_next().await {
                done += ended??;
            }
            Ok(done)
        };
        within("the writers end", STOP_LIMIT, joined).await?
    }
}
