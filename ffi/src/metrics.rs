//! `leakpool_metrics`: everything that is counted.

use leakpool::{BUCKET_BOUNDS, HistogramSnapshot, Metrics};

use crate::boundary::{give_sized, plain};
use crate::checkouts::{LEAKPOOL_NONE, millis};
use crate::detector::{leakpool_detector, watching};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{leakpool_pool, shared};
use crate::status::leakpool_pool_status;

/// How many buckets a histogram has.
pub const LEAKPOOL_BUCKETS: usize = 14;

/// A histogram of durations. leakpool_bucket_bound() tells the bounds of its buckets.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_histogram {
    /// How many durations were recorded.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
    /// How many fell into each bucket, not cumulated.
    pub buckets: [u64; LEAKPOOL_BUCKETS],
}

/// The status of a pool, and everything that was counted since it was made. The books balance: acquired = released +
/// force_released + lost + active.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_metrics {
    /// How full the pool is.
    pub status: leakpool_pool_status,
    /// Checkouts that began.
    pub acquired: u64,
    /// Checkouts that were released by their holder.
    pub released: u64,
    /// Checkouts that were taken away from their holder.
    pub force_released: u64,
    /// Checkouts whose session died while they were held.
    pub lost: u64,
    /// Checkouts that have not ended.
    pub active: u64,
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
    /// How long the oldest live checkout has been held; LEAKPOOL_NONE if there is none.
    pub oldest_checkout_ms: u64,
    /// Connections that are kept warm.
    pub min_idle: u64,
    /// Leaks per hundred acquires.
    pub leak_rate: f64,
    /// How long acquires waited.
    pub wait_time: leakpool_histogram,
    /// How long checkouts were held, counted when they end.
    pub use_time: leakpool_histogram,
    /// How long it took to make a connection.
    pub create_time: leakpool_histogram,
    /// How long the detector's own rounds took.
    pub sweep_time: leakpool_histogram,
}

fn histogram(from: &HistogramSnapshot) -> leakpool_histogram {
    let mut buckets = [0; LEAKPOOL_BUCKETS];
    for (to, from) in buckets.iter_mut().zip(&from.buckets) {
        *to = *from;
    }
    leakpool_histogram { count: from.count, sum_seconds: from.sum.as_secs_f64(), buckets }
}

impl From<&Metrics> for leakpool_metrics {
    fn from(m: &Metrics) -> leakpool_metrics {
        leakpool_metrics {
            status: (&m.status).into(),
            acquired: m.books.acquired,
            released: m.books.released,
            force_released: m.books.force_released,
            lost: m.books.lost,
            active: m.books.active(),
            leaks: m.leaks,
            leaks_recovered: m.leaks_recovered,
            late_uses: m.late_uses,
            late_releases: m.late_releases,
            dirty_releases: m.dirty_releases,
            timeouts: m.timeouts,
            created: m.created,
            create_errors: m.create_errors,
            removed: m.removed,
            events_dropped: m.events_dropped,
            oldest_checkout_ms: m.oldest_checkout.map_or(LEAKPOOL_NONE, millis),
            min_idle: m.min_idle as u64,
            leak_rate: m.leak_rate,
            wait_time: histogram(&m.wait_time),
            use_time: histogram(&m.use_time),
            create_time: histogram(&m.create_time),
            sweep_time: histogram(&m.sweep_time),
        }
    }
}

/// Everything that is counted of a pool. struct_size is sizeof(leakpool_metrics).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_get_metrics(
    pool: *const leakpool_pool,
    metrics: *mut leakpool_metrics,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        let value = leakpool_metrics::from(&pool.pool.metrics());
        // SAFETY: as the header says.
        unsafe { give_sized("metrics", metrics, struct_size, &value) }
    })
}

/// Everything that is counted of a watched pool. struct_size is sizeof(leakpool_metrics).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_get_metrics(
    detector: *const leakpool_detector,
    metrics: *mut leakpool_metrics,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        let value = leakpool_metrics::from(&detector.detector.metrics());
        // SAFETY: as the header says.
        unsafe { give_sized("metrics", metrics, struct_size, &value) }
    })
}

/// The upper bound of a histogram's bucket in seconds; infinity for the last one, and beyond.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_bucket_bound(bucket: usize) -> f64 {
    let bound = plain(|| BUCKET_BOUNDS.get(bucket).map_or(u64::MAX, |bound| bound.to_bits()));
    if bound == u64::MAX { f64::INFINITY } else { f64::from_bits(bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_bucket() {
        assert_eq!(BUCKET_BOUNDS.len() + 1, LEAKPOOL_BUCKETS);
        assert_eq!(leakpool_bucket_bound(0), BUCKET_BOUNDS[0]);
        assert_eq!(leakpool_bucket_bound(LEAKPOOL_BUCKETS - 1), f64::INFINITY);
        assert_eq!(leakpool_bucket_bound(usize::MAX), f64::INFINITY);
    }
}
