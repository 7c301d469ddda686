//! The line to the source: the first entries of the session, then connection after connection.

use std::sync::Arc;
use std::time::Duration;

use archive::commit::{CommitEnd, Committer};
use archive::{LogError, Point, Store};
use binlog::{ChangeDecoder, Filter, GroupTracker, StoppedTable, TableName};
use changes::{ChangeBatch, ParquetSettings};
use crds::conditions::Reason;
use crds::worker_config::WorkerConfig;
use source::{Dump, DumpRefusal, Identity, SourceConfig};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::decide::server_of;
use super::housekeeping::{GapConsents, acknowledge_gaps};
use super::watch::{Cause, Watch, another};
use super::{Ready, Session, SessionEnd, span};
use crate::backoff::Backoff;
use crate::fault::{Fault, chain};
use crate::names::ask::Asker;
use crate::pipeline::assemble::{Assembler, ResumePoint, Sinks};
use crate::pipeline::error::AssembleError;
use crate::pipeline::recall::Recall;
use crate::pipeline::ship::{Route, Shipper};
use crate::pipeline::spool::Spool;
use crate::pipeline::stream::{CutRule, Stream, StreamEnd};
use crate::upstream;

/// Bytes that cannot be a continuation are asked for again this often before the stream stops.
const BROKEN_TRIES: u32 = 3;

/// See the module's text.
pub struct Line<'a, 'b> {
    /// The session it belongs to.
    pub session: &'a mut Session<'b>,
    /// The configuration that the session runs with.
    pub config: Arc<WorkerConfig>,
    /// The log.
    pub committer: &'a Arc<Committer>,
    /// The stream's root.
    pub store: &'a Arc<dyn Store>,
    /// Asks the source for columns, and keeps what came to nothing.
    pub asker: Asker,
}

/// Where streaming goes on, and on which server.
pub(super) struct Place {
    pub(super) resume: ResumePoint,
    pub(super) identity: Identity,
    pub(super) settings: SourceConfig,
}

/// Why a connection ended, and what to do.
enum Next {
    Reconnect(Box<ResumePoint>, Fault),
    End(SessionEnd),
}

