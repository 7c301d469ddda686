//! Two writers of one stream in Kubernetes: a second pod, and the same resource in a second cluster.
//! One goes on; the other one stays up, says who holds the archive, and does not fight for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crds::annotations::ADOPT_ARCHIVE;
use crds::conditions::{ConditionType, Reason};
use crds::v1alpha1::ConditionStatus;
use crds::worker_status::{Phase, WorkerStatus};
use e2e::archive::Archive;
use e2e::cluster::Cluster;
use e2e::elsewhere::Elsewhere;
use e2e::release::installed;
use e2e::resource::{SETTLED, StreamResource};
use e2e::s3::{S3, SECRET_KEY};
use e2e::server::{Server, ServerKind};
use e2e::trial::{ARCHIVED, DRAINED};
use e2e::wait::{Look, throughout, until};
use e2e::workload::{self, Done, Writers};
use e2e::{Context, Failure, Result, logs, oracle};
use hyper::StatusCode;

const SECOND: &str = "second";
/// The promise: so long no epoch changes hands.
const TWO_MINUTES: Duration = Duration::from_secs(120);
/// Between two bursts while one worker goes on and the other one is looked at.
const ROUND: Duration = Duration::from_secs(3);
/// What the one that lost may log.
const FENCED: &str = "fenced: another instance holds the archive";

/// A stream from a server of its own, streaming.
async fn streaming(name: &str, kind: ServerKind) -> Result<(Server, S3, StreamResource)> {
    let server = Server::builder(kind).start().await?;
    workload::prepare(&server).await?;
    let s3 = S3::start().await?;
    let stream = StreamResource::new(installed().await?, name, &server, &s3).await?;
    stream.create().await?;
    stream.ready().await?;
    Ok((server, s3, stream))
}

/// Writes to the source in bursts, each with transactions of its own.
struct Source {
    server: Server,
    seed: u64,
    done: Done,
}

impl Source {
    async fn burst(&mut self) -> Result<()> {
        const PIECE: u64 = 20_000;
        self.seed += 1;
        let (file, from) = self.server.position().await?;
        let writers = Writers::start(&self.server, self.seed, 1).await?;
        until("the binlog has grown", SETTLED, || async {
            let (now, offset) = self.server.position().await?;
            let grown = now != file || offset > from + PIECE;
            Ok::<_, Failure>(Look::holds(grown, || format!("{now}:{offset}")))
        })
        .await?;
        self.done += writers.stop().await?;
        Ok(())
    }

    /// For all of `span` what is written becomes durable by the one holder, under the epoch that it
    /// has now, and `other` holds.
    async fn one_goes_on(
        &mut self,
        stream: &StreamResource,
        span: Duration,
        holder: impl AsyncFn() -> Result<WorkerStatus>,
        other: impl AsyncFn() -> Result<Look<()>>,
    ) -> Result<()> {
        let (holder, other) = (&holder, &other);
        let at_first = holder().await?;
        let began = Instant::now();
        while began.elapsed() < span {
            self.burst().await?;
            stream.archived_by(holder, &self.server, ARCHIVED).await?;
            throughout("one goes on and the other one does nothing", ROUND, || async {
                let now = holder().await?;
                if (&now.instance, now.epoch) != (&at_first.instance, at_first.epoch) {
                    return Ok(Look::Never(format!("epoch {:?} is {}'s", now.epoch, now.instance)));
                }
                other().await
            })
            .await?;
        }
        let last = holder().await?.archive.n;
        println!("{}: entries {:?} to {last:?} in {span:?}", stream.name, at_first.archive.n);
        assert!(last > at_first.archive.n, "the holder commits");
        Ok(())
    }

    /// Asks all oracles, once everything is archived and its worker has drained.
    async fn is_whole(&self, archive: &Archive) -> Result<u64> {
        let tables = workload::tables(false);
        let changes = self.done.changes;
        let (facts, folded) = oracle::check_all(archive, &self.server, &tables, changes).await?;
        println!(
            "{changes} changes in {} entries and {} epochs, {} claims, Delta version {}",
            facts.entries, facts.epoch, facts.claims, folded.version
        );
        Ok(facts.epoch)
    }
}

/// The log changed hands once: up to the epoch it is all of one instance, from then on of the other.
async fn changed_hands_once(archive: &Archive, first: &str, epoch: u64, then: &str) -> Result<()> {
    for (n, (instance, of)) in archive.authors().await?.iter().enumerate() {
        let expected = if *of < epoch { first } else { then };
        assert_eq!(instance, expected, "author of entry {n} in epoch {of}");
    }
    Ok(())
}

