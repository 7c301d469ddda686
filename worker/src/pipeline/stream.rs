//! One connection's worth of streaming: read, assemble, cut, hand over, until something ends it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use archive::commit::CommitEnd;
use binlog::{StoppedTable, TableName, Unnamed};
use crds::conditions::Reason;
use crds::position::FilePosition;
use crds::worker_status::{DecodingFacet, MAX_LISTED, Phase, PositionFacet, StoppedTableFacet};

use jiff::Timestamp;
use source::{Dump, Identity, SourceConfig, SourceError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant as Deadline;
use tokio_util::sync::CancellationToken;

use super::assemble::{Assembler, Counters, ResumePoint, Seen, Wanted};
use super::cut::Cut;
use super::error::AssembleError;
use super::pace::Pace;
use super::recall::Recall;
use super::ship::{Ended, Shipment, Shipper};
use crate::board::Board;
use crate::metrics::Metrics;
use crate::names::ask::{Asker, Unanswered};

/// Heartbeats after which what the source still owes does not come.
const PROOF_LIMIT: u32 = 4;

/// When a cut is made.
#[derive(Debug, Clone, Copy)]
pub struct CutRule {
    /// Longest wait of an event for its entry's turn (`archive.commit.maxDelay`).
    pub max_delay: Duration,
    /// Bytes of binlog in one entry (`archive.commit.maxBytes`).
    pub max_bytes: u64,
}

/// Why streaming over one connection ended. What was received up to the last boundary is handed over.
#[derive(Debug)]
pub enum StreamEnd {
    /// Told to stop.
    Told,
    /// The connection is gone, or the source refuses.
    Source(SourceError),
    /// The address leads to another server.
    Elsewhere,
    /// What came cannot be a continuation.
    Broken(AssembleError),
    /// The archive takes no more; the committer knows why.
    Archive,
}

/// Everything a connection streams with.
pub struct Stream<'a> {
    /// Turns events into parts and cuts.
    pub assembler: Assembler,
    /// Takes parts and cuts.
    pub shipper: &'a Shipper,
    /// Who asks for a cut is told the boundary that it was made at.
    pub asked: mpsc::Receiver<oneshot::Sender<FilePosition>>,
    /// Who waits for that.
    pub hurried: Option<oneshot::Sender<FilePosition>>,
    /// Reads back what was prepared long before its verdict.
    pub recall: Recall<'a>,
    /// Asks the source for the columns that table maps do not name.
    pub asker: &'a mut Asker,
    /// Whom it asks.
    pub source: (&'a SourceConfig, &'a Identity),
    /// Where the last cut ended: what came behind may turn out to be void.
    pub kept: ResumePoint,
    /// How often the source had nothing to send while answers waited for their proof.
    pub unproven: u32,
    /// When to cut.
    pub rule: CutRule,
    /// Events taken from the read buffer before anything else gets its turn (`batch.maxEvents`).
    pub batch: u32,
    /// Told what happens.
    pub board: &'a Board,
    /// Counts what happens.
    pub metrics: &'a Metrics,
    /// How long the last boundary's hand-over may take when told to stop.
    pub drain_limit: Duration,
    /// The source has shown that it serves our history.
    pub proven: bool,
    /// How many stopped tables the board was told of.
    pub stopped_shown: Option<usize>,
    /// A cut was taken out and is not handed over. If it never is, it is lost, and nothing may follow it: the
    /// session ends, and the next one reads from what is durable.
    pub handing: bool,
    /// The source had nothing else to send than its last heartbeat.
    pub idle: bool,
    /// Something came that the board was not told of.
    pub unreported: bool,
}

/// What ends a connection from outside, however long the archive lets it wait.
struct Outside<'a> {
    told: &'a CancellationToken,
    archive_ended: watch::Receiver<Option<CommitEnd>>,
    /// How long a hand-over may go on when told to stop.
    limit: Duration,
}

