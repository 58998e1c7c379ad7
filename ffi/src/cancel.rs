//! Cancelling what a checkout runs, from another thread.

use crate::error::{guard, leakpool_error, leakpool_status};
use crate::pool::{gone, leakpool_pool, shared};

/// Asks the server to cancel what this checkout runs; meant to be called from another thread than the one that waits
/// for the answer. Returns at once. The call that is cancelled returns LEAKPOOL_DATABASE with the SQLSTATE 57014,
/// unless its answer was faster; a request that arrives late may hit the next statement of the same checkout, but never
/// another checkout's. Running nothing, it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_cancel(
    pool: *const leakpool_pool,
    checkout: u64,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let (id, checkout) = unsafe { shared(pool) }?.checkout(checkout)?;
        checkout.connection().ok_or_else(|| gone(id))?.cancel()
    })
}
