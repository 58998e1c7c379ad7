//! The callback by which a watched pool's session is ended, and the barrier that keeps it from the owner's hands.

use std::ffi::{c_char, c_void};
use std::thread::{self, ThreadId};

use leakpool::Revocation;
use parking_lot::{Condvar, Mutex};

use crate::boundary::c_text;
use crate::id::Mask;
use crate::user_data::UserData;

/// Ends the session of a checkout that is taken away. Runs at most once, on a thread of the library's.
///
/// It may cancel what runs (PQcancel) and shut the socket down (shutdown(PQsocket(conn), SHUT_RDWR)), and nothing
/// else with the connection, which still belongs to its holder: PQfinish is the owner's, after
/// leakpool_detector_check_in(). reason: "unused", "busy", "proven" or "manual"; borrowed for the call. It must return:
/// no exception, no longjmp.
pub type leakpool_reclaim_fn =
    Option<unsafe extern "C" fn(checkout: u64, reason: *const c_char, user_data: *mut c_void)>;

/// One callback that may be called once, as long as nobody has said that it must not.
pub(crate) struct Reclaimer {
    callback: unsafe extern "C" fn(u64, *const c_char, *mut c_void),
    user_data: UserData,
    /// Held to change its fields, never while the callback runs.
    state: Mutex<State>,
    /// Signalled when `running` becomes `None`.
    done: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    running: Option<ThreadId>,
}

impl std::fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reclaimer").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

impl Reclaimer {
    pub(crate) fn new(
        callback: unsafe extern "C" fn(u64, *const c_char, *mut c_void),
        user_data: *mut c_void,
    ) -> Reclaimer {
        let (state, done) = (Mutex::default(), Condvar::new());
        Reclaimer { callback, user_data: UserData::new(user_data), state, done }
    }

    /// True once it will not be called any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().over
    }

    pub(crate) fn run(&self, revocation: &Revocation) {
        {
            let mut state = self.state.lock();
            if state.over {
                return;
            }
            state.over = true;
            state.running = Some(thread::current().id());
        }
        let (id, reason) =
            (Mask::of(&revocation.pool).give(revocation.checkout), c_text(revocation.reason.name()));
        // SAFETY: the callback is as the header says, and nobody has called `forbid` before it began.
        unsafe { (self.callback)(id, reason.as_ptr(), self.user_data.get()) };
        self.state.lock().running = None;
        self.done.notify_all();
    }

    /// From here on it is not called, and runs on no other thread.
    pub(crate) fn forbid(&self) {
        let mut state = self.state.lock();
        state.over = true;
        while state.running.is_some_and(|thread| thread != thread::current().id()) {
            self.done.wait(&mut state);
        }
    }
}
