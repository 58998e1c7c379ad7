//! Those who listen: callbacks and streams, and the guards that end their listening.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::dispatch::Queue;
use crate::detect::event::{Event, EventKind};
use crate::process::{Process, panic_text};

/// The union of the bits of some kinds.
pub(super) fn mask_of(kinds: &[EventKind]) -> u32 {
    kinds.iter().fold(0, |mask, kind| mask | kind.bit())
}

type Callback = Box<dyn Fn(&Event) + Send + Sync>;

enum Receiver {
    Callback(Callback),
    Stream(Arc<Channel>),
}

/// One listener of one pool.
pub(super) struct Subscriber {
    pub(super) mask: u32,
    receiver: Receiver,
    /// Held to change its two fields, never while the callback runs.
    run: Mutex<Run>,
    /// Signalled when `running` becomes `None`.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Run {
    gone: bool,
    running: Option<ThreadId>,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("mask", &self.mask).finish_non_exhaustive()
    }
}

impl Subscriber {
    fn new(mask: u32, receiver: Receiver) -> Arc<Subscriber> {
        Arc::new(Subscriber { mask, receiver, run: Mutex::default(), done: Condvar::new() })
    }

    /// True for a stream, which ends with its pool.
    pub(super) fn is_stream(&self) -> bool {
        match self.receiver {
            Receiver::Stream(_) => true,
            Receiver::Callback(_) => false,
        }
    }

    /// Tells one event. Only the dispatcher thread calls this. Returns how many events were lost by it.
    pub(super) fn tell(&self, event: &Event) -> u64 {
        let callback = match &self.receiver {
            Receiver::Stream(channel) => return u64::from(!channel.push(event)),
            Receiver::Callback(callback) => callback,
        };
        {
            let mut run = self.run.lock();
            if run.gone {
                return 0;
            }
            run.running = Some(thread::current().id());
        }
        let result = catch_unwind(AssertUnwindSafe(|| callback(event)));
        self.run.lock().running = None;
        self.done.notify_all();
        if let Err(panic) = result {
            tracing::error!(
                target: "leakpool",
                pool = %event.pool,
                "a callback for the event {} panicked: {}; it stays subscribed",
                event.kind().name(),
                panic_text(&*panic)
            );
            drop_quietly(panic);
        }
        0
    }

    /// From here on the callback is not called, and runs on no other thread.
    fn leave(&self) {
        let mut run = self.run.lock();
        run.gone = true;
        while run.running.is_some_and(|thread| thread != thread::current().id()) {
            self.done.wait(&mut run);
        }
    }
}

/// A panic's payload may panic again when it is dropped.
pub(super) fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

/// A subscription of a callback. Dropping it unsubscribes, and is a barrier: once the drop returns, the callback
/// runs on no other thread and is never called again. From inside its own callback it returns at once.
///
/// As the drop waits for a call that is under way, do not drop it while holding a lock that the callback takes.
#[must_use = "dropping a subscription unsubscribes"]
#[derive(Debug)]
pub struct Subscription {
    queue: Weak<Queue>,
    subscriber: Arc<Subscriber>,
    process: Process,
}

impl Subscription {
    /// `process` is where the queue was made: in a forked child nothing is told, and no lock is touched.
    pub(super) fn callback(
        queue: &Arc<Queue>,
        process: Process,
        kinds: &[EventKind],
        callback: Callback,
    ) -> Subscription {
        let subscriber = Subscriber::new(mask_of(kinds), Receiver::Callback(callback));
        if process.is_current() {
            queue.add(subscriber.clone());
        }
        Subscription { queue: Arc::downgrade(queue), subscriber, process }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // In a forked child nothing runs, and a lock may be held by a thread that does not exist here.
        if !self.process.is_current() {
            return;
        }
        if let Some(queue) = self.queue.upgrade() {
            queue.remove(&self.subscriber);
        }
        self.subscriber.leave();
    }
}

