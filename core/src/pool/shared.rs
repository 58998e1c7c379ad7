//! What all clones of a pool, its connections and its tasks share; acquiring, connecting and closing.
//!
//! **Places.** A semaphore of ours admits as many as `max_size`; whoever holds a permit may take an idle
//! connection or make one. A permit is given back when the connection's place is free again: by the return, by
//! the revoke, by the loss, each exactly once, because only the winner of the slot's state takes the object that
//! goes with it. deadpool keeps the idle connections; it is never asked to wait, to create or to shrink.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Object, Timeouts};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use super::connection::Connection;
use super::control::Control;
use super::establish;
use super::manager::{Conn, Manager};
use super::revoke::{Closer, Ending};
use crate::alert::dispatch::Outbox;
use crate::clock::{Nanos, nanos};
use crate::config::{ConnectConfig, PoolOptions, Reset};
use crate::detect::event::{AcquirePhase, CheckoutInfo, EventData, Exhausted, RemoveReason};
use crate::detect::site::SiteId;
use crate::detect::stats::count;
use crate::detect::verdict::{RevokeReason, span};
use crate::detect::{Beginning, Detector, Upkeep};
use crate::error::{Error, ErrorCode, Result};
use crate::monitor::diagnosis::{Shortage, diagnose};
use crate::monitor::status::Connections;
use crate::process::Process;

pub(crate) struct Shared {
    /// Itself, for what upkeep starts.
    me: Weak<Shared>,
    pub(crate) name: Arc<str>,
    pub(crate) options: RwLock<Arc<PoolOptions>>,
    pub(crate) target: ConnectConfig,
    pub(crate) detector: Arc<Detector>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) runtime: Handle,
    pub(crate) process: Process,
    idle: managed::Pool<Manager>,
    permits: Semaphore,
    sizing: Mutex<Sizing>,
    /// Permits to swallow as they come back, after the pool was made smaller while they were out. Grows under
    /// `sizing` only.
    debt: AtomicUsize,
    /// What a return does; does not change while the pool lives.
    pub(crate) reset: Reset,
    closer: Mutex<Option<Arc<Closer>>>,
    /// Sessions that have left the pool and may still exist on the server.
    pub(crate) ending: Arc<AtomicUsize>,
    pub(crate) connecting: AtomicUsize,
    /// Connection tasks that have a session.
    pub(crate) tasks: AtomicUsize,
    closed: AtomicBool,
    /// Told when a place becomes free or a task ends while the pool closes, and when a manual clock moves.
    changed: Arc<Notify>,
    /// The last failure to connect, and when.
    last_error: Mutex<Option<(Arc<Error>, Nanos)>>,
    /// Told when a connection has come back while somebody waits for one that settles.
    returned: Notify,
    settle_waiters: AtomicUsize,
    warming: AtomicBool,
    pub(crate) _name_claim: super::names::NameClaim,
}

/// How long an acquire waits for a connection that is settling before it makes a new one.
const SETTLING: Duration = Duration::from_millis(2);

/// Held for a few additions.
struct Sizing {
    max_size: usize,
    /// The most that deadpool was ever told; it is only ever told more (its `resize` loses count downwards).
    told: usize,
}

/// A place in the pool while a connection is being made for it.
pub(crate) struct Place(Option<Arc<Shared>>);

impl Place {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.put_permit();
        }
    }
}

/// An acquire that waits for a connection that others hold.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Waiting<'a> {
        shared.detector.waiting_began();
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.detector.waiting_ended();
    }
}

