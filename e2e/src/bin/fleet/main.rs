//! The figures of `make bench-fleet`: the operator with thousands of streams on a real control plane whose pods kwok
//! makes Ready and whose workers this process plays, and how soon one stream with a real pod is Ready. Run by
//! `e2e/fleet.sh` inside `e2e/ns.sh`.

mod audit;
mod figures;
mod follow;
mod operator;
mod players;
mod single;
mod stage;
mod streams;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::wait::{Look, until};
use e2e::{Context, Failure, Result};

use crate::audit::Audit;
use crate::figures::Line;
use crate::operator::Operator;
use crate::players::Players;
use crate::stage::Stage;
use crate::streams::Streams;

const FLEETS: [usize; 3] = [1_000, 5_000, 10_000];
/// How long a status takes to become quiet once its stream is Ready.
const SETTLE: Duration = Duration::from_secs(60);
/// Longest for all streams to be made and Ready.
const READY: Duration = Duration::from_secs(3600);
/// Longest for an operator that was started again to write every status.
const CURRENT: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fleet: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<()> {
    let (fleets, whole) = fleets()?;
    let steady = steady()?;
    let mut lines = Vec::new();
    for count in fleets {
        lines.push(fleet(count, steady).await?);
        println!("\n{}", figures::table(&lines));
    }
    let single = single::apply_to_ready().await?;
    let text = figures::text(&lines, &single, steady)?;
    println!("\n{text}");
    if whole { figures::keep(&text) } else { Ok(()) }
}

/// One fleet from nothing: made, looked at, its operator started again, and once more after every worker has something
/// new to say.
async fn fleet(count: usize, steady: Duration) -> Result<Line> {
    let stage = Stage::start(count).await?;
    let mut operator = Operator::start(&stage, "first").await?;
    let players = Players::start(&stage).await?;
    let streams = Streams::follow(&stage).await?;
    let begin = Instant::now();
    streams.make(count).await?;
    say(count, begin, "streams are made");
    streams
        .all_ready(count, READY, |ready| say(count, begin, &format!("{ready} are Ready")))
        .await?;
    let ready = begin.elapsed();
    say(count, begin, "all are Ready");
    players.save();
    tokio::time::sleep(SETTLE).await;

    let audit = Audit::of(&stage)?;
    let before = operator.look().await?;
    let memory = operator.watched_for(steady).await?;
    let after = operator.look().await?;
    let counted = audit.since_then()?;
    streams.all_ready(count, Duration::from_secs(5), |_| {}).await?;
    players.check()?;
    say(count, begin, &format!("steady state is measured:\n{counted}"));
    let made = operator.most_memory()?;

    operator.end().await?;
    let audit = Audit::of(&stage)?;
    let start = Instant::now();
    operator = Operator::start(&stage, "second").await?;
    let filled = start.elapsed();
    operator.drained(count).await?;
    let drained = start.elapsed();
    streams.all_ready(count, Duration::from_secs(5), |_| {}).await?;
    let restarted = audit.since_then()?;
    say(count, begin, &format!("the operator was started again:\n{restarted}"));
    let made = made.max(operator.most_memory()?);

    operator.end().await?;
    players.change_all();
    let start = Instant::now();
    operator = Operator::start(&stage, "third").await?;
    let told = players.changes();
    until("every status is current again", CURRENT, || async {
        let current = streams.current(told);
        Ok::<_, Failure>(Look::holds(current == count, || format!("{current} of {count}")))
    })
    .await?;
    let current = start.elapsed();
    say(count, begin, "all had changed meanwhile, and every status is current again");
    Ok(Line {
        streams: count,
        ready,
        filled,
        drained,
        current,
        span: after.at - before.at,
        cpu: after.cpu.saturating_sub(before.cpu),
        steady_memory: memory,
        most_memory: made.max(operator.most_memory()?),
        operator: counted.operator,
        workers: counted.workers,
        reconciles: after.reconciles.since(&before.reconciles),
        restarted: restarted.operator,
    })
}

fn say(count: usize, since: Instant, what: &str) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("{count} streams, {:4} s, load {load}: {what}", since.elapsed().as_secs());
}

/// The numbers of streams, and whether they are the usual ones.
fn fleets() -> Result<(Vec<usize>, bool)> {
    let Ok(text) = std::env::var("FLEET") else { return Ok((FLEETS.to_vec(), true)) };
    let number = |word: &str| word.trim().parse().context(|| format!("read FLEET={text}"));
    let words = text.split(',').filter(|word| !word.trim().is_empty());
    Ok((words.map(number).collect::<Result<_>>()?, false))
}

/// How long a fleet is looked at: as long as the operator waits before it writes a position alone.
fn steady() -> Result<Duration> {
    let Ok(text) = std::env::var("STEADY") else { return Ok(Duration::from_secs(300)) };
    text.parse().map(Duration::from_secs).context(|| format!("read STEADY={text}"))
}
