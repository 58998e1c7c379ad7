//! A thread of the host that reads and writes a connection's socket itself.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::wait;
use crate::pool::Connection;
use crate::session::owner::Polled;

impl Connection {
    /// For hosts whose threads block: waits for a future that asks something of this connection, reading and writing
    /// its socket on the calling thread. Every [`SLICE`](crate::host::SLICE), `give_up` is asked; once it says true, the
    /// future is dropped, and there is no output.
    pub fn drive<F: Future>(&self, future: F, mut give_up: impl FnMut() -> bool) -> Option<F::Output> {
        let mut future = pin!(future);
        let session = self.session_state();
        if session.process.is_current()
            && let Some(poller) = session.poller()
        {
            let mut output = None;
            let mut is_done = || match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => {
                    output = Some(done);
                    true
                }
                Poll::Pending => false,
            };
            match poller.poll_until(session, &mut is_done, &mut give_up) {
                Polled::Done => return output,
                Polled::GivenUp => return None,
                Polled::Elsewhere => {}
            }
        }
        wait(self.runtime(), future, give_up)
    }
}