/// A stream of events with room for a fixed number. A reader that is too slow loses the newest ones, counted here
/// and in the pool's `events_dropped`. Dropping it unsubscribes.
///
/// ```
/// async fn log_leaks(events: leakpool::Events) {
///     while let Some(event) = events.recv().await {
///         println!("{}: {}", event.pool, event.kind().name());
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Events {
    queue: Weak<Queue>,
    /// Weakly: when the queue lets go of it, the stream ends.
    subscriber: Weak<Subscriber>,
    channel: Arc<Channel>,
    /// Where it was made: in a forked child it is at its end.
    pub(super) process: Process,
}

#[derive(Debug)]
pub(super) struct Channel {
    most: usize,
    /// Held for a push or a pop.
    inbox: Mutex<Inbox>,
    /// Wakes those who block; `notify` those who await. Both after a push and at the end.
    arrived: Condvar,
    notify: Notify,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Inbox {
    events: VecDeque<Event>,
    closed: bool,
}

impl Channel {
    /// False if there was no room.
    fn push(&self, event: &Event) -> bool {
        {
            let mut inbox = self.inbox.lock();
            if inbox.events.len() >= self.most {
                drop(inbox);
                self.lost.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            inbox.events.push_back(event.clone());
        }
        self.wake();
        true
    }

    fn wake(&self) {
        self.arrived.notify_all();
        self.notify.notify_waiters();
    }
}

/// The queue was the last to hold it: no event will come any more.
impl Drop for Subscriber {
    fn drop(&mut self) {
        match &self.receiver {
            Receiver::Callback(_) => {}
            Receiver::Stream(channel) => channel.close(),
        }
    }
}

impl Channel {
    fn close(&self) {
        self.inbox.lock().closed = true;
        self.wake();
    }
}

impl Events {
    /// How many events it has room for unless told otherwise.
    pub const DEFAULT_CAPACITY: usize = 1024;

    pub(super) fn new(queue: &Arc<Queue>, process: Process, kinds: &[EventKind], capacity: usize) -> Events {
        let channel = Arc::new(Channel {
            most: capacity.max(1),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            notify: Notify::new(),
            lost: AtomicU64::new(0),
        });
        let subscriber = Subscriber::new(mask_of(kinds), Receiver::Stream(channel.clone()));
        let weak = Arc::downgrade(&subscriber);
        if process.is_current() {
            queue.add(subscriber);
        }
        Events { queue: Arc::downgrade(queue), subscriber: weak, channel, process }
    }

    /// The next event; `None` once the pool is closed and everything was received. Needs no particular runtime and
    /// may be dropped at any time without losing an event.
    pub async fn recv(&self) -> Option<Event> {
        loop {
            // Made before the look, so that a push right after the look is not missed.
            let arrived = self.channel.notify.notified();
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            if self.is_closed() {
                return self.try_recv();
            }
            arrived.await;
        }
    }

    /// The next event if one is there. Never waits.
    pub fn try_recv(&self) -> Option<Event> {
        if !self.process.is_current() {
            return None;
        }
        self.channel.inbox.lock().events.pop_front()
    }

    /// The next event, waiting for at most `timeout` on this thread; `None` if none came, or none will come any
    /// more ([`is_closed`](Events::is_closed)).
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Event> {
        if !self.process.is_current() {
            return None;
        }
        let until = Instant::now().checked_add(timeout);
        let mut inbox = self.channel.inbox.lock();
        loop {
            if let Some(event) = inbox.events.pop_front() {
                return Some(event);
            }
            if inbox.closed {
                return None;
            }
            match until {
                Some(until) => {
                    if self.channel.arrived.wait_until(&mut inbox, until).timed_out() {
                        return inbox.events.pop_front();
                    }
                }
                None => self.channel.arrived.wait(&mut inbox),
            }
        }
    }

    /// True once no event will come any more; some may still have to be received.
    pub fn is_closed(&self) -> bool {
        !self.process.is_current() || self.channel.inbox.lock().closed
    }

    /// How many events this reader has lost because it was too slow.
    pub fn lost(&self) -> u64 {
        self.channel.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        if let (Some(queue), Some(subscriber)) = (self.queue.upgrade(), self.subscriber.upgrade()) {
            queue.remove(&subscriber);
        }
    }
}
