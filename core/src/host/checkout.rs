//! One checkout in a host's hands, whose threads and tasks may be inside several calls on it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::pool::Connection;

/// A checkout that is shared by the calls under way on it: whoever has the last share ends it, once, in the way that was
/// asked for.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use leakpool::host::SharedCheckout;
/// # fn f(connection: leakpool::Connection) -> leakpool::Result<()> {
/// let checkout = Arc::new(SharedCheckout::new(connection));
/// let call_under_way = checkout.clone();
/// checkout.release(false)?; // not yet: the call goes on
/// drop(call_under_way); // now
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SharedCheckout {
    /// Taken at its end alone.
    connection: Option<Connection>,
    broken: AtomicBool,
    released: AtomicBool,
    abandoned: AtomicBool,
}

impl SharedCheckout {
    /// A checkout that has begun.
    pub fn new(connection: Connection) -> SharedCheckout {
        SharedCheckout {
            connection: Some(connection),
            broken: AtomicBool::new(false),
            released: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Its connection, for a call on it.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Its holder has given it back, or has asked for that.
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }

    /// Gives it back when the last share goes: now, if this is the last one. `broken`: its session is to end.
    ///
    /// # Errors
    /// `ForceReleased` if it had been taken away before; `Forked`.
    pub fn release(self: Arc<Self>, broken: bool) -> Result<()> {
        self.ask_for_release(broken);
        match Arc::try_unwrap(self) {
            Ok(checkout) => checkout.end(),
            Err(shared) => shared.connection().map_or(Ok(()), Connection::check_held),
        }
    }

    /// The same for an owner that shares this with more of its own: says how it is to be given back. Its end is that of
    /// the last share, or [`end`](SharedCheckout::end).
    pub fn ask_for_release(&self, broken: bool) {
        if broken {
            self.broken.store(true, Ordering::SeqCst);
        }
        self.released.store(true, Ordering::SeqCst);
    }

    /// Gives it back, by whoever has it alone.
    ///
    /// # Errors
    /// As for [`release`](SharedCheckout::release).
    pub fn end(mut self) -> Result<()> {
        self.give_back()
    }

    /// A finalizer showed that the holder's handle is unreachable: the checkout is a proven leak, once no call on it is
    /// under way any more.
    pub fn abandon(self: Arc<Self>) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    fn give_back(&mut self) -> Result<()> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let abandoned = self.abandoned.load(Ordering::SeqCst);
        // Let go of without a release after it was taken away: nobody releases it late.
        let collected = !self.is_released() && connection.revocation().is_some();
        if abandoned || collected {
            connection.abandon();
            return Ok(());
        }
        connection.release_checked(self.broken.load(Ordering::SeqCst))
    }
}

impl Drop for SharedCheckout {
    fn drop(&mut self) {
        // Nobody is left who could be told.
        let _ = self.give_back();
    }
}
