//! The exposition in pages, which are sent and freed one after the other: of ten thousand streams it is over ten
//! megabytes.

use std::{fmt, mem};

/// Bytes from which on a page is full.
const FULL: usize = 1 << 17;

/// The pages of an exposition that is written. Each but the last ends behind a sample, so each can be read by itself.
#[derive(Debug, Default)]
pub struct Pages {
    full: Vec<String>,
    last: String,
}

impl fmt::Write for Pages {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.last.push_str(text);
        if self.last.len() >= FULL
            && let Some(end) = end_of_samples(&self.last)
        {
            let mut next = String::with_capacity(FULL + FULL / 8);
            next.push_str(&self.last.split_off(end));
            self.full.push(mem::replace(&mut self.last, next));
        }
        Ok(())
    }
}

/// Where the last whole line ends, if it is a sample.
fn end_of_samples(text: &str) -> Option<usize> {
    let end = text.rfind('\n')?;
    let line = text.get(..end)?.rsplit('\n').next()?;
    (!line.starts_with('#')).then_some(end + 1)
}

impl IntoIterator for Pages {
    type Item = String;
    type IntoIter = std::iter::Chain<std::vec::IntoIter<String>, std::iter::Once<String>>;

    fn into_iter(self) -> Self::IntoIter {
        self.full.into_iter().chain(std::iter::once(self.last))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn a_page_ends_behind_a_sample_and_together_they_are_the_text() {
        let (mut pages, mut whole) = (Pages::default(), String::new());
        for number in 0..30_000 {
            for part in ["# HELP a b\n# TYPE a gauge\n", "a ", &number.to_string(), "\n"] {
                pages.write_str(part).unwrap();
                whole.push_str(part);
            }
        }
        let pages: Vec<_> = pages.into_iter().collect();
        assert!(pages.len() > 3);
        assert!(pages.iter().all(|page| page.starts_with('#') && page.len() < 2 * FULL));
        assert_eq!(pages.concat(), whole);
    }
}
