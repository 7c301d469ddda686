//! From parts and cuts to the committer, in order.
//!
//! The stream hands over and reads on: a slow archive is absorbed by the [`Spool`] before reading stops. What waits
//! here is not durable and is claimed by nobody.
//!
//! Invariants
//! - Orders are carried out in turn: a batch holds exactly the parts between its cut and the one before.
//! - Parts of a group that never ended go into no batch: they are abandoned (`Order::Abandon`).

use std::sync::{Arc, OnceLock};

use archive::Point;
use archive::commit::{
    Batch, ChangePart, ChangesBatch, Committer, RawBatch, RawBytes, RawPart, Uploading,
};
use archive::entry::{ClosedFile, FileEnd, RawHead, TableGap, XaClosed, XaOpened, XaPart};
use archive::store::{Store, StoreError};
use binlog::SchemaRecord;
use bytes::Bytes;
use crds::conditions::Reason;
use crds::position::{FilePosition, Flavor, GtidSet};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::assemble::{Part, Sinks};
use super::cut::{ClosedHow, Cut, Missed};
use super::prepared::XaStep;
use super::spool::{Packed, Place, Spool, SpoolError, Waiting};
use crate::backoff::Backoff;
use crate::fault::Fault;
use crate::names::{self, NameRecord};

/// Orders that may wait: the cuts of half a day without an archive. What bounds their parts is the spool.
const QUEUE: usize = 16 << 10;

/// What the shipper is told.
enum Order {
    Part(Waiting),
    /// With the transactions that it adds: a set stays small, however many they are.
    Cut(Box<Shipment>, GtidSet),
    Abandon,
    Flush(oneshot::Sender<()>),
}

/// A cut with what the log needs beside it.
pub struct Shipment {
    /// The cut.
    pub cut: Cut,
    /// Format description of the file that the cut ends in, once it came.
    pub head: Option<RawHead>,
}

/// The shipper has ended: the committer took no more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("hand over to the archive: the committer has ended")]
pub struct Ended;

/// Hands orders to the shipper's task.
pub struct Shipper {
    orders: mpsc::Sender<Order>,
    spool: Spool,
    flavor: Flavor,
    fault: Arc<OnceLock<Fault>>,
}

/// Room for one part.
pub struct Room<'a> {
    slot: mpsc::Permit<'a, Order>,
    place: Place,
}

impl Room<'_> {
    /// Hands the part over.
    pub fn take(self, part: Part) {
        self.slot.send(Order::Part(self.place.put(part)));
    }
}

/// What the shipper's task works with.
pub struct Route {
    /// Takes uploads and batches.
    pub committer: Arc<Committer>,
    /// For schemas, which are content-addressed and stand outside the commit.
    pub store: Arc<dyn Store>,
    /// Current lineage.
    pub lineage: String,
    /// Own epoch.
    pub epoch: u64,
    /// Flavor of the source.
    pub flavor: Flavor,
    /// Which sinks are on.
    pub sinks: Sinks,
    /// Where the change log's own cursor stands; it may be ahead of the first cut.
    pub changes_at: Option<FilePosition>,
}

impl Shipper {
    /// Starts the task; it ends when the shipper is dropped and all orders are carried out.
    pub fn start(route: Route, spool: Spool) -> (Self, tokio::task::JoinHandle<()>) {
        let (orders, queue) = mpsc::channel(QUEUE);
        let (flavor, fault) = (route.flavor, Arc::new(OnceLock::new()));
        let dock = Dock { route, raw: Vec::new(), changes: Vec::new(), fault: Arc::clone(&fault) };
        let task = tokio::spawn(async move {
            if dock.work(queue).await.is_err() {
                tracing::debug!("shipper ended with the committer");
            }
        });
        (Self { orders, spool, flavor, fault }, task)
    }

