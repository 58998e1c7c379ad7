//! `leakpool_detector`: the same detection over a pool that the program already has.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use leakpool::{CheckOut, CheckoutId, LeakDetector, Names, Result, Settings, Touch, TransactionStatus};
use parking_lot::Mutex;

use crate::boundary::{Out, c_text, check_size, get, invalid, plain, text, text_or_null};
use crate::checkouts::leakpool_checkouts;
use crate::clock::leakpool_test_clock;
use crate::enums::leakpool_transaction;
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::id::Mask;
use crate::options::{self, leakpool_options};
use crate::pool::LEAKPOOL_DEFAULT_TIMEOUT;
use crate::reclaim::{Reclaimer, leakpool_reclaim_fn};
use crate::signals::WithoutSigpipe;
use crate::site::frame;

/// Finds leaks in a pool that the program already has, of PGconn or whatever: tell it what you hand out and take back.
///
/// Every function may be called from any thread and from many at once, but for leakpool_detector_free(), which must be
/// the last call with this detector to begin. None of them waits, but for leakpool_detector_close() and where it says
/// so.
#[derive(Debug)]
pub struct leakpool_detector(Arc<DetectorHandle>);

#[derive(Debug)]
pub(crate) struct DetectorHandle {
    pub(crate) detector: LeakDetector,
    mask: Mask,
    name: CString,
    reclaimers: Arc<Reclaimers>,
}

/// Held for one look-up, and never while a callback runs.
type Reclaimers = Mutex<HashMap<CheckoutId, Arc<Reclaimer>>>;

/// # Safety
/// `detector` is NULL or a detector that was not freed.
pub(crate) unsafe fn watching(detector: *const leakpool_detector) -> Result<Arc<DetectorHandle>> {
    // SAFETY: the caller's promise.
    unsafe { get("detector", detector) }.map(|detector| detector.0.clone())
}

fn make(name: &str, settings: Settings, clock: Option<&leakpool_test_clock>) -> Result<leakpool_detector> {
    settings.check_of_detector(Names::Core)?;
    settings.validate()?;
    // Every thread that the detector starts inherits this.
    let _without = WithoutSigpipe::new();
    let detector = match clock {
        Some(clock) => LeakDetector::with_clock(name, settings.leak, Arc::new(clock.clock.clone()))?,
        None => LeakDetector::new(name, settings.leak)?,
    };
    detector.set_max_size(settings.pool.max_size);
    let (name, mask) = (c_text(name), Mask::of(name));
    Ok(leakpool_detector(Arc::new(DetectorHandle { detector, mask, name, reclaimers: Arc::default() })))
}

/// Makes a detector. name: of the watched pool, for events and metrics. options: NULL for all defaults; of them, the
/// leak options count, and max_size (how many connections the watched pool may have); another one that was changed is
/// LEAKPOOL_INVALID_OPTION. On failure *detector is NULL.
/// Yours: free it with leakpool_detector_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_new(
    name: *const c_char,
    options: *const leakpool_options,
    detector: *mut *mut leakpool_detector,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("detector", detector, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let (name, settings) = unsafe { (text("name", name)?, options::settings_or_default(options)?) };
        out.give(make(name, settings, None)?);
        Ok(())
    })
}

/// For tests: the same in the time of a test clock, which the detector shares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_detector_new(
    name: *const c_char,
    options: *const leakpool_options,
    clock: *const leakpool_test_clock,
    detector: *mut *mut leakpool_detector,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("detector", detector, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let (name, settings, clock) =
            unsafe { (text("name", name)?, options::settings_or_default(options)?, get("clock", clock)?) };
        out.give(make(name, settings, Some(clock))?);
        Ok(())
    })
}

/// What a program may say about a connection that it hands out. Fill it with LEAKPOOL_CHECK_OUT_INIT, then change what you
/// like. Its texts are copied.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_check_out {
    /// sizeof(leakpool_check_out).
    pub struct_size: usize,
    /// How long it may honestly be held: no suspicion before that. 0 = nothing announced.
    pub expected_duration_ms: u64,
    /// How long the acquire had waited, for the metric.
    pub waited_ms: u64,
    /// What it is for, as reports show it. May be NULL.
    pub label: *const c_char,
    /// Who acquires: a thread's or a request's name. May be NULL.
    pub owner: *const c_char,
    /// What ends the session when the checkout is taken away. NULL: a force release only ends it in the books.
    pub reclaim: leakpool_reclaim_fn,
    /// Passed to reclaim; must be usable on another thread until the checkout was checked in.
    pub user_data: *mut c_void,
}

/// # Safety
/// `options` is NULL or points to a struct of the size that its first field says.
unsafe fn read(options: *const leakpool_check_out) -> Result<Option<leakpool_check_out>> {
    if options.is_null() {
        return Ok(None);
    }
    // SAFETY: whatever the size is, its first field is there.
    let size = unsafe { get("options", options.cast::<usize>()) }?;
    check_size("options", *size, size_of::<leakpool_check_out>())?;
    // SAFETY: it is of the size that we know; NULL is a value of the callback's type, and C passes no other non-function.
    Ok(Some(unsafe { ptr::read(options) }))
}

