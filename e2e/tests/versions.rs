//! Two real versions under steady writes: an upgrade from the one before to this one, a step back, and forward again. No
//! position goes back, the change log holds each row once, and a worker is replaced where the template of its pod
//! changed, once, and nowhere else.
//!
//! `make test-long` alone runs it, for the other version has to be built: `e2e/previous.sh`.

#[path = "versions/moved.rs"]
mod moved;
#[path = "versions/release.rs"]
mod release;
#[path = "versions/subject.rs"]
mod subject;
#[path = "versions/watch.rs"]
mod watch;

use e2e::Result;
use e2e::cluster::Cluster;
use e2e::s3::S3;
use e2e::server::ServerKind;
use serde_json::json;

use moved::Moved;
use release::Release;
use subject::Subject;

/// Takes the release a step further while every stream is written to, and sees what became of each.
async fn step(
    release: &Release,
    streams: &mut [&mut Subject],
    what: &str,
    tag: &str,
    go: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut under_way = Vec::new();
    for stream in &mut *streams {
        under_way.push(stream.begin().await?);
    }
    go.await?;
    release.leads(tag).await?;
    for stream in &mut *streams {
        stream.is_taken_up(tag).await?;
        stream.goes_on().await?;
    }
    for (stream, under_way) in streams.iter_mut().zip(under_way) {
        stream.end(under_way, what).await?;
        stream.holds_each_row_once().await?;
        stream.complains_of_nothing().await?;
    }
    release.complains_of_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_a_step_back_lose_nothing_and_replace_only_the_workers_that_changed()
-> Result<()> {
    let cluster = Cluster::shared().await?;
    let release = Release::install(cluster).await?;
    let (this, previous) = (env!("CARGO_PKG_VERSION"), release.previous.tag.as_str());
    let older = release.fields().await?;
    let s3 = S3::start().await?;
    let make = async |name, kind, spec| Subject::new(cluster, name, kind, &s3, spec).await;
    let image = json!({"worker": {"image": format!("binlog-worker:{previous}")}});
    let mut pinned = make("pinned", ServerKind::MySql97, image).await?.pinned_to(previous);
    let mut follows = make("follows", ServerKind::MariaDb118, json!({})).await?;
    let mut moves = Moved::of(make("moves", ServerKind::MariaDb1011, json!({})).await?).await?;
    for stream in [&pinned, &follows, &moves.subject] {
        stream.is_taken_up(previous).await?;
    }

    let all = &mut [&mut pinned, &mut follows, &mut moves.subject];
    step(&release, all, "upgraded", this, release.upgrade()).await?;
    assert_eq!(release.fields().await?, Release::own_fields()?, "the definition is this version's");

    // What the version before has no word for.
    moves.moves_forward().await?;
    let sees = moves.begins_to_stand().await?;
    let both = &mut [&mut pinned, &mut follows];
    step(&release, both, "stepped back", previous, release.roll_back()).await?;
    assert_eq!(release.fields().await?, older, "the definition is the one before");
    let stood = moves.stands_still(sees).await?;

    let all = &mut [&mut pinned, &mut follows, &mut moves.subject];
    step(&release, all, "upgraded again", this, release.upgrade()).await?;
    moves.went_on_from(&stood).await?;
    for stream in [&pinned, &follows, &moves.subject] {
        stream.stream.stop().await?;
        stream.holds_each_row_once().await?;
    }
    Ok(())
}
