//! The source has purged what comes next: said at once, recorded once it was seen twice, latched until somebody
//! acknowledges it, and counted for ever.

use std::collections::BTreeSet;
use std::time::Instant;

use crds::annotations::ACKNOWLEDGE_GAP;
use crds::v1alpha1::GapStatus;
use e2e::resource::said;
use e2e::workload::Done;

use super::*;

/// Longest until a gap is recorded: what the product promises.
const RECORDED: Duration = Duration::from_secs(90);
/// Longer than the operator's way from a worker's word to the status.
const LATCHED: Duration = Duration::from_secs(8);
/// Rows before the gap, and as many after it.
const ROWS: u64 = 100;

/// A stream whose source purged, while it was stopped, two transactions on a table of their own.
struct Purged {
    server: Server,
    stream: StreamResource,
    /// What was committed besides, before the gap and after it.
    done: Done,
    started: Instant,
}

impl Purged {
    async fn start(kind: ServerKind, name: &str, on_gap: &str, s3: &S3) -> Result<Self> {
        let server = Server::builder(kind).start().await?;
        workload::prepare(&server).await?;
        server.run(&["CREATE TABLE shop.lost (id INT PRIMARY KEY)"]).await?;
        let stream = StreamResource::new(installed().await?, name, &server, s3).await?;
        let stream = stream.with(&json!({"onGap": on_gap}));
        stream.create().await?;
        let mut done = workload::large(&server, ROWS, 50).await?;
        stream.archived_all_of(&server, ARCHIVED).await?;
        stream.ready().await?;
        stream.stop().await?;
        let [one, two] = [1, 2].map(|id| format!("INSERT INTO shop.lost VALUES ({id})"));
        server.run(&[&one, "FLUSH BINARY LOGS", &two, "FLUSH BINARY LOGS"]).await?;
        let (newest, _) = server.position().await?;
        // A file that a dump still reads stays; the server learns only by a heartbeat that its reader has gone.
        until("all files but the newest are purged", SHOWN, || async {
            server.run(&[&format!("PURGE BINARY LOGS TO '{newest}'")]).await?;
            let files = server.binlogs().await?;
            Ok::<_, Failure>(Look::holds(files.len() == 1, || format!("{files:?}")))
        })
        .await?;
        done += workload::large(&server, ROWS, 50).await?;
        stream.set_state("Running").await?;
        Ok(Self { server, stream, done, started: Instant::now() })
    }

    /// Waits until the status says first that the position is purged and then that there is a gap.
    async fn detected(&self) -> Result<GapStatus> {
        let (stream, purged) = (&self.stream, ["BinlogPurged"]);
        let connected = ConditionType::SourceConnected;
        stream.says(connected, ConditionStatus::False, &purged, SHOWN).await?;
        println!("{}: purged, said after {:?}", stream.name, self.started.elapsed());
        let left = RECORDED.saturating_sub(self.started.elapsed());
        let (gap, detected) = (ConditionType::GapDetected, ["GapDetected"]);
        let status = stream.says(gap, ConditionStatus::True, &detected, left).await?;
        println!("{}: recorded, said after {:?}", stream.name, self.started.elapsed());
        assert_eq!(
            (status.gap_count, status.open_gap_count, status.gaps.len()),
            (Some(1), Some(1), 1)
        );
        let ready = said(&status, ConditionType::Ready)?;
        assert_eq!((ready.status, &*ready.reason), (ConditionStatus::False, "GapDetected"));
        let gap = status.gaps[0].clone();
        assert_eq!((&*gap.reason, &gap.acknowledged_at), ("BinlogPurged", &None), "{gap:?}");
        let mend = format!("{ACKNOWLEDGE_GAP}={}", gap.id);
        assert!(ready.message.contains(&mend), "{mend} is not told: {}", ready.message);
        self.counted("False", "GapDetected").await?;
        Ok(gap)
    }

    /// The gap is counted in the table whatever became of it.
    async fn counted(&self, ready: &str, status: &str) -> Result<()> {
        let line = self.stream.line().await?;
        let shown = ["READY", "STATUS", "GAPS"].map(|head| &*line[head]);
        assert_eq!(shown, [ready, status, "1"], "{line:?}");
        Ok(())
    }

    async fn stays_open(&self, gap: &GapStatus) -> Result<()> {
        throughout(format!("the gap of {} stays open", self.stream.name), LATCHED, || async {
            let status = self.stream.status().await?;
            let open = said(&status, ConditionType::GapDetected)?.status == ConditionStatus::True
                && status.gaps.first() == Some(gap);
            Ok::<_, Failure>(Look::holds(open, || format!("{:?}", status.gaps)))
        })
        .await
    }

