//! The books: counters that balance and histograms that cost two additions.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Nanos, nanos};

/// Upper bounds of the histogram buckets in seconds: those that OpenTelemetry's semantic conventions advise for
/// database durations, with finer ones below and longer ones above, where leaks live.
pub const BUCKET_BOUNDS: [f64; 13] =
    [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0];

const BOUNDS_NANOS: [Nanos; 13] = {
    let mut bounds = [0; 13];
    let mut i = 0;
    while i < 13 {
        bounds[i] = (BUCKET_BOUNDS[i] * 1e9) as Nanos;
        i += 1;
    }
    bounds
};

/// A histogram of durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; 14],
    sum: AtomicU64,
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&self, duration: Nanos) {
        let bucket = BOUNDS_NANOS.iter().position(|bound| duration <= *bound).unwrap_or(BOUNDS_NANOS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        if duration > 0 {
            self.sum.fetch_add(duration, Ordering::Relaxed);
        }
    }

    pub(crate) fn record_duration(&self, duration: Duration) {
        self.record(nanos(duration));
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        let buckets: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        HistogramSnapshot {
            count: buckets.iter().sum(),
            sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramSnapshot {
    /// How many durations were recorded.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// How many fell into each bucket of [`BUCKET_BOUNDS`] (not cumulated); the last one has no upper bound.
    pub buckets: Vec<u64>,
}

/// The counters of one detector. Endings are added with `Release` and read before beginnings, so that a
/// snapshot never shows more endings than beginnings (law 5).
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) acquired: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) force_released: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) leaks: AtomicU64,
    pub(crate) leaks_recovered: AtomicU64,
    pub(crate) late_uses: AtomicU64,
    pub(crate) late_releases: AtomicU64,
    pub(crate) dirty_releases: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) created: AtomicU64,
    pub(crate) create_errors: AtomicU64,
    pub(crate) removed: AtomicU64,
    /// Flagged now: reported as leaks and not ended.
    pub(crate) leaked_now: AtomicI64,
    pub(crate) wait_time: Histogram,
    pub(crate) use_time: Histogram,
    pub(crate) create_time: Histogram,
    pub(crate) sweep_time: Histogram,
}

/// Adds one to a counter that nothing else is ordered by.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Adds one to the count of beginnings or endings.
pub(crate) fn book(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Release);
}

impl Stats {
    pub(crate) fn books(&self) -> Books {
        // Endings first: whatever ended had begun before.
        let released = self.released.load(Ordering::Acquire);
        let force_released = self.force_released.load(Ordering::Acquire);
        let lost = self.lost.load(Ordering::Acquire);
        let acquired = self.acquired.load(Ordering::Acquire);
        Books { acquired, released, force_released, lost }
    }
}

/// How every checkout began and ended: `acquired = released + force_released + lost + active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Books {
    /// Checkouts that began.
    pub acquired: u64,
    /// Ended by their holder, clean or dirty.
    pub released: u64,
    /// Ended by the sweeper, by hand, by close, or because they were proven leaked.
    pub force_released: u64,
    /// Ended because the session died while it was held.
    pub lost: u64,
}

impl Books {
    /// Checkouts that have not ended.
    ///
    /// ```
    /// let books = leakpool::Books { acquired: 5, released: 3, force_released: 1, lost: 0 };
    /// assert_eq!(books.active(), 1);
    /// ```
    pub fn active(&self) -> u64 {
        self.acquired.saturating_sub(self.released + self.force_released + self.lost)
    }
}
