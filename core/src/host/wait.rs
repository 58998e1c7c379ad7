//! Waiting for a future on a thread of the host, which wants to be asked now and then whether it still wants to wait.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;

use crate::clock::SLICE;

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on the calling thread. Every [`SLICE`], `give_up` is asked; once it says true, the future is
/// dropped, and there is no output.
///
/// The thread must not belong to a runtime: it blocks.
pub fn wait<F: Future>(runtime: &Handle, future: F, mut give_up: impl FnMut() -> bool) -> Option<F::Output> {
    let _entered = runtime.enter();
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        thread::park_timeout(SLICE);
        if give_up() {
            return None;
        }
    }
}
