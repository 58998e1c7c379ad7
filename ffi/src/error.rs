//! `leakpool_status` and `leakpool_error`: what went wrong.

use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use leakpool::exchange::ServerError;
use leakpool::{Error, ErrorCode, Exhausted, Result, Revocation};

use crate::boundary::{Nothing, borrowed, c_text, free, panicked, plain};
use crate::details::{Owned, leakpool_exhaustion, leakpool_revocation};

/// How a call ended. 0 is success; the numbers are stable and never change their meaning. Later versions may add
/// some, so that a switch needs a default.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum leakpool_status {
    /// Everything went well.
    LEAKPOOL_OK = 0,
    /// An option has a value that its rule forbids, contradicts another option, or does not exist.
    LEAKPOOL_INVALID_OPTION = 1,
    /// A connection string or a PG* environment variable cannot be understood.
    LEAKPOOL_INVALID_DSN = 2,
    /// An argument is wrong: NULL where there must be none, a wrong size, no UTF-8, out of range.
    LEAKPOOL_INVALID_ARGUMENT = 3,
    /// The library's own runtime is missing. Does not happen in C.
    LEAKPOOL_NO_RUNTIME = 4,
    /// No connection became free, or could be made, in time. See leakpool_error_diagnosis().
    LEAKPOOL_ACQUIRE_TIMEOUT = 5,
    /// LEAKPOOL_TRY_ACQUIRE found no idle connection.
    LEAKPOOL_NONE_IDLE = 6,
    /// The pool was closed.
    LEAKPOOL_POOL_CLOSED = 7,
    /// The server cannot be reached (name, route, refused, timed out).
    LEAKPOOL_UNREACHABLE = 8,
    /// The server refused user, password or authentication method.
    LEAKPOOL_AUTHENTICATION_FAILED = 9,
    /// The database does not exist.
    LEAKPOOL_DATABASE_MISSING = 10,
    /// TLS could not be agreed on, or a certificate did not pass.
    LEAKPOOL_TLS_FAILED = 11,
    /// The server has no connection left for us (SQLSTATE 53300).
    LEAKPOOL_SERVER_CONNECTION_LIMIT = 12,
    /// No host of the list is of the wanted kind (target_session_attrs).
    LEAKPOOL_WRONG_SESSION_KIND = 13,
    /// The connection was taken away from its holder; the message says when, why and from which line.
    LEAKPOOL_FORCE_RELEASED = 14,
    /// The session ended while it was held (server restarted, killed, network gone).
    LEAKPOOL_CONNECTION_LOST = 15,
    /// The checkout was released already.
    LEAKPOOL_ALREADY_RELEASED = 16,
    /// No live checkout has this id.
    LEAKPOOL_UNKNOWN_CHECKOUT = 17,
    /// The server answered with an error; leakpool_error_sqlstate() and leakpool_error_field() tell which.
    LEAKPOOL_DATABASE = 18,
    /// The server said something that the protocol does not allow here.
    LEAKPOOL_PROTOCOL = 19,
    /// This process was forked after the pool was made: make a new pool in the child.
    LEAKPOOL_FORKED = 20,
    /// A panic was caught inside the library; its text is in the message.
    LEAKPOOL_PANICKED = 21,
    /// This way of use is not supported; the message says what to do instead.
    LEAKPOOL_UNSUPPORTED = 22,
    /// A limit of the library or of the system was reached.
    LEAKPOOL_LIMIT_REACHED = 23,
    /// As many acquires wait for a connection as max_waiting allows.
    LEAKPOOL_TOO_MANY_WAITING = 24,
}

macro_rules! statuses {
    ($($code:ident = $status:ident,)+) => {
        // A code of the core's that is missing here does not compile; a test compares the numbers.
        impl From<ErrorCode> for leakpool_status {
            fn from(code: ErrorCode) -> leakpool_status {
                match code { $(ErrorCode::$code => leakpool_status::$status,)+ }
            }
        }
    };
}

