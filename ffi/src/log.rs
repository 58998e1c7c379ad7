//! The library's log, for C: lines that say what no status and no event says.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::time::Duration;

use leakpool::host::{self, LogLine};
use leakpool::{Error, ErrorCode, Result};
use parking_lot::RwLock;
use tracing::Level;

use crate::boundary::{c_text, invalid};
use crate::enums::leakpool_log_level;
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::user_data::UserData;

/// Takes one line of the log: a sentence, or a few lines, without the time and without a newline at the end, borrowed for the call. level: a
/// leakpool_log_level. Called from threads of the library's and from those that call it, also from several at once. It
/// must return (no exception, no longjmp), must not call the library, and must not block for long.
pub type leakpool_log_fn =
    Option<unsafe extern "C" fn(level: i32, message: *const c_char, user_data: *mut c_void)>;

struct Target {
    callback: unsafe extern "C" fn(i32, *const c_char, *mut c_void),
    user_data: UserData,
}

/// Held for reading while the callback runs, so that a change waits for it.
static TARGET: RwLock<Option<Target>> = RwLock::new(None);

fn number(level: Level) -> leakpool_log_level {
    match level {
        Level::ERROR => leakpool_log_level::LEAKPOOL_LOG_ERROR,
        Level::WARN => leakpool_log_level::LEAKPOOL_LOG_WARN,
        Level::INFO => leakpool_log_level::LEAKPOOL_LOG_INFO,
        Level::DEBUG => leakpool_log_level::LEAKPOOL_LOG_DEBUG,
        Level::TRACE => leakpool_log_level::LEAKPOOL_LOG_TRACE,
    }
}

thread_local! {
    /// A callback of the log runs on this thread.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The longest that a change of callback waits for the one of before to return.
const PATIENCE: Duration = Duration::from_secs(5);

fn write(line: LogLine) {
    if RUNNING.get() {
        // What the callback has caused itself: told to it, there would be no end.
        return;
    }
    if let Some(target) = &*TARGET.read_recursive() {
        let message = c_text(&line.message);
        RUNNING.set(true);
        // SAFETY: the callback is as the header says; it was not replaced, since that waits for this lock.
        unsafe { (target.callback)(number(line.level) as i32, message.as_ptr(), target.user_data.get()) };
        RUNNING.set(false);
    }
}

fn level_name(level: i32) -> Result<&'static str> {
    let name = usize::try_from(level).ok().and_then(|level| host::LOG_LEVELS.get(level));
    name.copied().ok_or_else(|| invalid("level", "must be a leakpool_log_level"))
}

/// Where the lines of the library's log go from here on, those of every pool: warnings (a cancel request that could not be
/// delivered, a file of passwords that is not used), leaks and force releases in words, and the text of a panic that was
/// caught in a function without a status. callback: NULL = nowhere, as before the first call. level: how much is logged;
/// each leakpool_log_level includes those before it. user_data: passed on; it must stay valid until another callback is set.
///
/// Once this has returned, the callback of before runs no more, and is not called again. LEAKPOOL_UNSUPPORTED from within
/// a callback of the log, if that of before does not return within 5 s, or if the lines of this process go elsewhere
/// already; then everything stays as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_log_set(
    callback: leakpool_log_fn,
    level: i32,
    user_data: *mut c_void,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let level = level_name(level)?;
        if RUNNING.get() {
            return Err(Error::new(
                ErrorCode::Unsupported,
                "the log cannot be set from within its own callback",
            ));
        }
        begin()?;
        let target = callback.map(|callback| Target { callback, user_data: UserData::new(user_data) });
        let Some(mut current) = TARGET.try_write_for(PATIENCE) else {
            return Err(Error::new(
                ErrorCode::Unsupported,
                "the log's callback has not returned for 5 s, or ran when this process was forked: the log stays as it was",
            ));
        };
        *current = target;
        drop(current);
        host::set_log_level(level)
    })
}

/// Once in a process.
fn begin() -> Result<()> {
    static BEGUN: once_cell::sync::OnceCell<bool> = once_cell::sync::OnceCell::new();
    match BEGUN.get_or_init(|| host::log_to(write)) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorCode::Unsupported,
            "the log lines of this process go elsewhere already: another subscriber of `tracing` was there first",
        )),
    }
}
