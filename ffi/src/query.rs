//! Queries: one statement with parameters, or a text of several statements.

use std::ffi::{c_char, c_void};
use std::ptr;

use leakpool::Result;
use leakpool::exchange::{Format, Formats, Param, Query};

use crate::boundary::{Nothing, Out, array, invalid, plain, text};
use crate::enums::leakpool_format;
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{gone, leakpool_pool, shared};
use crate::result::leakpool_result;

/// For leakpool_param.length: the text ends with a NUL.
pub const LEAKPOOL_NUL_TERMINATED: usize = usize::MAX;

/// One parameter of a statement. What it points to is yours, and only has to live for the call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_param {
    /// The value; NULL = SQL's NULL.
    pub data: *const c_void,
    /// Its length in bytes; LEAKPOOL_NUL_TERMINATED for a text that ends with a NUL.
    pub length: usize,
    /// The OID of its type; 0 = the server infers it from the statement.
    pub oid: u32,
    /// A leakpool_format.
    pub format: i32,
}

impl Nothing for leakpool_param {
    const NOTHING: Self = leakpool_param::NULL;
}

impl leakpool_param {
    const NULL: leakpool_param = leakpool_param { data: ptr::null(), length: 0, oid: 0, format: 0 };

    /// # Safety
    /// `data` is NULL or points to as many bytes as `length` says, which live for `'a`.
    unsafe fn read<'a>(&self) -> Result<Param<'a>> {
        let format = format_of("format", self.format)?;
        let value = match (self.data.is_null(), self.length) {
            (true, _) => None,
            (false, LEAKPOOL_NUL_TERMINATED) => {
                // SAFETY: the caller's promise; it is not NULL.
                Some(unsafe { std::ffi::CStr::from_ptr(self.data.cast()) }.to_bytes())
            }
            // SAFETY: the caller's promise; it is not NULL.
            (false, length) => Some(unsafe { array("params", self.data.cast::<u8>(), length) }?),
        };
        Ok(Param { oid: self.oid, format, value })
    }
}

pub(crate) fn format_of(argument: &str, number: i32) -> Result<Format> {
    match number {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        _ => Err(invalid(argument, "must be LEAKPOOL_TEXT or LEAKPOOL_BINARY")),
    }
}

/// # Safety
/// `params` is NULL or points to `count` parameters that are as the header says.
pub(crate) unsafe fn params<'a>(params: *const leakpool_param, count: usize) -> Result<Vec<Param<'a>>> {
    // SAFETY: the caller's promise.
    let params = unsafe { array("params", params, count) }?;
    // SAFETY: the caller's promise.
    params.iter().map(|param| unsafe { param.read() }).collect()
}

/// A parameter given as text, whose type the server infers. Borrows the text; NULL = SQL's NULL.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_param_text(text: *const c_char) -> leakpool_param {
    plain(|| leakpool_param { data: text.cast(), length: LEAKPOOL_NUL_TERMINATED, ..leakpool_param::NULL })
}

/// A parameter given in the binary form of the type with this OID. Borrows the data; NULL = SQL's NULL.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_param_binary(data: *const c_void, length: usize, oid: u32) -> leakpool_param {
    plain(|| leakpool_param { data, length, oid, format: leakpool_format::LEAKPOOL_BINARY as i32 })
}

/// SQL's NULL, of the type with this OID; 0 = the server infers it.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_param_null(oid: u32) -> leakpool_param {
    plain(|| leakpool_param { oid, ..leakpool_param::NULL })
}

/// Runs one statement, with $1, $2 and so on for its parameters, and collects its result.
///
/// params may be NULL if param_count is 0. result_format: a leakpool_format, for all columns. Repeated SQL is prepared
/// once per connection (see the option statement_cache). On failure *result is NULL; the connection stays usable, and
/// held, after an error of the server. Yours: free the result with leakpool_result_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_query(
    pool: *const leakpool_pool,
    checkout: u64,
    sql: *const c_char,
    params: *const leakpool_param,
    param_count: usize,
    result_format: i32,
    result: *mut *mut leakpool_result,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("result", result, ptr::null_mut()) }?;
        let format = format_of("result_format", result_format)?;
        // SAFETY: as the header says.
        let answer = unsafe { run(pool, checkout, sql, params, param_count, format) }?;
        out.give(answer);
        Ok(())
    })
}

/// The same for a statement whose rows are of no interest. affected: NULL, or where to put the number of rows that
/// were affected (0 where there is none, as for DDL).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_execute(
    pool: *const leakpool_pool,
    checkout: u64,
    sql: *const c_char,
    params: *const leakpool_param,
    param_count: usize,
    affected: *mut u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let out = match affected.is_null() {
            true => None,
            // SAFETY: as the header says.
            false => Some(unsafe { Out::new("affected", affected, 0) }?),
        };
        // SAFETY: as the header says.
        let answer = unsafe { run(pool, checkout, sql, params, param_count, Format::Text) }?;
        if let Some(out) = out {
            out.set(answer.affected());
        }
        Ok(())
    })
}

/// Runs a text of any number of statements, without parameters: one transaction, unless the text says otherwise.
/// Results are in text, one for each statement: see leakpool_result_next(). result may be NULL. On failure *result is
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_script(
    pool: *const leakpool_pool,
    checkout: u64,
    sql: *const c_char,
    result: *mut *mut leakpool_result,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        let out = match result.is_null() {
            true => None,
            // SAFETY: as the header says.
            false => Some(unsafe { Out::new("result", result, ptr::null_mut()) }?),
        };
        // SAFETY: as the header says.
        let (pool, sql) = unsafe { (shared(pool)?, text("sql", sql)?) };
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        let mut answers = connection.exchange().simple(sql)?;
        let answers = pool.block_on(answers.collect())?;
        if let Some(out) = out {
            out.give(leakpool_result::chain(answers)?);
        }
        Ok(())
    })
}

/// # Safety
/// As the header says of `leakpool_query`.
unsafe fn run(
    pool: *const leakpool_pool,
    checkout: u64,
    sql: *const c_char,
    given: *const leakpool_param,
    count: usize,
    format: Format,
) -> Result<leakpool_result> {
    // SAFETY: the caller's promise.
    let (pool, sql, given) = unsafe { (shared(pool)?, text("sql", sql)?, params(given, count)?) };
    let (id, checkout) = pool.checkout(checkout)?;
    let connection = checkout.connection().ok_or_else(|| gone(id))?;
    let query = Query::new(sql).params(&given).formats(Formats::All(format));
    let answer = pool.block_on(async { connection.exchange().extended(&query).await?.one().await })?;
    leakpool_result::new(answer)
}

/// The name of a transaction status; "unknown" for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn leakpool_transaction_name(transaction: i32) -> *const c_char {
    plain(|| {
        match transaction {
            0 => c"idle",
            2 => c"in_transaction",
            3 => c"failed",
            _ => c"unknown",
        }
        .as_ptr()
    })
}
