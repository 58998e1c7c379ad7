//! The waker by which the I/O thread tells a loop that something was completed: an eventfd, or a pipe where there is none.

use std::sync::OnceLock;

use pyo3::prelude::*;

type Told = Box<dyn Fn() + Send + Sync>;

/// Rung on any thread, heard on the loop's.
pub(crate) struct LoopWaker {
    #[cfg(unix)]
    ends: unix::Ends,
    /// For a loop that watches no descriptors.
    instead: OnceLock<Told>,
}

impl LoopWaker {
    pub(crate) fn new() -> PyResult<std::sync::Arc<LoopWaker>> {
        Ok(std::sync::Arc::new(LoopWaker {
            #[cfg(unix)]
            ends: unix::Ends::new()?,
            instead: OnceLock::new(),
        }))
    }

    /// What a loop is to watch.
    pub(crate) fn descriptor(&self) -> Option<i32> {
        #[cfg(unix)]
        return Some(self.ends.descriptor());
        #[cfg(not(unix))]
        None
    }

    /// Calls this when it is woken.
    pub(crate) fn instead(&self, told: impl Fn() + Send + Sync + 'static) {
        let _ = self.instead.set(Box::new(told));
    }

    pub(crate) fn wake(&self) {
        match self.instead.get() {
            Some(told) => told(),
            None => {
                #[cfg(unix)]
                self.ends.wake();
            }
        }
    }

    /// It is silent again.
    pub(crate) fn heard(&self) {
        #[cfg(unix)]
        if self.instead.get().is_none() {
            self.ends.heard();
        }
    }
}

#[cfg(target_os = "linux")]
mod unix {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::{AsRawFd, FromRawFd};

    /// One descriptor that counts.
    pub(super) struct Ends(File);

    impl Ends {
        pub(super) fn new() -> io::Result<Ends> {
            // SAFETY: no pointers; the result is checked.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: just made, and nobody else's.
            Ok(Ends(unsafe { File::from_raw_fd(fd) }))
        }

        pub(super) fn descriptor(&self) -> i32 {
            self.0.as_raw_fd()
        }

        pub(super) fn wake(&self) {
            // It can only fail by being full, and then it rings.
            let _ = (&self.0).write(&1_u64.to_ne_bytes());
        }

        pub(super) fn heard(&self) {
            let _ = (&self.0).read(&mut [0; 8]);
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod unix {
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// The reading and the writing end.
    pub(super) struct Ends(UnixStream, UnixStream);

    impl Ends {
        pub(super) fn new() -> io::Result<Ends> {
            let (reading, writing) = UnixStream::pair()?;
            reading.set_nonblocking(true)?;
            writing.set_nonblocking(true)?;
            Ok(Ends(reading, writing))
        }

        pub(super) fn descriptor(&self) -> i32 {
            self.0.as_raw_fd()
        }

        pub(super) fn wake(&self) {
            // It can only fail by being full, and then it rings.
            let _ = (&self.1).write(&[1]);
        }

        pub(super) fn heard(&self) {
            while matches!((&self.0).read(&mut [0; 64]), Ok(64)) {}
        }
    }
}
