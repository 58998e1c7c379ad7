//! What all clones of a pool, its connections and its tasks share: places, idle connections, time. What is done with
//! them is in `acquire.rs`, `upkeep.rs` and `close.rs`.
//!
//! **Places.** A semaphore of ours admits as many as `max_size`; whoever holds a permit may take an idle
//! connection or make one. A permit is given back when the connection's place is free again: by the return, by
//! the revoke, by the loss, each exactly once, because only the winner of the slot's state takes the object that
//! goes with it. deadpool keeps the idle connections; it is never asked to wait, to create or to shrink.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use deadpool::managed::{self, Object, Timeouts};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::connect::Peer;
use super::control::Control;
use super::manager::{Conn, Manager};
use super::refill::Refill;
use super::revoke::{Closer, Ending};
use super::timing::Timing;
use crate::alert::dispatch::Outbox;
use crate::clock::{Nanos, nanos};
use crate::config::{ConnectConfig, PoolOptions, Reset};
use crate::detect::Detector;
use crate::detect::event::{EventData, RemoveReason};
use crate::detect::stats::count;
use crate::error::{Error, ErrorCode, Result};
use crate::process::Process;

pub(crate) struct Shared {
    /// Itself, for what upkeep starts.
    pub(super) me: Weak<Shared>,
    pub(crate) name: Arc<str>,
    pub(crate) options: RwLock<Arc<PoolOptions>>,
    pub(crate) target: Arc<ConnectConfig>,
    pub(crate) detector: Arc<Detector>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) runtime: Handle,
    pub(crate) process: Process,
    pub(super) idle: managed::Pool<Manager>,
    pub(super) permits: Semaphore,
    pub(super) sizing: Mutex<Sizing>,
    /// Permits to swallow as they come back, after the pool was made smaller while they were out. Grows under
    /// `sizing` only.
    pub(super) debt: AtomicUsize,
    /// What a return does; does not change while the pool lives.
    pub(crate) reset: Reset,
    pub(super) timing: Timing,
    /// Sessions that have left the pool and may still exist on the server.
    pub(crate) ending: Arc<AtomicUsize>,
    pub(crate) connecting: AtomicUsize,
    /// Connection tasks that have a session.
    pub(crate) tasks: AtomicUsize,
    /// Nobody new is let in.
    pub(super) closed: AtomicBool,
    /// Nobody is served any more, who had come before either.
    pub(super) over: AtomicBool,
    /// Acquires that wait or connect. They had come before a close that finds them here.
    pub(super) acquiring: AtomicUsize,
    /// The last failure to connect, and when.
    pub(super) last_error: Mutex<Option<(Arc<Error>, Nanos)>>,
    /// Told when a connection has come back while somebody waits for one that settles.
    pub(super) returned: Notify,
    pub(super) settle_waiters: AtomicUsize,
    /// How often the pool was drained.
    pub(super) drains: AtomicU64,
    /// A pooler was found to stand between: from then on nothing is named.
    behind_pooler: AtomicBool,
    pub(super) warming: AtomicBool,
    /// Held for a look at the time.
    pub(super) refill: Mutex<Refill>,
    /// Held while a new connection goes through the mailbox, so that nobody else who makes one takes it out.
    handing_over: Mutex<()>,
    pub(crate) _name_claim: super::names::NameClaim,
}

/// Held for a few additions.
pub(super) struct Sizing {
    pub(super) max_size: usize,
    /// The most that deadpool was ever told; it is only ever told more (its `resize` loses count downwards).
    pub(super) told: usize,
}

/// A place in the pool while a connection is being made for it.
pub(crate) struct Place(Option<Weak<Shared>>);

