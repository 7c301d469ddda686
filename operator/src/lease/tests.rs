use std::future;

use serde_json::json;

use super::*;
use crate::fake_api::{Answer, FakeApi, refusal};

fn seen(holder: Option<&str>, renewed: i64, at: Instant) -> Seen {
    Seen {
        holder: holder.map(str::to_owned),
        renewed: Timestamp::from_second(renewed).ok(),
        duration: DURATION,
        at,
    }
}

#[test]
fn free_released_and_own_leases_are_taken() {
    let now = Instant::now();
    assert_eq!(turn(None, "me", now), Turn::Take);
    assert_eq!(turn(Some(&seen(None, 1, now)), "me", now), Turn::Take);
    assert_eq!(turn(Some(&seen(Some("me"), 1, now)), "me", now), Turn::Take);
}

#[test]
fn another_holder_is_waited_for_until_it_was_seen_unchanged_for_its_duration() {
    let start = Instant::now();
    let first = newest(None, Some(seen(Some("other"), 1, start)));
    let later = start + Duration::from_secs(14);
    let unchanged = newest(first, Some(seen(Some("other"), 1, later)));
    assert_eq!(turn(unchanged.as_ref(), "me", later), Turn::Wait);
    assert_eq!(turn(unchanged.as_ref(), "me", start + Duration::from_secs(16)), Turn::Take);
    let renewed = newest(unchanged, Some(seen(Some("other"), 2, later)));
    assert_eq!(turn(renewed.as_ref(), "me", start + Duration::from_secs(16)), Turn::Wait);
}

#[test]
fn clocks_of_other_machines_do_not_matter() {
    let now = Instant::now();
    let ancient = seen(Some("other"), 0, now);
    assert_eq!(turn(Some(&ancient), "me", now), Turn::Wait);
}

/// Ends `keep` with `renew`, and says how long it took by the clock that stands still.
async fn kept(renew: impl AsyncFn() -> Option<bool>) -> (Option<String>, Duration) {
    let start = Instant::now();
    let why = keep(start, &CancellationToken::new(), renew).await;
    (why, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_ends_the_leadership_at_the_deadline() {
    let (why, after) = kept(async || future::pending().await).await;
    assert!(why.is_some());
    assert_eq!(after, RENEW_DEADLINE);
    // One that fails at once is tried again until then, and no longer than the others wait.
    let (why, after) = kept(async || None).await;
    assert!(why.is_some());
    assert!(after >= RENEW_DEADLINE && after < DURATION, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_before_its_request() {
    let slow = async || {
        tokio::time::sleep(Duration::from_secs(6)).await;
        Some(true)
    };
    // Asked at 2 s and answered at 8 s it holds until 12 s, which the next does not make.
    let (why, after) = kept(slow).await;
    assert!(why.is_some());
    assert_eq!(after, RETRY + RENEW_DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_is_kept_until_the_end() {
    let shutdown = CancellationToken::new();
    let ends = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        shutdown.cancel();
    };
    let renewed = keep(Instant::now(), &shutdown, async || Some(true));
    assert_eq!(futures::future::join(renewed, ends).await.0, None);
    let (why, after) = kept(async || Some(false)).await;
    assert_eq!((why.as_deref(), after), (Some("another process holds it"), RETRY));
}

/// One attempt of a candidate against an API that answers so; with what the probe is told.
async fn attempt(get: Answer, write: Answer) -> (Option<Turn>, Option<&'static str>) {
    let api =
        FakeApi::start(
            move |asked| {
                if asked.what.starts_with("GET ") { get.clone() } else { write.clone() }
            },
        )
        .await;
    let health = Arc::new(Health::default());
    let (told, tenure) = (Arc::clone(&health), Arc::default());
    let elector = Elector::new(api.client.clone(), "system", "lease", "me", told, tenure);
    let turn = elector.look_and_take(&mut None).await;
    (elector.told(turn), health.missing())
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_or_written_is_told_to_the_probe() {
    let lease = |holder: &str| -> Answer {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
        let metadata = json!({"name": "lease", "resourceVersion": "1"});
        (
            200,
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": metadata, "spec": spec}),
        )
    };
    let (absent, denied) = (|| refusal(404, "not found"), || refusal(403, "forbidden"));
    assert_eq!(attempt(absent(), lease("me")).await, (Some(Turn::Take), None));
    assert_eq!(attempt(lease("other"), denied()).await, (Some(Turn::Wait), None), "a stand-by");
    let faster = refusal(409, "the object has been modified");
    assert_eq!(attempt(absent(), faster).await, (None, None), "another was faster");
    for (get, write) in [(denied(), denied()), (absent(), denied()), (lease(""), denied())] {
        let (turn, missing) = attempt(get, write).await;
        assert_eq!(turn, None);
        assert!(missing.is_some_and(|what| what.contains("lease")), "{missing:?}");
    }
}
