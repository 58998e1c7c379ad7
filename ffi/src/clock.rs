//! `leakpool_test_clock`: time that stands still until a test moves it.

use std::time::Duration;

use leakpool::ManualClock;

use crate::boundary::{Out, free, get};
use crate::error::{guard, leakpool_error, leakpool_status};

/// For tests: a clock that stands still until it is advanced, so that no test of a leak has to wait for one.
///
/// Pools and detectors that were made with it live in its time: thresholds, time-outs and all. It may be freed
/// before them, and used from any thread.
#[derive(Debug)]
pub struct leakpool_test_clock {
    pub(crate) clock: ManualClock,
}

/// For tests: makes a clock. On failure *clock is NULL. Yours: free it with leakpool_test_clock_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_clock_new(
    clock: *mut *mut leakpool_test_clock,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("clock", clock, std::ptr::null_mut()) }?;
        out.give(leakpool_test_clock { clock: ManualClock::new() });
        Ok(())
    })
}

/// For tests: moves a clock forward and wakes whoever waits on it. What becomes due is judged by the library's own
/// thread, a moment later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_clock_advance(
    clock: *const leakpool_test_clock,
    by_ms: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { get("clock", clock) }?.clock.advance(Duration::from_millis(by_ms));
        Ok(())
    })
}

/// For tests: frees a clock. Pools and detectors that live in its time keep it, standing still. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_clock_free(clock: *mut leakpool_test_clock) {
    // SAFETY: as the header says.
    unsafe { free(clock) };
}
