//! JSON text as it is written.

use super::BadValue;

/// Bytes that are UTF-8 as a whole: looked at once, when all is written, and not once a value.
#[derive(Debug, Default)]
pub(crate) struct JsonText {
    bytes: Vec<u8>,
}

impl JsonText {
    /// An empty text in the memory of one that is not needed any more.
    pub(crate) fn within(used: String) -> Self {
        let mut bytes = used.into_bytes();
        bytes.clear();
        Self { bytes }
    }

    /// The text.
    ///
    /// # Errors
    /// Something that was written is no UTF-8.
    pub(crate) fn finish(self) -> Result<String, BadValue> {
        String::from_utf8(self.bytes).map_err(|_| BadValue("its text is not UTF-8"))
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, ascii: u8) {
        self.bytes.push(ascii);
    }

    #[inline]
    pub(crate) fn push_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Appends bytes that are UTF-8 by themselves.
    #[inline]
    pub(crate) fn push_bytes(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// Appends bytes in quotes.
    #[inline]
    pub(crate) fn push_quoted(&mut self, text: &[u8]) {
        self.bytes.reserve(text.len() + 2);
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'"');
    }

    /// What was written since the text had this length.
    #[inline]
    pub(crate) fn since(&self, length: usize) -> &[u8] {
        self.bytes.get(length..).unwrap_or_default()
    }

    /// Puts text before what was written since the text had this length.
    pub(crate) fn insert_str(&mut self, length: usize, text: &str) {
        self.bytes.splice(length..length, text.bytes());
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("UTF-8")
    }
}