/// The resource says that its worker lost the archive, and that waiting does not help.
async fn says_fenced(stream: &StreamResource) -> Result<()> {
    let fenced = &["Fenced"];
    let (stands, not) = (ConditionStatus::True, ConditionStatus::False);
    stream.says(ConditionType::Ready, not, fenced, SETTLED).await?;
    stream.says(ConditionType::Stalled, stands, fenced, SETTLED).await?;
    let not_ours = &["Fenced", "ArchiveOwnedElsewhere"];
    stream.says(ConditionType::ArchiveHealthy, not, not_ours, SETTLED).await?;
    Ok(())
}

/// The worker says that it is fenced, by whom, and holds no epoch. When it looks again and finds
/// another owner, it says whose the archive is.
fn is_fenced_by(report: &WorkerStatus, holder: &WorkerStatus) -> bool {
    let by = report.fenced.as_ref().map(|fenced| (fenced.by.as_str(), Some(fenced.epoch)));
    (report.phase == Phase::Fenced || report.reason == Reason::ArchiveOwnedElsewhere)
        && report.epoch.is_none()
        && by == Some((holder.instance.as_str(), holder.epoch))
}

/// The loser's pod stays up, not ready, with so many restarts; it says who holds the archive, and so
/// does its resource.
async fn lost_to(
    stream: &StreamResource,
    holder: &WorkerStatus,
    restarts: i32,
) -> Result<Look<()>> {
    let pod = stream.pod().await?.status.unwrap_or_default();
    let mut conditions = pod.conditions.iter().flatten();
    let ready = conditions.any(|said| said.type_ == "Ready" && said.status == "True");
    let counted: i32 = pod.container_statuses.iter().flatten().map(|of| of.restart_count).sum();
    let report = stream.report().await?;
    let (code, _) = stream.get("/readyz").await?;
    let said = stream.status().await?.reason;
    let holds = is_fenced_by(&report, holder)
        && (counted, ready) == (restarts, false)
        && code == StatusCode::SERVICE_UNAVAILABLE
        && said.as_deref() == Some("Fenced");
    Ok(Look::holds(holds, || {
        let WorkerStatus { phase, fenced, epoch, .. } = report;
        format!(
            "{counted} restarts, ready {ready}, /readyz {code}, resource {said:?}, worker {phase:?} \
             of epoch {epoch:?}, {fenced:?}"
        )
    }))
}

