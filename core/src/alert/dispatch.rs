//! The dispatcher: one thread for all pools of the process, `leakpool-events`, that runs log lines, callbacks and
//! the hosts' reclaim callbacks, so that neither the sweeper nor a caller of the pool ever waits for them.
//!
//! Each pool has an [`Outbox`] with a bounded queue of its own. The thread takes turns: a slow callback of one pool
//! delays the others, but fills only its own queue with its own events. The thread ends when the last outbox is
//! gone, after everything that was queued has been told.
//!
//! After a fork the thread does not exist in the child and its locks may be held for ever: there everything here
//! does nothing and returns.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::Level;

use super::log;
use super::subscribe::{Events, Subscriber, Subscription, drop_quietly};
use crate::detect::event::{Event, EventKind, EventSink, LogLine};
use crate::error::{Error, ErrorCode, Result};
use crate::parking::Parking;
use crate::process::{OfProcess, Process, Singleton, panic_text};

/// The most events that wait in one queue.
pub(crate) const CAPACITY: usize = 4096;
/// The most that may wait for one of those that come with every acquire to be taken: a flood of those must not
/// crowd out a leak.
const CHATTY: usize = 3072;
/// How long one pool is served before the next has its turn, unless one callback takes longer.
const QUANTUM: Duration = Duration::from_millis(1);

thread_local! {
    /// True on the dispatcher's own thread, which cannot wait for itself.
    static HERE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A share in the process's dispatcher thread.
#[derive(Debug)]
struct Dispatcher {
    shared: Arc<Shared>,
    process: Process,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for a push or a pop. Taken after a queue's `items` was let go, never together with it.
    state: Parking<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Queues that have something to tell, each at most once (`Items::scheduled`).
    ready: VecDeque<Arc<Queue>>,
    ended: bool,
}

static CURRENT: Singleton<Dispatcher> = Singleton::new();

impl OfProcess for Dispatcher {
    fn process(&self) -> Process {
        self.process
    }
}

impl Dispatcher {
    /// The process's dispatcher; its thread is started if there is none.
    fn shared() -> Result<Arc<Dispatcher>> {
        CURRENT.get_or_make(|| {
            let shared = Arc::new(Shared::default());
            let for_thread = shared.clone();
            thread::Builder::new().name("leakpool-events".into()).spawn(move || run(&for_thread)).map_err(
                |e| Error::new(ErrorCode::LimitReached, "the events thread cannot be started").with_source(e),
            )?;
            Ok(Dispatcher { shared, process: Process::current() })
        })
    }

    fn schedule(&self, queue: Arc<Queue>) {
        self.shared.state.lock().ready.push_back(queue);
        self.shared.state.notify_one();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.shared.state.lock().ended = true;
            self.shared.state.notify_one();
        }
    }
}

fn run(shared: &Shared) {
    HERE.set(true);
    loop {
        let queue = {
            let mut state = shared.state.lock();
            loop {
                if let Some(queue) = state.ready.pop_front() {
                    break queue;
                }
                if state.ended {
                    return;
                }
                state = shared.state.wait(state);
            }
        };
        let turn = Instant::now();
        let mut more = true;
        while more && turn.elapsed() < QUANTUM {
            match queue.take() {
                // What can panic is caught closer to its cause; nothing may end the thread of all pools.
                Some(item) => {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| queue.handle(item))) {
                        drop_quietly(panic);
                    }
                }
                None => more = false,
            }
        }
        if more {
            shared.state.lock().ready.push_back(queue);
        } else {
            // Perhaps the last to hold it, and with it what callbacks have captured.
            drop_quietly(queue);
        }
    }
}

enum Item {
    Event(Box<Event>),
    /// A log line of another thread.
    Line(Box<dyn FnOnce() + Send>),
    /// Something to run in its turn: a reclaim callback, a mark for `flush`. Never lost.
    Job(Box<dyn FnOnce() + Send>),
}

