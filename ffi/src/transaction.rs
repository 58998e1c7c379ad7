//! Transactions on a checkout. (Any SQL will do too; these have the one answer that they should have.)

use std::ffi::c_char;

use crate::boundary::{Out, text_or_null};
use crate::enums::leakpool_transaction;
use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{gone, leakpool_pool, shared};

/// Begins a transaction. modes: NULL, or what may stand behind BEGIN: "ISOLATION LEVEL SERIALIZABLE, READ ONLY". One
/// that is open already is LEAKPOOL_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_begin(
    pool: *const leakpool_pool,
    checkout: u64,
    modes: *const c_char,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (pool, modes) = unsafe { (shared(pool)?, text_or_null("modes", modes)?) };
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        pool.block_on(connection.exchange().begin(modes.unwrap_or_default()))
    })
}

/// Commits the open transaction. LEAKPOOL_OK means committed: a transaction that had failed before is rolled back, and
/// the answer is LEAKPOOL_DATABASE with the SQLSTATE 25P02. None open: LEAKPOOL_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_commit(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        pool.block_on(connection.exchange().commit())
    })
}

/// Rolls back the open transaction; does nothing if none is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_rollback(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let pool = unsafe { shared(pool) }?;
        let (id, checkout) = pool.checkout(checkout)?;
        let connection = checkout.connection().ok_or_else(|| gone(id))?;
        pool.block_on(connection.exchange().rollback())
    })
}

/// The transaction status after the last answer of the server. Asks nobody.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_transaction_status(
    pool: *const leakpool_pool,
    checkout: u64,
    transaction: *mut leakpool_transaction,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let out = unsafe { Out::new("transaction", transaction, leakpool_transaction::LEAKPOOL_TX_IDLE) }?;
        // SAFETY: as the header says.
        let (id, checkout) = unsafe { shared(pool) }?.checkout(checkout)?;
        out.set(checkout.connection().ok_or_else(|| gone(id))?.transaction_status().into());
        Ok(())
    })
}
