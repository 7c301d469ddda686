//! The words of a statement: as much of SQL's grammar as tells statements apart.

/// A word, a quoted text or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// A keyword, a plain name or a number.
    Name(&'a [u8]),
    /// A string or a quoted name, without its quotes.
    Quoted(&'a [u8], u8),
    Sign(u8),
}

impl Word<'_> {
    pub(super) fn is(self, name: &str) -> bool {
        matches!(self, Word::Name(word) if word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Words of a statement, without comments; executable comments (`/*!50000 ... */`) are read.
#[derive(Clone)]
pub(super) struct Words<'a> {
    pub(super) rest: &'a [u8],
}

impl Words<'_> {
    pub(super) fn next_is(&mut self, name: &str) -> bool {
        self.next().is_some_and(|word| word.is(name))
    }

    /// Passes the next word if it is this one.
    pub(super) fn skip_word(&mut self, name: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next_is(name);
        if found {
            *self = ahead;
        }
        found
    }

    /// Passes the next word, which must be this one.
    pub(super) fn expect(&mut self, name: &str) -> Option<()> {
        self.next_is(name).then_some(())
    }

    /// Passes the next word if it is this sign.
    pub(super) fn skip_sign(&mut self, sign: u8) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next() == Some(Word::Sign(sign));
        if found {
            *self = ahead;
        }
        found
    }

    /// The next word as a whole number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let Word::Name(digits) = self.next()? else { return None };
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Passes the next word if it is a whole number.
    pub(super) fn skip_number(&mut self) {
        let mut ahead = self.clone();
        if ahead.number().is_some() {
            *self = ahead;
        }
    }

    /// Whether a comma or the statement's end follows.
    pub(super) fn ends_part(&self) -> bool {
        matches!(self.clone().next(), None | Some(Word::Sign(b',')))
    }

    /// The next word as the name of something, quoted or not.
    pub(super) fn name(&mut self) -> Option<String> {
        match self.next()? {
            Word::Name(name) => Some(String::from_utf8_lossy(name).into_owned()),
            Word::Quoted(name, quote) if quote != b'\'' => {
                let quote = char::from(quote).to_string();
                Some(String::from_utf8_lossy(name).replace(&quote.repeat(2), &quote))
            }
            _ => None,
        }
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn skip_past(&mut self, end: &[u8]) {
        let at = self.rest.windows(end.len()).position(|window| window == end);
        self.skip(at.map_or(self.rest.len(), |at| at + end.len()));
    }
}

impl<'a> Words<'a> {
    /// What stands between the quotes; a doubled quote belongs to it.
    fn quoted(&mut self, quote: u8) -> &'a [u8] {
        self.skip(1);
        let text = self.rest;
        while let Some(byte) = self.rest.first().copied() {
            if byte == b'\\' && quote != b'`' || self.rest.starts_with(&[quote, quote]) {
                self.skip(2);
                continue;
            }
            if byte == quote {
                let length = text.len() - self.rest.len();
                self.skip(1);
                return text.get(..length).unwrap_or_default();
            }
            self.skip(1);
        }
        text
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            match self.rest {
                [] => return None,
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => {
                    self.skip_past(b"!");
                    let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    self.skip(digits);
                }
                [b'/', b'*', ..] => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                [b'-', b'-', ..] | [b'#', ..] => self.skip_past(b"\n"),
                [quote @ (b'\'' | b'"' | b'`'), ..] => {
                    let quote = *quote;
                    return Some(Word::Quoted(self.quoted(quote), quote));
                }
                [first, ..] if is_name(*first) => {
                    let length = self.rest.iter().take_while(|byte| is_name(**byte)).count();
                    let (word, rest) = self.rest.split_at(length);
                    self.rest = rest;
                    return Some(Word::Name(word));
                }
                [b' ' | b'\t' | b'\r' | b'\n' | b'*' | b'/' | b';' | 0, ..] => self.skip(1),
                [sign, ..] => {
                    let sign = *sign;
                    self.skip(1);
                    return Some(Word::Sign(sign));
                }
            }
        }
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}
