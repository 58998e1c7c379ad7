//! Who polls a session's connection: the runtime's task, and for moments a thread that asks something of it.
//!
//! The [`Driver`] may be polled by whoever has the lock, which nobody waits for: who finds it taken leaves a wake-up, and who has
//! it looks for wake-ups before and after letting it go, so that none is lost.
//! - Who queues a request polls it [inline](Poll::poll_inline): it is on the wire before the runtime's thread would have
//!   been awake.
//! - A thread of a blocking host may poll for a whole question ([`poll_until`](Poll::poll_until)): it waits for the
//!   socket itself, and the runtime is not woken. What it leaves unfinished, the runtime takes over, so that no
//!   statement goes on for the detector for ever because a host stopped looking (law 7).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll as Ready};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::driver::Driver;
use super::owner::{Poll, Polled};
use super::state::SessionState;
use crate::clock::SLICE;
use crate::net::socket::{IoMode, RawSocket};

/// How long a caller waits for the socket while a request of its waits for something else.
const SHORTLY: Duration = Duration::from_millis(1);

/// The driver of one connection, owned by the runtime's task.
pub(crate) struct Poller(Mutex<Driver>);

/// The runtime's task: drives the connection to its end.
pub(crate) struct Driving {
    poller: Arc<Poller>,
    session: Arc<SessionState>,
}

/// How one poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolledOnce {
    /// There is nothing to do until something wakes it.
    Idle,
    /// Another thread polls, and sees to what is to be done.
    Taken,
    /// The session is over.
    Ended,
}

impl Poller {
    /// The task that drives a connection.
    pub(crate) fn begin(driver: Driver, session: Arc<SessionState>) -> Driving {
        let poller = Arc::new(Poller(Mutex::new(driver)));
        let weak: Weak<Poller> = Arc::downgrade(&poller);
        session.set_poller(weak);
        Driving { poller, session }
    }

    /// Drives as far as it goes without waiting.
    fn poll_once(&self, session: &SessionState) -> PolledOnce {
        loop {
            let Some(mut driver) = self.0.try_lock() else { return PolledOnce::Taken };
            let ended = driver.run();
            drop(driver);
            if ended {
                return PolledOnce::Ended;
            }
            // Whoever woke it meanwhile may have found the lock taken.
            if !session.task.is_woken() {
                return PolledOnce::Idle;
            }
        }
    }
}

impl Poll<SessionState> for Poller {
    /// What there is to wait for is the runtime's.
    fn poll_inline(&self, session: &SessionState) {
        match self.poll_once(session) {
            PolledOnce::Idle => {}
            PolledOnce::Taken | PolledOnce::Ended => session.task.wake_task(),
        }
    }

    fn probe(&self, session: &SessionState) {
        if let Some(guard) = PollGuard::take(session) {
            guard.io_mode.may_read.store(true, Ordering::Relaxed);
            let _ = self.poll_once(session);
        }
    }

    fn poll_until(
        &self,
        session: &SessionState,
        is_done: &mut dyn FnMut() -> bool,
        give_up: &mut dyn FnMut() -> bool,
    ) -> Polled {
        let Some(guard) = PollGuard::take(session) else { return Polled::Elsewhere };
        // Only what this thread polls moves the question on; for what else might, `SLICE` is soon enough.
        loop {
            if is_done() {
                // What the question has left to be done at its end is quickly done here.
                if session.task.is_woken() {
                    let _ = self.poll_once(session);
                }
                return Polled::Done;
            }
            let polled = self.poll_once(session);
            if is_done() {
                return Polled::Done;
            }
            // Taking the answer may have made room for more of it.
            if session.task.is_woken() && polled != PolledOnce::Ended {
                continue;
            }
            let Some(socket) = guard.socket() else { return Polled::Elsewhere };
            if polled == PolledOnce::Ended {
                return Polled::Elsewhere;
            }
            // The end of a cancel wakes the runtime alone.
            let limit = if session.is_being_cancelled() { SHORTLY } else { SLICE };
            if !ready_in_time(&socket, guard.io_mode, limit) && give_up() {
                return Polled::GivenUp;
            }
        }
    }
}

/// Waits until the socket can be read, or written if that is wanted. False if that took too long, or if a signal
/// came.
fn ready_in_time(socket: &RawSocket, io_mode: &IoMode, limit: Duration) -> bool {
    let mut wanted = PollFlags::IN;
    if io_mode.wants_write.load(Ordering::Relaxed) {
        wanted |= PollFlags::OUT;
    }
    let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    let ready = match poll(&mut [PollFd::new(socket, wanted)], Some(&limit)) {
        Ok(ready) => ready > 0,
        // Out of memory, say. The read that follows tells what is wrong with the socket.
        Err(e) => io::Error::from(e).kind() != io::ErrorKind::Interrupted,
    };
    io_mode.may_read.store(ready, Ordering::Relaxed);
    ready
}

/// A connection that a caller polls, until this is dropped.
struct PollGuard<'a> {
    session: &'a SessionState,
    io_mode: &'a IoMode,
}

impl<'a> PollGuard<'a> {
    fn take(session: &'a SessionState) -> Option<PollGuard<'a>> {
        let io_mode = session.task.io_mode();
        let free =
            io_mode.by_caller.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // It has something to say first; the wait after that finds whatever is there.
        io_mode.may_read.store(false, Ordering::Relaxed);
        free.then_some(PollGuard { session, io_mode })
    }

    fn socket(&self) -> Option<Arc<RawSocket>> {
        self.session.socket.upgrade()
    }
}

impl Drop for PollGuard<'_> {
    fn drop(&mut self) {
        self.io_mode.by_caller.store(false, Ordering::SeqCst);
        // From here on a wake-up reaches the runtime again. One that came before does not; nor does it know of what is
        // still to come.
        if !self.session.is_settled() || self.session.is_ended() || self.session.has_requests() {
            self.session.task.wake_task();
        }
    }
}

impl Future for Driving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Ready<()> {
        let this = self.get_mut();
        // Before anything is looked at: what changes after that wakes this task.
        this.session.task.register(cx.waker());
        match this.poller.poll_once(&this.session) {
            PolledOnce::Ended => Ready::Ready(()),
            PolledOnce::Idle | PolledOnce::Taken => Ready::Pending,
        }
    }
}
