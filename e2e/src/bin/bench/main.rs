//! The figures of `make bench`: ours and the peers' in turn on the binlogs of real servers, each run checked before
//! it counts. Run by `e2e/bench.sh` inside `e2e/ns.sh`.

mod figures;
mod measure;
mod peers;
mod shape;
mod worker;

use std::process::ExitCode;

use e2e::figures::{circumstances, keep, load};
use e2e::server::{Server, ServerKind};
use e2e::{Context, Failure, Result};

use crate::figures::{Bar, Line, Side};
use crate::measure::Run;
use crate::shape::{Load, Shape};

const SERVERS: [ServerKind; 2] = [ServerKind::MySql97, ServerKind::MariaDb118];
/// A round of the peer in Java takes as long as all others together.
const JAVA_ROUNDS: usize = 2;
const MIB: f64 = 1_048_576.0;

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The lines of all tables.
#[derive(Default)]
struct Tables {
    raw: Vec<Line>,
    decode: Vec<Line>,
    whole: Vec<Line>,
    stored: Vec<String>,
    /// What each source sends at most.
    sent: Vec<String>,
    /// MiB and millicores of a worker without work.
    idle: Option<(f64, f64)>,
}

async fn bench() -> Result<()> {
    let (rounds, only) = (rounds()?, std::env::var("BENCH").unwrap_or_default());
    let mut tables = Tables::default();
    for kind in SERVERS {
        let server = shape::server(kind).await?;
        for shape in Shape::ALL {
            if !only.is_empty() && !only.contains(shape.name()) {
                continue;
            }
            let load = shape.write(&server).await?;
            let (name, bytes, changes) = (shape.name(), load.bytes as f64 / MIB, load.changes);
            println!("{}: shape {name}: {bytes:.0} MiB, {changes} changes", kind.name());
            let rounds = if shape == Shape::X { 1 } else { rounds };
            measure_shape(&server, &load, rounds, &mut tables).await?;
        }
        if tables.idle.is_none() {
            tables.idle = Some(worker::idle(&server).await?);
        }
    }
    let text = text(&tables, rounds)?;
    println!("\n{text}");
    if only.is_empty() { keep("worker/figures.md", "figures", "make bench", &text) } else { Ok(()) }
}

/// Ours and the peers' in turn.
async fn measure_shape(
    server: &Server,
    load: &Load,
    rounds: usize,
    tables: &mut Tables,
) -> Result<()> {
    let (mut raw, mut tool, mut own, mut go) = (vec![], vec![], vec![], vec![]);
    let (mut whole, mut java, mut stored, mut sent) = (vec![], vec![], None, vec![]);
    for _ in 0..rounds {
        let kept = worker::archive(server, load, false).await?;
        raw.push(rated(kept.run, kept.bytes as f64 / MIB));
        tool.push(rated(peers::raw(server, load).await?, load.bytes as f64 / MIB));
        sent.push(rated(peers::read_only(server, load).await?, load.bytes as f64 / MIB));
        let (run, counted) = peers::own_decoder(server, load).await?;
        own.push((run, counted.images as f64 / 1e6 / run.cpu.as_secs_f64()));
        let (run, same) = peers::go_mysql(server, load).await?;
        go.push((run, same.images as f64 / 1e6 / run.cpu.as_secs_f64()));
        if counted != same {
            return Err(Failure::new(format!("the decoders found {counted:?} and {same:?}")));
        }
        let kept = worker::archive(server, load, true).await?;
        whole.push(rated(kept.run, kept.changes as f64 / 1e3));
        stored = Some(kept);
        if load.shape == Shape::A && server.kind().is_mysql() && java.len() < JAVA_ROUNDS {
            let run = peers::debezium(server, load, "bench.a").await?;
            java.push(rated(run, load.changes as f64 / 1e3));
        }
    }
    let (raw_bars, decode_bars, mut whole_bars) = bars(load.shape);
    whole_bars.push(Bar::Memory(256.0));
    let (shape, server) = (load.shape.name(), server.kind().name());
    let line = |own: &[(Run, f64)], peer: &[(Run, f64)], bars| {
        let peer = (!peer.is_empty()).then(|| Side::of(peer));
        Line { shape, server, own: Side::of(own), peer, bars }
    };
    let reader = Side::of(&sent);
    let (rate, cpu) = (reader.rate.median, reader.cpu.median);
    tables.sent.push(format!("| {shape} | {server} | {rate:.0} | {cpu:.2} |"));
    tables.raw.push(line(&raw, &tool, raw_bars));
    tables.decode.push(line(&own, &go, decode_bars));
    tables.whole.push(line(&whole, &java, whole_bars));
    tables.stored.extend(stored.map(|kept| {
        let part = |size: u64| {
            let ratio = load.bytes as f64 / size as f64;
            format!("{:.1} ({ratio:.1}:1)", size as f64 / MIB)
        };
        let (raw, changes) = (part(kept.raw_size), part(kept.changes_size));
        format!("| {shape} | {server} | {:.0} | {raw} | {changes} |", load.bytes as f64 / MIB)
    }));
    Ok(())
}

