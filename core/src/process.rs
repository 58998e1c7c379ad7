//! This process: whether it is still the one that made something, and what there is one of in it.
//!
//! A forked child has no threads of ours, finds locks as they were held, and shares the parent's sockets: it must
//! touch none of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, ErrorCode, Result};

/// How often this process's line of ancestors has forked since the library was first used.
static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

#[cfg(unix)]
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

/// The process that something was made in. Reading it costs one load (a `getpid` costs 140 ns).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Process {
        REGISTER.call_once(|| {
            #[cfg(unix)]
            // SAFETY: the handler only adds to an atomic, which is allowed in the child of a threaded process; it
            // is a plain function that lives as long as the library.
            unsafe {
                libc::pthread_atfork(None, None, Some(in_child));
            }
        });
        Process(FORKS.load(Ordering::Relaxed))
    }

    /// Another process than this one.
    #[cfg(test)]
    pub(crate) fn foreign() -> Process {
        Process(u32::MAX)
    }

    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn check(self, pool: &str) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(forked(pool)) }
    }
}

#[cold]
fn forked(pool: &str) -> Error {
    Error::new(
        ErrorCode::Forked,
        format!("pool {pool:?} was made before this process was forked; make a new pool in the child"),
    )
}

/// Something that there is one of in a process while anybody uses it: a thread of ours. It ends with its last user.
#[derive(Debug)]
pub(crate) struct Singleton<T>(Mutex<Weak<T>>);

/// What was made in one process and is of no use in a forked child.
pub(crate) trait OfProcess {
    /// The process that made it.
    fn process(&self) -> Process;
}

/// The lock is held while a thread is started. Held for longer than that, it was held when the process was forked.
const PATIENCE: Duration = Duration::from_secs(5);

impl<T: OfProcess> Singleton<T> {
    pub(crate) const fn new() -> Singleton<T> {
        Singleton(Mutex::new(Weak::new()))
    }

    /// The one of this process, made by `make` if there is none.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let Some(mut current) = self.0.try_lock_for(PATIENCE) else {
            return Err(Error::new(
                ErrorCode::Forked,
                "this process was forked while a pool was being made; start it with spawn or exec instead",
            ));
        };
        if let Some(one) = current.upgrade().filter(|one| one.process().is_current()) {
            return Ok(one);
        }
        let one = Arc::new(make()?);
        *current = Arc::downgrade(&one);
        Ok(one)
    }
}

/// What a panic said, if it said anything.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}