/// What one pool has to tell, and to whom.
pub(super) struct Queue {
    /// The union of what callbacks and streams want.
    mask: AtomicU32,
    dropped: AtomicU64,
    /// Log lines that were lost and have not been told yet.
    lines_lost: AtomicU64,
    closed: AtomicBool,
    /// Held for a push or a pop.
    items: Mutex<Items>,
    /// Copied on write. Held to clone or replace the list; nothing is told meanwhile.
    subscribers: Mutex<Arc<Vec<Arc<Subscriber>>>>,
}

#[derive(Default)]
struct Items {
    waiting: VecDeque<Item>,
    /// True while the queue stands in `State::ready` or is being served.
    scheduled: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("mask", &self.mask)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Takes an item in; true if the queue has to be scheduled for it.
    fn push(&self, item: Item, most: usize) -> bool {
        let lost = match item {
            Item::Event(_) | Item::Job(_) => &self.dropped,
            Item::Line(_) => &self.lines_lost,
        };
        let refused;
        {
            let mut items = self.items.lock();
            if items.waiting.len() < most {
                items.waiting.push_back(item);
                return !std::mem::replace(&mut items.scheduled, true);
            }
            refused = item;
        }
        lost.fetch_add(1, Ordering::Relaxed);
        drop(refused);
        false
    }

    /// The next item; if there is none, the next push schedules the queue again.
    fn take(&self) -> Option<Item> {
        let mut items = self.items.lock();
        let item = items.waiting.pop_front();
        items.scheduled = item.is_some();
        item
    }

    fn handle(&self, item: Item) {
        match item {
            Item::Event(event) => {
                // A `tracing` subscriber is host code, too.
                if catch_unwind(AssertUnwindSafe(|| log::tell(&event))).is_err() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                let bit = event.kind().bit();
                let subscribers = self.subscribers.lock().clone();
                for subscriber in subscribers.iter().filter(|s| s.mask & bit != 0) {
                    self.dropped.fetch_add(subscriber.tell(&event), Ordering::Relaxed);
                }
                // Perhaps the last to hold one that has unsubscribed.
                drop_quietly(subscribers);
            }
            Item::Line(line) => {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(line)) {
                    self.lines_lost.fetch_add(1, Ordering::Relaxed);
                    drop_quietly(panic);
                }
                let lost = self.lines_lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = catch_unwind(|| log::lost(lost));
                }
            }
            Item::Job(job) => {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
                    tracing::error!(target: "leakpool", "a reclaim callback panicked: {}", panic_text(&*panic));
                    drop_quietly(panic);
                }
            }
        }
    }

    pub(super) fn add(&self, subscriber: Arc<Subscriber>) {
        let mut new = Some(subscriber);
        self.change(|list| {
            // A stream of a closed pool is not kept, and so is at its end. Looked at under the list's lock: `close`
            // sets the mark before it takes that lock to let the streams go.
            let late = self.closed.load(Ordering::SeqCst) && new.as_ref().is_some_and(|s| s.is_stream());
            if !late {
                list.extend(new.take());
            }
        });
    }

    pub(super) fn remove(&self, subscriber: &Arc<Subscriber>) {
        self.change(|list| list.retain(|s| !Arc::ptr_eq(s, subscriber)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Subscriber>>)) {
        let old = {
            let mut subscribers = self.subscribers.lock();
            let mut list = Vec::clone(&subscribers);
            change(&mut list);
            self.mask.store(list.iter().fold(0, |mask, s| mask | s.mask), Ordering::Relaxed);
            std::mem::replace(&mut *subscribers, Arc::new(list))
        };
        // What a subscriber has captured is dropped with no lock held.
        drop(old);
    }
}

/// Where a detector puts its events: one for each pool.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Arc<Queue>,
    dispatcher: Arc<Dispatcher>,
}

