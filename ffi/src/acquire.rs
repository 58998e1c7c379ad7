//! Checkouts: acquired, released, taken back.

use std::ffi::c_char;
use std::ptr;
use std::time::Duration;

use leakpool::{AcquireOptions, Result};

use crate::boundary::{Out, check_size, get, text_or_null};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{LEAKPOOL_DEFAULT_TIMEOUT, leakpool_pool, shared};
use crate::site::frame;

/// What one acquire may say about itself. Fill it with LEAKPOOL_ACQUIRE_OPTIONS_INIT, then change what you like. Its
/// texts are copied.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_acquire_options {
    /// sizeof(leakpool_acquire_options).
    pub struct_size: usize,
    /// The longest wait; 0 = for ever; LEAKPOOL_DEFAULT_TIMEOUT = what the pool's options say.
    pub timeout_ms: u64,
    /// How long it may honestly be held: no suspicion before that. 0 = nothing announced.
    pub expected_duration_ms: u64,
    /// What it is for, as reports show it. May be NULL.
    pub label: *const c_char,
    /// Who acquires: a thread's or a request's name. May be NULL.
    pub owner: *const c_char,
}

/// # Safety
/// `options` is NULL or points to a struct of the size that its first field says, whose texts are NULL or texts.
unsafe fn read(options: *const leakpool_acquire_options) -> Result<AcquireOptions> {
    if options.is_null() {
        return Ok(AcquireOptions::new());
    }
    // SAFETY: whatever the size is, its first field is there.
    let size = unsafe { get("options", options.cast::<usize>()) }?;
    check_size("options", *size, size_of::<leakpool_acquire_options>())?;
    // SAFETY: it is of the size that we know, and every bit pattern is a value of each field.
    let given = unsafe { ptr::read(options) };
    let mut options =
        AcquireOptions::new().expected_duration(Duration::from_millis(given.expected_duration_ms));
    if given.timeout_ms != LEAKPOOL_DEFAULT_TIMEOUT {
        options = options.timeout(Duration::from_millis(given.timeout_ms));
    }
    // SAFETY: the caller's promise.
    let (label, owner) =
        unsafe { (text_or_null("label", given.label)?, text_or_null("owner", given.owner)?) };
    options.label = label.map(Into::into);
    options.owner = owner.map(Into::into);
    Ok(options)
}

/// Acquires a connection: an idle one at once, else one that is released or made within timeout_ms (0 = wait for
/// ever; LEAKPOOL_DEFAULT_TIMEOUT = what the pool's options say).
///
/// file, line and function are what reports will name: call it through LEAKPOOL_ACQUIRE(), or pass on what your own
/// wrapper was given. They are copied, and may be NULL.
///
/// *checkout is the name of this checkout, or 0 on failure. It is a number, not a pointer, and only means something to its
/// own pool: one that has ended, or was made up, is an error wherever it is used. Give it back with
/// leakpool_release(), from any thread.
///
/// LEAKPOOL_ACQUIRE_TIMEOUT says who holds the connections, and why; see leakpool_error_diagnosis().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_acquire_at(
    pool: *const leakpool_pool,
    timeout_ms: u64,
    file: *const c_char,
    line: u32,
    function: *const c_char,
    checkout: *mut u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    let options = leakpool_acquire_options {
        struct_size: size_of::<leakpool_acquire_options>(),
        timeout_ms,
        expected_duration_ms: 0,
        label: ptr::null(),
        owner: ptr::null(),
    };
    // SAFETY: as the header says.
    unsafe { leakpool_acquire_with(pool, &raw const options, file, line, function, checkout, error) }
}

/// The same with everything that an acquire may say; through LEAKPOOL_ACQUIRE_WITH(). options: NULL for nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_acquire_with(
    pool: *const leakpool_pool,
    options: *const leakpool_acquire_options,
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
        let (pool, options) = unsafe { (shared(pool)?, read(options)?) };
        pool.pool.check_process()?;
        // SAFETY: as the header says.
        let frame = unsafe { frame(file, line, function) };
        let connection = pool.block_on(pool.pool.acquire_from(frame.as_slice(), options))?;
        out.set(pool.mask.give(pool.table.put(connection)));
        Ok(())
    })
}

/// An idle connection at once, or LEAKPOOL_NONE_IDLE; through LEAKPOOL_TRY_ACQUIRE().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_try_acquire_at(
    pool: *const leakpool_pool,
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
        let pool = unsafe { shared(pool) }?;
        // SAFETY: as the header says.
        let frame = unsafe { frame(file, line, function) };
        let connection = pool.pool.try_acquire_from(frame.as_slice(), AcquireOptions::new())?;
        out.set(pool.mask.give(pool.table.put(connection)));
        Ok(())
    })
}

/// # Safety
/// As the header says of `leakpool_release`.
unsafe fn give_back(pool: *const leakpool_pool, checkout: u64, broken: bool) -> Result<()> {
    // SAFETY: the caller's promise.
    let pool = unsafe { shared(pool) }?;
    pool.pool.check_process()?;
    let id = pool.mask.take(checkout);
    pool.table.give_back(id, broken).unwrap_or_else(|| Err(pool.pool.missing(id)))
}

/// Releases a checkout, from any thread. Never waits: what is left open is rolled back before anybody else gets the
/// connection. While another thread is inside a call on this checkout, the connection goes back when that returns.
///
/// LEAKPOOL_FORCE_RELEASED: leakpool had taken the connection away before; the checkout is over all the same.
/// LEAKPOOL_ALREADY_RELEASED, LEAKPOOL_UNKNOWN_CHECKOUT: there is no such checkout, and nothing happens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_release(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give_back(pool, checkout, false) }
    })
}

/// The same, but the session is ended instead of returning to the pool: for a connection that you know to be broken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_release_broken(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        unsafe { give_back(pool, checkout, true) }
    })
}

/// Takes a checkout away from its holder, whatever it does, from any thread: its place is free at once, and every
/// later call of the holder is LEAKPOOL_FORCE_RELEASED. The holder still has to release it, to be told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_force_release(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.force_release(pool.mask.take(checkout)).map(drop)
    })
}

/// For bindings of languages with finalizers: the handle of this checkout was shown to be unreachable. It is reported
/// as leaked, whatever its age, and taken back; the id is over.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_prove_leaked(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.prove_leaked(pool.mask.take(checkout)).map(drop)
    })
}

/// The thread or task that acquired this checkout has ended: a reason for suspicion that reports show, no proof.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_owner_ended(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.owner_ended(pool.mask.take(checkout))
    })
}

/// The server's process of a checkout, as in pg_stat_activity.pid; 0 if it is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_backend_pid(
    pool: *const leakpool_pool,
    checkout: u64,
    pid: *mut u32,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("pid", pid, 0) }?;
        // SAFETY: as the header says.
        let (id, checkout) = unsafe { shared(pool) }?.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| crate::pool::gone(id))?;
        out.set(connection.backend_pid().unwrap_or(0));
        Ok(())
    })
}
