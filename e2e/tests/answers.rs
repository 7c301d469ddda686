//! Answers of a store that say nothing for certain: errors, lost and torn replies, silence, on every kind of
//! PUT. The worker asks again with the same bytes, and nothing is lost or there twice.

use std::time::Duration;

use crds::conditions::Reason;
use e2e::Result;
use e2e::proxy::{HttpProxy, Moment, Pick};
use e2e::server::ServerKind;
use e2e::trial::{ARCHIVED, DRAINED, STREAMS, Trial};
use hyper::StatusCode;
use serde_json::json;

const SHOWN: Duration = Duration::from_secs(60);

/// Every kind of PUT, and how often it meets the fault.
const PUTS: [(&str, usize); 7] = [
    ("/.probe/", 3),
    ("/stream.json", 1),
    ("/log/0", 3),
    ("/schemas/", 1),
    ("/raw/", 2),
    ("/changes/date", 2),
    ("_delta_log/0", 1),
];

type Fault = fn(&HttpProxy, Pick);

fn answer(proxy: &HttpProxy, pick: Pick, status: u16, code: &str, moment: Moment) {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    proxy.answer(pick, status, code, moment);
}

const FAULTS: [(&str, Fault); 10] = [
    ("409 before", |proxy, pick| {
        answer(proxy, pick, 409, "ConditionalRequestConflict", Moment::BeforeForward);
    }),
    ("409 after", |proxy, pick| {
        answer(proxy, pick, 409, "ConditionalRequestConflict", Moment::AfterForward);
    }),
    ("412 after", |proxy, pick| {
        answer(proxy, pick, 412, "PreconditionFailed", Moment::AfterForward);
    }),
    ("500 before", |proxy, pick| answer(proxy, pick, 500, "InternalError", Moment::BeforeForward)),
    ("500 after", |proxy, pick| answer(proxy, pick, 500, "InternalError", Moment::AfterForward)),
    ("503 before", |proxy, pick| answer(proxy, pick, 503, "SlowDown", Moment::BeforeForward)),
    ("503 after", |proxy, pick| answer(proxy, pick, 503, "SlowDown", Moment::AfterForward)),
    ("request lost", |proxy, pick| proxy.drop_reply(pick, Moment::BeforeForward)),
    ("reply lost", |proxy, pick| proxy.drop_reply(pick, Moment::AfterForward)),
    ("reply torn", |proxy, pick| proxy.truncate(pick)),
];

/// A new archive of the same source from the same start, so that each fault meets an archive's first requests.
fn another_archive(trial: &mut Trial, name: &str) -> Result<()> {
    let owner = json!({"owner": {"name": name}, "name": name});
    let checkpoint = trial.stream.folder().join(format!("{name}.json"));
    let checkpoint = json!({"checkpoint": {"file": {"path": checkpoint}}});
    trial.stream = trial.stream.second()?.with(&owner)?.with(&checkpoint)?;
    Ok(())
}

async fn life_under(trial: &mut Trial, fault: Fault) -> Result<()> {
    for (part, times) in PUTS {
        fault(trial.proxy()?, Pick::put(part).times(times));
    }
    let worker = trial.stream.start()?;
    let writers = trial.writers().await?;
    worker.until("entries follow", STREAMS, |status| status.archive.n >= Some(2)).await?;
    trial.done += writers.stop().await?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    worker.check_log(&[])?;
    trial.proxy()?.clear();
    Ok(())
}

async fn every_answer(kind: ServerKind, faults: &[(&str, Fault)], seed: u64) -> Result<()> {
    let mut trial = Trial::on_s3(kind, "answers", seed).await?;
    for (number, (what, fault)) in faults.iter().enumerate() {
        another_archive(&mut trial, &format!("answers-{number}"))?;
        life_under(&mut trial, *fault).await?;
        println!("every kind of PUT: {what}");
        trial.finish(&[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uncertain_answers_to_every_kind_of_put_change_nothing() -> Result<()> {
    every_answer(ServerKind::MariaDb118, &FAULTS[..5], 500).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_late_answers_to_every_kind_of_put_change_nothing() -> Result<()> {
    every_answer(ServerKind::MySql97, &FAULTS[5..], 510).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers_is_asked_again() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MySql97, "silence", 520).await?;
    let worker = trial.streaming().await?;
    let proxy = trial.proxy()?;
    proxy.black_hole(Pick::put("/raw/").times(1));
    proxy.black_hole(Pick::put("/log/0").times(1));
    let writers = trial.writers().await?;
    let seen = worker.until("bytes came", STREAMS, |status| status.counters.bytes > 300_000).await;
    trial.done += writers.stop().await?;
    seen?;
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    trial.finish(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_under_way_is_shown_and_waited_for() -> Result<()> {
    let mut trial = Trial::on_s3(ServerKind::MariaDb118, "key", 530).await?;
    let worker = trial.streaming().await?;
    let refused = StatusCode::BAD_REQUEST;
    trial.proxy()?.answer(
        Pick::put("/e2e/"),
        refused,
        "KMS.DisabledException",
        Moment::BeforeForward,
    );
    trial.large(1_000, 1_000).await?;
    let reason = Reason::EncryptionKeyUnavailable;
    let shown = worker.until(reason, SHOWN, |status| status.archive.reason == reason).await?;
    println!("{reason}: {}", shown.archive.message);
    trial.proxy()?.clear();
    worker.archived_all_of(&trial.server, ARCHIVED).await?;
    assert!(worker.terminate(DRAINED).await?.success());
    trial.finish(&[]).await?;
    Ok(())
}