/// Tells that a connection was checked out. options: NULL for nothing. file, line and function are what reports will name:
/// call it through LEAKPOOL_CHECK_OUT(), or pass on what your own wrapper was given; they may be NULL.
///
/// *checkout is the name of this checkout, or 0 on failure. It is a number, and only means something to its own detector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_check_out_at(
    detector: *const leakpool_detector,
    options: *const leakpool_check_out,
    file: *const c_char,
    line: u32,
    function: *const c_char,
    checkout: *mut u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("checkout", checkout, 0) }?;
        // SAFETY: as the header says.
        let (watch, given, frame) =
            unsafe { (watching(detector)?, read(options)?, frame(file, line, function)) };
        watch.detector.check_process()?;
        let mut checkout = CheckOut::with_frames(frame.as_slice());
        let mut reclaimer = None;
        if let Some(given) = given {
            // SAFETY: as the header says.
            let (label, owner) =
                unsafe { (text_or_null("label", given.label)?, text_or_null("owner", given.owner)?) };
            checkout = checkout
                .expected(Duration::from_millis(given.expected_duration_ms))
                .waited(Duration::from_millis(given.waited_ms));
            if let Some(label) = label {
                checkout = checkout.label(label);
            }
            if let Some(owner) = owner {
                checkout = checkout.owner(owner);
            }
            if let Some(callback) = given.reclaim {
                let ours = Arc::new(Reclaimer::new(callback, given.user_data));
                let (run, all) = (ours.clone(), Arc::downgrade(&watch.reclaimers));
                checkout = checkout.on_reclaim(move |revocation| {
                    run.run(revocation);
                    if let Some(all) = all.upgrade() {
                        all.lock().remove(&revocation.checkout);
                    }
                });
                reclaimer = Some(ours);
            }
        }
        let id = watch.detector.check_out(checkout)?;
        if let Some(ours) = reclaimer {
            let mut all = watch.reclaimers.lock();
            // It may have been taken away, and have had its call, already.
            if !ours.is_over() {
                all.insert(id, ours);
            }
        }
        out.set(watch.mask.give(id));
        Ok(())
    })
}

/// # Safety
/// `detector` is NULL or a detector that was not freed.
unsafe fn touch(detector: *const leakpool_detector, checkout: u64, touch: Touch<'_>) -> Result<()> {
    // SAFETY: the caller's promise.
    let watch = unsafe { watching(detector) }?;
    watch.detector.touch(watch.mask.take(checkout), touch)
}

/// Tells that a statement was sent on this connection. sql: its text, without the values of parameters; NULL if it is
/// not known. LEAKPOOL_FORCE_RELEASED: it was taken away; stop using it, and check it in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_executing(
    detector: *const leakpool_detector,
    checkout: u64,
    sql: *const c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    // SAFETY: as the header says.
    guard!(error, unsafe { touch(detector, checkout, Touch::Executing(text_or_null("sql", sql)?)) })
}

/// Tells that the answer is complete, and the transaction status after it: a leakpool_transaction, whose
/// numbers are libpq's: pass PQtransactionStatus(). LEAKPOOL_FORCE_RELEASED: it was taken away; stop using it, and
/// check it in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_idle(
    detector: *const leakpool_detector,
    checkout: u64,
    transaction: i32,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let all = [TransactionStatus::Idle, TransactionStatus::InTransaction, TransactionStatus::Failed];
        let status = all.into_iter().find(|status| leakpool_transaction::from(*status) as i32 == transaction);
        let status = status.ok_or_else(|| invalid("transaction", "must be a leakpool_transaction"))?;
        // SAFETY: as the header says.
        unsafe { touch(detector, checkout, Touch::Idle(status)) }
    })
}

/// Tells that nobody knows what the connection does from now on, until the next leakpool_detector_executing or
/// leakpool_detector_idle: it is listed, and neither suspected nor taken back by time. LEAKPOOL_FORCE_RELEASED: it was
/// taken away; stop using it, and check it in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_unknown(
    detector: *const leakpool_detector,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    // SAFETY: as the header says.
    guard!(error, unsafe { touch(detector, checkout, Touch::Unknown) })
}

/// Tells that a connection was given back.
///
/// A barrier for its reclaim callback: when it has returned, with whatever status, the callback has returned too, or
/// will never be called; so the connection is the caller's alone. (Inside that callback it returns at once.)
///
/// LEAKPOOL_FORCE_RELEASED: it had been taken away before. Close the connection, and do not hand it out again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_check_in(
    detector: *const leakpool_detector,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let watch = unsafe { watching(detector) }?;
        watch.detector.check_process()?;
        let id = watch.mask.take(checkout);
        let outcome = watch.detector.check_in(id);
        let reclaimer = watch.reclaimers.lock().remove(&id);
        if let Some(reclaimer) = reclaimer {
            reclaimer.forbid();
        }
        outcome
    })
}