impl Line<'_, '_> {
    /// Streams until the session must end.
    pub async fn run(mut self, ready: Ready) -> SessionEnd {
        match self.run_inner(ready).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn run_inner(&mut self, ready: Ready) -> Result<SessionEnd, SessionEnd> {
        let config = Arc::clone(&self.config);
        // As they stand now: a gap passed on the way is covered by the same words as those that are open already.
        let state = self.committer.durable().borrow().state.clone();
        let consents = GapConsents::new(&config.consents, &state);
        let told = self.told();
        let begun = async {
            let place = self.begin(ready).await?;
            self.log(acknowledge_gaps(self.committer, consents, self.session.board).await)?;
            Ok::<_, SessionEnd>(place)
        };
        // The archive or the source may be away for long.
        let place = tokio::select! {
            biased;
            end = told => return Err(end),
            place = begun => place?,
        };
        let (folder, size) = (self.config.work_dir.join("spool"), self.config.spool.size.get());
        let spool = Spool::open(folder, size, self.session.metrics.spooled_bytes.clone()).await;
        let (shipper, task) = Shipper::start(self.route(&place), spool);
        let end = self.connections(&shipper, place).await;
        // What was handed over is submitted before the session drains the committer.
        let limit = Duration::from_secs(u64::from(self.config.grace_period_seconds)) / 8;
        if tokio::time::timeout(limit, shipper.flush()).await.is_err() {
            tracing::warn!("not everything received reached the archive in time; it is read again");
        }
        drop(shipper);
        task.abort();
        // It ends at its next wait, and what still waits goes with it, its files too. Until then it holds the
        // committer, which could not be drained.
        if tokio::time::timeout(limit, task).await.is_err() {
            tracing::warn!("the hand-over to the archive did not end in time");
        }
        Ok(end)
    }

    /// Connection after connection.
    async fn connections(&mut self, shipper: &Shipper, mut place: Place) -> SessionEnd {
        let (mut backoff, mut broken) = (Backoff::source(), 0);
        loop {
            let before = place.resume.at.clone();
            let (resume, fault) = match self.connection(shipper, &place).await {
                Next::End(end) => return end,
                Next::Reconnect(resume, fault) => (*resume, fault),
            };
            // Each answer that did not hold is one less to wait for.
            if resume.at != before || fault.reason == Reason::SchemaUnknown {
                backoff.reset();
                broken = 0;
            }
            broken += u32::from(
                fault.reason == Reason::RawDiscontinuity || fault.reason == Reason::ProtocolError,
            );
            if broken >= BROKEN_TRIES {
                return SessionEnd::Fault(fault);
            }
            tracing::warn!(reason = %fault.reason, message = fault.message, "source connection ended, reconnecting");
            self.session
                .board
                .source_lost(Reason::Connecting, "the connection is closed, another is made");
            fault.show(self.session.board, self.session.metrics);
            place.resume = resume;
            if let Err(end) = self.reconnect(&mut backoff, fault.least_wait(), &mut place).await {
                return end;
            }
        }
    }

    /// Waits and asks until the same server answers again. Anything else needs a new look at the log.
    async fn reconnect(
        &mut self,
        backoff: &mut Backoff,
        mut least: Duration,
        place: &mut Place,
    ) -> Result<(), SessionEnd> {
        loop {
            self.pause(backoff.next_wait().max(least)).await?;
            let server_id = upstream::server_id(&self.config, self.session.instance.id());
            let settings = upstream::source_settings(&self.config, self.session.secrets, server_id);
            let asked = match settings {
                Ok(settings) => {
                    let board = self.session.board;
                    let inspected = tokio::select! {
                        biased;
                        end = self.told() => return Err(end),
                        inspected = upstream::inspect(&self.config, &settings, false, board) => inspected,
                    };
                    inspected.map(|(_, facts)| (settings, facts))
                }
                Err(fault) => Err(fault),
            };
            match asked {
                Err(fault) => {
                    least = fault.least_wait();
                    fault.show(self.session.board, self.session.metrics);
                }
                Ok((settings, facts)) => {
                    let identity = facts.identity;
                    let at = &place.resume.at;
                    let here = identity
                        .binlogs
                        .iter()
                        .flatten()
                        .any(|file| file.name == at.file && file.size >= at.offset);
                    if server_of(&identity) != server_of(&place.identity) || !here {
                        let what =
                            "the source is not where it was left, deciding anew from the archive";
                        return Err(Fault::source(Reason::SourceMoved, what).into());
                    }
                    (place.identity, place.settings) = (identity, settings);
                    return Ok(());
                }
            }
        }
    }

    /// Ends with the process, and with a configuration that needs another session.
    fn told(&self) -> impl Future<Output = SessionEnd> + use<> {
        let (stop, mut config) = (self.session.stop.clone(), self.session.config.clone());
        let running = Arc::clone(&self.config);
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => SessionEnd::Told,
                () = another(&mut config, &running) => SessionEnd::Told,
            }
        }
    }

    /// Waits, but not past a reason to end.
    async fn pause(&self, wait: Duration) -> Result<(), SessionEnd> {
        let mut config = self.session.config.clone();
        let mut ended = self.committer.ended();
        tokio::select! {
            biased;
            () = self.session.stop.cancelled() => Err(SessionEnd::Told),
            _ = ended.wait_for(Option::is_some) => Err(self.archive_ended()),
            _ = config.wait_for(|new| **new != *self.config) => Err(SessionEnd::Told),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// One connection: the fence first, then the dump.
    async fn connection(&mut self, shipper: &Shipper, place: &Place) -> Next {
        let assembler = match self.assembler(place) {
            Ok(assembler) => assembler,
            Err(fault) => return Next::End(SessionEnd::Fault(fault)),
        };
        let span = span::connect();
        let mut dump = tokio::select! {
            biased;
            end = self.told() => return Next::End(end),
            opened = self.open_dump(place).instrument(span.clone()) => match opened {
                Ok(Ok(dump)) => dump,
                Ok(Err(fault)) => {
                    span::failed(&span, &fault);
                    return Next::Reconnect(Box::new(place.resume.clone()), fault);
                }
                Err(end) => {
                    span::ended(&span, &end);
                    return Next::End(end);
                }
            },
        };
        drop(span);
        self.session.metrics.connects.inc();
        let heartbeats = self.config.source.heartbeat_interval.get();
        self.session.board.update(|facts| {
            facts.report.source.connects += 1;
            facts.lag.expect_heartbeats(heartbeats);
        });
        let commit = &self.config.archive.commit;
        let (ask, asked) = mpsc::channel(1);
        let stream = Stream {
            assembler,
            shipper,
            asked,
            hurried: None,
            recall: Recall { committer: self.committer, store: self.store },
            asker: &mut self.asker,
            source: (&place.settings, &place.identity),
            kept: place.resume.clone(),
            unproven: 0,
            rule: CutRule { max_delay: commit.max_delay.get(), max_bytes: commit.max_bytes.get() },
            batch: self.config.batch.max_events,
            board: self.session.board,
            metrics: self.session.metrics,
            drain_limit: Duration::from_secs(u64::from(self.config.grace_period_seconds)) / 8,
            proven: false,
            stopped_shown: None,
            handing: false,
            idle: false,
            unreported: false,
        };
        let server = server_of(&place.identity);
        let watch = Watch {
            stop: self.session.stop,
            config: self.session.config.clone(),
            running: Arc::clone(&self.config),
            secrets: self.session.secrets,
            server_id: place.settings.server_id,
            server: &server,
            committer: self.committer,
            board: self.session.board,
            ask,
            committed: &self.session.memory.committed,
            asked: self.session.memory.asked.as_ref(),
        };
        let told = CancellationToken::new();
        let (end, resume, cause) = {
            let streaming = stream.run(&mut dump, &told, self.committer.ended());
            tokio::pin!(streaming);
            tokio::select! {
                biased;
                (end, resume) = &mut streaming => (end, resume, None),
                cause = watch.wait() => {
                    told.cancel();
                    let (end, resume) = streaming.await;
                    (end, resume, Some(cause))
                }
            }
        };
        match (&cause, &end, shipper.fault()) {
            (None, StreamEnd::Archive, Some(fault)) => Next::End(SessionEnd::Fault(fault)),
            _ => self.judge_end(end, resume, cause),
        }
    }

    /// A fault here is waited out.
    async fn open_dump(&self, place: &Place) -> Result<Result<Dump, Fault>, SessionEnd> {
        let n = self.committer.durable().borrow().state.n;
        let fence = self.committer.fence();
        match tokio::time::timeout(Duration::from_secs(60), fence.check(n)).await {
            Ok(Ok(None)) => self.session.board.archive_answered(),
            Ok(Ok(Some(holder))) => return Err(SessionEnd::Fenced(holder)),
            // A zombie must not take the server id from whoever replaced it.
            Ok(Err(error)) => return Ok(Err(self.silent(Fault::from(error)))),
            Err(_) => {
                let what = "the archive gave no answer for 60 s; not connecting before it does";
                let fault = Fault::archive(Reason::ArchiveUnreachable, what);
                return Ok(Err(self.silent(fault)));
            }
        }
        let connected = source::connect(&place.settings).await;
        let dump = match connected {
            Ok(connection) => {
                connection.dump(place.identity.flavor, &place.resume.dump_from()).await
            }
            Err(error) => Err(error),
        };
        Ok(dump.map_err(Fault::from))
    }

    /// The stream stands still for it, although nothing may wait for the archive.
    fn silent(&self, fault: Fault) -> Fault {
        self.session.board.archive_silent(fault.reason, &fault.message);
        fault
    }

    fn judge_end(&mut self, end: StreamEnd, resume: ResumePoint, cause: Option<Cause>) -> Next {
        match (cause, end) {
            (Some(Cause::Stop | Cause::Config), _) => Next::End(SessionEnd::Told),
            (Some(Cause::Fenced(holder)), _) => Next::End(SessionEnd::Fenced(holder)),
            (Some(Cause::Moved(server)), _) => {
                let what = format!("the address now leads to server {server}");
                Next::End(Fault::source(Reason::SourceMoved, what).into())
            }
            (None, StreamEnd::Told) => Next::End(SessionEnd::Told),
            (None, StreamEnd::Archive) => Next::End(self.archive_ended()),
            (None, StreamEnd::Source(error)) => {
                let refused = error.refusal().is_some();
                if error.refusal() == Some(DumpRefusal::BadEvent) {
                    self.session.memory.torn = Some(resume.at.clone());
                }
                let fault = Fault::from(error);
                // The source refuses the position: decide anew from the archive and what the source has.
                if refused {
                    Next::End(fault.into())
                } else {
                    Next::Reconnect(resume.into(), fault)
                }
            }
            (None, StreamEnd::Elsewhere) => {
                let what = "the address leads to another server than the stream comes from";
                Next::End(Fault::source(Reason::SourceMoved, what).into())
            }
            (None, StreamEnd::Broken(error)) => {
                if let AssembleError::Unproven { tables, why } = &error {
                    self.asker.refuse(tables, why);
                }
                let fault = Fault::source(error.reason(), chain(&error));
                if let AssembleError::HistoryChanged { .. } | AssembleError::Discontinuity { .. } =
                    error
                {
                    self.session.memory.distrust(fault.message.clone());
                    return Next::End(fault.into());
                }
                Next::Reconnect(resume.into(), fault)
            }
        }
    }

    pub(super) fn archive_ended(&self) -> SessionEnd {
        let ended = self.committer.ended().borrow().clone();
        match ended {
            Some(CommitEnd::Fenced(by) | CommitEnd::Log(LogError::Fenced { by, .. })) => {
                SessionEnd::Fenced(by)
            }
            Some(CommitEnd::Log(error)) => SessionEnd::Fault(error.into()),
            Some(CommitEnd::Upload(error)) => SessionEnd::Rebuild(error.into()),
            _ => Fault::archive(Reason::InternalError, "the hand-over to the archive ended early")
                .into(),
        }
    }

    fn route(&self, place: &Place) -> Route {
        let state = self.committer.durable().borrow().state.clone();
        let changes = state.facts.changes.as_ref().map(Point::position);
        Route {
            committer: Arc::clone(self.committer),
            store: Arc::clone(self.store),
            lineage: state.lineage().unwrap_or_default().to_owned(),
            epoch: state.epoch,
            flavor: place.identity.flavor,
            sinks: self.sinks(),
            changes_at: changes,
        }
    }

    fn sinks(&self) -> Sinks {
        let archive = &self.config.archive;
        Sinks { raw: archive.raw.enabled, changes: archive.changes.enabled }
    }

    fn assembler(&self, place: &Place) -> Result<Assembler, Fault> {
        let identity = &place.identity;
        let filter = self.filter(identity)?;
        let mut decoder = ChangeDecoder::new(identity.flavor, filter.clone()).asking();
        let state = self.committer.durable().borrow().state.clone();
        for gap in state.facts.table_gaps.iter().filter(|gap| gap.to.is_none()) {
            if let Some((schema, table)) = gap.table.as_ref().and_then(|name| name.split_once('.'))
            {
                let name = TableName { schema: schema.to_owned(), table: table.to_owned() };
                let reason = gap.missing.clone().unwrap_or_else(|| gap.reason.clone());
                let (since, since_row) = (gap.from.position(), gap.from_row.unwrap_or_default());
                decoder.stop_table(name, StoppedTable { reason, since, since_row });
            }
        }
        let lineage = state.lineage().unwrap_or_default();
        let rows = ChangeBatch::new(lineage, ParquetSettings::default());
        let tracker = GroupTracker::new(identity.flavor);
        Ok(Assembler::new(place.resume.clone(), tracker, decoder, filter, rows, self.sinks()))
    }

    fn filter(&self, identity: &Identity) -> Result<Filter, Fault> {
        let filter = Filter::from_spec(&self.config.filter)
            .map_err(|error| Fault::source(Reason::SpecInvalid, format!("filter: {error}")))?;
        let filter = filter.lower_case_table_names(identity.lower_case_table_names);
        Ok(match &self.config.checkpoint.stream_state {
            // Whatever host is named: it may be this server, or one that this server replicates.
            Some(store) => filter.without_own_table(&store.database, &store.table),
            None => filter,
        })
    }

    pub(super) fn log<T>(&self, outcome: Result<T, LogError>) -> Result<T, SessionEnd> {
        outcome.map_err(|error| match error {
            LogError::Fenced { by, .. } => SessionEnd::Fenced(by),
            LogError::Cancelled { .. } => self.archive_ended(),
            error => SessionEnd::Fault(error.into()),
        })
    }
}
