//! Prints the row changes of a binlog file, one JSON object a line. With `--quiet` it decodes as much and prints only
//! how many changes and images there are: what `make bench` measures.
//!
//! `cargo run --release -p binlog --example decode -- [--quiet] FILE...`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use binlog::{
    ChangeDecoder, ChangeRow, ChangeSink, EventType, Filter, Framed, Framer, GroupTracker, Header,
    SinkError,
};
use crds::position::{FilePosition, Flavor};

const MAGIC: &[u8] = b"\xfebin";
const HEADER_LENGTH: usize = 19;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Printer<W> {
    out: W,
    quiet: bool,
    changes: u64,
    images: u64,
}

impl<W: Write> ChangeSink for Printer<W> {
    fn push(&mut self, row: &ChangeRow<'_>) -> std::result::Result<(), SinkError> {
        self.changes += 1;
        self.images += [row.before, row.after].iter().flatten().count() as u64;
        if self.quiet {
            return Ok(());
        }
        let text = |value: Option<&str>| serde_json::json!(value).to_string();
        writeln!(
            self.out,
            "{{\"op\":\"{}\",\"table\":{},\"pk\":{},\"before\":{},\"after\":{},\"changed\":{},\
             \"gtid\":{},\"position\":{},\"event\":{},\"row\":{},\"time_us\":{},\"statement\":{}}}",
            row.op.as_str(),
            serde_json::json!(format!("{}.{}", row.schema, row.table)),
            row.pk_text.unwrap_or("null"),
            row.before.unwrap_or("null"),
            row.after.unwrap_or("null"),
            serde_json::json!(row.changed),
            text(row.gtid),
            row.position,
            row.event_ordinal,
            row.row_ordinal,
            row.commit_time_us,
            text(row.statement),
        )
        .map_err(|error| SinkError::because("write to standard output", error))
    }
}

fn main() -> Result<()> {
    let (flags, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let quiet = flags.iter().any(|flag| flag == "--quiet");
    for path in files {
        decode(&path, quiet)?;
    }
    Ok(())
}

/// Hands out one event after the other where it stands in the read buffer, as the worker's connection does. Only what
/// the buffer holds in part is copied.
struct Events<R> {
    input: BufReader<R>,
    /// Bytes of the buffer that were handed out last.
    taken: usize,
    event: Vec<u8>,
}

impl<R: Read> Events<R> {
    fn next(&mut self) -> Result<Option<&[u8]>> {
        self.input.consume(std::mem::take(&mut self.taken));
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let length = Header::parse(self.input.buffer()).map_or(usize::MAX, |h| h.length as usize);
        if length > self.input.buffer().len() {
            return self.joined().map(Some);
        }
        self.taken = length.max(1);
        Ok(self.input.buffer().get(..length))
    }

    fn joined(&mut self) -> Result<&[u8]> {
        self.event.resize(HEADER_LENGTH, 0);
        self.input.read_exact(&mut self.event)?;
        let header = Header::parse(&self.event).ok_or("an event without a header")?;
        self.event.resize(header.length as usize, 0);
        self.input.read_exact(self.event.get_mut(HEADER_LENGTH..).ok_or("too short an event")?)?;
        Ok(&self.event)
    }
}

fn decode(path: &str, quiet: bool) -> Result<()> {
    let mut input = BufReader::with_capacity(256 << 10, File::open(path)?);
    let head = input.fill_buf()?;
    let mariadb =
        head.get(25..75).is_some_and(|version| version.windows(7).any(|w| w == b"MariaDB"));
    if !head.starts_with(MAGIC) {
        return Err("not a binlog file".into());
    }
    input.consume(MAGIC.len());
    let flavor = if mariadb { Flavor::MariaDB } else { Flavor::MySQL };
    let file = path.rsplit('/').next().unwrap_or(path);
    let mut events = Events { input, taken: 0, event: Vec::new() };
    let mut framer = Framer::new(&FilePosition::new(file, FilePosition::FIRST_EVENT));
    let mut groups = GroupTracker::new(flavor);
    let mut decoder = ChangeDecoder::new(flavor, Filter::default());
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut printer = Printer { out, quiet, changes: 0, images: 0 };
    let mut types: BTreeMap<u8, u64> = BTreeMap::new();
    while let Some(event) = events.next()? {
        let Framed::Event(frame) = framer.accept(event)? else { continue };
        let step = groups.observe(file, &frame)?;
        if let Some(group) = groups.group() {
            decoder.decode(file, &frame, group, &mut printer)?;
            while decoder.unpack(group, &mut printer)? {}
        }
        if quiet {
            continue;
        }
        *types.entry(frame.header.event_type.0).or_default() += 1;
        if let Some(ended) = step.ended {
            let gtid = ended.gtid.map(|gtid| gtid.to_string());
            eprintln!("{}..{} {:?} {gtid:?}", ended.from.offset, frame.to, ended.verdict);
        }
    }
    let Printer { mut out, changes, images, .. } = printer;
    if quiet {
        writeln!(out, "{{\"changes\":{changes},\"images\":{images}}}")?;
    }
    out.flush()?;
    for (name, stopped) in decoder.stopped() {
        eprintln!("stopped {name} since {}: {}", stopped.since.offset, stopped.reason);
    }
    for (code, count) in types {
        eprintln!("{count:>9} {}", EventType(code));
    }
    Ok(())
}