    /// Waits for room for a part of so many bytes. May be cancelled: nothing has changed hands yet.
    pub async fn room(&self, bytes: usize) -> Result<Room<'_>, Ended> {
        let place = tokio::select! {
            biased;
            () = self.orders.closed() => return Err(Ended),
            place = self.spool.room(bytes) => place,
        };
        let slot = self.orders.reserve().await.map_err(|_| Ended)?;
        Ok(Room { slot, place })
    }

    /// Hands over a cut.
    pub async fn cut(&self, mut shipment: Shipment) -> Result<(), Ended> {
        let before = shipment.cut.before.take();
        let mut set = before.unwrap_or_else(|| GtidSet::new(self.flavor));
        for gtid in std::mem::take(&mut shipment.cut.added) {
            if let Err(error) = set.add(&gtid) {
                tracing::error!(%error, "a transaction's id does not fit the stream, the stream stops");
                return Err(Ended);
            }
        }
        self.send(Order::Cut(Box::new(shipment), set)).await
    }

    /// Why the shipper ended by itself, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get().cloned()
    }

    /// Gives up the parts handed over since the last cut.
    pub async fn abandon(&self) -> Result<(), Ended> {
        self.send(Order::Abandon).await
    }

    /// Returns when everything handed over before is submitted.
    pub async fn flush(&self) -> Result<(), Ended> {
        let (done, wait) = oneshot::channel();
        self.send(Order::Flush(done)).await?;
        wait.await.map_err(|_| Ended)
    }

    async fn send(&self, order: Order) -> Result<(), Ended> {
        self.orders.send(order).await.map_err(|_| Ended)
    }
}

/// The task's own state: parts since the last cut.
struct Dock {
    route: Route,
    raw: Vec<Uploading>,
    changes: Vec<Uploading>,
    fault: Arc<OnceLock<Fault>>,
}

impl Dock {
    async fn work(mut self, mut queue: mpsc::Receiver<Order>) -> Result<(), Ended> {
        while let Some(order) = queue.recv().await {
            match order {
                Order::Part(part) => self.part(part).await?,
                Order::Cut(shipment, added) => self.submit(*shipment, added).await?,
                Order::Abandon => {
                    let mut parts = std::mem::take(&mut self.raw);
                    parts.append(&mut self.changes);
                    self.route.committer.abandon(parts);
                }
                // Nobody may be left to hear it.
                Order::Flush(done) => drop(done.send(())),
            }
        }
        Ok(())
    }

    /// Begins the upload of a part; its room is free when that has begun.
    async fn part(&mut self, part: Waiting) -> Result<(), Ended> {
        let (packed, _room) = part.fetch().await.map_err(|error| self.lost(&error))?;
        let committer = &self.route.committer;
        match packed {
            Packed::Raw(part) => {
                let part = RawPart {
                    lineage: self.route.lineage.clone(),
                    file: part.file,
                    from: part.range.start,
                    to: part.range.end,
                    bytes: RawBytes::Plain(Bytes::from(part.bytes)),
                };
                self.raw.push(committer.upload_raw(part).await.map_err(|_| Ended)?);
            }
            Packed::Changes(file) => {
                let part = ChangePart {
                    bytes: file.bytes,
                    rows: file.rows,
                    min_time_us: file.min_time_us,
                    max_time_us: file.max_time_us,
                    date: None,
                };
                self.changes.push(committer.upload_change(part).await.map_err(|_| Ended)?);
            }
        }
        Ok(())
    }

    /// A part is not to be had any more: nothing behind it may be committed, the session begins anew.
    fn lost(&self, error: &SpoolError) -> Ended {
        let reason = match error {
            SpoolError::ReadBack { .. } => Reason::ArchiveFailing,
            SpoolError::Rows(_) | SpoolError::Ends => Reason::InternalError,
        };
        tracing::error!(%error, "a part cannot go to the archive, the session begins anew");
        // Only the first one is told: the task ends with it.
        self.fault.get_or_init(|| Fault::archive(reason, error.to_string()));
        Ended
    }

    async fn submit(&mut self, shipment: Shipment, added: GtidSet) -> Result<(), Ended> {
        let Shipment { cut, head } = shipment;
        let Cut {
            from,
            to,
            tail,
            // Both are in `added` by now.
            before: _,
            added: _,
            closed,
            missed,
            xa,
            schemas,
            names,
            event_time_us,
            transactions,
            rows_void,
        } = cut;
        if rows_void {
            self.route.committer.abandon(std::mem::take(&mut self.changes));
        }
        self.store_schemas(&schemas).await;
        self.store_names(&to, &names).await;
        let raw = self.route.sinks.raw.then(|| RawBatch {
            from: self.point(&from),
            to: self.point(&to),
            parts: std::mem::take(&mut self.raw),
            closed: closed.iter().map(closed_file).collect(),
            head,
        });
        let changes = self.changes_batch(&from, &to, transactions, &schemas);
        let batch = Batch {
            raw,
            changes,
            gtid_added: (!added.is_empty()).then_some(added),
            tail,
            event_time: event_time_us.and_then(|us| Timestamp::from_microsecond(us).ok()),
            xa: self.xa_part(xa),
            gaps: missed.iter().map(|missed| self.table_gap(missed)).collect(),
        };
        self.route.committer.submit(batch).await.map_err(|_| Ended)
    }

