//! Which session a connection is: for hosts, whose one object stands for one session in all its checkouts.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::connection::Connection;
use super::control::Control;
use crate::config::StatementCache;

/// One session with the server, from its beginning to its end, through all its checkouts. It keeps nothing alive.
///
/// ```no_run
/// # async fn f(pool: leakpool::Pool) -> leakpool::Result<()> {
/// let first = pool.acquire().await?;
/// let session = first.session();
/// drop(first);
/// let second = pool.acquire().await?;
/// println!("the same again: {}", session.is_of(&second));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session(Weak<Control>);

impl Connection {
    /// For hosts: the session behind this checkout.
    pub fn session(&self) -> Session {
        Session(Arc::downgrade(self.control()))
    }
}

impl Connection {
    /// True if repeated SQL is kept prepared under a name: the option `statement_cache`, unless a pooler stands between.
    pub fn names_statements(&self) -> bool {
        match self.shared().options().statement_cache {
            StatementCache::On => true,
            StatementCache::Off => false,
            StatementCache::Auto => !self.control().behind_pooler.load(Ordering::Acquire),
        }
    }

    /// For hosts: the holder called something on this connection that moves no byte of its own: a row written into a
    /// buffer, the next row of a result that is here already. It counts as a use.
    pub fn touch(&self) {
        self.control().slot.stamps.used(self.shared().detector.now());
    }

    /// For hosts with finalizers: the handle was shown to be unreachable. The checkout is reported as leaked, whatever
    /// its age, and taken back; if it had been taken back before, nothing is told, since nobody releases it late.
    pub fn abandon(self) {
        let detector = &self.shared().detector;
        let _ = detector.prove(self.id());
        if let Some(revocation) = self.control().revocation.get() {
            revocation.abandon();
        }
    }
}

impl Session {
    /// True if this connection is a checkout of this session.
    pub fn is_of(&self, connection: &Connection) -> bool {
        // As long as this reference exists, the address is given to nobody else.
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(connection.control()))
    }

    /// True once the session has ended, or has left the pool to be ended.
    pub fn has_ended(&self) -> bool {
        self.0.upgrade().is_none_or(|control| {
            control.is_ended() || control.closing.load(Ordering::SeqCst) || control.revocation.get().is_some()
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("has_ended", &self.has_ended()).finish()
    }
}
