//! Hostile input, at length: what a server, or whoever stands in its place, may send.
//!
//! The corpus is what real servers sent (`tests/data`). An input is a stream of packets; their numbers are put
//! right, which would only hide what lies deeper.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crds::position::{FilePosition, Flavor, GtidSet};
use fuzz::{Bound, Target, outcome};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use crate::auth::{self, Login, key};
use crate::connection::Connection;
use crate::dump::{Events, MAX_EVENT, READ_BUFFER};
use crate::error::{ServerError, SourceError};
use crate::grants::Grants;
use crate::handshake::Greeting;
use crate::locate::rotate_target;
use crate::preflight::{self, Need, Start};
use crate::result_set::{self, Answer};
use crate::secret::Secret;
use crate::transport::Transport;
use crate::wire::Wire;

/// Buffers, and a few copies of what came.
const PLAIN: Bound = Bound { base: 1 << 20, factor: 600 };
/// One frame's length is believed before its bytes are there.
const FRAMES: Bound = Bound { base: 40 << 20, factor: 600 };

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../tests/data/", $name)).as_slice()
    };
}

const SESSIONS: [&[u8]; 5] = [
    recorded!("mysql-9.7.4.session"),
    recorded!("mysql-9.7.4-caching-sha2.session"),
    recorded!("mysql-9.7.4-sha256.session"),
    recorded!("mariadb-11.8.9.session"),
    recorded!("mariadb-11.8.9-ed25519.session"),
];
const KEYS: [&[u8]; 3] = [
    recorded!("rsa2048.pkcs8.pem"),
    recorded!("rsa2048.pkcs1.pem"),
    recorded!("rsa1024.pkcs8.pem"),
];
const BINLOGS: [&[u8]; 2] = [
    include_bytes!("../../binlog/tests/data/mysql-9.7.4.binlog"),
    include_bytes!("../../binlog/tests/data/mariadb-11.8.6.binlog"),
];

#[test]
fn no_input_panics_hangs_or_allocates_without_bound() {
    let targets = vec![
        Target::new("greetings", greetings(), PLAIN, read_greeting),
        Target::new("logins", logins(), PLAIN, log_in),
        Target::new("rsa keys", keys(), PLAIN, seal),
        Target::new("answers", answers(), PLAIN, read_answers),
        Target::new("preflights", questioned(), PLAIN, look_ahead),
        Target::new("dumps", dumps(), FRAMES, read_dump),
    ];
    fuzz::run(targets).unwrap_or_else(|findings| panic!("{findings}"));
}

/// A server that sends the next packet whenever one is awaited, with the number that is due.
pub(crate) struct Script {
    packets: VecDeque<Vec<u8>>,
    pending: Vec<u8>,
    sequence: u8,
}

impl Script {
    fn new(packets: impl IntoIterator<Item = Vec<u8>>, sequence: u8) -> Self {
        Self { packets: packets.into_iter().collect(), pending: Vec::new(), sequence }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pending.is_empty()
            && let Some(packet) = self.packets.pop_front()
        {
            self.pending = framed(&packet, self.sequence);
            self.sequence = self.sequence.wrapping_add(1);
        }
        let part = self.pending.len().min(buf.remaining());
        buf.put_slice(&self.pending[..part]);
        self.pending.drain(..part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sequence = buf.get(3).map_or(0, |number| number.wrapping_add(1));
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn framed(packet: &[u8], sequence: u8) -> Vec<u8> {
    let [a, b, c, ..] = (packet.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], packet].concat()
}

fn joined(packets: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().flat_map(|packet| framed(packet, 0)).collect()
}

/// The packets of a stream; what claims to be longer than the rest is the rest.
fn packets(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some(([a, b, c, _], rest)) = stream.split_first_chunk::<4>() {
        let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        let (packet, after) = rest.split_at(length.min(rest.len()));
        packets.push(packet.to_vec());
        stream = after;
    }
    packets
}

/// One at a time in each thread: the client's waits have limits, and so need a clock.
fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn said<T: std::fmt::Debug>(result: &Result<T, SourceError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error} {:?} {:?}", error.class(), error.reason()),
    }
}

