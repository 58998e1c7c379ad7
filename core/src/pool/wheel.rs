//! Who drives a connection: the runtime's task, and for moments a thread that asks something of it.
//!
//! The [`Driver`] may be polled by whoever has the lock, which nobody waits for: who finds it taken leaves a wake-up, and who has
//! it looks for wake-ups before and after letting it go, so that none is lost.
//! - Who queues a request [helps](Wheel::help): it is on the wire before the runtime's thread would have been awake.
//! - A thread of a blocking host may take the wheel for a whole question ([`drive`](Wheel::drive)): it waits for the
//!   socket itself, and the runtime is told nothing. What it leaves unfinished, the runtime takes over, so that no
//!   statement goes on for the detector for ever because a host stopped looking (law 7).

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::Control;
use super::driver::Driver;
use super::stream::{Link, Turn};
use crate::host::SLICE;

/// How long a caller waits for the socket while a request of its waits for something else.
const SHORTLY: Duration = Duration::from_millis(1);

/// The driver of one connection, owned by the runtime's task.
pub(crate) struct Wheel(Mutex<Driver>);

/// The runtime's task: drives the connection to its end.
pub(crate) struct Driving {
    wheel: Arc<Wheel>,
    control: Arc<Control>,
}

/// How a turn at the wheel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    /// There is nothing to do until something wakes it.
    Idle,
    /// Somebody else has the wheel, and sees to what is to be done.
    Taken,
    /// The session is over.
    Ended,
}

impl Wheel {
    /// The wheel of a connection, and the task that drives it.
    pub(crate) fn begin(driver: Driver, control: Arc<Control>) -> Driving {
        let wheel = Arc::new(Wheel(Mutex::new(driver)));
        control.set_wheel(Arc::downgrade(&wheel));
        Driving { wheel, control }
    }

    /// Drives as far as it goes without waiting.
    fn turn(&self, control: &Control) -> Turned {
        loop {
            let Some(mut driver) = self.0.try_lock() else { return Turned::Taken };
            let ended = driver.run();
            drop(driver);
            if ended {
                return Turned::Ended;
            }
            // Whoever woke it meanwhile may have found the lock taken.
            if !control.task.is_woken() {
                return Turned::Idle;
            }
        }
    }

    /// Does what is to be done right now on the calling thread. What there is to wait for is the runtime's.
    pub(super) fn help(&self, control: &Control) {
        match self.turn(control) {
            Turned::Idle => {}
            Turned::Taken | Turned::Ended => control.task.rouse(),
        }
    }

    /// Waits for a future that asks something of this connection, at the wheel. The future comes back if somebody
    /// else waits at the wheel already, or if there is no socket any more.
    pub(super) fn drive<F: Future>(
        &self,
        control: &Control,
        mut future: Pin<&mut F>,
        give_up: &mut impl FnMut() -> bool,
    ) -> ControlFlow<Option<F::Output>> {
        let Some(at_wheel) = AtWheel::take(control) else { return ControlFlow::Continue(()) };
        // Only what happens at this wheel moves the future; for what else might, `SLICE` is soon enough.
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                // What the future has left to be done at its end is quickly done here.
                if control.task.is_woken() {
                    let _ = self.turn(control);
                }
                return ControlFlow::Break(Some(output));
            }
            let turned = self.turn(control);
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return ControlFlow::Break(Some(output));
            }
            // Taking the answer may have made room for more of it.
            if control.task.is_woken() && turned != Turned::Ended {
                continue;
            }
            let Some(link) = at_wheel.link() else { return ControlFlow::Continue(()) };
            if turned == Turned::Ended {
                return ControlFlow::Continue(());
            }
            // The end of a cancel is told to the runtime alone.
            let limit = if control.is_being_cancelled() { SHORTLY } else { SLICE };
            if !ready_in_time(&link, at_wheel.turn, limit) && give_up() {
                return ControlFlow::Break(None);
            }
        }
    }

    /// Looks at a socket that nobody watches: the server may have closed it.
    pub(super) fn look(&self, control: &Control) {
        if let Some(at_wheel) = AtWheel::take(control) {
            at_wheel.turn.may_read.store(true, Ordering::Relaxed);
            let _ = self.turn(control);
        }
    }
}

/// Waits until the socket can be read, or written if that is wanted. False if that took too long, or if a signal
/// came.
fn ready_in_time(link: &Link, turn: &Turn, limit: Duration) -> bool {
    let mut wanted = PollFlags::IN;
    if turn.wants_write.load(Ordering::Relaxed) {
        wanted |= PollFlags::OUT;
    }
    let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
    let ready = match poll(&mut [PollFd::new(link, wanted)], Some(&limit)) {
        Ok(ready) => ready > 0,
        // Out of memory, say. The read that follows tells what is wrong with the socket.
        Err(e) => io::Error::from(e).kind() != io::ErrorKind::Interrupted,
    };
    turn.may_read.store(ready, Ordering::Relaxed);
    ready
}

/// The wheel in the hands of a caller, until it is dropped.
struct AtWheel<'a> {
    control: &'a Control,
    turn: &'a Turn,
}

impl<'a> AtWheel<'a> {
    fn take(control: &'a Control) -> Option<AtWheel<'a>> {
        let turn = control.task.turn();
        let free = turn.by_caller.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // It has something to say first; the wait after that finds whatever is there.
        turn.may_read.store(false, Ordering::Relaxed);
        free.then_some(AtWheel { control, turn })
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.control.link.upgrade()
    }
}

impl Drop for AtWheel<'_> {
    fn drop(&mut self) {
        self.turn.by_caller.store(false, Ordering::SeqCst);
        // From here on a wake-up reaches the runtime again. One that came before does not; nor does it know of what is
        // still to come.
        if !self.control.is_settled() || self.control.is_ended() || self.control.has_requests() {
            self.control.task.rouse();
        }
    }
}

impl Future for Driving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Before anything is looked at: what changes after that wakes this task.
        this.control.task.register(cx.waker());
        match this.wheel.turn(&this.control) {
            Turned::Ended => Poll::Ready(()),
            Turned::Idle | Turned::Taken => Poll::Pending,
        }
    }
}

/// For the control block, which must not keep the driver.
pub(super) type WeakWheel = Weak<Wheel>;