    /// Acknowledges the gap by its id, and waits until the stream is well and says what it did.
    async fn acknowledge(&self, gap: &GapStatus) -> Result<()> {
        self.stream.annotate(ACKNOWLEDGE_GAP, &gap.id).await?;
        let (kind, closed) = (ConditionType::GapDetected, ["NoGap"]);
        self.stream.says(kind, ConditionStatus::False, &closed, SHOWN).await?;
        self.stream.ready().await?;
        let what = format!("{} echoes the acknowledgement", self.stream.name);
        until(what, SHOWN, || async {
            let action = self.stream.status().await?.last_handled_action;
            let done = action.as_ref().is_some_and(|action| {
                action.type_ == "acknowledge-gap"
                    && action.requested == gap.id
                    && action.outcome.as_deref() == Some("Done")
            });
            Ok::<_, Failure>(Look::holds(done, || format!("{action:?}")))
        })
        .await?;
        self.counted("True", "Streaming").await
    }

    /// Ends the stream: the range is named in the log with these phases, and all rows but those in it are there.
    async fn finish(&self, gap: &GapStatus, phases: &[&str]) -> Result<()> {
        let Self { server, stream, done, .. } = self;
        stream.archived_all_of(server, ARCHIVED).await?;
        well(stream).await?;
        logs::check(&stream.log().await?, &["events are gone"], &[SECRET_KEY])?;
        stream.stop().await?;
        let archive = stream.archive();
        let facts = oracle::check_log(&archive).await?;
        let lineages: BTreeSet<_> = facts.raw.iter().map(|raw| &*raw.lineage).collect();
        for lineage in lineages {
            oracle::check_raw(&archive, &facts, lineage, server).await?;
        }
        oracle::fold(&archive, server, &workload::tables(false)).await?.check()?;
        assert_eq!(facts.changes.iter().map(|(_, rows)| rows).sum::<u64>(), done.changes);
        let entries = archive.entries().await?.into_iter().map(|(_, entry)| entry);
        let gaps: Vec<_> = entries.filter(|entry| entry["kind"] == "gap").collect();
        let found: Vec<_> =
            gaps.iter().filter_map(|entry| entry["gap"]["phase"].as_str()).collect();
        assert_eq!(found, phases, "{gaps:?}");
        for entry in &gaps {
            let point = |name: &str| {
                let at = &entry["gap"][name];
                format!("{}:{}", at["file"].as_str().unwrap_or_default(), at["pos"])
            };
            assert_eq!(entry["gap"]["id"], *gap.id, "{entry}");
            assert_eq!((&point("from"), Some(&point("to"))), (&gap.from, gap.to.as_ref()));
        }
        Ok(())
    }
}

async fn stops_until_acknowledged(s3: &S3) -> Result<()> {
    let purged = Purged::start(ServerKind::MySql97, "gap-stop", "Stop", s3).await?;
    let gap = purged.detected().await?;
    purged.stays_open(&gap).await?;
    let (connected, reason) = (ConditionType::SourceConnected, ["BinlogPurged"]);
    purged.stream.says(connected, ConditionStatus::False, &reason, SHOWN).await?;
    purged.acknowledge(&gap).await?;
    assert_eq!(purged.stream.restarts().await?, 0);
    purged.finish(&gap, &["detected", "passed"]).await
}

async fn goes_on_and_stays_open(s3: &S3) -> Result<()> {
    let purged = Purged::start(ServerKind::MariaDb118, "gap-resume", "Resume", s3).await?;
    let gap = purged.detected().await?;
    let (stream, server) = (&purged.stream, &purged.server);
    let (connected, up) = (ConditionType::SourceConnected, ["Connected"]);
    stream.says(connected, ConditionStatus::True, &up, SHOWN).await?;
    stream.archived_all_of(server, ARCHIVED).await?;
    // Neither the worker's end nor its beginning lets go of it.
    stream.kill().await?;
    purged.stays_open(&gap).await?;
    assert!(stream.restarts().await? > 0, "the worker was not killed");
    stream.says(connected, ConditionStatus::True, &up, SHOWN).await?;
    purged.acknowledge(&gap).await?;
    purged.finish(&gap, &["detected", "passed", "acknowledged"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_position_is_a_gap_that_stays_open_until_it_is_acknowledged() -> Result<()> {
    let s3 = S3::start().await?;
    tokio::try_join!(stops_until_acknowledged(&s3), goes_on_and_stays_open(&s3))?;
    Ok(())
}
