//! A password that no log line can show.
//!
//! Invariant: neither `Debug` nor `Display` of a [`Secret`] gives its bytes, its length or a hash of
//! them, so a struct holding one can be logged (`shows_nothing_of_its_contents`).

use std::fmt;

/// Secret bytes of any content: a password is not required to be UTF-8.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps `bytes` as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Wraps the contents of a mounted file, dropping one trailing line end: editors and
    /// `kubectl create secret --from-file` leave one, and no password means it.
    pub fn from_file_contents(bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes = bytes.into();
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self(bytes)
    }

    /// The bytes, for the one place that sends them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no password at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_nothing_of_its_contents() {
        let shown = format!("{:?}", Secret::from("hunter2"));
        assert_eq!(shown, "Secret(..)");
        assert_eq!(shown, format!("{:?}", Secret::from("")));
    }

    #[test]
    fn drops_one_trailing_line_end_of_a_mounted_file() {
        for (file, password) in [
            (&b"pw\n"[..], &b"pw"[..]),
            (b"pw\r\n", b"pw"),
            (b"pw\n\n", b"pw\n"),
            (b" pw ", b" pw "),
            (b"\xff\x00\n", b"\xff\x00"),
            (b"pw\r", b"pw\r"),
        ] {
            assert_eq!(Secret::from_file_contents(file).expose(), password);
        }
    }
}
