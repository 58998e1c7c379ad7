//! `leakpool_pool`: made, reconfigured, resized, closed, freed.

use std::ffi::{CString, c_char};
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use leakpool::host::{HostRuntime, SharedCheckout};
use leakpool::{CheckoutId, Error, ErrorCode, Names, Pool, Result, Settings};

use crate::boundary::{Out, c_text, get, give_sized, plain, text};
use crate::checkout_table::Table;
use crate::checkouts::leakpool_checkouts;
use crate::clock::leakpool_test_clock;
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::id::Mask;
use crate::options::{self, leakpool_options};
use crate::signals::WithoutSigpipe;

/// For time-outs of single calls: what the pool's options say.
pub const LEAKPOOL_DEFAULT_TIMEOUT: u64 = u64::MAX;

/// A pool of connections to a PostgreSQL server that finds its leaks.
///
/// Every function may be called from any thread and from many at once, but for leakpool_pool_free(), which must be
/// the last call with this pool to begin. Calls block the calling thread only.
#[derive(Debug)]
pub struct leakpool_pool(pub(crate) Arc<PoolHandle>);

/// What a pool is to C. Each call shares it, so that a pool may be freed while calls are still under way.
#[derive(Debug)]
pub(crate) struct PoolHandle {
    pub(crate) pool: Pool,
    pub(crate) table: Table,
    pub(crate) mask: Mask,
    name: CString,
    /// Last: everything above may need it to end.
    runtime: HostRuntime,
}

impl PoolHandle {
    /// Waits on the calling thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The checkout with this id, as its holder knows it.
    pub(crate) fn checkout(&self, raw: u64) -> Result<(CheckoutId, Arc<SharedCheckout>)> {
        // Before any lock: in a forked child it may be held by a thread that does not exist.
        self.pool.check_process()?;
        let id = self.mask.take(raw);
        self.table.find(id).map(|checkout| (id, checkout)).ok_or_else(|| self.pool.missing(id))
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::defaults(Names::Core);
        settings.pool = (*self.pool.options()).clone();
        settings.leak = (*self.pool.policy()).clone();
        settings
    }

    /// Puts settings in force, of which only the leak options differ from those that are.
    fn reconfigure(&self, wanted: Settings) -> Result<()> {
        wanted.check_running(&self.settings(), Names::Core)?;
        self.pool.reconfigure(wanted.leak)
    }
}

/// Shares what a pool pointer of C means.
///
/// # Safety
/// `pool` is NULL or a pool that was not freed.
pub(crate) unsafe fn shared(pool: *const leakpool_pool) -> Result<Arc<PoolHandle>> {
    // SAFETY: the caller's promise.
    unsafe { get("pool", pool) }.map(|pool| pool.0.clone())
}

fn make(dsn: &str, settings: Settings, clock: Option<&leakpool_test_clock>) -> Result<leakpool_pool> {
    // Every thread that the pool starts inherits this.
    let _without = WithoutSigpipe::new();
    let runtime = leakpool::host::runtime()?;
    let mut builder = Pool::builder()
        .dsn(dsn)
        .options(settings.pool)
        .policy(settings.leak)
        .runtime(runtime.handle().clone());
    if let Some(clock) = clock {
        builder = builder.clock(clock.clock.clone());
    }
    let pool = builder.build()?;
    let (name, mask) = (c_text(pool.name()), Mask::of(pool.name()));
    Ok(leakpool_pool(Arc::new(PoolHandle { pool, table: Table::default(), mask, name, runtime })))
}

/// Makes a pool. It connects when it is first asked to (or at once, for min_idle).
///
/// dsn is a URL (postgres://user@host/db) or libpq's key=value text; what it leaves open comes from the PG*
/// environment. options: NULL for all defaults. On failure *pool is NULL. Yours: close it with leakpool_pool_close()
/// and free it with leakpool_pool_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_new(
    dsn: *const c_char,
    options: *const leakpool_options,
    pool: *mut *mut leakpool_pool,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("pool", pool, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let (dsn, settings) = unsafe { (text("dsn", dsn)?, options::settings_or_default(options)?) };
        out.give(make(dsn, settings, None)?);
        Ok(())
    })
}

/// For tests: the same in the time of a test clock, which the pool shares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_test_pool_new(
    dsn: *const c_char,
    options: *const leakpool_options,
    clock: *const leakpool_test_clock,
    pool: *mut *mut leakpool_pool,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("pool", pool, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let (dsn, settings, clock) =
            unsafe { (text("dsn", dsn)?, options::settings_or_default(options)?, get("clock", clock)?) };
        out.give(make(dsn, settings, Some(clock))?);
        Ok(())
    })
}

