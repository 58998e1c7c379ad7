//! `leakpool_pool_status`: how full a pool is.

use std::ffi::c_char;

use leakpool::PoolStatus;

use crate::boundary::give_sized;
use crate::detector::{leakpool_detector, watching};
use crate::enums::{leakpool_activity, leakpool_verdict};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{leakpool_pool, shared};

/// How full a pool is, at one moment. Under traffic its numbers are read one after the other, not all at once.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_pool_status {
    /// The most connections that it may have; 0 = not known (a watched pool that never said).
    pub max_size: u64,
    /// Open connections: held, returning and idle. For a watched pool only the held ones are known.
    pub size: u64,
    /// Connections that can be checked out at once.
    pub idle: u64,
    /// Connections that are checked out.
    pub in_use: u64,
    /// Connections that were released and still clean up before they can be handed out again.
    pub returning: u64,
    /// Connections that are being made.
    pub connecting: u64,
    /// Acquires that wait for a connection that others hold.
    pub waiting: u64,
    /// Sessions that have left the pool, but still end on the server and count against its limit.
    pub ending: u64,
    /// Checkouts that are reported as leaks and have not ended.
    pub leaked_now: u64,
    /// in_use / max_size, 0.0 to 1.0; 0.0 where max_size is not known.
    pub utilization: f64,
    /// 1 once the pool was closed, otherwise 0.
    pub closed: i32,
    /// 0.
    pub reserved: i32,
}

impl From<&PoolStatus> for leakpool_pool_status {
    fn from(status: &PoolStatus) -> leakpool_pool_status {
        leakpool_pool_status {
            max_size: status.max_size as u64,
            size: status.size as u64,
            idle: status.idle as u64,
            in_use: status.in_use as u64,
            returning: status.returning as u64,
            connecting: status.connecting as u64,
            waiting: status.waiting as u64,
            ending: status.ending as u64,
            leaked_now: status.leaked_now as u64,
            utilization: status.utilization,
            closed: status.closed.into(),
            reserved: 0,
        }
    }
}

/// How full a pool is. Cheap. struct_size is sizeof(leakpool_pool_status).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_get_status(
    pool: *const leakpool_pool,
    status: *mut leakpool_pool_status,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        // SAFETY: as the header says.
        unsafe { give_sized("status", status, struct_size, &leakpool_pool_status::from(&pool.pool.status())) }
    })
}

/// How full a watched pool is, as far as it is known here. struct_size is sizeof(leakpool_pool_status).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_get_status(
    detector: *const leakpool_detector,
    status: *mut leakpool_pool_status,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        let value = leakpool_pool_status::from(&detector.detector.status());
        // SAFETY: as the header says.
        unsafe { give_sized("status", status, struct_size, &value) }
    })
}

macro_rules! names {
    ($(#[$doc:meta])* $function:ident: $c:ident from $core:ident { $($variant:ident => $ours:ident = $name:literal,)+ }) => {
        impl From<leakpool::$core> for $c {
            fn from(value: leakpool::$core) -> $c {
                match value { $(leakpool::$core::$variant { .. } => $c::$ours,)+ }
            }
        }

        fn $function(number: i32) -> &'static std::ffi::CStr {
            match number { $(n if n == $c::$ours as i32 => $name,)+ _ => c"unknown" }
        }
    };
}

names! {
    activity_name: leakpool_activity from Activity {
        Executing => LEAKPOOL_EXECUTING = c"executing",
        Stalled => LEAKPOOL_STALLED = c"stalled",
        Idle => LEAKPOOL_IDLE = c"idle",
        IdleInTransaction => LEAKPOOL_IDLE_IN_TRANSACTION = c"idle_in_transaction",
        IdleInFailedTransaction => LEAKPOOL_IDLE_IN_FAILED_TRANSACTION = c"idle_in_failed_transaction",
        Unknown => LEAKPOOL_ACTIVITY_UNKNOWN = c"unknown",
    }
}

names! {
    verdict_name: leakpool_verdict from Verdict {
        Healthy => LEAKPOOL_HEALTHY = c"healthy",
        Busy => LEAKPOOL_BUSY = c"busy",
        Expected => LEAKPOOL_EXPECTED = c"expected",
        Suspected => LEAKPOOL_SUSPECTED = c"suspected",
        Proven => LEAKPOOL_PROVEN = c"proven",
    }
}

/// The name of an activity: "executing" and so on; "unknown" for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_activity_name(activity: i32) -> *const c_char {
    crate::boundary::plain(|| activity_name(activity).as_ptr())
}

/// The name of a verdict: "healthy" and so on; "unknown" for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_verdict_name(verdict: i32) -> *const c_char {
    crate::boundary::plain(|| verdict_name(verdict).as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakpool::{Activity, Suspicion, Verdict};

    #[test]
    fn names_are_the_cores() {
        let activities = [
            Activity::Executing,
            Activity::Stalled,
            Activity::Idle,
            Activity::IdleInTransaction,
            Activity::IdleInFailedTransaction,
            Activity::Unknown,
        ];
        for a in activities {
            assert_eq!(activity_name(leakpool_activity::from(a) as i32).to_str(), Ok(a.name()));
        }
        let suspected = Verdict::Suspected(Suspicion::Unused);
        for v in [Verdict::Healthy, Verdict::Busy, Verdict::Expected, suspected, Verdict::Proven] {
            assert_eq!(verdict_name(leakpool_verdict::from(v) as i32).to_str(), Ok(v.name()));
        }
        assert_eq!(verdict_name(-1), c"unknown");
    }
}