statuses! {
    InvalidOption = LEAKPOOL_INVALID_OPTION,
    InvalidDsn = LEAKPOOL_INVALID_DSN,
    InvalidArgument = LEAKPOOL_INVALID_ARGUMENT,
    NoRuntime = LEAKPOOL_NO_RUNTIME,
    AcquireTimeout = LEAKPOOL_ACQUIRE_TIMEOUT,
    NoneIdle = LEAKPOOL_NONE_IDLE,
    PoolClosed = LEAKPOOL_POOL_CLOSED,
    Unreachable = LEAKPOOL_UNREACHABLE,
    AuthenticationFailed = LEAKPOOL_AUTHENTICATION_FAILED,
    DatabaseMissing = LEAKPOOL_DATABASE_MISSING,
    TlsFailed = LEAKPOOL_TLS_FAILED,
    ServerConnectionLimit = LEAKPOOL_SERVER_CONNECTION_LIMIT,
    WrongSessionKind = LEAKPOOL_WRONG_SESSION_KIND,
    ForceReleased = LEAKPOOL_FORCE_RELEASED,
    ConnectionLost = LEAKPOOL_CONNECTION_LOST,
    AlreadyReleased = LEAKPOOL_ALREADY_RELEASED,
    UnknownCheckout = LEAKPOOL_UNKNOWN_CHECKOUT,
    Database = LEAKPOOL_DATABASE,
    Protocol = LEAKPOOL_PROTOCOL,
    Forked = LEAKPOOL_FORKED,
    Panicked = LEAKPOOL_PANICKED,
    Unsupported = LEAKPOOL_UNSUPPORTED,
    LimitReached = LEAKPOOL_LIMIT_REACHED,
    TooManyWaiting = LEAKPOOL_TOO_MANY_WAITING,
}

impl Nothing for leakpool_status {
    const NOTHING: Self = leakpool_status::LEAKPOOL_PANICKED;
}

/// What went wrong in one call. Yours: free it with leakpool_error_free(). It depends on nothing else, does not
/// change, and may be read from any thread.
#[derive(Debug)]
pub struct leakpool_error {
    status: leakpool_status,
    message: CString,
    sqlstate: Option<CString>,
    exhaustion: Option<Owned<leakpool_exhaustion>>,
    revocation: Option<Owned<leakpool_revocation>>,
    fields: Vec<(u8, CString)>,
    position: u32,
}

impl leakpool_error {
    pub(crate) fn new(e: &Error) -> leakpool_error {
        let server = e.detail::<ServerError>();
        leakpool_error {
            status: e.code().into(),
            message: c_text(e.message()),
            sqlstate: e.sqlstate().map(c_text),
            exhaustion: e.detail::<Exhausted>().map(Owned::exhaustion),
            revocation: e.detail::<Revocation>().map(Owned::revocation),
            fields: server
                .map(|server| server.iter().map(|(letter, text)| (letter, c_text(text))).collect())
                .unwrap_or_default(),
            position: server.and_then(|server| server.position()).unwrap_or(0),
        }
    }
}

/// # Safety
/// `error` is NULL or lives for the call.
unsafe fn of<'a>(error: *const leakpool_error) -> Option<&'a leakpool_error> {
    // SAFETY: the caller's promise.
    unsafe { error.as_ref() }
}

/// The status that the call returned. LEAKPOOL_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_status(error: *const leakpool_error) -> leakpool_status {
    // SAFETY: as the header says.
    plain(|| unsafe { of(error) }.map_or(leakpool_status::LEAKPOOL_OK, |e| e.status))
}

/// What happened, to what, and what to do, in a sentence. Never NULL ("no error" for NULL); never holds a password.
/// Borrowed: lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_message(error: *const leakpool_error) -> *const c_char {
    // SAFETY: as the header says.
    let message = plain(|| unsafe { of(error) }.map_or(c"no error".as_ptr(), |e| e.message.as_ptr()));
    if message.is_null() { c"".as_ptr() } else { message }
}

/// The SQLSTATE, five characters, where the server gave one ("LP001" for LEAKPOOL_FORCE_RELEASED); otherwise NULL.
/// Borrowed: lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_sqlstate(error: *const leakpool_error) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(error) }.and_then(|e| e.sqlstate.as_ref())))
}

/// For LEAKPOOL_ACQUIRE_TIMEOUT what kept the caller waiting: "leak", "slow_queries", "pool_too_small",
/// "database_unreachable" or "server_connection_limit"; otherwise NULL. Borrowed: lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_diagnosis(error: *const leakpool_error) -> *const c_char {
    // SAFETY: as the header says.
    let diagnosis = || Some(unsafe { of(error) }?.exhaustion.as_ref()?.value.diagnosis);
    plain(|| diagnosis().unwrap_or(ptr::null()))
}

/// For LEAKPOOL_ACQUIRE_TIMEOUT everything about it, with those who held the connections; otherwise NULL. Borrowed:
/// lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_exhaustion(
    error: *const leakpool_error,
) -> *const leakpool_exhaustion {
    // SAFETY: as the header says.
    let found = || Some(&unsafe { of(error) }?.exhaustion.as_ref()?.value);
    plain(|| found().map_or(ptr::null(), ptr::from_ref))
}

