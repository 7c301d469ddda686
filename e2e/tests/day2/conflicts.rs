//! Streams that ask for the same thing: the younger is refused and told whose it is, the elder does not notice, and
//! once that is gone the younger runs by itself.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crds::position::FilePosition;

use super::*;

const ID: u32 = 4_242;

/// Refused, with the elder's name, without a pod and without an object in the bucket made for it.
async fn refused(stream: &StreamResource, reason: &str) -> Result<()> {
    let status = stream.says(READY, NOT, &[reason], SHOWN).await?;
    let message = &said(&status, READY)?.message;
    println!("{}: {reason}: {message}", stream.name);
    assert!(message.contains("elder/elder"), "the elder is not named: {message}");
    stream.says(ConditionType::Stalled, IS, &[reason], SHOWN).await?;
    let (owned, objects) = (stream.owned().await?, stream.bucket().list("").await?);
    assert!(owned.is_empty() && objects.is_empty(), "{owned:?} {objects:?}");
    Ok(())
}

/// Waits until what the server has written is durable. Something has to follow it that is a reason to commit: the
/// checkpoints in a table of the source are none.
async fn archived(stream: &StreamResource, server: &Server) -> Result<()> {
    let (file, offset) = server.position().await?;
    let end = FilePosition::new(file, offset);
    until(format!("{} has archived {end:?}", stream.name), ARCHIVED, || async {
        server.run(&["INSERT INTO binlog_ops.pulse VALUES ()"]).await?;
        let durable = stream.report().await?.durable;
        let durable = durable.map(|at| FilePosition::new(at.file, at.offset));
        let order = durable.as_ref().and_then(|at| at.cmp_in_lineage(&end));
        Ok::<_, Failure>(Look::holds(order.is_some_and(Ordering::is_ge), || format!("{durable:?}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_streams_in_conflict_the_younger_waits_for_the_elder_by_name() -> Result<()> {
    let names = ["elder", "inside", "same-id", "beside"];
    let stage = Stage::set(ServerKind::MariaDb118, &names).await?;
    stage
        .server
        .run(&[
            "CREATE DATABASE binlog_ops",
            "CREATE TABLE binlog_ops.pulse (n INT AUTO_INCREMENT PRIMARY KEY)",
            "GRANT SELECT, INSERT, UPDATE, CREATE ON binlog_ops.stream_state TO repl",
        ])
        .await?;
    let table = json!({"checkpoint": {
        "store": "StreamState", "interval": "1s", "streamState": {"database": "binlog_ops"}}});
    // Rows of the table are rows like others to a stream that does not keep its checkpoint there.
    let same_id = json!({"serverId": ID, "filter": {"schemas": ["shop"]}});
    let elder = stage.stream("elder").await?.with(&table).with(&same_id);
    elder.create().await?;
    elder.ready().await?;
    let before = worker(&elder).await?;

    // Its root would lie in the elder's.
    let within = json!({"archive": {"s3": {"bucket": "elder", "prefix": "pods/elder/elder"}}});
    let inside = stage.stream("inside").await?.with(&within);
    let same_id = stage.stream("same-id").await?.with(&same_id);
    // The same table is no conflict: each stream has a row of its own.
    let beside = stage.stream("beside").await?.with(&table);
    for stream in [&inside, &same_id, &beside] {
        stream.create().await?;
    }
    tokio::try_join!(
        refused(&inside, "PrefixInUse"),
        refused(&same_id, "ServerIdConflict"),
        async { beside.ready().await.map(drop) },
    )?;
    let mut done = workload::large(&stage.server, 100, 100).await?;
    for stream in [&elder, &beside] {
        archived(stream, &stage.server).await?;
        stream.ready().await?;
    }
    until("each has a row", SHOWN, || async {
        let rows = stage.server.rows("SELECT namespace, name FROM binlog_ops.stream_state").await?;
        let found: BTreeSet<_> = rows.into_iter().flatten().flatten().collect();
        let both = found == ["elder", "beside"].map(str::to_owned).into();
        Ok::<_, Failure>(Look::holds(both, || format!("{found:?}")))
    })
    .await?;
    assert_eq!(worker(&elder).await?, before, "the elder noticed");

    elder.delete().await?;
    done += workload::large(&stage.server, 100, 100).await?;
    for stream in [&inside, &same_id] {
        stream.ready().await?;
        stream.archived_all_of(&stage.server, ARCHIVED).await?;
    }
    assert_eq!(same_id.status().await?.server_id, Some(ID));
    // It began before the first row, and lost none by having waited.
    stage.finish(&same_id, done, &[]).await
}
