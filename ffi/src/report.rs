//! Texts: the report for people, the metrics for Prometheus.

use std::ffi::{CString, c_char};
use std::ptr;
use std::time::Duration;

use leakpool::Result;

use crate::boundary::{Out, array, c_text, get, plain};
use crate::detector::{leakpool_detector, watching};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{leakpool_pool, shared};

/// # Safety
/// `text` is NULL or a place for a pointer.
unsafe fn give(text: *mut *mut c_char, make: impl FnOnce() -> Result<String>) -> Result<()> {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new("text", text, ptr::null_mut()) }?;
    out.set(c_text(&make()?).into_raw());
    Ok(())
}

/// The report for people: who holds connections, and who leaks them, grouped by the line that acquired. On failure
/// *text is NULL. Yours: free it with leakpool_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_report(
    pool: *const leakpool_pool,
    text: *mut *mut c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    let make = || {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        Ok(pool.pool.report())
    };
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give(text, make) }
    })
}

/// The metrics of one or several pools as OpenMetrics text, which Prometheus reads. pools: an array of pool_count. On
/// failure *text is NULL. Yours: free it with leakpool_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_openmetrics(
    pools: *const *const leakpool_pool,
    pool_count: usize,
    text: *mut *mut c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    let make = || {
        let mut metrics = Vec::new();
        // SAFETY: as the header says.
        for pool in unsafe { array("pools", pools, pool_count) }? {
            // SAFETY: as the header says.
            let pool = unsafe { get("pools", *pool) }?.0.clone();
            pool.pool.check_process()?;
            metrics.push(pool.pool.metrics());
        }
        Ok(leakpool::openmetrics(&metrics))
    };
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give(text, make) }
    })
}

/// The report of a watched pool. On failure *text is NULL. Yours: free it with leakpool_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_report(
    detector: *const leakpool_detector,
    text: *mut *mut c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    let make = || {
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        Ok(detector.detector.report())
    };
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give(text, make) }
    })
}

/// The metrics of a watched pool as OpenMetrics text. On failure *text is NULL. Yours: free it with
/// leakpool_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_openmetrics(
    detector: *const leakpool_detector,
    text: *mut *mut c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    let make = || {
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        Ok(detector.detector.openmetrics())
    };
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give(text, make) }
    })
}

/// Waits until every event of before has been told to its subscribers, or timeout_ms are over. told: NULL, or where
/// to put 1 if they were, otherwise 0 (always, inside a callback).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_flush_events(
    pool: *const leakpool_pool,
    timeout_ms: u64,
    told: *mut i32,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        let all = pool.pool.flush_events(Duration::from_millis(timeout_ms));
        if !told.is_null() {
            // SAFETY: as the header says; it is not NULL.
            unsafe { told.write(all.into()) };
        }
        Ok(())
    })
}

/// Frees a text that a function of this library has given away. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_string_free(text: *mut c_char) {
    plain(|| {
        if !text.is_null() {
            // SAFETY: as the header says; it came from `CString::into_raw`, and nobody has moved its end.
            drop(unsafe { CString::from_raw(text) });
        }
    });
}