/// For LEAKPOOL_FORCE_RELEASED when, why and from which line it was taken away; NULL if it is not known, and for
/// other errors. Borrowed: lives as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_revocation(
    error: *const leakpool_error,
) -> *const leakpool_revocation {
    // SAFETY: as the header says.
    let found = || Some(&unsafe { of(error) }?.revocation.as_ref()?.value);
    plain(|| found().map_or(ptr::null(), ptr::from_ref))
}

/// One field of the server's error by its letter in the protocol (PostgreSQL manual, "Error and Notice Message
/// Fields"): LEAKPOOL_FIELD_DETAIL and so on. NULL if the server did not send it. Borrowed: lives as long as the
/// error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_field(error: *const leakpool_error, letter: c_char) -> *const c_char {
    plain(|| {
        // SAFETY: as the header says.
        let Some(e) = (unsafe { of(error) }) else { return ptr::null() };
        let found = e.fields.iter().find(|(l, _)| *l == letter as u8);
        borrowed(found.map(|(_, text)| text))
    })
}

/// Where in the SQL text the error is, in characters from 1; 0 if the server did not say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_position(error: *const leakpool_error) -> u32 {
    // SAFETY: as the header says.
    plain(|| unsafe { of(error) }.map_or(0, |e| e.position))
}

/// Frees an error and all texts that were borrowed from it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_error_free(error: *mut leakpool_error) {
    // SAFETY: as the header says.
    unsafe { free(error) };
}

/// The name of a status: "ok", "invalid_option", and so on; "unknown" for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_status_name(status: i32) -> *const c_char {
    plain(|| name_of(status).as_ptr())
}

macro_rules! names {
    ($($number:literal = $name:literal,)+) => {
        /// The names for C, which wants a NUL at the end; a test compares them with the core's.
        fn name_of(status: i32) -> &'static CStr {
            match status { $($number => $name,)+ _ => c"unknown" }
        }
    };
}

names! {
    0 = c"ok",
    1 = c"invalid_option",
    2 = c"invalid_dsn",
    3 = c"invalid_argument",
    4 = c"no_runtime",
    5 = c"acquire_timeout",
    6 = c"none_idle",
    7 = c"pool_closed",
    8 = c"unreachable",
    9 = c"authentication_failed",
    10 = c"database_missing",
    11 = c"tls_failed",
    12 = c"server_connection_limit",
    13 = c"wrong_session_kind",
    14 = c"force_released",
    15 = c"connection_lost",
    16 = c"already_released",
    17 = c"unknown_checkout",
    18 = c"database",
    19 = c"protocol",
    20 = c"forked",
    21 = c"panicked",
    22 = c"unsupported",
    23 = c"limit_reached",
    24 = c"too_many_waiting",
}

/// Runs what a function with a status does.
///
/// # Safety
/// `error` is NULL or points to writable memory for one pointer.
pub(crate) unsafe fn guarded(
    error: *mut *mut leakpool_error,
    body: impl FnOnce() -> Result<()>,
) -> leakpool_status {
    if !error.is_null() {
        // SAFETY: the caller's promise.
        unsafe { error.write(ptr::null_mut()) };
    }
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(panic)));
    let Err(e) = outcome else { return leakpool_status::LEAKPOOL_OK };
    let status = leakpool_status::from(e.code());
    if !error.is_null() {
        // What the message is made of may panic too; then the status has to do.
        if let Ok(object) = catch_unwind(AssertUnwindSafe(|| Box::new(leakpool_error::new(&e)))) {
            // SAFETY: the caller's promise.
            unsafe { error.write(Box::into_raw(object)) };
        }
    }
    status
}

/// Runs the body of an export with a status: [`guarded`], with what the header asks of `error`.
macro_rules! guard {
    ($error:ident, $body:expr) => {{
        let body = || $body;
        // SAFETY: as the header says: `error` is NULL or points to writable memory for one pointer.
        unsafe { $crate::error::guarded($error, body) }
    }};
}
pub(crate) use guard;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_cores_numbers_and_names() {
        for code in ErrorCode::ALL {
            let status = leakpool_status::from(*code);
            assert_eq!(status as i32, i32::from(code.number()), "{code}");
            assert_eq!(name_of(status as i32).to_str(), Ok(code.name()));
        }
        assert_eq!(name_of(0), c"ok");
        for none in [-1, ErrorCode::ALL.len() as i32 + 1, i32::MAX] {
            assert_eq!(name_of(none), c"unknown");
        }
    }
}
