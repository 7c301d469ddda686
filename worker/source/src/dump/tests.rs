use super::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

fn events(limit: Duration) -> (Events<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let wire = Wire::new(near, READ_BUFFER, MAX_EVENT);
    (Events { wire, silence: limit, position: "binlog.000001:4".to_owned() }, far)
}

async fn send(to: &mut DuplexStream, sequence: u8, payload: &[u8]) {
    let mut out = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    out.push(sequence);
    out.extend_from_slice(payload);
    to.write_all(&out).await.expect("room");
}

#[tokio::test]
async fn gives_events_without_their_status_byte() {
    let (mut events, mut far) = events(Duration::from_mins(1));
    send(&mut far, 0, b"\0first").await;
    send(&mut far, 1, b"\0second").await;
    assert_eq!(events.next().await.expect("an event"), b"first");
    assert_eq!(events.next_buffered().expect("no error"), Some(&b"second"[..]));
    assert_eq!(events.next_buffered().expect("no error"), None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_source_is_an_error() {
    let (mut events, mut far) = events(Duration::from_secs(15));
    send(&mut far, 0, b"\0heartbeat").await;
    events.next().await.expect("an event");
    let before = tokio::time::Instant::now();
    let error = events.next().await.expect_err("silence");
    assert!(matches!(error, SourceError::Silent { .. }), "{error}");
    assert_eq!(before.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn an_end_and_a_refusal_are_told_apart() {
    let (mut ended, mut far) = events(Duration::from_mins(1));
    send(&mut far, 0, b"\xfe\0\0\x02\0").await;
    assert!(matches!(ended.next().await, Err(SourceError::DumpEnded { .. })));

    let (mut refused, mut far) = events(Duration::from_mins(1));
    send(&mut far, 0, b"\xff\xd4\x04#HY000Could not find first log file name").await;
    let error = refused.next().await.expect_err("refused");
    assert_eq!(error.refusal(), Some(crate::DumpRefusal::Purged));

    let (mut closed, far) = events(Duration::from_mins(1));
    drop(far);
    assert!(matches!(closed.next().await, Err(SourceError::Closed { .. })));
}

#[test]
fn the_request_holds_32_bits_of_position() {
    let at = |offset| FilePosition::new("binlog.000007", offset);
    let request = dump_request(Flavor::MariaDB, &at(0xffff_ffff), 9).expect("the last offset");
    assert_eq!(request, b"\xff\xff\xff\xff\x02\0\x09\0\0\0binlog.000007");
    let request = dump_request(Flavor::MySQL, &at(4), 9).expect("the first offset");
    assert_eq!(request[4..6], [0, 0], "no flag on MySQL");
    let error = dump_request(Flavor::MySQL, &at(1 << 32), 9).expect_err("one too far");
    assert!(matches!(error, SourceError::PositionBeyondDump { offset: 0x1_0000_0000, .. }));
}

#[test]
fn each_server_id_has_its_own_uuid() {
    assert_eq!(replica_uuid(u32::MAX), "62696e6c-6f67-4f70-8000-0000ffffffff");
    assert_ne!(replica_uuid(1), replica_uuid(2));
}
