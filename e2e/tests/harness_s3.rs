//! The S3 server of the tests is proven before anything is proven with it.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use e2e::Result;
use e2e::proxy::{HttpProxy, Moment, Pick};
use e2e::s3::{S3, StoreKind, client};
use futures::future::join_all;
use hyper::StatusCode;

const RACERS: usize = 20;
const LIMIT: Duration = Duration::from_secs(20);

/// How many of the racing conditional creates of one key win.
async fn winners(endpoint: &str, bucket: &str, key: &str) -> usize {
    // A client each, so that each create has a connection of its own.
    let clients: Vec<_> = (0..RACERS).map(|_| client(endpoint)).collect();
    let creates = clients.iter().enumerate().map(|(racer, client)| {
        let body = ByteStream::from(vec![racer as u8; 20_000]);
        client.put_object().bucket(bucket).key(key).if_none_match("*").body(body).send()
    });
    join_all(creates).await.iter().filter(|answer| answer.is_ok()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_racing_creates_exactly_one_wins() -> Result<()> {
    let s3 = S3::start().await?;
    let bucket = s3.bucket("race").await?;
    for round in 0..20 {
        let won = winners(&s3.endpoint(), bucket.name(), &format!("log/{round}")).await;
        assert_eq!(won, 1, "round {round}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_to_be_refused_lets_several_creates_win() -> Result<()> {
    let s3 = S3::start_kind(StoreKind::S3sFs).await?;
    let bucket = s3.bucket("race").await?;
    let mut most = 0;
    for round in 0..50 {
        most = most.max(winners(&s3.endpoint(), bucket.name(), &format!("log/{round}")).await);
    }
    assert!(most > 1, "s3s-fs now creates atomically; the refusal test needs another store");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_and_refusal_are_told_apart() -> Result<()> {
    let s3 = S3::start().await?;
    let bucket = s3.bucket("answers").await?;
    let missing = s3.client().get_object().bucket(bucket.name()).key("no").send().await;
    let missing = missing.unwrap_err().into_service_error();
    assert!(missing.is_no_such_key(), "{missing}");
    bucket.put("there", b"1".to_vec()).await?;
    let again = s3
        .client()
        .put_object()
        .bucket(bucket.name())
        .key("there")
        .if_none_match("*")
        .body(ByteStream::from_static(b"2"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(again.raw_response().map(|answer| answer.status().as_u16()), Some(412));
    assert_eq!(bucket.get("there").await?, b"1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_holds_a_request_after_the_store_has_it_and_drops_the_reply() -> Result<()> {
    let s3 = S3::start().await?;
    let bucket = s3.bucket("held").await?;
    let proxy = HttpProxy::start(s3.address()).await?;
    let through = client(&proxy.endpoint());
    let mut hold = proxy.hold(Pick::put("/log/").nth(2), Moment::AfterForward);
    let put = |key: &str| {
        let put = through.put_object().bucket("held").key(key);
        put.body(ByteStream::from_static(b"entry")).send()
    };
    put("log/1").await.unwrap();
    let second = tokio::spawn(put("log/2"));
    assert!(hold.reached(LIMIT).await?.starts_with("/held/log/2"));
    assert_eq!(bucket.get("log/2").await?, b"entry");
    hold.drop_reply()?;
    assert!(second.await?.is_err());
    assert_eq!(proxy.seen().last().map(|seen| seen.status), Some(None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_held_before_the_store_is_forwarded_though_its_client_gave_up() -> Result<()> {
    let s3 = S3::start().await?;
    let bucket = s3.bucket("late").await?;
    let proxy = HttpProxy::start(s3.address()).await?;
    let mut hold = proxy.hold(Pick::put("/log/"), Moment::BeforeForward);
    let late = tokio::spawn(
        client(&proxy.endpoint())
            .put_object()
            .bucket("late")
            .key("log/1")
            .body(ByteStream::from_static(b"late"))
            .send(),
    );
    hold.reached(LIMIT).await?;
    assert!(bucket.list("log/").await?.is_empty());
    late.abort();
    hold.release()?;
    e2e::wait::until("the late request arrives", LIMIT, || async {
        let listed = bucket.list("log/").await?;
        Ok::<_, e2e::Failure>(e2e::wait::Look::holds(listed.len() == 1, || format!("{listed:?}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_answers_in_the_stores_place() -> Result<()> {
    let s3 = S3::start().await?;
    let bucket = s3.bucket("answered").await?;
    let proxy = HttpProxy::start(s3.address()).await?;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    proxy.answer(Pick::put("one").times(1), unavailable, "SlowDown", Moment::BeforeForward);
    let put = || {
        let put = client(&proxy.endpoint()).put_object().bucket("answered").key("one");
        put.body(ByteStream::from_static(b"1")).send()
    };
    let refused = put().await.unwrap_err();
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(503));
    assert!(bucket.list("").await?.is_empty());
    put().await.unwrap();
    assert_eq!(bucket.get("one").await?, b"1");
    Ok(())
}
