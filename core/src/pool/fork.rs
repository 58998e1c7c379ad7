//! Whether this process is the one that made the pool. A forked child has no threads of ours and shares the
//! parent's sockets: it must touch neither. One of the two files with `unsafe` (the other is detect/unwind.rs).

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

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
