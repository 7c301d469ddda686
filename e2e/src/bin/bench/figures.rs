//! The tables: what is printed, kept beside the worker and shown in README.

use crate::measure::{Figure, Run};

/// One line: a shape of a server under ours and, where there is one, a peer.
#[derive(Debug)]
pub struct Line {
    pub shape: &'static str,
    pub server: &'static str,
    pub own: Side,
    pub peer: Option<Side>,
    /// What is to be reached: this many times the peer, or this much.
    pub bars: Vec<Bar>,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// Of the peer's figure.
    Ratio(f64),
    /// Of our own figure.
    Least(f64),
    /// Of our memory, in MiB.
    Memory(f64),
}

/// The runs of one program.
#[derive(Debug, Clone)]
pub struct Side {
    /// In the table's unit.
    pub rate: Figure,
    /// Processor seconds of a run.
    pub cpu: Figure,
    /// MiB of memory at most.
    pub memory: Figure,
}

impl Side {
    /// Of all runs with the rate of each.
    pub fn of(runs: &[(Run, f64)]) -> Self {
        let memory = |run: &Run| run.memory as f64 / f64::from(1 << 20);
        Self {
            rate: Figure::of(runs.iter().map(|(_, rate)| *rate)),
            cpu: Figure::of(runs.iter().map(|(run, _)| run.cpu.as_secs_f64())),
            memory: Figure::of(runs.iter().map(|(run, _)| memory(run))),
        }
    }
}

impl Line {
    /// How much more than the peer.
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|peer| self.own.rate.median / peer.rate.median)
    }

    fn reached(&self, bar: Bar) -> bool {
        match bar {
            Bar::Ratio(bar) => self.ratio().is_some_and(|ratio| ratio >= bar),
            Bar::Least(bar) => self.own.rate.median >= bar,
            Bar::Memory(bar) => self.own.memory.most <= bar,
        }
    }

    fn verdict(&self) -> String {
        let words = self.bars.iter().map(|bar| {
            let mark = if self.reached(*bar) { "" } else { " **missed**" };
            match bar {
                Bar::Ratio(bar) => format!("{bar}x{mark}"),
                Bar::Least(bar) => format!("{}{mark}", number(*bar)),
                Bar::Memory(bar) => format!("{bar} MiB{mark}"),
            }
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// One table. A line without a peer leaves its places empty.
pub fn table(unit: &str, peer: &str, lines: &[Line]) -> String {
    let head = [
        format!("| Shape | Server | {unit} | {peer} | ratio | CPU s | MiB | to reach |"),
        "|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let rows = lines.iter().map(|line| {
        let Line { shape, server, own, peer, .. } = line;
        let both = |of: fn(&Side) -> String| match peer {
            Some(peer) => format!("{} / {}", of(own), of(peer)),
            None => of(own),
        };
        let cpu = both(|side| format!("{:.2}", side.cpu.median));
        let memory = both(|side| format!("{:.0}", side.memory.most));
        let beside = peer.as_ref().map_or(String::new(), |peer| spread(peer.rate));
        let ratio = line.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}x"));
        let (rate, verdict) = (spread(own.rate), line.verdict());
        format!(
            "| {shape} | {server} | {rate} | {beside} | {ratio} | {cpu} | {memory} | {verdict} |"
        )
    });
    head.into_iter().chain(rows).map(|line| line + "\n").collect()
}

fn spread(figure: Figure) -> String {
    let Figure { median, least, most } = figure;
    format!("{} ({}-{})", number(median), number(least), number(most))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
