//! A hash of return addresses and short texts that costs a few nanoseconds. Not for keys that an attacker chooses:
//! who collides is only slower, as keys are compared in full.

#[derive(Clone, Copy)]
pub(super) struct Hash(u64, u64);

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;
/// Apart from the others, or the hash of a text (which leaves the second lane alone) would multiply by zero.
const THIRD: u64 = 0xa076_1d64_78bd_642f;

/// Both halves of the product: every bit of one factor reaches every bit of the result.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Hash {
    #[inline]
    pub(super) fn new(length: usize) -> Hash {
        Hash(FIRST ^ length as u64, SECOND)
    }

    #[inline]
    pub(super) fn word(&mut self, word: u64) {
        self.0 = mix(self.0 ^ word, SECOND);
    }

    /// Two lanes, so that one multiplication does not wait for the other.
    #[inline]
    pub(super) fn addresses(&mut self, words: &[usize]) {
        let mut pairs = words.chunks_exact(4);
        for four in &mut pairs {
            self.0 = mix(self.0 ^ four[0] as u64, four[1] as u64 ^ SECOND);
            self.1 = mix(self.1 ^ four[2] as u64, four[3] as u64 ^ FIRST);
        }
        pairs.remainder().iter().for_each(|word| self.word(*word as u64));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        let mut words = text.as_bytes().chunks_exact(8);
        for eight in &mut words {
            self.word(eight.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        self.word(words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    #[inline]
    pub(super) fn finish(self) -> u64 {
        mix(self.0 ^ FIRST, self.1 ^ THIRD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn near_keys_lie_far_apart() {
        let hash = |words: &[usize]| {
            let mut hash = Hash::new(words.len());
            hash.addresses(words);
            hash.finish()
        };
        let base: Vec<usize> = (0..13).map(|n| 0x5555_5555_0000 + n * 0x131).collect();
        let mut seen = HashSet::new();
        for place in 0..base.len() {
            for difference in 0..500 {
                let mut near = base.clone();
                near[place] += 1 + difference;
                // The slot in a small table, and the half that is kept beside the id.
                seen.insert(hash(&near) >> 32);
            }
        }
        assert!(seen.len() >= 13 * 500 - 2, "{} of 6500", seen.len());
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[0]), hash(&[0, 0]));
        let text = |parts: &[&str]| {
            let mut hash = Hash::new(1);
            parts.iter().for_each(|part| hash.text(part));
            hash.finish()
        };
        assert_ne!(text(&["ab", "c"]), text(&["a", "bc"]));
        assert_ne!(text(&["12345678"]), text(&["123456789"]));
    }
}