fn greetings() -> Vec<Vec<u8>> {
    let errors = [
        &b"\xff\x10\x04Too many connections"[..],
        b"\xff\xd4\x04#HY000Could not find first log file name in binary log index file",
    ];
    let greetings = SESSIONS.iter().map(|session| packets(session).remove(0));
    greetings.chain(errors.map(<[u8]>::to_vec)).collect()
}

fn read_greeting(input: &[u8]) -> u64 {
    let refused = ServerError::parse(input).map(|error| SourceError::dump("b.000001:4", error));
    outcome(&(Greeting::parse(input), refused.map(|error| said::<()>(&Err(error)))))
}

/// The greeting and what follows until the first question; in front how we log in.
fn logins() -> Vec<Vec<u8>> {
    let mut logins = Vec::new();
    for session in SESSIONS {
        let begin: Vec<_> = packets(session).into_iter().take(5).collect();
        logins.extend([0, 1, 2, 4].map(|mode| [vec![mode], joined(&begin)].concat()));
        for key in KEYS {
            let shown =
                [vec![begin[0].clone(), vec![1, 4], [&[1], key].concat()], begin.clone()].concat();
            logins.push([vec![0], joined(&shown)].concat());
        }
    }
    logins
}

fn log_in(input: &[u8]) -> u64 {
    let Some((mode, stream)) = input.split_first() else { return 0 };
    let mut packets = packets(stream).into_iter();
    let Some(Ok(greeting)) = packets.next().map(|packet| Greeting::parse(&packet)) else {
        return 1;
    };
    let length = [7, 0, 213, 300][usize::from(mode >> 1 & 3)];
    let password = Secret::new(vec![b'p'; length]);
    let login =
        Login { user: "u", password: &password, tls: mode & 1 == 1, certificate: mode & 8 != 0 };
    let mut wire = Wire::new(Script::new(packets, 1), 4096, 64 << 10);
    wire.set_sequence(1);
    outcome(&said(&run(auth::log_in(&mut wire, &greeting, &login))))
}

/// A label and what its text holds.
fn keys() -> Vec<Vec<u8>> {
    let der = |pem: &[u8]| x509_parser::pem::parse_x509_pem(pem).unwrap().1.contents;
    let labelled =
        KEYS.iter().enumerate().map(|(nth, pem)| [vec![nth as u8 % 2], der(pem)].concat());
    labelled.collect()
}

fn seal(input: &[u8]) -> u64 {
    use base64::Engine;
    let Some((label, der)) = input.split_first() else { return 0 };
    let label = ["PUBLIC KEY", "RSA PUBLIC KEY"][usize::from(label & 1)];
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    outcome(&key::checked(pem.as_bytes(), 100).map(|key| {
        let sealed = mysql_common::crypto::encrypt(&[b'p'; 101], &key).unwrap();
        (sealed.len(), key)
    }))
}

/// From the first answer with columns on.
fn questions(session: &[u8]) -> Vec<Vec<u8>> {
    let packets = packets(session);
    let first = packets.iter().position(|packet| matches!(packet[..], [1..=0xfa])).unwrap();
    packets[first..].to_vec()
}

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

fn answers() -> Vec<Vec<u8>> {
    let mut all = vec![joined(&[b"\xfb/etc/passwd".to_vec()])];
    for session in [SESSIONS[0], SESSIONS[3]] {
        let packets = questions(session);
        // Each second end ends an answer.
        let ends: Vec<usize> = (0..packets.len()).filter(|at| is_end(&packets[*at])).collect();
        let mut from = 0;
        for ends in ends.chunks_exact(2) {
            all.push(joined(&packets[from..=ends[1]]));
            from = ends[1] + 1;
        }
    }
    all
}