/// What an acquire asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) site: SiteId,
    pub(crate) beginning: Beginning,
    /// `None` = the pool's own; zero = for ever.
    pub(crate) timeout: Option<Duration>,
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
        let changed = Arc::new(Notify::new());
        if !detector.clock_arc().is_real() {
            let moved = changed.clone();
            detector.clock_arc().on_move(Arc::new(move || moved.notify_waiters()));
        }
        let shared = Arc::new_cyclic(|me: &Weak<Shared>| Shared {
            me: me.clone(),
            name: detector.name().clone(),
            target,
            runtime,
            process: Process::current(),
            idle,
            permits: Semaphore::new(max_size),
            debt: AtomicUsize::new(0),
            reset: options.reset,
            options: RwLock::new(Arc::new(options)),
            sizing: Mutex::new(Sizing { max_size, told: max_size }),
            closer: Mutex::new(Some(closer)),
            ending: Arc::default(),
            connecting: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            changed,
            last_error: Mutex::new(None),
            returned: Notify::new(),
            settle_waiters: AtomicUsize::new(0),
            warming: AtomicBool::new(false),
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

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    #[inline]
    fn usable(&self) -> Result<()> {
        self.process.check(&self.name)?;
        if self.is_closed() { Err(closed(&self.name)) } else { Ok(()) }
    }

    // ---- places ------------------------------------------------------------------------------------------

    /// A place is free again.
    pub(crate) fn put_permit(&self) {
        if self.repay() {
            return;
        }
        self.permits.add_permits(1);
        if self.is_closed() {
            self.changed.notify_waiters();
        }
    }

    /// True if this place is one too many since the pool was made smaller: it is gone for good.
    #[inline]
    fn repay(&self) -> bool {
        self.debt.load(Ordering::SeqCst) > 0
            && self.debt.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |debt| debt.checked_sub(1)).is_ok()
    }

    /// A connection has come back and is clean: to be lent again, unless there is a reason against it.
    pub(crate) fn take_back(&self, object: Object<Manager>, now: Nanos) {
        if self.repay() {
            return self.discard(Object::take(object), RemoveReason::Resized);
        }
        match self.unfit(&object.control, now) {
            None => drop(object),
            Some(reason) => self.discard(Object::take(object), reason),
        }
        self.permits.add_permits(1);
        if self.settle_waiters.load(Ordering::SeqCst) > 0 {
            self.returned.notify_waiters();
        }
        if self.is_closed() {
            self.changed.notify_waiters();
        }
    }

    fn take_permit(&self) -> bool {
        match self.permits.try_acquire() {
            Ok(permit) => {
                permit.forget();
                true
            }
            Err(_) => false,
        }
    }

    /// An idle connection that may be lent, or one that was handed over; the caller holds a permit.
    fn pop(&self, now: Nanos) -> Option<Object<Manager>> {
        const NOW: Timeouts = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };
        loop {
            // Completes in its first poll: the wait is zero, and creating and recycling never wait.
            let got = pin!(self.idle.timeout_get(&NOW)).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(object)) = got else { return None };
            match self.unfit(&object.control, now) {
                None => return Some(object),
                Some(reason) => self.discard(Object::take(object), reason),
            }
        }
    }

    /// deadpool gives an idle connection before one that was handed over, which would lie in the mailbox, neither
    /// counted nor timed: so whoever has handed one over takes out what is idle, as an acquire does, until the
    /// mailbox is empty, and puts it all back.
    fn empty_mailbox(&self) {
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
    }

    /// Why a connection is not lent again.
    pub(crate) fn unfit(&self, control: &Control, now: Nanos) -> Option<RemoveReason> {
        if control.is_ended() {
            return Some(RemoveReason::Lost);
        }
        if now >= control.expires_at {
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
        self.detector.emit(EventData::Error { code: ErrorCode::ConnectionLost, message });
        self.detector.wake();
    }

    pub(crate) fn task_began(&self) {
        self.tasks.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn task_ended(&self) {
        self.tasks.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn close_session(&self, ending: Ending) {
        let closer = self.closer.lock().clone();
        if let Some(closer) = closer {
            closer.end(ending, &self.ending);
        }
    }

    pub(crate) fn closer(&self) -> Option<Arc<Closer>> {
        self.closer.lock().clone()
    }

    // ---- acquiring ---------------------------------------------------------------------------------------

    /// An idle connection, at once.
    #[inline]
    pub(crate) fn try_acquire(
        self: &Arc<Self>,
        wish: &mut Wish,
        waited: Nanos,
    ) -> Result<Option<Connection>> {
        self.usable()?;
        if !self.take_permit() {
            return Ok(None);
        }
        match self.lend_idle(wish, waited) {
            Some(connection) => self.unless_closed(connection).map(Some),
            None => {
                self.put_permit();
                Ok(None)
            }
        }
    }

    /// A close may have come since we looked: either it has seen this checkout, or we see it here.
    #[inline]
    fn unless_closed(&self, connection: Connection) -> Result<Connection> {
        if self.is_closed() { Err(closed(&self.name)) } else { Ok(connection) }
    }

    /// Lends an idle connection, if there is one; the caller holds a permit, which goes with the connection.
    fn lend_idle(self: &Arc<Self>, wish: &mut Wish, waited: Nanos) -> Option<Connection> {
        loop {
            let now = self.detector.now();
            let object = self.pop(now)?;
            if let Some(connection) = self.lend(object, wish, now, waited) {
                return Some(connection);
            }
        }
    }

    /// Lends this connection; `None` if its session died at this very moment.
    fn lend(
        self: &Arc<Self>,
        mut object: Object<Manager>,
        wish: &mut Wish,
        now: Nanos,
        waited: Nanos,
    ) -> Option<Connection> {
        let Some(client) = object.client.take() else {
            drop(Object::take(object));
            return None;
        };
        let control = object.control.clone();
        if control.uses_left.load(Ordering::Relaxed) != u64::MAX {
            control.uses_left.fetch_sub(1, Ordering::Relaxed);
        }
        control.parked.lock().object = Some(object);
        let mut beginning = wish.beginning.clone();
        beginning.waited = waited;
        let id = self.detector.begin(&control.slot, now, wish.site, beginning);
        // The session may have died in between; its task then saw a free slot. One of us sees the other.
        if control.is_ended() && self.detector.lost(&control.slot) {
            control.leave_pool_keeping_place();
            self.removed(RemoveReason::Lost, control.slot.stamps.backend_pid());
            return None;
        }
        Some(Connection::new(client, control, id, self.clone()))
    }

    /// A connection within the time-out: an idle one, one that comes back, or a new one.
    pub(crate) async fn acquire(self: Arc<Self>, mut wish: Wish) -> Result<Connection> {
        if let Some(connection) = self.try_acquire(&mut wish, 0)? {
            return Ok(connection);
        }
        let started = self.detector.now();
        let timeout = wish.timeout.unwrap_or_else(|| self.options().acquire_timeout);
        let deadline = if timeout.is_zero() { Nanos::MAX } else { started.saturating_add(nanos(timeout)) };

        let place = if self.take_permit() {
            Place(Some(self.clone()))
        } else {
            let _waiting = Waiting::begin(&self);
            let permit = self.before(deadline, self.permits.acquire()).await;
            match permit {
                Some(Ok(permit)) => permit.forget(),
                Some(Err(_)) => return Err(closed(&self.name)),
                None => return Err(self.exhausted(AcquirePhase::Wait, started, None)),
            }
            Place(Some(self.clone()))
        };
        let waited = |shared: &Shared| shared.detector.now().saturating_sub(started);
        if let Some(connection) = self.lend_idle(&mut wish, waited(&self)) {
            place.keep();
            return self.unless_closed(connection);
        }

        // One is on its way back and settles in a moment: that is cheaper, for us and the server, than a new one.
        if self.detector.returning() > 0 {
            self.a_return(SETTLING).await;
            if let Some(connection) = self.lend_idle(&mut wish, waited(&self)) {
                place.keep();
                return self.unless_closed(connection);
            }
        }

        // Made by a task on the pool's own runtime, so that the connection never belongs to that of the acquire.
        // If this acquire goes away, the connection becomes an idle one.
        let connecting_since = self.detector.now();
        let making = self.runtime.spawn(self.clone().make(place, deadline));
        let made = match self.before(deadline, making).await {
            Some(Ok(made)) => made,
            Some(Err(join)) => {
                return Err(Error::new(ErrorCode::NoRuntime, "the runtime of the pool has been shut down")
                    .with_source(join));
            }
            None => None,
        };
        let Some(made) = made else {
            return Err(self.exhausted(AcquirePhase::Connect, started, Some(connecting_since)));
        };
        let Made { object, place } = made?;
        let lent = match object {
            Some(object) => self.lend(object, &mut wish, self.detector.now(), waited(&self)),
            None => None,
        };
        let Some(connection) = lent else {
            return Err(Error::new(
                ErrorCode::ConnectionLost,
                format!("the new connection of pool {:?} ended before it could be lent", self.name),
            ));
        };
        place.keep();
        self.unless_closed(connection)
    }

    /// Makes a connection for a place. `None` if the deadline came first.
    async fn make(self: Arc<Self>, place: Place, deadline: Nanos) -> Option<Result<Made>> {
        let _connecting = Counted::begin(&self.connecting);
        let mut pause = Duration::from_millis(20);
        loop {
            let started = Instant::now();
            let error = tokio::select! {
                made = establish::establish(&self) => match made {
                    Ok(conn) => {
                        self.detector.stats.create_time.record_duration(started.elapsed());
                        count(&self.detector.stats.created);
                        let backend_pid = conn.control.slot.stamps.backend_pid();
                        self.detector.emit(EventData::Connect { backend_pid, took: started.elapsed() });
                        *self.last_error.lock() = None;
                        self.idle.manager().hand_over(conn);
                        let object = self.pop(0);
                        self.empty_mailbox();
                        // A timer of idle connections may have to be set.
                        self.detector.wake();
                        return Some(Ok(Made { object, place }));
                    }
                    Err(e) => e,
                },
                () = self.until(deadline) => return None,
                () = self.until_closed() => return Some(Err(closed(&self.name))),
            };
            count(&self.detector.stats.create_errors);
            // Our own sessions that are still ending count against the server's limit: they make room soon.
            if error.code() != ErrorCode::ServerConnectionLimit || self.ending.load(Ordering::SeqCst) == 0 {
                return Some(Err(error));
            }
            *self.last_error.lock() = Some((Arc::new(error), self.detector.now()));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_millis(500)),
                () = self.until(deadline) => return None,
            }
        }
    }

    #[cold]
    fn exhausted(&self, phase: AcquirePhase, started: Nanos, connecting_since: Option<Nanos>) -> Error {
        count(&self.detector.stats.timeouts);
        let now = self.detector.now();
        let last_error = self.last_error.lock().clone().filter(|(_, at)| *at >= started).map(|(e, _)| e);
        let exhausted: Arc<Exhausted> = Arc::new(diagnose(Shortage {
            phase,
            waited: span(started, now),
            max_size: self.sizing.lock().max_size,
            // The others: in this phase, the one that gives up still counts itself.
            waiting: match phase {
                AcquirePhase::Wait => self.detector.waiting.load(Ordering::SeqCst).saturating_sub(1),
                AcquirePhase::Connect => self.detector.waiting.load(Ordering::SeqCst),
            },
            ending: self.ending.load(Ordering::SeqCst),
            connecting_for: connecting_since.map_or(Duration::ZERO, |since| span(since, now)),
            leak_threshold: self.detector.policy().leak_threshold,
            last_error: last_error.as_deref(),
            holders: self.detector.checkouts(),
        }));
        self.detector.emit(EventData::Exhausted(exhausted.clone()));
        let text = format!("pool {:?}: {exhausted}", self.name);
        Error::new(ErrorCode::AcquireTimeout, text).with_source((*exhausted).clone())
    }

    // ---- time --------------------------------------------------------------------------------------------

    /// Waits until the pool's clock shows `deadline`.
    pub(crate) async fn until(&self, deadline: Nanos) {
        loop {
            let moved = self.changed.notified();
            let mut moved = pin!(moved);
            moved.as_mut().enable();
            let now = self.detector.now();
            if now >= deadline {
                return;
            }
            if deadline == Nanos::MAX || !self.detector.clock_arc().is_real() {
                moved.await;
            } else {
                let sleep = {
                    // The timer of the pool's runtime, so that an acquire may be polled outside of any.
                    let _enter = self.runtime.enter();
                    tokio::time::sleep(Duration::from_nanos(deadline - now))
                };
                sleep.await;
            }
        }
    }

    /// Waits until a connection has come back, at most for `limit`.
    async fn a_return(&self, limit: Duration) {
        let returned = self.returned.notified();
        let _counted = Counted::begin(&self.settle_waiters);
        let limit = {
            let _enter = self.runtime.enter();
            tokio::time::sleep(limit)
        };
        // It may have come back before we were counted.
        if self.idle.status().available == 0 {
            tokio::select! {
                () = returned => {}
                () = limit => {}
            }
        }
    }

    async fn until_closed(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// The outcome of `future`, or `None` if the deadline comes first.
    async fn before<T>(&self, deadline: Nanos, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            out = future => Some(out),
            () = self.until(deadline) => None,
        }
    }

    // ---- size, upkeep, close -----------------------------------------------------------------------------

    pub(crate) fn connections(&self) -> Connections {
        let max_size = self.sizing.lock().max_size;
        Connections {
            idle: self.idle.status().available,
            returning: self.detector.returning(),
            connecting: self.connecting.load(Ordering::SeqCst),
            ending: self.ending.load(Ordering::SeqCst),
            max_size,
            min_idle: self.options().min_idle,
            closed: self.is_closed(),
        }
    }

    pub(crate) fn resize(&self, max_size: usize) -> Result<()> {
        self.usable()?;
        let mut options = (*self.options()).clone();
        options.max_size = max_size;
        options.validate()?;
        *self.options.write() = Arc::new(options);
        {
            let mut sizing = self.sizing.lock();
            let before = sizing.max_size;
            sizing.max_size = max_size;
            if max_size > sizing.told {
                sizing.told = max_size;
                self.idle.resize(max_size);
            }
            if max_size > before {
                for _ in before..max_size {
                    self.put_permit();
                }
            } else {
                let surplus = before - max_size;
                let out = surplus - self.permits.forget_permits(surplus);
                self.debt.fetch_add(out, Ordering::SeqCst);
            }
        }
        self.detector.capacity.store(max_size, Ordering::Relaxed);
        let open = self.idle.status().size;
        let mut surplus = open.saturating_sub(max_size);
        self.remove_idle(RemoveReason::Resized, |_| {
            surplus > 0 && {
                surplus -= 1;
                true
            }
        });
        Ok(())
    }

    /// Removes those idle connections for which `which` says so.
    fn remove_idle(&self, reason: RemoveReason, mut which: impl FnMut(&Control) -> bool) {
        let removed = self.idle.retain(|conn, _| !which(&conn.control)).removed;
        for conn in removed {
            self.discard(conn, reason);
        }
    }

    /// True if there are fewer idle connections than `min_idle`, and room for one more.
    fn lacks_idle(&self) -> bool {
        let status = self.idle.status();
        let there = status.size + self.connecting.load(Ordering::SeqCst);
        status.available < self.options().min_idle && there < self.sizing.lock().max_size
    }

    /// Keeps `min_idle` connections warm: one task at a time makes what is missing.
    fn warm_up(self: &Arc<Self>) {
        if self.warming.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = self.clone();
        drop(self.runtime.spawn(async move {
            while !shared.is_closed() && shared.lacks_idle() {
                if !shared.take_permit() {
                    break;
                }
                let place = Place(Some(shared.clone()));
                let deadline = shared.detector.now().saturating_add(30_000_000_000);
                match shared.clone().make(place, deadline).await {
                    Some(Ok(Made { object, place })) => {
                        drop(object);
                        drop(place);
                    }
                    Some(Err(e)) => {
                        shared.detector.emit(EventData::Error { code: e.code(), message: e.to_string() });
                        break;
                    }
                    None => break,
                }
            }
            shared.warming.store(false, Ordering::SeqCst);
        }));
    }

    /// Stops new acquires; waits for holders up to the limit; takes back what is left. Returns who still held.
    pub(crate) async fn close(self: &Arc<Self>, limit: Duration) -> Result<Vec<CheckoutInfo>> {
        self.process.check(&self.name)?;
        if self.closed.swap(true, Ordering::SeqCst) {
            return Err(closed(&self.name));
        }
        self.permits.close();
        self.changed.notify_waiters();
        self.remove_idle(RemoveReason::PoolClosed, |_| true);
        let deadline = self.detector.now().saturating_add(nanos(limit));
        let mut held = Vec::new();
        loop {
            let changed = self.changed.notified();
            let mut changed = pin!(changed);
            changed.as_mut().enable();
            let over = self.detector.now() >= deadline;
            let live = self.detector.checkouts();
            let none = live.is_empty();
            for checkout in live {
                if over || checkout.reported || checkout.verdict.is_leak() {
                    held.extend(self.detector.revoke(checkout.id, RevokeReason::PoolClosed).ok());
                }
            }
            if none && self.detector.stats.books().active() == 0 {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = self.until(deadline) => {}
            }
        }
        for checkout in &held {
            tracing::warn!(
                target: "leakpool", pool = &*self.name, checkout = %checkout.id, site = %checkout.site.place(),
                "the pool was closed while a checkout was held; it was taken back",
            );
        }
        self.finish().await;
        Ok(held)
    }

    /// Waits until every task and session has ended, within limits of its own, and lets go of the threads.
    async fn finish(&self) {
        let gone = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = pin!(changed);
                changed.as_mut().enable();
                for conn in self.idle.manager().take_made() {
                    self.discard(conn, RemoveReason::PoolClosed);
                }
                self.remove_idle(RemoveReason::PoolClosed, |_| true);
                if self.tasks.load(Ordering::SeqCst) == 0 && self.ending.load(Ordering::SeqCst) == 0 {
                    return;
                }
                let a_moment = {
                    let _enter = self.runtime.enter();
                    tokio::time::sleep(Duration::from_millis(10))
                };
                tokio::select! {
                    () = changed => {}
                    () = a_moment => {}
                }
            }
        };
        let limit = {
            let _enter = self.runtime.enter();
            tokio::time::sleep(Duration::from_secs(10))
        };
        tokio::select! {
            () = gone => {}
            () = limit => {}
        }
        self.outbox.flushed().await;
        self.outbox.close();
        self.detector.stop();
        let closer = self.closer.lock().take();
        drop(closer);
    }
}