impl Outbox {
    /// Starts the dispatcher's thread if there is none. Errors: `LimitReached` if that fails.
    pub(crate) fn new() -> Result<Arc<Outbox>> {
        let queue = Queue {
            mask: AtomicU32::new(0),
            dropped: AtomicU64::new(0),
            lines_lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            items: Mutex::default(),
            subscribers: Mutex::default(),
        };
        Ok(Arc::new(Outbox { queue: Arc::new(queue), dispatcher: Dispatcher::shared()? }))
    }

    /// Calls `callback` on the dispatcher's thread, with no lock held, for each event of these kinds that is
    /// enqueued from now on, in order, until the guard is dropped.
    pub(crate) fn subscribe(
        &self,
        kinds: &[EventKind],
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Subscription {
        Subscription::callback(&self.queue, self.dispatcher.process, kinds, Box::new(callback))
    }

    /// A stream of the events of these kinds that are enqueued from now on, with room for `capacity`.
    pub(crate) fn events(&self, kinds: &[EventKind], capacity: usize) -> Events {
        Events::new(&self.queue, self.dispatcher.process, kinds, capacity)
    }

    /// Runs `job` on the dispatcher's thread after everything that was enqueued before. Never lost.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.enqueue(Item::Job(Box::new(job)), usize::MAX);
    }

    /// Logs a line of this level on the dispatcher's thread: a `tracing` subscriber is host code, which neither a thread
    /// of ours nor whoever holds a lock may wait for. `line` is not called if nobody reads that level. Of too many that
    /// wait, the later ones are lost, and their number is told.
    pub(crate) fn log(&self, level: Level, line: impl FnOnce() + Send + 'static) {
        if log::reads(level) {
            self.enqueue(Item::Line(Box::new(line)), CHATTY);
        }
    }

    /// Waits on this thread until everything that was enqueued before has been told; false if `timeout` passed
    /// first, or on the dispatcher's own thread, which cannot wait for itself.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        if HERE.get() || !self.dispatcher.process.is_current() {
            return false;
        }
        let (tell, told) = mpsc::sync_channel(1);
        self.run(move || {
            let _ = tell.send(());
        });
        told.recv_timeout(timeout).is_ok()
    }

    /// The same for a task. Dropping the future gives up waiting.
    pub(crate) async fn flushed(&self) -> bool {
        if HERE.get() || !self.dispatcher.process.is_current() {
            return false;
        }
        let (tell, told) = oneshot::channel();
        self.run(move || {
            let _ = tell.send(());
        });
        told.await.is_ok()
    }

    /// No event is taken any more; streams end once they have received what was enqueued before.
    pub(crate) fn close(&self) {
        if self.queue.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let queue = Arc::downgrade(&self.queue);
        self.run(move || {
            if let Some(queue) = queue.upgrade() {
                queue.change(|list| list.retain(|s| !s.is_stream()));
            }
        });
    }

    fn enqueue(&self, item: Item, most: usize) {
        if !self.dispatcher.process.is_current() {
            return;
        }
        if self.queue.push(item, most) {
            self.dispatcher.schedule(self.queue.clone());
        }
    }
}

impl EventSink for Outbox {
    #[inline]
    fn wants(&self, kind: EventKind) -> bool {
        self.queue.mask.load(Ordering::Relaxed) & kind.bit() != 0 || log::wants(kind)
    }

    fn send(&self, event: Event) {
        if self.queue.closed.load(Ordering::SeqCst) {
            return;
        }
        let most = if log::chatty(event.kind()) { CHATTY } else { CAPACITY };
        self.enqueue(Item::Event(Box::new(event)), most);
    }

    fn reads(&self, level: Level) -> bool {
        log::reads(level)
    }

    fn log(&self, level: Level, line: LogLine) {
        Outbox::log(self, level, line);
    }

    fn complain(&self, text: &'static str) {
        Outbox::log(self, Level::ERROR, move || log::complain(text));
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
