//! Changes to bytes that parsers of binary formats are sensitive to.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// No input grows beyond this.
const LONGEST: usize = 1 << 18;
/// Bytes that stand for something in the formats: ends, signs, marks of length-encoded numbers.
const BYTES: [u8; 14] = [0, 1, 2, 0x0f, 0x10, 0x7f, 0x80, 0xf8, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff];

pub(crate) struct Mutator(StdRng);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.random_range(0..end) }
    }

    /// Changes `input` in one to eight places; `other` is another input to take parts of.
    pub(crate) fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..1 << self.below(4) {
            self.change(input, other);
        }
        input.truncate(LONGEST);
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len());
        match self.below(11) {
            0 => self.each(input, at, |_, byte| byte ^ 0xff),
            1 => self.each(input, at, |this, byte| byte ^ 1 << this.below(8)),
            2 => self.each(input, at, |this, _| BYTES[this.below(BYTES.len())]),
            3 => self.each(input, at, |this, _| this.0.random()),
            4 => self.each(input, at, |this, byte| {
                byte.wrapping_add(this.below(9) as u8).wrapping_sub(4)
            }),
            5 => self.number(input, at),
            6 => input.truncate(at),
            7 => {
                let end = self.end(at, input.len());
                input.drain(at..end);
            }
            8 => {
                let end = self.end(at, input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            9 => {
                let fresh: Vec<u8> = (0..=self.below(8)).map(|_| self.0.random()).collect();
                input.splice(at..at, fresh);
            }
            _ => {
                let from = self.below(other.len());
                let to = self.end(from, other.len());
                let over = if self.below(2) == 0 { self.end(at, input.len()) } else { at };
                input.splice(at..over, other[from..to].iter().copied());
            }
        }
    }

    fn each(&mut self, input: &mut [u8], at: usize, change: impl Fn(&mut Self, u8) -> u8) {
        if let Some(byte) = input.get_mut(at) {
            *byte = change(self, *byte);
        }
    }

    /// Mostly near, sometimes anywhere behind `from`.
    fn end(&mut self, from: usize, length: usize) -> usize {
        let reach = if self.below(4) == 0 { length } else { 16 };
        (from + self.below(reach + 1)).min(length)
    }

    /// A number of 2, 3, 4 or 8 bytes that a length field may hold: extremes, and what nearly fits.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let left = (input.len() - at) as u64;
        let numbers = [
            left,
            left.wrapping_add(1),
            left.wrapping_sub(1),
            left / 2,
            0,
            1,
            0xff,
            0xffff,
            0x00ff_ffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 40,
            u64::MAX >> 1,
            u64::MAX,
        ];
        let number = numbers[self.below(numbers.len())];
        let width = [2, 3, 4, 8][self.below(4)];
        let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
        let bytes = if self.below(4) == 0 { &big[8 - width..] } else { &little[..width] };
        for (slot, byte) in input[at..].iter_mut().zip(bytes) {
            *slot = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_mutations() {
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            let mut input = b"0123456789".to_vec();
            for _ in 0..200 {
                mutator.mutate(&mut input, b"abcdef");
            }
            input
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn nothing_is_too_short_to_change() {
        let mut mutator = Mutator::new(1);
        for length in 0..4 {
            for _ in 0..2_000 {
                mutator.mutate(&mut vec![0; length], &[]);
            }
        }
    }
}
