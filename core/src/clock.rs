//! Monotonic time, injectable.
//!
//! Everything that judges a checkout asks a [`Clock`]; a test holds a [`ManualClock`] and advances it, so that no
//! leak test sleeps for real. Wall-clock time is for humans only (reports) and never decides anything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use once_cell::sync::Lazy;
use parking_lot::Mutex;

/// A point in monotonic time: nanoseconds since the clock's origin. Never zero, so that zero can mean "never".
pub type Nanos = u64;

/// The longest time between two looks at whether a host still wants to wait.
pub const SLICE: Duration = Duration::from_millis(100);

/// A source of monotonic time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, in nanoseconds since the clock's origin; never goes back, never zero.
    fn now(&self) -> Nanos;

    /// Time in which this process did not run was skipped: from now on the clock is behind by that much.
    fn skip(&self, by: Duration);

    /// True if real time passes on this clock, so that the sweeper may sleep on it.
    fn is_real(&self) -> bool;

    /// Calls `waker` each time a clock that does not run by itself is moved.
    fn on_move(&self, waker: Arc<dyn Fn() + Send + Sync>);
}

/// A duration as nanoseconds, saturating (584 years).
pub(crate) fn nanos(d: Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// One origin for every real clock of the process, so that their stamps can be compared.
static ORIGIN: Lazy<Instant> = Lazy::new(Instant::now);

/// The operating system's monotonic clock.
#[derive(Debug, Default)]
pub struct SystemClock {
    skipped: AtomicU64,
}

impl SystemClock {
    /// A clock that starts now and has skipped nothing.
    pub fn new() -> SystemClock {
        Lazy::force(&ORIGIN);
        SystemClock::default()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Nanos {
        (nanos(ORIGIN.elapsed()) + 1).saturating_sub(self.skipped.load(Ordering::Relaxed)).max(1)
    }

    fn skip(&self, by: Duration) {
        self.skipped.fetch_add(nanos(by), Ordering::Relaxed);
    }

    fn is_real(&self) -> bool {
        true
    }

    fn on_move(&self, _waker: Arc<dyn Fn() + Send + Sync>) {}
}

type Waker = Arc<dyn Fn() + Send + Sync>;

/// A clock that stands still until a test moves it.
///
/// ```
/// use leakpool::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(30));
/// assert_eq!(clock.now() - before, 30_000_000_000);
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    now: AtomicU64,
    /// Held only to copy the list; wakers run after it is let go.
    wakers: Mutex<Vec<Waker>>,
}

impl ManualClock {
    /// A clock that stands at one second after its origin.
    pub fn new() -> ManualClock {
        ManualClock(Arc::new(Manual { now: AtomicU64::new(1_000_000_000), wakers: Mutex::default() }))
    }

    /// Moves the clock forward and wakes whoever sleeps on it.
    pub fn advance(&self, by: Duration) {
        self.0.now.fetch_add(nanos(by), Ordering::SeqCst);
        let wakers = self.0.wakers.lock().clone();
        for wake in wakers {
            wake();
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        ManualClock::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Nanos {
        self.0.now.load(Ordering::SeqCst)
    }

    fn skip(&self, by: Duration) {
        self.0.now.fetch_sub(nanos(by), Ordering::SeqCst);
    }

    fn is_real(&self) -> bool {
        false
    }

    fn on_move(&self, waker: Waker) {
        self.0.wakers.lock().push(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_shows_zero_and_goes_on() {
        let clock = SystemClock::new();
        let a = clock.now();
        assert!(a > 0);
        assert!(clock.now() >= a);
    }

    #[test]
    fn skipped_time_is_not_counted() {
        let clock = SystemClock::new();
        let before = clock.now();
        clock.skip(Duration::from_secs(3600));
        assert!(clock.now() <= before.max(1));
    }

    #[test]
    fn moving_a_manual_clock_wakes_those_who_wait_for_it() {
        let clock = ManualClock::new();
        let woken = Arc::new(AtomicU64::new(0));
        let seen = woken.clone();
        clock.on_move(Arc::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        }));
        clock.advance(Duration::from_secs(1));
        assert_eq!(woken.load(Ordering::SeqCst), 1);
    }
}