/// A run with what it did a second.
fn rated(run: Run, amount: f64) -> (Run, f64) {
    (run, amount / run.wall.as_secs_f64())
}

/// What is to be reached on a shape: raw, decoding, the whole worker.
fn bars(shape: Shape) -> (Vec<Bar>, Vec<Bar>, Vec<Bar>) {
    match shape {
        Shape::A => (
            vec![Bar::Ratio(0.95)],
            vec![Bar::Least(2.5), Bar::Ratio(3.0)],
            vec![Bar::Least(300.0)],
        ),
        Shape::B => (vec![Bar::Ratio(3.0)], vec![Bar::Least(1.2), Bar::Ratio(3.0)], vec![]),
        Shape::W | Shape::X => (vec![], vec![], vec![]),
    }
}

fn text(tables: &Tables, rounds: usize) -> Result<String> {
    let Tables { raw, decode, whole, stored, sent, idle } = tables;
    let (memory, millicores) = idle.unwrap_or_default();
    let (circumstances, load) = (circumstances()?, load()?);
    Ok(format!(
        "{circumstances}, source and program on the same cores, load {load:.2}; the median of \
         {rounds} rounds (X: one), least and most in brackets; ours and the peer's in turn.\n\n\
         **Raw archive, MiB of binlog a second.** The worker with the change log off, to a volume: checksums \
         verified, zstd, fsync, committed; against a plain copy by the server's own tool.\n\n{}\n\
         **What the source sends at most**, MiB a second, to a reader on the same cores that keeps nothing, and that \
         reader's processor seconds.\n\n| Shape | Server | source | CPU s |\n|---|---|---|---|\n{}\n\n\
         **Decoding, million row images a processor second.** One thread, from the binlog file to JSON text; \
         go-mysql to Go values.\n\n{}\n\
         **The whole worker, thousand changes a second.** From the dump to committed raw objects and Parquet \
         files on a volume; Debezium's embedded engine to JSON in memory (two rounds, from its first change to its \
         last).\n\n{}\n\
         **What is kept, MiB.**\n\n| Shape | Server | binlog | raw | change log |\n|---|---|---|---|---|\n{}\n\n\
         **Idle**, over a minute: {memory:.0} MiB at most (24), {millicores:.1} millicores (2).\n",
        figures::table("worker", "mysqlbinlog --raw", raw),
        sent.join("\n"),
        figures::table("ours", "go-mysql", decode),
        figures::table("worker", "Debezium", whole),
        stored.join("\n"),
    ))
}

fn rounds() -> Result<usize> {
    match std::env::var("ROUNDS") {
        Err(_) => Ok(5),
        Ok(text) => text.parse().context(|| format!("read ROUNDS={text}")),
    }
}
