use super::*;

fn stream(payloads: &[&[u8]]) -> Wire<std::io::Cursor<Vec<u8>>> {
    let mut bytes = Vec::new();
    for (number, payload) in payloads.iter().enumerate() {
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
        bytes.push(number as u8);
        bytes.extend_from_slice(payload);
    }
    Wire::new(std::io::Cursor::new(bytes), 64, 1 << 20)
}

const END: &[u8] = b"\xfe\0\0\x02\0";
const FILE: &[u8] = b"\x03def\0\0\0\x04File\x04file\x0c\x2d\0\0\x04\0\0\xfd\0\0\0\0\0";
const SIZE: &[u8] = b"\x03def\0\0\0\x04Size\x04size\x0c\x2d\0\0\x04\0\0\x08\0\0\0\0\0";

async fn rows(payloads: &[&[u8]]) -> Result<ResultSet, SourceError> {
    match read(&mut stream(payloads), "test").await? {
        Answer::Rows(rows) => Ok(rows),
        Answer::Done { .. } => panic!("rows were due"),
    }
}

#[tokio::test]
async fn reads_cells_null_and_numbers_by_any_case_of_a_name() {
    let set = rows(&[b"\x02", FILE, SIZE, END, b"\x08b.000001\x03157", b"\xfb\x00", END]).await;
    let set = set.expect("rows");
    assert_eq!((set.len(), set.columns()), (2, &["File".to_owned(), "Size".to_owned()][..]));
    let first = set.first().expect("a row");
    assert_eq!(first.text("FILE").as_deref(), Some("b.000001"));
    assert_eq!(first.number("size").expect("a number"), 157);
    assert_eq!(first.bytes("absent"), None);
    let second = set.rows().nth(1).expect("a row");
    assert_eq!((second.bytes("File"), second.bytes("Size")), (None, Some(&b""[..])));
    assert!(matches!(second.number("Size"), Err(SourceError::Value { .. })));
    assert!(matches!(second.required("File"), Err(SourceError::Value { .. })));
}

#[tokio::test]
async fn an_ok_gives_the_affected_rows() {
    let answer = read(&mut stream(&[b"\0\xfc\x10\x27\0\x02\0\0\0"]), "test").await.expect("OK");
    assert!(matches!(answer, Answer::Done { affected: 10_000 }));
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_rows_is_the_servers() {
    let error = rows(&[b"\x01", FILE, END, b"\x01x", b"\xff\x25\x05#70100killed"]).await;
    assert_eq!(error.expect_err("refused").code(), Some(1317));
}

#[tokio::test]
async fn a_request_for_a_local_file_is_refused() {
    let error = rows(&[b"\xfb/etc/passwd"]).await.expect_err("refused");
    assert!(matches!(error, SourceError::Protocol { .. }));
}

#[tokio::test]
async fn hostile_rows_are_an_error() {
    for row in [&b"\x05abc"[..], b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffx", b"\x01a\x01b", b"\xff"] {
        let error = rows(&[b"\x01", FILE, END, row, END]).await.expect_err("refused");
        assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
    }
    for count in [&b"\x00\xff"[..], b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xfd\0\0", b""] {
        let answer = read(&mut stream(&[count, FILE, END, END]), "test").await;
        assert!(matches!(answer, Err(_) | Ok(Answer::Done { .. })));
    }
}

#[tokio::test]
async fn hostile_columns_and_cells_have_a_bound() {
    // Names as long as packets may be, and rows of cells that hold nothing.
    let name = [&b"\x03def\0\0\0\xfd\0\0\x80"[..], &vec![b'n'; 8 << 20], b"\0\x0c"].concat();
    let wide = vec![0; 4096];
    for (count, columns, row) in [
        (&b"\xfc\x00\x10"[..], vec![name.as_slice(); 9], &b""[..]),
        (b"\xfc\x00\x10", vec![FILE; 4096], &wide[..]),
    ] {
        let rows = vec![row; 600];
        let all = [&[count][..], &columns, &[END], &rows].concat();
        let mut stream = stream(&all);
        stream.set_limits(64, 16 << 20);
        let answer = read(&mut stream, "test").await;
        assert!(matches!(answer, Err(SourceError::TooLarge { unit: "bytes", .. })));
    }
}
