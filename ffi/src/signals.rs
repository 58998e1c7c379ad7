//! SIGPIPE, which ends a C program by default: a socket that its server has closed must not do that.
//!
//! Only threads of the library's write to sockets, and threads inherit the signal mask of whoever starts them: so it
//! is blocked in the calling thread while they are started. (Rust programs, Python and Node ignore the signal anyway.)

/// While it lives, the thread does not receive SIGPIPE.
pub(crate) struct WithoutSigpipe {
    #[cfg(unix)]
    before: Option<libc::sigset_t>,
}

#[cfg(unix)]
impl WithoutSigpipe {
    pub(crate) fn new() -> WithoutSigpipe {
        // SAFETY: a sigset is plain data, for which zeros are a value; both calls write to sets of our own, and
        // blocking a signal in this thread concerns nothing else.
        let before = unsafe {
            let mut sigpipe: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut sigpipe);
            libc::sigaddset(&raw mut sigpipe, libc::SIGPIPE);
            let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const sigpipe, &raw mut before);
            (blocked == 0).then_some(before)
        };
        WithoutSigpipe { before }
    }
}

#[cfg(unix)]
impl Drop for WithoutSigpipe {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: the set is the one that this thread had before.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
        }
    }
}

#[cfg(not(unix))]
impl WithoutSigpipe {
    pub(crate) fn new() -> WithoutSigpipe {
        WithoutSigpipe {}
    }
}
