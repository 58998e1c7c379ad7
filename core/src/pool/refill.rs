//! When connections that are to be kept open are made again: at once after a while of peace, and ever later where they
//! are refused, or end as soon as they are made. A pure function of times.

use crate::clock::Nanos;

const SECOND: Nanos = 1_000_000_000;
/// The pause after the first round that was for nothing.
const FIRST_PAUSE: Nanos = SECOND / 2;
const LONGEST_PAUSE: Nanos = 30 * SECOND;

/// What is known of the rounds so far.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// Rounds for nothing, one after another.
    failures: u32,
    /// When the last round began; zero = there was none.
    last: Nanos,
    pause: Nanos,
    /// When a failure was told last; zero = never.
    told: Nanos,
}

impl Refill {
    /// When the next round may begin.
    pub(super) fn due(&self) -> Nanos {
        if self.last == 0 { 0 } else { self.last.saturating_add(self.pause) }
    }

    /// A round begins. That the last one's connections are gone, or never came, so soon after it means that it was for
    /// nothing. `random` is any number.
    pub(super) fn begin(&mut self, now: Nanos, random: u64) {
        self.failures = if self.is_peace_since(self.last, now) { 0 } else { self.failures.saturating_add(1) };
        let doubled = FIRST_PAUSE << self.failures.min(10);
        let pause = doubled.min(LONGEST_PAUSE);
        // Half of it is left to chance, so that many processes do not come back together.
        self.pause = pause / 2 + random % (pause / 2);
        self.last = now;
    }

    /// So much time has passed since then that what comes now has nothing to do with it.
    fn is_peace_since(&self, then: Nanos, now: Nanos) -> bool {
        then == 0 || now.saturating_sub(then) >= (2 * self.pause).max(10 * SECOND)
    }

    /// True if a failure is to be told now: once in a row of them.
    pub(super) fn tells(&mut self, now: Nanos) -> bool {
        let tells = self.is_peace_since(self.told, now);
        self.told = now;
        tells
    }

    /// Somebody wants connections now: size or age were changed by hand.
    pub(super) fn forgive(&mut self) {
        *self = Refill::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_for_nothing_come_ever_later_and_peace_forgives_them() {
        let mut refill = Refill::default();
        assert_eq!(refill.due(), 0);
        let mut now = SECOND;
        let mut rounds = 0;
        while now < 300 * SECOND {
            refill.begin(now, now);
            assert_eq!(refill.tells(now), rounds == 0);
            rounds += 1;
            assert!(refill.due() > now && refill.due() <= now + LONGEST_PAUSE);
            now = refill.due();
        }
        assert!((10..40).contains(&rounds), "{rounds} rounds in five minutes");
        now += 2 * LONGEST_PAUSE + 10 * SECOND;
        refill.begin(now, 7);
        assert!(refill.tells(now) && refill.due() <= now + FIRST_PAUSE);
        refill.forgive();
        assert_eq!(refill.due(), 0);
    }
}
