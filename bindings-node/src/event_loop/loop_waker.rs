//! The wake-up of a JavaScript thread: a thread-safe function that carries nothing. Any thread rings; the thread's event
//! loop then calls back once, however often it was woken. Referenced (keeps the process alive) only while asked to.
//!
//! `napi`'s own wrapper knows no references that come and go, which is why this speaks to Node-API itself.

use std::ffi::{CStr, c_void};
use std::ptr;

use napi::bindgen_prelude::*;
use napi::{JsValue, check_status, sys};
use parking_lot::Mutex;

/// What the loop does when the waker was woken. The second argument is the JavaScript function given to [`LoopWaker::new`].
pub(crate) trait Woken {
    fn woken(&self, env: Env, call: sys::napi_value);
}

struct Handle(sys::napi_threadsafe_function);

// SAFETY: Node-API allows calls and releases of a thread-safe function from any thread.
unsafe impl Send for Handle {}

/// Lock protocol: the handle's lock is a leaf, held for one call into Node-API that runs no JavaScript.
pub(crate) struct LoopWaker {
    /// `None` once the thread's environment goes away: from then on a wake reaches nobody.
    handle: Mutex<Option<Handle>>,
}

impl LoopWaker {
    /// A waker for this thread's loop, unreferenced. `target` is called with `call` on the loop's own thread.
    pub(crate) fn new<T: Woken + 'static>(
        env: Env,
        call: &Function<'_>,
        target: std::rc::Weak<T>,
    ) -> Result<LoopWaker> {
        const NAME: &CStr = c"leakpool";
        let mut name = ptr::null_mut();
        // SAFETY: a valid environment and a text with its length.
        check_status!(unsafe {
            sys::napi_create_string_utf8(
                env.raw(),
                NAME.as_ptr(),
                NAME.to_bytes().len() as isize,
                &raw mut name,
            )
        })?;
        let context = Box::into_raw(Box::new(target));
        let mut handle = ptr::null_mut();
        // SAFETY: the values belong to this environment; `context` lives until `finalize`, which Node-API calls last.
        let status = unsafe {
            sys::napi_create_threadsafe_function(
                env.raw(),
                call.raw(),
                ptr::null_mut(),
                name,
                0,
                1,
                context.cast(),
                Some(finalize::<T>),
                context.cast(),
                Some(called::<T>),
                &raw mut handle,
            )
        };
        if status != sys::Status::napi_ok {
            // SAFETY: nobody else got the pointer.
            drop(unsafe { Box::from_raw(context) });
            check_status!(status)?;
        }
        let waker = LoopWaker { handle: Mutex::new(Some(Handle(handle))) };
        waker.keep_alive(env, false);
        Ok(waker)
    }

    /// A waker that nobody hears.
    pub(crate) fn silent() -> LoopWaker {
        LoopWaker { handle: Mutex::new(None) }
    }

    /// Makes the loop call back soon. Does nothing once the loop has gone.
    pub(crate) fn wake(&self) {
        let mut handle = self.handle.lock();
        let Some(Handle(raw)) = *handle else { return };
        // SAFETY: the handle is there, so it has not been released.
        let status = unsafe {
            sys::napi_call_threadsafe_function(
                raw,
                ptr::null_mut(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            )
        };
        if status == sys::Status::napi_closing {
            // Node has taken our reference with this answer.
            *handle = None;
        }
    }

    /// Whether the waker keeps the process alive. Only on the loop's own thread.
    pub(crate) fn keep_alive(&self, env: Env, keep: bool) {
        let handle = self.handle.lock();
        let Some(Handle(raw)) = *handle else { return };
        // SAFETY: the handle is there, so it has not been released; we are on its thread.
        let status = unsafe {
            if keep {
                sys::napi_ref_threadsafe_function(env.raw(), raw)
            } else {
                sys::napi_unref_threadsafe_function(env.raw(), raw)
            }
        };
        debug_assert_eq!(status, sys::Status::napi_ok);
    }

    /// The environment goes away: nobody is called any more.
    pub(crate) fn close(&self) {
        let Some(Handle(raw)) = self.handle.lock().take() else { return };
        // SAFETY: our reference, given back once.
        unsafe { sys::napi_release_threadsafe_function(raw, sys::ThreadsafeFunctionReleaseMode::abort) };
    }
}

unsafe extern "C" fn called<T: Woken>(
    env: sys::napi_env,
    call: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    if env.is_null() {
        return;
    }
    // SAFETY: `context` is the box that `new` made, and lives until `finalize`.
    let target = unsafe { &*context.cast::<std::rc::Weak<T>>() };
    if let Some(target) = target.upgrade() {
        // A panic must not pass into Node.
        let woken = std::panic::AssertUnwindSafe(|| target.woken(Env::from_raw(env), call));
        if std::panic::catch_unwind(woken).is_err() {
            tracing::error!(target: "leakpool", "leakpool panicked while it handed answers over; this is a bug, please report it");
        }
    }
}

unsafe extern "C" fn finalize<T>(_env: sys::napi_env, data: *mut c_void, _hint: *mut c_void) {
    // SAFETY: the box that `new` made; Node-API calls this once, last.
    drop(unsafe { Box::from_raw(data.cast::<std::rc::Weak<T>>()) });
}
