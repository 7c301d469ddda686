//! Looks at a source by hand: connects, prints who it is and what the preflight finds, dumps.
//!
//! ```text
//! probe HOST PORT USER [--password-file F] [--tls MODE] [--ca F] [--cert F --key F] [--name N]
//!       [--server-id N] [--from FILE:POS] [--gtid SET] [--events N|file] [--out FILE] [--heartbeat S]
//! ```
//! The password comes from the file or from the variable PASSWORD.

#![allow(clippy::print_stdout, reason = "it is a command for the terminal")]

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crds::position::{FilePosition, Flavor, GtidSet};
use source::preflight::{self, Need, Start};
use source::{Secret, SourceConfig, SourceError, TlsMode, TlsSettings};

type Failure = Box<dyn std::error::Error>;

struct Arguments {
    plain: Vec<String>,
    named: HashMap<String, String>,
}

impl Arguments {
    fn read() -> Self {
        let (mut plain, mut named) = (Vec::new(), HashMap::new());
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) => {
                    named.insert(name.to_owned(), words.next().unwrap_or_default());
                }
                None => plain.push(word),
            }
        }
        Self { plain, named }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.named.get(name)
    }

    fn config(&self) -> Result<SourceConfig, Failure> {
        let [host, port, username] = self.plain.as_slice() else {
            return Err("usage: probe HOST PORT USER [--name value]...".into());
        };
        let mode = match self.get("tls").map_or("Disabled", String::as_str) {
            "Disabled" => TlsMode::Disabled,
            "Preferred" => TlsMode::Preferred,
            "Required" => TlsMode::Required,
            "VerifyCA" => TlsMode::VerifyCA,
            "VerifyFull" => TlsMode::VerifyFull,
            other => return Err(format!("--tls {other:?} is no mode").into()),
        };
        let password = match self.get("password-file") {
            Some(path) => Secret::from_file_contents(std::fs::read(path)?),
            None => Secret::new(std::env::var("PASSWORD").unwrap_or_default()),
        };
        let seconds = |name, default: u64| -> Result<Duration, Failure> {
            Ok(Duration::from_secs(self.get(name).map_or(Ok(default), |text| text.parse())?))
        };
        Ok(SourceConfig {
            host: host.clone(),
            port: port.parse()?,
            endpoints: crds::endpoint::Guard::default(),
            tls: TlsSettings {
                mode,
                ca: self.get("ca").map(Into::into),
                cert: self.get("cert").map(Into::into),
                key: self.get("key").map(Into::into),
                server_name: self.get("name").cloned(),
            },
            username: username.clone(),
            password,
            connect_timeout: seconds("timeout", 10)?,
            heartbeat_interval: seconds("heartbeat", 5)?,
            server_id: self.get("server-id").map_or(Ok(4242), |text| text.parse())?,
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::read();
    let config = arguments.config()?;
    if let Err(failure) = probe(&arguments, &config).await {
        if let Some(error) = failure.downcast_ref::<SourceError>() {
            println!("{} {:?}: {error}", error.reason(), error.class());
        } else {
            println!("{failure}");
        }
        std::process::exit(1);
    }
    Ok(())
}

async fn probe(arguments: &Arguments, config: &SourceConfig) -> Result<(), Failure> {
    let mut control = source::connect(config).await?;
    println!("{control:?}");
    let facts = preflight::gather(&mut control).await?;
    let identity = &facts.identity;
    let flavor = identity.flavor;
    println!("{identity:#?}");
    println!("{:?} {:?} {:?}", facts.grants, facts.replicas, facts.prepared_xa);
    let from = arguments.get("from").map(|text| position(text)).transpose()?;
    let held = arguments.get("gtid").map(|text| GtidSet::parse(flavor, text)).transpose()?;
    let start = match (&from, &held) {
        (Some(from), _) => Start::File(from.clone()),
        (None, Some(held)) => Start::Gtid(held.clone()),
        (None, None) => Start::Latest,
    };
    let need = Need { server_id: config.server_id, flavor: None, start, changes: true };
    for finding in preflight::check(&facts, &need) {
        println!("{:?} {}: {}", finding.severity, finding.reason, finding.message);
    }
    if let Some(from) = &from {
        println!("at {from}: {:?}", control.binlog_event_at(from).await?);
    }
    control.close().await;

    if let Some(held) = &held {
        let file = source::connect(config).await?.locate(flavor, held).await?;
        println!("located {held} in {file}");
    }
    if let Some(from) = from {
        dump(arguments, config, flavor, &from).await?;
    }
    Ok(())
}

fn position(text: &str) -> Result<FilePosition, Failure> {
    let (file, offset) = text.rsplit_once(':').ok_or("--from FILE:POS")?;
    Ok(FilePosition::new(file, offset.parse()?))
}

/// Prints the first events, counts the rest up to so many or to the file's end, and says how the dump ended. `--out` keeps what is of
/// the file, magic first: `cmp` it with the server's.
async fn dump(
    arguments: &Arguments,
    config: &SourceConfig,
    flavor: Flavor,
    from: &FilePosition,
) -> Result<(), Failure> {
    let wanted = match arguments.get("events").map(String::as_str) {
        Some("file") => None,
        Some(count) => Some(count.parse::<u64>()?),
        None => Some(20),
    };
    let mut out = arguments.get("out").map(std::fs::File::create).transpose()?;
    if let Some(out) = &mut out {
        out.write_all(b"\xfebin")?;
    }
    let mut dump = source::connect(config).await?.dump(flavor, from).await?;
    let (started, mut count, mut bytes) = (Instant::now(), 0u64, 0u64);
    let ended = loop {
        let event = match dump.next().await {
            Ok(event) => event,
            Err(error) => break Some(error),
        };
        count += 1;
        bytes += event.len() as u64;
        let number = |at: usize| {
            event.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let kind = event.get(4).copied().unwrap_or(0);
        let artificial = event.get(17).is_some_and(|flags| flags & 0x20 != 0);
        if count <= 12 || matches!(kind, 27 | 41) {
            println!(
                "{:6.3}s type {kind:3} length {:7} log_pos {:9} artificial {artificial}",
                started.elapsed().as_secs_f64(),
                number(9),
                number(13)
            );
        }
        if let Some(out) = &mut out
            && !artificial
            && !matches!(kind, 27 | 41)
        {
            out.write_all(event)?;
        }
        let file_ends = matches!(kind, 3 | 4) && !artificial && wanted.is_none();
        if file_ends || wanted == Some(count) {
            break None;
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} events, {bytes} bytes in {seconds:.3} s");
    match ended {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