    /// The change log's part of the cut. While its cursor is ahead of the cut's end it does not move.
    fn changes_batch(
        &mut self,
        from: &FilePosition,
        to: &FilePosition,
        transactions: u64,
        schemas: &[SchemaRecord],
    ) -> Option<ChangesBatch> {
        if !self.route.sinks.changes {
            return None;
        }
        let parts = std::mem::take(&mut self.changes);
        let from = match self.route.changes_at.take() {
            Some(ahead) if to.cmp_in_lineage(&ahead).is_some_and(std::cmp::Ordering::is_lt) => {
                self.route.changes_at = Some(ahead.clone());
                if self.route.sinks.raw {
                    return None;
                }
                let at = self.point(&ahead);
                return Some(ChangesBatch {
                    from: at.clone(),
                    to: at,
                    parts,
                    transactions: 0,
                    schemas: Vec::new(),
                });
            }
            Some(ahead) => ahead,
            None => from.clone(),
        };
        Some(ChangesBatch {
            from: self.point(&from),
            to: self.point(to),
            parts,
            transactions,
            schemas: schemas.iter().map(|schema| schema.fingerprint.clone()).collect(),
        })
    }

    /// Stores schemas under their fingerprints. They come before the entry that names them.
    async fn store_schemas(&self, schemas: &[SchemaRecord]) {
        for schema in schemas {
            let Ok(bytes) = serde_json::to_vec(schema) else { continue };
            let key = archive::layout::schema(&schema.fingerprint);
            let mut backoff = Backoff::archive();
            while let Err(error) = self.store_schema(&key, &bytes).await {
                tracing::warn!(%error, "schema could not be stored, trying again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }

    /// Stores what is known of tables' names. It comes before the entry that holds their rows.
    async fn store_names(&self, to: &FilePosition, records: &[NameRecord]) {
        let (store, lineage) = (&*self.route.store, &self.route.lineage);
        let mut backoff = Backoff::archive();
        while !records.is_empty()
            && let Err(error) = names::store(store, lineage, self.route.epoch, to, records).await
        {
            tracing::warn!(%error, "definitions of tables could not be stored, trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn store_schema(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.route.store.create(key, Bytes::copy_from_slice(bytes)).await.map(|_| ())
    }

    fn xa_part(&self, step: XaStep) -> XaPart {
        let opened = step.opened.into_iter().map(|open| XaOpened {
            xid: open.xid,
            gtid: open.gtid,
            lineage: open.lineage.unwrap_or_else(|| self.route.lineage.clone()),
            file: open.from.file,
            from: open.from.offset,
            to: open.to,
            crc32: open.crc32,
            object: None,
            n: None,
        });
        let closed = step.decided.into_iter().map(|decided| XaClosed {
            xid: decided.xid,
            verdict: if decided.committed { "commit" } else { "rollback" }.to_owned(),
        });
        XaPart { opened: opened.collect(), closed: closed.collect(), ..XaPart::default() }
    }

    fn table_gap(&self, missed: &Missed) -> TableGap {
        let id =
            format!("{}-{}", missed.reason.as_str().to_lowercase(), uuid::Uuid::new_v4().simple());
        TableGap {
            id,
            scope: if missed.to.is_none() { "table" } else { "group" }.to_owned(),
            table: missed.table.clone(),
            reason: missed.reason.as_str().to_owned(),
            from: self.point(&missed.from),
            to: missed.to.as_ref().map(|to| self.point(to)),
            from_row: missed.from_row,
            missing: missed.reason.detail().map(str::to_owned),
            by: None,
            since: Some(Timestamp::now()),
        }
    }

    fn point(&self, position: &FilePosition) -> Point {
        Point::new(&self.route.lineage, &position.file, position.offset)
    }
}

fn closed_file(closed: &super::cut::Closed) -> ClosedFile {
    let how = match closed.how {
        ClosedHow::Rotate => FileEnd::Rotate,
        ClosedHow::Stop => FileEnd::Stop,
        ClosedHow::Crash => FileEnd::Crash,
    };
    ClosedFile { file: closed.file.clone(), size: closed.size, how }
}