fn read_answers(input: &[u8]) -> u64 {
    let mut wire = Wire::new(Script::new(packets(input), 0), 4096, 16 << 20);
    let mut all = Vec::new();
    // A command each, which begins with packet 0.
    while run(wire.command(3, b"")).is_ok() {
        let answer = run(result_set::read(&mut wire, "ask"));
        let Ok(Answer::Rows(rows)) = &answer else {
            all.push(format!("{:?}", answer.err().map(|error| error.to_string())));
            break;
        };
        let texts: Vec<String> = rows.rows().filter_map(|row| row.text_at(0)).collect();
        let grants = Grants::parse("u".to_owned(), texts.iter().map(String::as_str));
        let numbers: Vec<_> = rows.rows().map(|row| row.number("Position").ok()).collect();
        all.push(format!(
            "{rows:?} {grants:?} {} {} {numbers:?}",
            grants.can_dump(),
            grants.can_monitor()
        ));
    }
    outcome(&all)
}

fn questioned() -> Vec<Vec<u8>> {
    [SESSIONS[0], SESSIONS[3]].map(|session| joined(&questions(session))).to_vec()
}

/// All that is asked before a stream begins, and what is concluded from the answers.
fn look_ahead(input: &[u8]) -> u64 {
    let transport = Transport::Script(Script::new(packets(input), 0));
    let facts = run(async {
        let mut connection = Connection::over(transport);
        preflight::gather(&mut connection).await
    });
    let Ok(facts) = facts else { return outcome(&said(&facts)) };
    let held = |flavor, text| Start::Gtid(GtidSet::parse(flavor, text).unwrap());
    let starts = [
        Start::Latest,
        Start::Earliest,
        Start::File(FilePosition::new("binlog.000001", 4)),
        held(Flavor::MySQL, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"),
        held(Flavor::MariaDB, "0-1-100"),
    ];
    let findings = starts.map(|start| {
        preflight::check(
            &facts,
            &Need { server_id: 7, flavor: Some(Flavor::MySQL), start, changes: true },
        )
    });
    outcome(&(&facts, findings))
}

/// The events of binlogs as a dump sends them, its ends, and its refusals; in front whether numbers are put right.
fn dumps() -> Vec<Vec<u8>> {
    let mut streams = Vec::new();
    for binlog in BINLOGS {
        let mut rest = &binlog[4..];
        let mut events = Vec::new();
        while let Some((header, _)) = rest.split_first_chunk::<19>().filter(|_| events.len() < 12) {
            let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
            let (event, after) = rest.split_at(length as usize);
            events.push([&[0], event].concat());
            rest = after;
        }
        let mut rotate = vec![0; 20 + 8];
        rotate[5] = 4;
        rotate.extend_from_slice(b"binlog.000042");
        events.insert(0, rotate);
        for end in [
            &b"\xfe\0\0\x02\0"[..],
            b"\xff\xd4\x04#HY000log event entry exceeded max_allowed_packet",
        ] {
            events.push(end.to_vec());
            streams.push([vec![1], joined(&events)].concat());
            let numbered =
                events.iter().enumerate().flat_map(|(nth, event)| framed(event, nth as u8));
            streams.push([0].into_iter().chain(numbered).collect());
            events.pop();
        }
    }
    streams
}

fn read_dump(input: &[u8]) -> u64 {
    let Some((mend, stream)) = input.split_first() else { return 0 };
    if mend & 1 == 1 {
        follow(Script::new(packets(stream), 0))
    } else {
        follow(tokio::io::join(io::Cursor::new(stream.to_vec()), tokio::io::sink()))
    }
}

fn follow<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> u64 {
    let wire = Wire::new(stream, READ_BUFFER, MAX_EVENT);
    let mut events =
        Events { wire, silence: Duration::from_mins(1), position: "b.000001:4".to_owned() };
    let mut all = Vec::new();
    loop {
        let event = run(events.next()).map(|event| (event.len(), rotate_target(event)));
        all.push(said(&event));
        if event.is_err() {
            return outcome(&all);
        }
    }
}