/// The pool's name. NULL for NULL. Borrowed: lives as long as the pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_name(pool: *const leakpool_pool) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| unsafe { pool.as_ref() }.map_or(std::ptr::null(), |pool| pool.0.name.as_ptr()))
}

/// The options in force: to be looked at, or changed and given to leakpool_pool_reconfigure(). struct_size is
/// sizeof(leakpool_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_options(
    pool: *const leakpool_pool,
    options: *mut leakpool_options,
    struct_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        // SAFETY: as the header says.
        unsafe { give_sized("options", options, struct_size, &leakpool_options::of(&pool.settings())) }
    })
}

/// Puts another leak policy in force (the options from leak_threshold to sql_text in the documentation's table); what
/// is held is judged by it at once. All other options must be as they are. On failure nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_reconfigure(
    pool: *const leakpool_pool,
    options: *const leakpool_options,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (pool, options) = unsafe { (shared(pool)?, options::read(options)?) };
        pool.reconfigure(options.settings()?)
    })
}

/// Changes one leak option by its name, from a text: leakpool_pool_set(pool, "leak_threshold", "45 s", &error). See
/// leakpool_options_set(). On failure nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_set(
    pool: *const leakpool_pool,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (pool, name, value) = unsafe { (shared(pool)?, text("name", name)?, text("value", value)?) };
        let mut settings = pool.settings();
        settings.set(Names::Core, name, options::parsed(name, value)?)?;
        pool.reconfigure(settings)
    })
}

/// Changes max_size. Made smaller, surplus idle connections are closed now, others as they are released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_resize(
    pool: *const leakpool_pool,
    max_size: usize,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    // SAFETY: as the header says.
    guard!(error, unsafe { shared(pool) }?.pool.resize(max_size))
}

/// Closes a pool: turns away who waits and who comes later (LEAKPOOL_POOL_CLOSED), waits for those who hold a
/// connection (not for flagged ones), takes back what is left, and ends every session and thread.
///
/// timeout_ms: how long to wait for holders; 0 = not at all; LEAKPOOL_DEFAULT_TIMEOUT = close_timeout_ms. still_held:
/// NULL, or where to put the list of those whose connections were taken back; yours, free it with
/// leakpool_checkouts_free(). Callable from callbacks too; a pool closed before is LEAKPOOL_POOL_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_close(
    pool: *const leakpool_pool,
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
        let pool = unsafe { shared(pool) }?;
        let held = match timeout_ms {
            LEAKPOOL_DEFAULT_TIMEOUT => pool.block_on(pool.pool.close())?,
            ms => pool.block_on(pool.pool.close_within(Duration::from_millis(ms)))?,
        };
        if let Some(out) = out {
            out.give(leakpool_checkouts::new(&held));
        }
        Ok(())
    })
}

/// Frees a pool, and closes it first, without waiting for holders, if it was not closed. Calls that are under way in
/// other threads end as they do when a pool is closed; no call may begin after this one. Results, errors and lists
/// that came from it live on. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_free(pool: *mut leakpool_pool) {
    plain(|| {
        if pool.is_null() {
            return;
        }
        // SAFETY: as the header says; it came from `leakpool_pool_new`.
        let handle = unsafe { Box::from_raw(pool) }.0;
        if handle.pool.check_process().is_err() {
            // A forked child: the threads, sockets and locks are the parent's.
            mem::forget(handle);
            return;
        }
        if !handle.pool.is_closed() {
            // Closed by another caller at this moment: then that is that.
            let _ = handle.block_on(handle.pool.close_within(Duration::ZERO));
        }
        handle.table.clear();
    });
}

/// The message for what cannot be reached after a release in another thread.
pub(crate) fn gone(id: CheckoutId) -> Error {
    Error::new(ErrorCode::AlreadyReleased, format!("checkout {id} was released before"))
}

/// Every checkout that is held now, longest held first. Yours: free the list with leakpool_checkouts_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_checkouts(
    pool: *const leakpool_pool,
    checkouts: *mut *mut leakpool_checkouts,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("checkouts", checkouts, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        out.give(leakpool_checkouts::new(&pool.pool.checkouts()));
        Ok(())
    })
}

/// Those of them that are suspected or proven to have leaked. Yours: free the list with leakpool_checkouts_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_pool_leaks(
    pool: *const leakpool_pool,
    checkouts: *mut *mut leakpool_checkouts,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("checkouts", checkouts, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        pool.pool.check_process()?;
        out.give(leakpool_checkouts::new(&pool.pool.leaks()));
        Ok(())
    })
}
