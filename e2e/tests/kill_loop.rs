//! Kills of the shipped binary with -9 while it has received more than is in the checkpoint: nothing is lost,
//! nothing is there twice. Half of a flavour's kills happen on S3, half on a volume.

use std::collections::HashSet;

use e2e::server::ServerKind;
use e2e::trial::Trial;
use e2e::{Failure, Result, site};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Rows of the one large transaction.
const LARGE: u64 = 200_000;
/// Tries for each kill that counts.
const TRIES: u32 = 3;

/// Kills for each pair of flavour and store: 6, and 100 in the long run.
fn kills() -> Result<u32> {
    let scale = site::scale()?;
    Ok(if scale == 1 { 6 } else { 10 * scale })
}

async fn kill_loop(mut trial: Trial, seed: u64) -> Result<()> {
    trial.connections = 4;
    let (kills, name) = (kills()?, trial.server.kind().name());
    println!("{name}: seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut counted, mut tried, mut places) = (0, 0, HashSet::new());
    while counted < kills {
        tried += 1;
        if tried > kills * TRIES {
            return Err(Failure::new(format!(
                "only {counted} of {tried} kills were at a moment that counts"
            )));
        }
        // Some lives find a backlog, the others are there when it is written.
        let backlog = if random.random_bool(0.3) { Some(trial.writers().await?) } else { None };
        let worker = trial.streaming().await?;
        let writers = match backlog {
            Some(writers) => writers,
            None => trial.writers().await?,
        };
        if counted == kills / 2 {
            trial.large(LARGE, 64).await?;
        }
        // Some lives end before they committed anything, the others get on.
        let (bytes, commits) = (random.random_range(1..2_000_000), random.random_range(0..4));
        let killed = trial.kill_behind(&worker, bytes, commits).await?;
        trial.done += writers.stop().await?;
        if let Some((received, checkpointed)) = killed {
            counted += 1;
            places.insert(checkpointed.clone());
            let checkpointed = checkpointed.map_or_else(|| "nothing".into(), |at| at.to_string());
            println!("{name}: kill {counted}: received {received}, checkpointed {checkpointed}");
        }
    }
    assert!(places.len() > kills as usize / 3, "the kills were at the same places: {places:?}");
    let (facts, _) = trial.finish(&[]).await?;
    assert!(facts.epoch > u64::from(kills), "each life of the worker claims: {}", facts.epoch);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_on_s3() -> Result<()> {
    kill_loop(Trial::on_s3(ServerKind::MySql97, "killed", 11).await?, 11).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_97_on_a_volume() -> Result<()> {
    kill_loop(Trial::on_volume(ServerKind::MySql97, "killed", 12).await?, 12).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_118_on_s3() -> Result<()> {
    kill_loop(Trial::on_s3(ServerKind::MariaDb118, "killed", 13).await?, 13).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_118_on_a_volume() -> Result<()> {
    kill_loop(Trial::on_volume(ServerKind::MariaDb118, "killed", 14).await?, 14).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_1011_on_a_volume() -> Result<()> {
    kill_loop(Trial::on_volume(ServerKind::MariaDb1011, "killed", 16).await?, 16).await
}