impl Outside<'_> {
    async fn ends(&mut self) -> StreamEnd {
        tokio::select! {
            biased;
            () = self.told.cancelled() => StreamEnd::Told,
            _ = self.archive_ended.wait_for(Option::is_some) => StreamEnd::Archive,
        }
    }

    /// When a hand-over under way is given up.
    async fn gives_up(&mut self) -> StreamEnd {
        let end = self.ends().await;
        if matches!(end, StreamEnd::Told) {
            tokio::time::sleep(self.limit).await;
        }
        end
    }
}

impl Stream<'_> {
    /// Streams until told to stop or something breaks. `archive_ended` turns true when the committer ended.
    pub async fn run(
        mut self,
        dump: &mut Dump,
        told: &CancellationToken,
        archive_ended: watch::Receiver<Option<CommitEnd>>,
    ) -> (StreamEnd, ResumePoint) {
        let mut pace = Pace::default();
        let mut outside = Outside { told, archive_ended, limit: self.drain_limit };
        let end = loop {
            let wait = pace.cut_at(self.rule.max_delay, self.assembler.has_news());
            let turn = tokio::select! {
                biased;
                end = outside.ends() => Err(end),
                () = tokio::time::sleep_until(wait), if pace.waiting() && self.assembler.may_cut() => {
                    self.cut(&mut pace, &mut outside).await.map(|()| false)
                }
                () = tokio::time::sleep_until(pace.report_at()), if self.unreported => {
                    self.report();
                    pace.reported();
                    Ok(false)
                }
                Some(reply) = self.asked.recv() => {
                    self.hurried = Some(reply);
                    Ok(false)
                }
                event = dump.next() => match event {
                    Ok(event) => self.accept(event).map(|()| true),
                    Err(error) => Err(StreamEnd::Source(error)),
                },
            };
            let more = match turn {
                Ok(received) => received,
                Err(end) => break end,
            };
            if more && let Err(end) = self.drain_buffer(dump) {
                break end;
            }
            if let Err(end) = self.settle(&mut pace, &mut outside).await {
                break end;
            }
        };
        self.finish(end, &mut pace, &mut outside).await
    }

    /// Takes what came with the same read.
    fn drain_buffer(&mut self, dump: &mut Dump) -> Result<(), StreamEnd> {
        for _ in 1..self.batch {
            if self.assembler.must_hand_over() {
                return Ok(());
            }
            match dump.next_buffered().map_err(StreamEnd::Source)? {
                Some(event) => self.accept(event)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn accept(&mut self, event: &[u8]) -> Result<(), StreamEnd> {
        let seen = self.assembler.accept(event).map_err(StreamEnd::Broken)?;
        self.unreported = true;
        if !self.proven && self.assembler.is_proven() {
            self.proven = true;
            self.connected();
        }
        self.saw(seen);
        Ok(())
    }

    /// The source serves our history: from now on the stream runs.
    fn connected(&self) {
        self.board.update(|facts| {
            facts.report.source.connected = true;
            facts.report.source.reason = Reason::Connected;
            facts.report.source.message.clear();
            facts.last_sign = Some(Instant::now());
        });
        self.board.enter(Phase::Streaming, Reason::Streaming, "");
    }

    fn saw(&mut self, seen: Seen) {
        let was_idle = std::mem::replace(&mut self.idle, seen == Seen::Heartbeat);
        self.unproven += u32::from(seen == Seen::Heartbeat);
        if seen == Seen::Nothing && !was_idle {
            return;
        }
        let now = Instant::now();
        match seen {
            Seen::Nothing => self.board.update(|facts| facts.lag.has_more(now)),
            Seen::Heartbeat => self.board.update(|facts| {
                facts.lag.heartbeat(now);
                facts.last_sign = Some(now);
                facts.report.source.last_heartbeat_at = Some(Timestamp::now());
            }),
            Seen::Transaction(commit_us) => {
                self.board.update(|facts| facts.lag.group_received(commit_us, now));
            }
        }
    }

    /// Hands over what is full, cuts when it is time, and does so part by part for an event that unpacks to many.
    async fn settle(
        &mut self,
        pace: &mut Pace,
        outside: &mut Outside<'_>,
    ) -> Result<(), StreamEnd> {
        loop {
            self.settle_part(pace, outside).await?;
            if !self.assembler.is_unpacking() {
                return Ok(());
            }
            if let Some(wanted) = self.assembler.wanted_bytes() {
                self.recall(&wanted, pace, outside).await?;
            }
            if let Some(unnamed) = self.assembler.unnamed().cloned() {
                self.name(&unnamed, outside).await?;
            }
            let seen = self.assembler.go_on().map_err(StreamEnd::Broken)?;
            self.saw(seen);
        }
    }

    /// Gives the assembler bytes of a prepared transaction. What was prepared since the last cut is made durable first.
    async fn recall(
        &mut self,
        wanted: &Wanted,
        pace: &mut Pace,
        outside: &mut Outside<'_>,
    ) -> Result<(), StreamEnd> {
        if !self.recall.holds(wanted) {
            if !self.assembler.may_cut() {
                return Err(self.give_up_proofs("a transaction prepared before it is decided"));
            }
            self.cut(pace, outside).await?;
        }
        let fetched = tokio::select! {
            biased;
            fetched = self.recall.fetch(wanted) => fetched,
            end = outside.ends() => return Err(end),
        };
        match fetched {
            Ok(bytes) => self.assembler.feed(&bytes),
            Err(why) => self.assembler.lose(&why),
        }
        Ok(())
    }

    /// Finds the columns of a table: by what is known, else by asking the source.
    async fn name(
        &mut self,
        unnamed: &Unnamed,
        outside: &mut Outside<'_>,
    ) -> Result<(), StreamEnd> {
        if self.assembler.name_by_statements() {
            return Ok(());
        }
        let (at, (settings, identity)) = (self.assembler.unnamed_at(), self.source);
        let asked = tokio::select! {
            biased;
            asked = self.asker.ask(settings, identity, unnamed, &at) => asked,
            end = outside.ends() => return Err(end),
        };
        match asked {
            Ok(naming) => self.assembler.name(naming),
            Err(Unanswered::Source(error)) => return Err(StreamEnd::Source(error)),
            Err(Unanswered::Elsewhere) => return Err(StreamEnd::Elsewhere),
        }
        Ok(())
    }

    /// What waits for its proof is void.
    fn give_up_proofs(&mut self, why: &str) -> StreamEnd {
        self.assembler.unproven(Some(why)).map_or(StreamEnd::Told, StreamEnd::Broken)
    }

    /// Answers wait for their proof as long as the source has something to send.
    async fn follow_proofs(&mut self) -> Result<(), StreamEnd> {
        if !self.assembler.is_proving() {
            self.unproven = 0;
            self.asker.rest().await;
        } else if self.unproven >= PROOF_LIMIT {
            return Err(self.give_up_proofs("the source does not send what it had logged by then"));
        }
        Ok(())
    }

    async fn settle_part(
        &mut self,
        pace: &mut Pace,
        outside: &mut Outside<'_>,
    ) -> Result<(), StreamEnd> {
        let handed = tokio::select! {
            biased;
            handed = self.hand_over() => handed,
            end = outside.ends() => return Err(end),
        };
        handed.map_err(|Ended| StreamEnd::Archive)?;
        if self.assembler.pending_bytes() > 0 {
            pace.begin();
        }
        let full =
            self.assembler.pending_bytes() >= self.rule.max_bytes && self.assembler.has_news();
        let hurried = self.hurried.is_some() && self.assembler.has_boundary();
        if (full || hurried || self.assembler.cut_wanted()) && self.assembler.may_cut() {
            self.cut(pace, outside).await?;
        }
        if self.assembler.may_cut()
            && let Some(reply) = self.hurried.take()
        {
            // Whoever asked may have gone.
            drop(reply.send(self.assembler.at().clone()));
        }
        self.follow_proofs().await?;
        if pace.report_at() <= Deadline::now() {
            self.report();
            pace.reported();
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), Ended> {
        // Room first, then the part: a part that was taken out is never lost to a cancelled wait.
        while let Some(bytes) = self.assembler.next_part_bytes() {
            let room = self.shipper.room(bytes).await?;
            if let Some(part) = self.assembler.next_part() {
                room.take(part);
            }
        }
        Ok(())
    }

    async fn cut(&mut self, pace: &mut Pace, outside: &mut Outside<'_>) -> Result<(), StreamEnd> {
        pace.restart();
        self.handing = true;
        let cut = self.assembler.cut().map_err(StreamEnd::Broken)?;
        self.kept = self.assembler.resume_point();
        let handed = tokio::select! {
            biased;
            handed = self.deliver(cut) => handed,
            end = outside.gives_up() => return Err(end),
        };
        handed.map_err(|Ended| StreamEnd::Archive)?;
        self.handing = false;
        if self.assembler.pending_bytes() > 0 {
            pace.begin();
        }
        self.report();
        Ok(())
    }

    async fn deliver(&mut self, cut: Option<Cut>) -> Result<(), Ended> {
        self.hand_over().await?;
        if let Some(cut) = cut {
            let head = self.assembler.raw_head();
            self.shipper.cut(Shipment { cut, head }).await?;
        }
        Ok(())
    }

    /// Hands over the last boundary, unless a cut before it was given up.
    async fn finish(
        mut self,
        end: StreamEnd,
        pace: &mut Pace,
        outside: &mut Outside<'_>,
    ) -> (StreamEnd, ResumePoint) {
        let end = if self.handing {
            end
        } else {
            self.hand_over_last(pace, outside).await.err().unwrap_or(end)
        };
        self.report();
        (end, self.kept)
    }

    /// What an open group has already shipped is given up; everything before it is cut.
    async fn hand_over_last(
        &mut self,
        pace: &mut Pace,
        outside: &mut Outside<'_>,
    ) -> Result<(), StreamEnd> {
        if self.assembler.streams_alone() || !self.assembler.may_cut() {
            let abandoned = tokio::select! {
                biased;
                abandoned = self.shipper.abandon() => abandoned,
                end = outside.gives_up() => return Err(end),
            };
            abandoned.map_err(|Ended| StreamEnd::Archive)
        } else if self.assembler.has_boundary() {
            self.cut(pace, outside).await
        } else {
            Ok(())
        }
    }

    fn report(&mut self) {
        self.unreported = false;
        let counters = self.assembler.take_counters();
        let Counters { events, bytes, transactions, rows } = counters;
        let commit_us = self.assembler.last_commit_us();
        let event_time = commit_us.and_then(|us| Timestamp::from_microsecond(us).ok());
        let received = PositionFacet::new(self.assembler.at(), None, event_time);
        self.metrics.add_received(events, bytes, transactions, rows);
        self.board.update(|facts| {
            if events + rows > 0 {
                let now = Instant::now();
                facts.last_sign = Some(now);
                facts.lag.receiving(now);
                facts.report.source.last_event_at = Some(Timestamp::now());
            }
            facts.report.received = Some(received);
            facts.report.counters.events += events;
            facts.report.counters.bytes += bytes;
            facts.report.counters.transactions += transactions;
            facts.report.counters.rows += rows;
        });
        if self.stopped_shown != Some(self.assembler.stopped().len()) {
            self.stopped_shown = Some(self.assembler.stopped().len());
            self.board.update(|facts| facts.report.decoding = decoding(self.assembler.stopped()));
        }
    }
}

/// Which tables stand, and what mends it.
fn decoding(stopped: &BTreeMap<TableName, StoppedTable>) -> DecodingFacet {
    let facet = |(table, why): (&TableName, &StoppedTable)| StoppedTableFacet {
        table: table.to_string(),
        reason: Reason::TableStopped,
        message: why.reason.clone(),
        since: why.since.clone(),
    };
    let listed: Vec<StoppedTableFacet> = stopped.iter().take(MAX_LISTED).map(facet).collect();
    let message = listed.first().map(|first| format!("{}: {}", first.table, first.message));
    DecodingFacet {
        healthy: stopped.is_empty(),
        reason: if stopped.is_empty() { Reason::Decoding } else { Reason::TableStopped },
        message: message.unwrap_or_default(),
        stopped_count: u32::try_from(stopped.len()).unwrap_or(u32::MAX),
        stopped: listed,
    }
}
