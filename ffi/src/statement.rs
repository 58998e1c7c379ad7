//! `leakpool_statement`: one SQL text, checked and described by the server, to be run again and again.

use std::ffi::{CString, c_char};
use std::ptr;

use leakpool::exchange::{Column, Formats, Query};

use crate::boundary::{Out, array, c_text, free, get, invalid, plain, text};
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{gone, leakpool_pool, shared};
use crate::query::{format_of, leakpool_param, params};
use crate::result::{column_for_c, leakpool_column, leakpool_result};

/// A prepared statement.
///
/// It belongs to no connection: each prepares it when it first runs it, and keeps it prepared (with the option
/// statement_cache off, it is parsed each time). So it may be used with any checkout, from several threads at once,
/// and lives on after the one that it was prepared with. Yours: free it with leakpool_statement_free().
#[derive(Debug)]
pub struct leakpool_statement {
    sql: String,
    oids: Vec<u32>,
    columns: Vec<(CString, Column)>,
}

/// Asks the server what a statement takes and gives, which also tells whether it is right. oids: the types of its
/// first parameters, 0 = the server infers; may be NULL if oid_count is 0. On failure *statement is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_prepare(
    pool: *const leakpool_pool,
    checkout: u64,
    sql: *const c_char,
    oids: *const u32,
    oid_count: usize,
    statement: *mut *mut leakpool_statement,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("statement", statement, ptr::null_mut()) }?;
        // SAFETY: as the header says.
        let (pool, sql, oids) =
            unsafe { (shared(pool)?, text("sql", sql)?, array("oids", oids, oid_count)?) };
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        let described = pool.block_on(connection.exchange().describe(sql, oids))?;
        let columns = described.columns.as_deref().unwrap_or_default();
        out.give(leakpool_statement {
            sql: sql.to_owned(),
            oids: described.parameters.to_vec(),
            columns: columns.iter().map(|column| (c_text(&column.name), column.clone())).collect(),
        });
        Ok(())
    })
}

/// Runs a prepared statement. As leakpool_query(); there must be exactly as many parameters as it takes, and an oid of
/// 0 means the type that leakpool_statement_param_oid() tells.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_query(
    pool: *const leakpool_pool,
    checkout: u64,
    statement: *const leakpool_statement,
    given: *const leakpool_param,
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
        let (pool, statement, mut given) =
            unsafe { (shared(pool)?, get("statement", statement)?, params(given, param_count)?) };
        if given.len() != statement.oids.len() {
            let rule =
                format!("({}) must be {}, as many as the statement takes", given.len(), statement.oids.len());
            return Err(invalid("param_count", &rule));
        }
        for (param, oid) in given.iter_mut().zip(&statement.oids).filter(|(param, _)| param.oid == 0) {
            param.oid = *oid;
        }
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        let query = Query::new(&statement.sql).params(&given).formats(Formats::All(format));
        let answer = pool.block_on(async { connection.exchange().extended(&query).await?.one().await })?;
        out.give(leakpool_result::new(answer)?);
        Ok(())
    })
}

/// How many parameters it takes; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_params(statement: *const leakpool_statement) -> usize {
    // SAFETY: as the header says.
    plain(|| unsafe { statement.as_ref() }.map_or(0, |statement| statement.oids.len()))
}

/// The OID of the type of a parameter, counted from 0 ($1); 0 if there is no such parameter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_param_oid(
    statement: *const leakpool_statement,
    param: usize,
) -> u32 {
    // SAFETY: as the header says.
    let oid = || unsafe { statement.as_ref() }.and_then(|statement| statement.oids.get(param).copied());
    plain(|| oid().unwrap_or(0))
}

/// How many columns its result has; 0 for NULL, and for a command that returns no rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_columns(statement: *const leakpool_statement) -> usize {
    // SAFETY: as the header says.
    plain(|| unsafe { statement.as_ref() }.map_or(0, |statement| statement.columns.len()))
}

/// One column of its result; LEAKPOOL_INVALID_ARGUMENT if there is no such column. The name is borrowed from the
/// statement.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_column(
    statement: *const leakpool_statement,
    column: usize,
    description: *mut leakpool_column,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let statement = unsafe { get("statement", statement) }?;
        let Some((name, found)) = statement.columns.get(column) else {
            let rule = format!("({column}) is out of range: there are {} columns", statement.columns.len());
            return Err(invalid("column", &rule));
        };
        // SAFETY: as the header says.
        unsafe { Out::new("description", description, column_for_c(name, found)) }.map(drop)
    })
}

/// Frees a statement. Connections forget it by themselves. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_statement_free(statement: *mut leakpool_statement) {
    // SAFETY: as the header says.
    unsafe { free(statement) };
}
