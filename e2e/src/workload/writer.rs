//! One connection that writes transactions, each decided by the seed.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::Done;
use crate::server::Server;
use crate::{Context, Result};

/// Each writer has its own range of ids.
const IDS: u64 = 1_000_000_000;
/// Characters of one to four bytes, with those that need escapes.
const LETTERS: [char; 16] =
    ['a', 'B', 'z', '0', ' ', '\'', '"', '\\', '\n', '%', 'é', 'ß', '水', '☃', '🦭', '\u{1}'];

#[derive(Debug)]
pub(super) struct Writer {
    connection: Conn,
    random: StdRng,
    number: u32,
    live: Live,
}

/// The orders of this writer that exist.
#[derive(Debug, Clone, Copy)]
struct Live {
    first: u64,
    next: u64,
}

impl Writer {
    pub(super) async fn connect(server: &Server, seed: u64, number: u32) -> Result<Self> {
        let mut connection = server.connect().await?;
        // Ranges of neighbours must not lock each other.
        connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        let own = u64::from(number) * IDS;
        // A second run of writers goes on behind the rows of the first.
        let next: Option<u64> = connection
            .query_first(format!(
                "SELECT MAX(id) + 1 FROM shop.orders WHERE id BETWEEN {own} AND {}",
                own + IDS - 1
            ))
            .await?
            .flatten();
        let next = next.unwrap_or(own + 1);
        let random = StdRng::seed_from_u64(seed ^ (u64::from(number) << 32) ^ next);
        Ok(Self { connection, random, number, live: Live { first: next, next } })
    }

    /// One transaction: mostly committed, now and then rolled back, whole or to a savepoint.
    pub(super) async fn transaction(&mut self) -> Result<Done> {
        let before = self.live;
        self.run("BEGIN").await?;
        let mut changes = self.statements().await?;
        if self.random.random_ratio(1, 8) {
            self.run("SAVEPOINT here").await?;
            let kept = self.live;
            self.statements().await?;
            self.run("ROLLBACK TO SAVEPOINT here").await?;
            self.live = kept;
            changes += self.journal().await?;
        }
        if self.random.random_ratio(1, 12) {
            self.run("ROLLBACK").await?;
            self.live = before;
            return Ok(Done::default());
        }
        self.run("COMMIT").await?;
        Ok(Done { changes, transactions: u64::from(changes > 0) })
    }

    async fn statements(&mut self) -> Result<u64> {
        let mut changes = 0;
        for _ in 0..self.random.random_range(1..=4) {
            let count = self.live.next - self.live.first;
            changes += match self.random.random_range(0..10) {
                0..5 => self.insert().await?,
                5..8 if count > 0 => self.update().await?,
                8 if count > 200 => self.delete().await?,
                _ => self.journal().await?,
            };
        }
        Ok(changes)
    }

    async fn insert(&mut self) -> Result<u64> {
        // Mostly one row, sometimes many: both shapes of rows events.
        let rows = *[1, 1, 1, 5, 40, 200].choose(&mut self.random).context(|| "choose a size")?;
        let (mut orders, mut items) = (Vec::new(), Vec::new());
        for id in self.live.next..self.live.next + rows {
            let amount = self.random.random_range(-9_999_999_999_i64..=9_999_999_999);
            let (whole, cents) = (amount / 100, (amount % 100).abs());
            let state = ["new", "paid", "shipped"][self.random.random_range(0..3)];
            let micros = self.random.random_range(0..1_000_000);
            let second = self.random.random_range(0..86_400);
            let n = self.random.random_range(i32::MIN..i32::MAX);
            let customer = self.text(20);
            let note = if self.random.random_ratio(1, 4) { "NULL".into() } else { self.text(120) };
            orders.push(format!(
                "({id}, {customer}, {whole}.{cents:02}, '{state}', \
                 TIMESTAMP('2026-01-01 00:00:00.{micros:06}') + INTERVAL {second} SECOND, {n} / 2, {note})"
            ));
            let sku = hex::encode(self.random.random::<[u8; 8]>());
            items.push(format!("({id}, 1, X'{sku}', {})", self.random.random_range(-9..9)));
        }
        let orders = format!(
            "INSERT INTO shop.orders (id, customer, amount, state, placed, n, note) VALUES {}",
            orders.join(", ")
        );
        let mut changes = self.run(&orders).await?;
        if self.random.random_bool(0.5) {
            let items = items.join(", ");
            changes += self
                .run(&format!(
                    "INSERT INTO shop.items (order_id, line, sku, quantity) VALUES {items}"
                ))
                .await?;
        }
        self.live.next += rows;
        Ok(changes)
    }

    async fn update(&mut self) -> Result<u64> {
        let Live { first, next } = self.live;
        let from = self.random.random_range(first..next);
        let to = from + self.random.random_range(0..50);
        let to = to.min(next - 1);
        let note = self.text(60);
        // Every row of the range changes, so the rows affected are those in the binlog.
        self.run(&format!(
            "UPDATE shop.orders SET n = IF(n > 0, n - 1, n + 1), state = 'paid', note = {note} \
             WHERE id BETWEEN {from} AND {to}"
        ))
        .await
    }

    async fn delete(&mut self) -> Result<u64> {
        let first = self.live.first;
        let end = first + self.random.random_range(1..40);
        let changes = self
            .run(&format!("DELETE FROM shop.orders WHERE id >= {first} AND id < {end}"))
            .await?;
        self.live.first = end;
        Ok(changes
            + self
                .run(&format!(
                    "DELETE FROM shop.items WHERE order_id >= {first} AND order_id < {end}"
                ))
                .await?)
    }

    async fn journal(&mut self) -> Result<u64> {
        let (what, number) = (self.text(30), self.number);
        let millis = self.random.random_range(0..1_000);
        self.run(&format!(
            "INSERT INTO shop.journal (at, writer, what) \
             VALUES ('2026-03-04 05:06:07.{millis:03}', {number}, {what})"
        ))
        .await
    }

    /// A string literal of up to `most` characters.
    fn text(&mut self, most: usize) -> String {
        let length = self.random.random_range(0..=most);
        let text: String =
            (0..length).filter_map(|_| LETTERS.choose(&mut self.random)).copied().collect();
        format!("_utf8mb4 X'{}'", hex::encode(text))
    }

    /// Runs a statement and gives the rows it changed.
    async fn run(&mut self, statement: &str) -> Result<u64> {
        self.connection
            .query_drop(statement)
            .await
            .context(|| format!("run {}", statement.chars().take(80).collect::<String>()))?;
        Ok(self.connection.affected_rows())
    }
}