impl Place {
    /// For whoever holds a permit: it goes with the place.
    pub(super) fn of(shared: &Arc<Shared>) -> Place {
        Place(Some(Arc::downgrade(shared)))
    }

    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take().and_then(|weak| weak.upgrade()) {
            shared.put_permit();
        }
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        name_claim: super::names::NameClaim,
        options: PoolOptions,
        target: ConnectConfig,
        detector: Arc<Detector>,
        outbox: Arc<Outbox>,
        runtime: Handle,
        closer: Arc<Closer>,
    ) -> Result<Arc<Shared>> {
        let max_size = options.max_size;
        let idle = managed::Pool::builder(Manager::default())
            .config(managed::PoolConfig {
                max_size,
                queue_mode: managed::QueueMode::Lifo,
                ..Default::default()
            })
            .build()
            .map_err(|e| Error::new(ErrorCode::NoRuntime, e.to_string()))?;
        detector.capacity.store(max_size, Ordering::Relaxed);
        detector.reset_timeout.store(nanos(options.reset_timeout), Ordering::Relaxed);
        let timing = Timing::new(detector.clone(), closer, runtime.clone());
        let shared = Arc::new_cyclic(|me: &Weak<Shared>| Shared {
            me: me.clone(),
            name: detector.name().clone(),
            target: Arc::new(target),
            runtime,
            process: Process::current(),
            idle,
            permits: Semaphore::new(max_size),
            debt: AtomicUsize::new(0),
            reset: options.reset,
            options: RwLock::new(Arc::new(options)),
            sizing: Mutex::new(Sizing { max_size, told: max_size }),
            timing,
            ending: Arc::default(),
            connecting: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            acquiring: AtomicUsize::new(0),
            last_error: Mutex::new(None),
            returned: Notify::new(),
            settle_waiters: AtomicUsize::new(0),
            drains: AtomicU64::new(0),
            behind_pooler: AtomicBool::new(false),
            warming: AtomicBool::new(false),
            refill: Mutex::default(),
            handing_over: Mutex::new(()),
            detector,
            outbox,
            _name_claim: name_claim,
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        shared.detector.set_upkeep(weak);
        Ok(shared)
    }

    pub(crate) fn options(&self) -> Arc<PoolOptions> {
        self.options.read().clone()
    }

    pub(crate) fn is_behind_pooler(&self) -> bool {
        self.behind_pooler.load(Ordering::Acquire)
    }

    /// A pooler stands between us and the server at `peer`.
    pub(super) fn found_pooler(&self, peer: &Peer) {
        if !self.behind_pooler.swap(true, Ordering::AcqRel) {
            tracing::info!(
                target: "leakpool", pool = &*self.name, peer = %peer,
                "a connection pooler stands between this pool and its server (their process ids differ), so nothing is \
                 prepared under a name; statement_cache = true does it all the same, which is right only where each \
                 client keeps its own server session",
            );
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Closed, and with nobody left who had come before and is still to be served.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed() && (self.over.load(Ordering::SeqCst) || self.acquiring.load(Ordering::SeqCst) == 0)
    }

    #[inline]
    pub(super) fn usable(&self) -> Result<()> {
        self.process.check(&self.name)?;
        if self.is_closed() { Err(closed(&self.name)) } else { Ok(()) }
    }

    // ---- places ------------------------------------------------------------------------------------------

    /// A place is free again.
    pub(crate) fn put_permit(&self) {
        if !self.repay() {
            self.free_place();
        }
        if self.is_closed() {
            self.timing.changed.notify_waiters();
        }
    }

    fn free_place(&self) {
        // Counted first: the one who waits may have it, and be gone, the moment it is free.
        self.detector.place_freed();
        self.permits.add_permits(1);
    }

    /// True if this place is one too many since the pool was made smaller: it is gone for good.
    #[inline]
    pub(super) fn repay(&self) -> bool {
        self.debt.load(Ordering::SeqCst) > 0
            && self.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |debt| debt.checked_sub(1)).is_ok()
    }

    /// A connection has come back and is clean: to be lent again, unless there is a reason against it.
    pub(crate) fn take_back(&self, object: Object<Manager>, now: Nanos) {
        if self.repay() {
            self.discard(Object::take(object), RemoveReason::Resized);
        } else {
            match self.unfit(&object.control, now) {
                None => drop(object),
                Some(reason) => self.discard(Object::take(object), reason),
            }
            self.free_place();
        }
        if self.settle_waiters.load(Ordering::SeqCst) > 0 {
            self.returned.notify_waiters();
        }
        if self.is_closed() {
            self.timing.changed.notify_waiters();
        }
    }

    pub(super) fn take_permit(&self) -> bool {
        match self.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// An idle connection that may be lent, or one that was handed over; the caller holds a permit.
    pub(super) fn pop(&self, now: Nanos) -> Option<Object<Manager>> {
        const NOW: Timeouts = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        loop {
            // Completes in its first poll: the wait is zero, and creating and recycling never wait.
            let got = pin!(self.idle.timeout_get(&NOW)).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(object)) = got else { return None };
            object.control.look();
            match self.unfit(&object.control, now) {
                None => return Some(object),
                Some(reason) => self.discard(Object::take(object), reason),
            }
        }
    }

    /// Gives deadpool a new connection and takes one for it; the caller holds a permit.
    ///
    /// deadpool gives an idle connection before one that was handed over, which would lie in the mailbox, neither
    /// counted nor timed: so what is idle is taken out, as an acquire does, until the mailbox is empty, and all put
    /// back.
    pub(super) fn hand_over(&self, conn: Conn) -> Option<Object<Manager>> {
        let _turn = self.handing_over.lock();
        self.idle.manager().hand_over(conn);
        let object = self.pop(0);
        let mut taken = Vec::new();
        while self.idle.manager().has_mail() && self.take_permit() {
            match self.pop(0) {
                Some(object) => taken.push(object),
                None => {
                    self.put_permit();
                    break;
                }
            }
        }
        while let Some(object) = taken.pop() {
            drop(object);
            self.put_permit();
        }
        object
    }

    /// Why a connection is not lent again.
    pub(crate) fn unfit(&self, control: &Control, now: Nanos) -> Option<RemoveReason> {
        if control.is_ended() {
            return Some(RemoveReason::Lost);
        }
        // It heard something: the notifications would be the next holder's.
        if control.traffic().listening {
            return Some(RemoveReason::Reset);
        }
        if now >= control.expires_at || control.drains != self.drains.load(Ordering::Relaxed) {
            return Some(RemoveReason::Lifetime);
        }
        (control.uses_left.load(Ordering::Relaxed) == 0).then_some(RemoveReason::Uses)
    }

    /// A connection that is idle and out of deadpool leaves.
    pub(crate) fn discard(&self, mut conn: Conn, reason: RemoveReason) {
        let pid = conn.control.slot.stamps.backend_pid();
        if let Some(client) = conn.client.take() {
            conn.control.parked.lock().client = Some(client);
            conn.control.say_goodbye();
        }
        self.removed(reason, pid);
    }

    pub(crate) fn removed(&self, reason: RemoveReason, backend_pid: Option<u32>) {
        count(&self.detector.stats.removed);
        self.detector.emit(EventData::Remove { reason, backend_pid });
    }

    pub(crate) fn idle_died(&self, message: String) {
        // Made again and again, and ended each time: told once.
        if self.options().min_idle == 0 || self.refill.lock().tells(self.detector.now()) {
            self.detector.emit(EventData::Error { code: ErrorCode::ConnectionLost, message });
        }
        self.detector.wake();
    }

    pub(crate) fn task_began(&self) {
        self.tasks.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn task_ended(&self) {
        self.tasks.fetch_sub(1, Ordering::SeqCst);
        self.timing.changed.notify_waiters();
    }

    pub(crate) fn close_session(&self, ending: Ending) {
        if let Some(closer) = self.timing.closer() {
            closer.end(ending, &self.ending);
        }
    }

    pub(crate) fn closer(&self) -> Option<Arc<Closer>> {
        self.timing.closer()
    }

    // ---- time --------------------------------------------------------------------------------------------

    /// Waits until a connection has come back, at most for `limit`.
    pub(super) async fn a_return(&self, limit: Duration) {
        let returned = self.returned.notified();
        let _counted = Counted::begin(&self.settle_waiters);
        let limit = self.timing.sleep(limit);
        // It may have come back before we were counted.
        if self.idle.status().available == 0 {
            tokio::select! {
                () = returned => {}
                () = limit => {}
            }
        }
    }
}

/// One more, until it is dropped.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(super) fn begin(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn closed(pool: &str) -> Error {
    Error::new(ErrorCode::PoolClosed, format!("pool {pool:?} is closed"))
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        // Attempts to connect do not keep the pool, and end with it.
        self.timing.changed.notify_waiters();
        self.detector.stop();
        // What is still on its way back has nowhere to go, and no sweeper that limits it.
        self.detector.give_up_returns();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("books", &self.detector.stats.books())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
