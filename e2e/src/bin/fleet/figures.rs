//! The tables of a fleet: what is printed, kept beside the operator and shown in README.

use std::time::Duration;

use e2e::{Result, figures};

use crate::audit::Requests;
use crate::operator::Histogram;

const MIB: f64 = 1_048_576.0;
/// What is to be reached: MiB of memory, writes of the operator a stream and minute, seconds of a cold start, and
/// seconds from the apply to Ready.
const MEMORY: f64 = 150.0;
const WRITES: f64 = 2.0;
const COLD: f64 = 60.0;
const APPLY: f64 = 3.0;

/// What one fleet took.
pub struct Line {
    pub streams: usize,
    /// Until all were made and Ready, before the first checkpoints.
    pub ready: Duration,
    /// Cold start: until the caches were filled, and until each stream was reconciled, each worker heard and none queued.
    pub filled: Duration,
    pub drained: Duration,
    /// Another after which every status has to be written: until that was done.
    pub current: Duration,
    /// The steady state: how long it was looked at, and what was taken and asked meanwhile.
    pub span: Duration,
    pub cpu: Duration,
    pub steady_memory: u64,
    pub operator: Requests,
    pub workers: Requests,
    pub reconciles: Histogram,
    /// Bytes of memory at most, from the first stream to the end of the cold start.
    pub most_memory: u64,
    /// What it asked at its start.
    pub restarted: Requests,
}

impl Line {
    /// Of so many, how many fall to a stream and minute.
    fn rate(&self, count: u64) -> f64 {
        count as f64 * 60.0 / self.span.as_secs_f64() / self.streams as f64
    }

    fn row(&self) -> String {
        let milliseconds = |part| self.reconciles.quantile(part) * 1000.0;
        let most = self.most_memory as f64 / MIB;
        let steady = self.steady_memory as f64 / MIB;
        let (writes, drained) = (self.rate(self.operator.writes()), self.drained.as_secs_f64());
        format!(
            "| {} | {:.0} | {steady:.0} / {most:.0}{} | {:.1} | {writes:.2}{} | {:.2} | {:.2} | {:.1} / {:.1} | {:.0} \
             / {drained:.0}{} | {:.2} | {} | {:.0} |\n",
            grouped(self.streams),
            self.ready.as_secs_f64(),
            missed(most, MEMORY),
            self.cpu.as_secs_f64() * 100.0 / self.span.as_secs_f64(),
            missed(writes, WRITES),
            self.rate(self.operator.reads()),
            self.rate(self.workers.writes()),
            milliseconds(0.5),
            milliseconds(0.99),
            self.filled.as_secs_f64(),
            missed(drained, COLD),
            self.restarted.writes() as f64 / self.streams as f64,
            self.restarted.watches(),
            self.current.as_secs_f64(),
        )
    }
}

/// The table of the fleets.
pub fn table(lines: &[Line]) -> String {
    let head = "| Streams | Ready, s | memory, MiB, steady / most | CPU, % of a core | operator's writes | its reads | \
                workers' writes | reconcile, ms, p50 / p99 | cold, s, caches / drained | its writes a stream | \
                its watches | all changed, s |\n\
                |---|---|---|---|---|---|---|---|---|---|---|---|\n";
    let bars = format!("| to reach | | {MEMORY:.0} | | {WRITES:.0} | | | | {COLD:.0} | | | |\n");
    head.to_owned() + &lines.iter().map(Line::row).collect::<String>() + &bars
}

/// Everything that is kept.
pub fn text(lines: &[Line], single: &[Duration], steady: Duration) -> Result<String> {
    let seconds = |duration: Option<&Duration>| duration.map_or(f64::NAN, Duration::as_secs_f64);
    let middle = seconds(single.get(single.len() / 2));
    Ok(format!(
        "{}, everything on the same cores, load {:.2}. Writes and reads are a stream and minute, over {} s in which \
         the operator is scraped each 30 s.\n\n{}\n\
         **One stream with a real pod**, a real MariaDB and S3 server, images present: from the apply to Ready {middle:.2} \
         s ({:.2}-{:.2}), the middle of {} (to reach: {APPLY:.0} s{}).\n",
        figures::circumstances()?,
        figures::load()?,
        steady.as_secs(),
        table(lines),
        seconds(single.first()),
        seconds(single.last()),
        single.len(),
        missed(middle, APPLY),
    ))
}

/// Keeps it beside the operator and in README.
pub fn keep(text: &str) -> Result<()> {
    figures::keep("operator/figures.md", "fleet", "make bench-fleet", text)
}

fn missed(value: f64, most: f64) -> &'static str {
    if value <= most { "" } else { " **missed**" }
}

/// 10 000 and not 10000.
fn grouped(count: usize) -> String {
    if count < 1000 { count.to_string() } else { format!("{} {:03}", count / 1000, count % 1000) }
}