/// Where the kubelet keeps what the worker's pod remembers of a fence.
async fn marker(cluster: &Cluster, stream: &StreamResource) -> Result<PathBuf> {
    let uid = stream.pod().await?.metadata.uid.context(|| "a pod without a UID")?;
    let work = format!("kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/work");
    Ok(cluster.folder().join(work).join("fenced"))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_pods_of_one_stream_the_newer_goes_on_and_the_other_stays_fenced() -> Result<()> {
    let cluster = installed().await?;
    let (server, _s3, stream) = streaming("two-pods", ServerKind::MySql97).await?;
    let mut source = Source { server, seed: 500, done: Done::default() };
    source.burst().await?;
    let first = stream.report().await?;
    let second = stream.start_second(SECOND).await?;
    assert!(second.epoch > first.epoch, "{:?} > {:?}", second.epoch, first.epoch);
    source.burst().await?;
    says_fenced(&stream).await?;
    until("the pod is not ready", SETTLED, || lost_to(&stream, &second, 0)).await?;

    let report = async || stream.report_of(SECOND).await;
    let unmoved = async || lost_to(&stream, &second, 0).await;
    source.one_goes_on(&stream, TWO_MINUTES, &report, &unmoved).await?;

    let marker = marker(cluster, &stream).await?;
    assert_eq!(std::fs::read_to_string(&marker)?.trim(), first.instance);
    stream.kill().await?;
    until("the fenced one is back and still fenced", SETTLED, || lost_to(&stream, &second, 1))
        .await?;
    let unmoved = async || lost_to(&stream, &second, 1).await;
    source.one_goes_on(&stream, Duration::from_secs(10), &report, &unmoved).await?;
    assert!(marker.exists(), "it still remembers");

    source.server.run(&["FLUSH BINARY LOGS"]).await?;
    stream.archived_by(&report, &source.server, ARCHIVED).await?;
    let log = cluster.kubectl(&["logs", "-n", &stream.name, SECOND]).await?;
    logs::check(&log, &[], &[SECRET_KEY])?;
    logs::check(&stream.log().await?, &[FENCED], &[SECRET_KEY])?;
    stream.remove_second(SECOND).await?;
    assert_eq!(Some(source.is_whole(&stream.archive()).await?), second.epoch);
    let epoch = second.epoch.context(|| "a streaming worker has an epoch")?;
    changed_hands_once(&stream.archive(), &first.instance, epoch, &second.instance).await?;
    let (file, offset) = source.server.position().await?;
    let checkpoint = stream.checkpointed().await?.context(|| "there is no checkpoint")?;
    assert_eq!((checkpoint.file, checkpoint.offset), (file, offset), "the holder's is kept");
    Ok(())
}

/// What a worker without consent may not do: write, or look as if it had the archive.
async fn waits_for_consent(there: &StreamResource) -> Result<Look<()>> {
    let report = there.report().await?;
    let said = there.status().await?.reason;
    let holds = report.phase == Phase::Waiting
        && report.epoch.is_none()
        && said.as_deref() == Some("ArchiveOwnedElsewhere");
    Ok(Look::holds(holds, || format!("{said:?}, {:?} {}", report.phase, report.message)))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_resource_in_two_clusters_gets_the_archive_by_consent_only() -> Result<()> {
    let (here, elsewhere) =
        tokio::try_join!(streaming("two-clusters", ServerKind::MariaDb118), Elsewhere::start())?;
    let (server, _s3, here) = here;
    let mut source = Source { server, seed: 600, done: Done::default() };
    let there = here.applied_in(elsewhere.plane()).await?;
    there.create().await?;
    let pod = elsewhere.run_worker(&there).await?;

    let (ready, stalled) = (ConditionType::Ready, ConditionType::Stalled);
    let elsewhere_owned = &["ArchiveOwnedElsewhere"];
    let said = there.says(ready, ConditionStatus::False, elsewhere_owned, SETTLED).await?;
    there.says(stalled, ConditionStatus::True, elsewhere_owned, SETTLED).await?;
    let first = here.report().await?;
    let archive = first.archive.archive_id.context(|| "the archive has no id")?.to_string();
    let message = said.conditions.iter().find(|said| said.kind() == Some(ready));
    let message = message.map(|said| said.message.clone()).unwrap_or_default();
    assert!(message.contains(&format!("{ADOPT_ARCHIVE}: {archive}")), "{message}");
    println!("{}: {message}", there.name);
    let report = async || here.report().await;
    let untouched = async || waits_for_consent(&there).await;
    source.one_goes_on(&here, Duration::from_secs(20), &report, &untouched).await?;
    here.ready().await?;
    for (n, (instance, _)) in here.archive().authors().await?.iter().enumerate() {
        assert_eq!(*instance, first.instance, "author of entry {n}");
    }

    there.annotate(ADOPT_ARCHIVE, &archive).await?;
    until("the consent is in the running worker's configuration", SETTLED, || async {
        pod.sync().await?;
        let config = pod.file("/etc/binlog-worker/config/worker.yaml")?;
        Ok::<_, Failure>(Look::holds(config.contains(&archive), || "not yet".into()))
    })
    .await?;
    there.ready().await?;
    pod.sync().await?;
    let second = there.report().await?;
    assert!(second.epoch > first.epoch, "{:?} > {:?}", second.epoch, first.epoch);
    let handled = there.status().await?.last_handled_action.context(|| "nothing was handled")?;
    assert_eq!((handled.type_.as_str(), &handled.requested), ("adopt-archive", &archive));
    source.burst().await?;
    says_fenced(&here).await?;
    until("the first one is not ready", SETTLED, || lost_to(&here, &second, 0)).await?;
    let report = async || there.report().await;
    let unmoved = async || lost_to(&here, &second, 0).await;
    source.one_goes_on(&there, Duration::from_secs(30), &report, &unmoved).await?;

    source.server.run(&["FLUSH BINARY LOGS"]).await?;
    there.archived_all_of(&source.server, ARCHIVED).await?;
    assert!(pod.terminate(DRAINED).await?.success());
    logs::check(&pod.log(), &[], &[SECRET_KEY])?;
    logs::check(&elsewhere.operator().log(), &[], &[SECRET_KEY])?;
    logs::check(&here.log().await?, &[FENCED], &[SECRET_KEY])?;
    let epoch = second.epoch.context(|| "a streaming worker has an epoch")?;
    changed_hands_once(&there.archive(), &first.instance, epoch, &second.instance).await?;
    records_the_consent(&there.archive(), epoch, &archive).await?;
    assert_eq!(source.is_whole(&there.archive()).await?, epoch);
    Ok(())
}

/// The claim that took the archive over names the consent and where it was given.
async fn records_the_consent(archive: &Archive, epoch: u64, id: &str) -> Result<()> {
    let entries = archive.entries().await?;
    let claim =
        entries.iter().find(|(_, entry)| entry["kind"] == "claim" && entry["epoch"] == epoch);
    let (_, claim) = claim.context(|| format!("epoch {epoch} has no claim"))?;
    let consent = &claim["consents"][0];
    assert_eq!(consent["kind"], "adoptArchive", "{claim}");
    assert_eq!(consent["value"], id, "{claim}");
    assert_eq!(consent["by"], "annotation of the BinlogStream", "{claim}");
    Ok(())
}
