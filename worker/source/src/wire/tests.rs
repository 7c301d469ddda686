use super::*;

fn frames(payload: &[u8], mut sequence: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = payload;
    loop {
        let (frame, after) = rest.split_at(rest.len().min(FULL_FRAME));
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes()[..3]);
        out.push(sequence);
        out.extend_from_slice(frame);
        sequence = sequence.wrapping_add(1);
        rest = after;
        if frame.len() < FULL_FRAME {
            return out;
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

async fn write(mut to: tokio::io::DuplexStream, bytes: Vec<u8>) {
    to.write_all(&bytes).await.expect("the reader takes all");
}

#[tokio::test]
async fn joins_frames_in_place() {
    for length in [0, 1, FULL_FRAME - 1, FULL_FRAME, FULL_FRAME + 1, 2 * FULL_FRAME, 40 << 20] {
        let payload = pattern(length);
        let mut bytes = frames(&payload, 0);
        let next = (length / FULL_FRAME + 1) as u8;
        bytes.extend(frames(b"after", next));
        let (near, far) = tokio::io::duplex(1 << 20);
        let writer = tokio::spawn(write(far, bytes));
        let mut wire = Wire::new(near, 1 << 16, 1 << 30);
        assert!(wire.packet().await.expect("first packet") == payload.as_slice(), "{length}");
        assert_eq!(wire.packet().await.expect("second packet"), b"after", "{length}");
        writer.await.expect("writer ends");
    }
}

#[tokio::test]
async fn shrinks_after_a_large_packet() {
    let mut bytes = frames(&pattern(3 << 20), 0);
    bytes.extend(frames(b"small", 1));
    let (near, far) = tokio::io::duplex(1 << 16);
    let writer = tokio::spawn(write(far, bytes));
    let mut wire = Wire::new(near, 4096, 1 << 30);
    assert_eq!(wire.packet().await.expect("large").len(), 3 << 20);
    assert!(wire.capacity() >= 3 << 20);
    assert_eq!(wire.packet().await.expect("small"), b"small");
    assert_eq!(wire.capacity(), 4096);
    writer.await.expect("writer ends");
}

#[tokio::test]
async fn refuses_a_packet_above_the_cap_before_it_is_read() {
    let mut bytes = vec![0xff, 0xff, 0xff, 0];
    bytes.extend(vec![7; 16]);
    let mut wire = Wire::new(std::io::Cursor::new(bytes), 64, 1000);
    let refused = wire.packet().await.expect_err("above the cap");
    assert!(matches!(refused, WireError::TooLarge { bytes: FULL_FRAME, cap: 1000 }));
    assert_eq!(wire.capacity(), 64, "nothing was reserved for a claimed length");
}

#[tokio::test]
async fn refuses_a_packet_out_of_order() {
    let mut wire = Wire::new(std::io::Cursor::new(frames(b"x", 3)), 64, 1000);
    let refused = wire.packet().await.expect_err("number 3 where 0 is due");
    assert!(matches!(refused, WireError::OutOfOrder { got: 3, want: 0 }));
}

#[tokio::test]
async fn says_closed_at_the_end_of_the_stream() {
    let mut cut = frames(b"cut short", 0);
    cut.truncate(7);
    let mut wire = Wire::new(std::io::Cursor::new(cut), 64, 1000);
    assert!(matches!(wire.packet().await.expect_err("cut"), WireError::Closed));
}

#[tokio::test]
async fn a_cancelled_read_loses_no_byte() {
    let payload = pattern(100_000);
    let bytes = frames(&payload, 0);
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut wire = Wire::new(near, 64, 1 << 30);
    for chunk in bytes.chunks(977) {
        {
            // Polled until it waits for more, then dropped, before each chunk.
            let read = std::pin::pin!(wire.packet());
            let waiting = futures_poll_once(read).await;
            assert!(waiting.is_none());
        }
        far.write_all(chunk).await.expect("room in the pipe");
    }
    assert!(wire.packet().await.expect("whole at last") == payload.as_slice());
}

/// Polls once: `None` while pending.
async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn splits_what_it_sends_into_frames() {
    for length in [0, 5, FULL_FRAME, FULL_FRAME + 9] {
        let payload = pattern(length);
        let (near, mut far) = tokio::io::duplex(64 << 20);
        let mut wire = Wire::new(near, 64, 1000);
        wire.send(&payload).await.expect("sent");
        drop(wire);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.expect("read back");
        assert!(sent == frames(&payload, 0), "{length}");
    }
}
