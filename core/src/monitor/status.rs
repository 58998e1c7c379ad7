//! What a pool looks like now, in numbers. Filled from a detector and the pool's own counts; never judges.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::detect::Detector;
use crate::detect::stats::{Books, HistogramSnapshot};

/// How full a pool is, at one moment. Under traffic its numbers are read one after the other, not all at once.
///
/// ```
/// fn is_nearly_full(status: &leakpool::PoolStatus) -> bool {
///     status.utilization >= 0.8 && status.waiting > 0
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The pool's name.
    pub name: Arc<str>,
    /// The most connections that it may have; 0 = not known (a watched pool that never said).
    pub max_size: usize,
    /// Open connections: held, returning and idle. For a watched pool only the held ones are known.
    pub size: usize,
    /// Connections that can be checked out at once.
    pub idle: usize,
    /// Connections that are checked out (the live checkouts).
    pub in_use: usize,
    /// Connections that were given back and still clean up (roll back) before they can be handed out again.
    pub returning: usize,
    /// Connections that are being made.
    pub connecting: usize,
    /// Acquires that wait for a connection that others hold.
    pub waiting: usize,
    /// Sessions that have left the pool but still end on the server, and count against its limit.
    pub ending: usize,
    /// True once the pool was closed.
    pub closed: bool,
    /// `in_use / max_size`, from 0.0 to 1.0; 0.0 where `max_size` is not known.
    pub utilization: f64,
    /// Checkouts that are reported as leaks and have not ended.
    pub leaked_now: usize,
}

impl fmt::Display for PoolStatus {
    /// One line: `pool "orders": 20 of 20 in use (100 %), 0 idle, 3 waiting; 19 flagged as leaked`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {:?}: {}", &*self.name, self.in_use)?;
        if self.max_size > 0 {
            write!(
                f,
                " of {} in use ({:.0} %), {} idle",
                self.max_size,
                self.utilization * 100.0,
                self.idle
            )?;
        } else {
            write!(f, " in use")?;
        }
        for (count, word) in [
            (self.returning, "returning"),
            (self.connecting, "connecting"),
            (self.ending, "ending"),
            (self.waiting, "waiting"),
        ] {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        if self.leaked_now > 0 {
            write!(f, "; {} flagged as leaked", self.leaked_now)?;
        }
        if self.closed {
            write!(f, "; closed")?;
        }
        Ok(())
    }
}

/// The status and everything that was counted since the pool was made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// How full the pool is.
    pub status: PoolStatus,
    /// How every checkout began and ended.
    pub books: Books,
    /// Checkouts that were reported as leaks; each counts once.
    pub leaks: u64,
    /// Checkouts that were reported as leaks and released after all.
    pub leaks_recovered: u64,
    /// Uses of what had been taken away.
    pub late_uses: u64,
    /// Releases of what had been taken away.
    pub late_releases: u64,
    /// Releases with a statement, a COPY or a transaction still open.
    pub dirty_releases: u64,
    /// Acquires that ran into their time-out.
    pub timeouts: u64,
    /// Connections that were made.
    pub created: u64,
    /// Attempts to make one that failed.
    pub create_errors: u64,
    /// Connections that left the pool.
    pub removed: u64,
    /// Events that were lost because a subscriber was too slow.
    pub events_dropped: u64,
    /// How long the oldest live checkout has been held; `None` if there is none.
    pub oldest_checkout: Option<Duration>,
    /// Leaks per hundred acquires, in percent. A checkout in flight is not a leak and does not count.
    pub leak_rate: f64,
    /// Connections that are kept warm.
    pub min_idle: usize,
    /// How long acquires waited.
    pub wait_time: HistogramSnapshot,
    /// How long checkouts were held, taken when they end.
    pub use_time: HistogramSnapshot,
    /// How long it took to make a connection.
    pub create_time: HistogramSnapshot,
    /// How long the detector's own rounds took.
    pub sweep_time: HistogramSnapshot,
}

/// What only the pool knows about its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) idle: usize,
    pub(crate) returning: usize,
    pub(crate) connecting: usize,
    pub(crate) ending: usize,
    /// Zero = not known.
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) closed: bool,
}

impl PoolStatus {
    /// Cheap: a few atomic loads.
    pub(crate) fn of(detector: &Detector, connections: Connections) -> PoolStatus {
        let in_use = small(detector.stats.books().active());
        let Connections { idle, returning, connecting, ending, max_size, min_idle: _, closed } = connections;
        PoolStatus {
            name: detector.name().clone(),
            max_size,
            size: in_use + returning + idle,
            idle,
            in_use,
            returning,
            connecting,
            waiting: detector.waiting.load(Ordering::Relaxed),
            ending,
            closed,
            utilization: if max_size == 0 { 0.0 } else { in_use as f64 / max_size as f64 },
            leaked_now: usize::try_from(detector.stats.leaked_now.load(Ordering::Relaxed)).unwrap_or(0),
        }
    }
}

impl Metrics {
    /// Atomics only; `oldest_checkout` is for the caller to find out.
    pub(crate) fn with_oldest(
        detector: &Detector,
        connections: Connections,
        oldest_checkout: Option<Duration>,
    ) -> Metrics {
        let stats = &detector.stats;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Leaks before the books: whatever leaked had been acquired before, so the rate never exceeds 100 %.
        let leaks = stats.leaks.load(Ordering::Acquire);
        let books = stats.books();
        Metrics {
            status: PoolStatus::of(detector, connections),
            books,
            leaks,
            leaks_recovered: get(&stats.leaks_recovered),
            late_uses: get(&stats.late_uses),
            late_releases: get(&stats.late_releases),
            dirty_releases: get(&stats.dirty_releases),
            timeouts: get(&stats.timeouts),
            created: get(&stats.created),
            create_errors: get(&stats.create_errors),
            removed: get(&stats.removed),
            events_dropped: detector.sink.dropped(),
            oldest_checkout,
            leak_rate: leak_rate(leaks, books.acquired),
            min_idle: connections.min_idle,
            wait_time: stats.wait_time.snapshot(),
            use_time: stats.use_time.snapshot(),
            create_time: stats.create_time.snapshot(),
            sweep_time: stats.sweep_time.snapshot(),
        }
    }
}

fn leak_rate(leaks: u64, acquired: u64) -> f64 {
    if acquired == 0 { 0.0 } else { leaks as f64 * 100.0 / acquired as f64 }
}

fn small(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing;

    #[test]
    fn a_checkout_in_flight_is_no_leak() {
        assert_eq!(leak_rate(0, 5), 0.0);
        assert_eq!(leak_rate(1, 5), 20.0);
        assert_eq!(leak_rate(0, 0), 0.0);
    }

    #[test]
    fn a_status_line_shows_what_there_is_and_no_zeros() {
        let mut status = testing::metrics("orders").status;
        assert_eq!(
            status.to_string(),
            "pool \"orders\": 4 of 5 in use (80 %), 1 idle, 2 waiting; 3 flagged as leaked"
        );
        status.max_size = 0;
        status.waiting = 0;
        status.leaked_now = 0;
        status.closed = true;
        assert_eq!(status.to_string(), "pool \"orders\": 4 in use; closed");
    }
}