/// Takes a checkout away from its holder, whatever it does: its reclaim callback is called, a moment later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_force_release(
    detector: *const leakpool_detector,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let watch = unsafe { watching(detector) }?;
        watch.detector.force_release(watch.mask.take(checkout)).map(drop)
    })
}

/// The thread or task that acquired this checkout has ended: a reason for suspicion that reports show, no proof.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_owner_ended(
    detector: *const leakpool_detector,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let watch = unsafe { watching(detector) }?;
        watch.detector.owner_ended(watch.mask.take(checkout))
    })
}

/// The name of the watched pool. NULL for NULL. Borrowed: lives as long as the detector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_name(detector: *const leakpool_detector) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| unsafe { detector.as_ref() }.map_or(ptr::null(), |detector| detector.0.name.as_ptr()))
}

/// Puts another leak policy in force; what is held is judged by it at once. Of the options, the leak options count,
/// and max_size. On failure nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_reconfigure(
    detector: *const leakpool_detector,
    options: *const leakpool_options,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (watch, options) = unsafe { (watching(detector)?, options::read(options)?) };
        let settings = options.settings()?;
        settings.check_of_detector(Names::Core)?;
        settings.validate()?;
        watch.detector.reconfigure(settings.leak)?;
        watch.detector.set_max_size(settings.pool.max_size);
        Ok(())
    })
}

/// Waits until every event of before has been told to its subscribers, or timeout_ms are over. told: NULL, or where
/// to put 1 if they were, otherwise 0 (always, inside a callback).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_flush_events(
    detector: *const leakpool_detector,
    timeout_ms: u64,
    told: *mut i32,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let watch = unsafe { watching(detector) }?;
        watch.detector.check_process()?;
        let all = watch.detector.flush(Duration::from_millis(timeout_ms));
        if !told.is_null() {
            // SAFETY: as the header says; it is not NULL.
            unsafe { told.write(all.into()) };
        }
        Ok(())
    })
}

/// Stops watching: nothing is judged any more, and check-outs are LEAKPOOL_POOL_CLOSED. The connections stay
/// untouched, and may still be checked in. Waits for at most timeout_ms (LEAKPOOL_DEFAULT_TIMEOUT: 30 s) until
/// everything has been told. still_held: NULL, or where to put the list of what is still out; yours, free it with
/// leakpool_checkouts_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_close(
    detector: *const leakpool_detector,
    timeout_ms: u64,
    still_held: *mut *mut leakpool_checkouts,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let out = match still_held.is_null() {
            true => None,
            // SAFETY: as the header says.
            false => Some(unsafe { Out::new("still_held", still_held, ptr::null_mut()) }?),
        };
        // SAFETY: as the header says.
        let watch = unsafe { watching(detector) }?;
        watch.detector.check_process()?;
        let limit = match timeout_ms {
            LEAKPOOL_DEFAULT_TIMEOUT => Settings::defaults(Names::Core).pool.close_timeout,
            ms => Duration::from_millis(ms),
        };
        let held = watch.detector.close(limit);
        if let Some(out) = out {
            out.give(leakpool_checkouts::new(&held));
        }
        Ok(())
    })
}

/// Frees a detector, and stops watching. When it has returned, no reclaim callback of it runs on another thread or will
/// be called. Errors and lists that came from it live on. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_free(detector: *mut leakpool_detector) {
    plain(|| {
        if detector.is_null() {
            return;
        }
        // SAFETY: as the header says; it came from `leakpool_detector_new`.
        let handle = unsafe { Box::from_raw(detector) }.0;
        if handle.detector.check_process().is_err() {
            // A forked child: the threads and locks are the parent's.
            mem::forget(handle);
            return;
        }
        handle.detector.close(Duration::ZERO);
        let all = mem::take(&mut *handle.reclaimers.lock());
        all.values().for_each(|reclaimer| reclaimer.forbid());
    });
}

/// Every checkout of a watched pool that is held now, longest held first. Yours: free the list with
/// leakpool_checkouts_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_checkouts(
    detector: *const leakpool_detector,
    checkouts: *mut *mut leakpool_checkouts,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("checkouts", checkouts, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        out.give(leakpool_checkouts::new(&detector.detector.checkouts()));
        Ok(())
    })
}

/// Those of them that are reported as leaks. Yours: free the list with leakpool_checkouts_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_detector_leaks(
    detector: *const leakpool_detector,
    checkouts: *mut *mut leakpool_checkouts,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("checkouts", checkouts, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let detector = unsafe { watching(detector) }?;
        detector.detector.check_process()?;
        out.give(leakpool_checkouts::new(&detector.detector.leaks()));
        Ok(())
    })
}
