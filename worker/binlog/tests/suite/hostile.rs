//! Damaged and invented input: errors and stopped tables, never a panic.

use binlog::{EventType, Filter, HEADER_LENGTH};
use proptest::prelude::*;

use crate::support::{ALL, MYSQL, Reader, Rows, event, reseal};

/// Plays events until one is refused.
fn play_damaged(recording: usize, damage: impl Fn(usize, &mut Vec<u8>)) {
    let recording = &ALL[recording];
    let mut reader = Reader::new(recording.flavor, Filter::default());
    let mut rows = Rows::default();
    for (index, event) in recording.events().into_iter().enumerate() {
        let mut event = event.to_vec();
        // Behind the first events the position would only hide what lies deeper.
        event[13..17].fill(0);
        damage(index, &mut event);
        if event.len() >= HEADER_LENGTH + 4 {
            reseal(&mut event);
        }
        if reader.read(&event, &mut rows).is_err() && index > 0 {
            reader.groups.reset();
            reader.decoder.reset_group();
        }
    }
    for row in rows.0 {
        for image in [row.before, row.after, row.pk].into_iter().flatten() {
            serde_json::from_str::<serde_json::Value>(&image).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_packets_never_panic(packets in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..200), 0..20,
    )) {
        for recording in &ALL {
            let mut reader = Reader::new(recording.flavor, Filter::default());
            let mut rows = Rows::default();
            reader.read(recording.events()[0], &mut rows).unwrap();
            for packet in &packets {
                drop(reader.read(packet, &mut rows));
            }
        }
    }

    #[test]
    fn random_bodies_never_panic(
        recording in 0..ALL.len(),
        bodies in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..300)), 1..20,
        ),
    ) {
        let recording = &ALL[recording];
        let mut reader = Reader::new(recording.flavor, Filter::default());
        let mut rows = Rows::default();
        reader.read(recording.events()[0], &mut rows).unwrap();
        for (event_type, body) in bodies {
            if reader.read(&event(event_type, 0, 0, &body), &mut rows).is_err() {
                reader.groups.reset();
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        recording in 0..ALL.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let count = ALL[recording].events().len();
        play_damaged(recording, |index, event| {
            for (which, place, byte) in &changes {
                if which.index(count) == index {
                    let at = HEADER_LENGTH + place.index(event.len() - HEADER_LENGTH);
                    event[at] = *byte;
                }
            }
        });
    }

    #[test]
    fn cut_events_never_panic(
        recording in 0..ALL.len(),
        which in any::<prop::sample::Index>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let count = ALL[recording].events().len();
        play_damaged(recording, |index, event| {
            if which.index(count) == index {
                let length = HEADER_LENGTH + 4 + keep.index(event.len() - HEADER_LENGTH - 4);
                event.truncate(length);
            }
        });
    }
}

#[test]
fn a_truncated_payload_is_an_error() {
    let events = MYSQL.events();
    let at = events.iter().position(|event| event[4] == EventType::TRANSACTION_PAYLOAD.0).unwrap();
    let body = &events[at][HEADER_LENGTH..events[at].len() - 4];
    for keep in 0..body.len() {
        let mut reader = Reader::new(MYSQL.flavor, Filter::default());
        let mut rows = Rows::default();
        for event in &events[..at] {
            reader.read(event, &mut rows).unwrap();
        }
        let cut = event(EventType::TRANSACTION_PAYLOAD.0, 0, 0, &body[..keep]);
        assert!(reader.read(&cut, &mut rows).is_err(), "{keep} of {}", body.len());
    }
}

#[test]
fn a_huge_promise_allocates_nothing() {
    // A payload of one event that claims 1 GiB, and a table map of 2^40 columns.
    let mut inner = event(EventType::WRITE_ROWS.0, 0, 0, &[]);
    inner[9..13].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    let payload = [&[2, 3, 0xfc, 255, 0, 0][..], &inner].concat();
    let table_map = [&[0; 8][..], &[1, b's', 0, 1, b't', 0, 0xfe, 0, 0, 0, 0, 0, 1, 0, 0]].concat();
    for (event_type, body) in
        [(EventType::TRANSACTION_PAYLOAD, payload), (EventType::TABLE_MAP, table_map)]
    {
        let mut reader = Reader::new(MYSQL.flavor, Filter::default());
        reader.read(MYSQL.events()[0], &mut Rows::default()).unwrap();
        let bytes = event(event_type.0, 0, 0, &body);
        assert!(reader.read(&bytes, &mut Rows::default()).is_err());
    }
}

#[test]
fn a_bit_column_of_impossible_size_stops_its_table() {
    for metadata in [[1, 255], [8, 1], [0, 9], [255, 255]] {
        // Table t of schema s: one BIT column, by the name of v.
        let mut body = [&[7, 0, 0, 0, 0, 0, 1, 0][..], b"\x01s\0\x01t\0", &[1, 16, 2]].concat();
        body.extend(metadata);
        body.extend([0, 4, 2, 1, b'v']);
        let rows = [7, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0, 255, 255, 255];
        let mut reader = Reader::new(MYSQL.flavor, Filter::default());
        reader.read(MYSQL.events()[0], &mut Rows::default()).unwrap();
        for (event_type, body) in
            [(EventType::TABLE_MAP, &body[..]), (EventType::WRITE_ROWS, &rows[..])]
        {
            reader.read(&event(event_type.0, 0, 0, body), &mut Rows::default()).unwrap();
        }
        let stopped: Vec<_> = reader.decoder.stopped().values().collect();
        assert!(stopped[0].reason.contains("BIT"), "{metadata:?}: {stopped:?}");
    }
}
