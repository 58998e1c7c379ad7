//! How a checkout reaches whoever owns its session.

use std::fmt;
use std::sync::Arc;

use super::event::Revocation;

/// Whoever owns the session of a slot and can end it. Called with no lock held, from the sweeper or from whoever
/// forces a release; it fences, frees and enqueues, and does no I/O itself.
pub(crate) trait Reclaim: Send + Sync + fmt::Debug {
    /// The holding has ended: fence the holder, free the place, end the session.
    fn revoke(&self, revocation: Arc<Revocation>);
    /// What returns is a statement at work whose answer is still waited for: the return's time has not begun.
    fn is_awaited(&self) -> bool {
        false
    }
    /// The return did not settle in time: end the session.
    fn give_up_return(&self, generation: u64);
}