/// A connection that was made; its place goes with it.
struct Made {
    object: Option<Object<Manager>>,
    place: Place,
}

/// One more, until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn begin(count: &'a AtomicUsize) -> Counted<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn closed(pool: &str) -> Error {
    Error::new(ErrorCode::PoolClosed, format!("pool {pool:?} is closed"))
}

impl Upkeep for Shared {
    fn upkeep(&self, now: Nanos) -> Option<Nanos> {
        if self.is_closed() || !self.process.is_current() {
            return None;
        }
        let options = self.options();
        let idle_timeout = nanos(options.idle_timeout);
        let mut next = Nanos::MAX;
        self.remove_idle(RemoveReason::Lost, Control::is_ended);
        self.remove_idle(RemoveReason::Lifetime, |control| now >= control.expires_at);
        let mut spare = self.idle.status().available.saturating_sub(options.min_idle);
        // deadpool keeps the longest idle in front, and `retain` goes from there.
        self.remove_idle(RemoveReason::Idle, |control| {
            let due = control.idle_since.load(Ordering::Relaxed).saturating_add(idle_timeout);
            let remove = idle_timeout > 0 && spare > 0 && due <= now;
            if remove {
                spare -= 1;
            } else {
                next = next.min(control.expires_at);
                if idle_timeout > 0 && due > now {
                    next = next.min(due);
                }
            }
            remove
        });
        let status = self.idle.status();
        if status.available < options.min_idle {
            if let Some(shared) = self.me.upgrade() {
                shared.warm_up();
            }
            next = next.min(now.saturating_add(1_000_000_000));
        }
        if status.size > 0 && idle_timeout > 0 {
            next = next.min(now.saturating_add(idle_timeout));
        }
        (next != Nanos::MAX).then_some(next)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
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
