//! Acquiring: an idle connection, one that comes back, or a new one, within one deadline.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::Object;

use super::connection::Connection;
use super::establish::Making;
use super::manager::{Conn, Manager};
use super::shared::{Place, Shared, closed};
use super::timing::Timing;
use crate::clock::{Nanos, nanos};
use crate::detect::Beginning;
use crate::detect::event::{AcquirePhase, EventData, Exhausted, RemoveReason};
use crate::detect::site::SiteId;
use crate::detect::stats::count;
use crate::detect::verdict::span;
use crate::error::{Error, ErrorCode, Result};
use crate::monitor::diagnosis::{Shortage, diagnose};

/// How long an acquire waits for a connection that is settling before it makes a new one.
const SETTLING: Duration = Duration::from_millis(2);

/// An acquire that waits for a connection that others hold.
struct Waiting<'a> {
    shared: &'a Shared,
    served: bool,
}

impl<'a> Waiting<'a> {
    pub(super) fn begin(shared: &'a Shared) -> Waiting<'a> {
        shared.detector.waiting_began();
        Waiting { shared, served: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.detector.waiting_ended(self.served);
    }
}

/// An acquire that is not over at once. A close waits for those that had come before it.
struct Acquiring<S: Deref<Target = Shared>>(S);

impl<S: Deref<Target = Shared>> Acquiring<S> {
    fn begin(shared: S) -> Acquiring<S> {
        shared.acquiring.fetch_add(1, Ordering::SeqCst);
        Acquiring(shared)
    }
}

impl<S: Deref<Target = Shared>> Drop for Acquiring<S> {
    fn drop(&mut self) {
        self.0.acquiring.fetch_sub(1, Ordering::SeqCst);
        if self.0.is_closed() {
            self.0.timing.changed.notify_waiters();
        }
    }
}

/// One more that connects, as long as there is a pool to count it.
struct Connecting(Weak<Shared>);

impl Connecting {
    fn begin(shared: Arc<Shared>) -> Connecting {
        shared.connecting.fetch_add(1, Ordering::SeqCst);
        Connecting(Arc::downgrade(&shared))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.connecting.fetch_sub(1, Ordering::SeqCst);
        }
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

/// A connection that was made; its place goes with it.
pub(super) struct Made {
    pub(super) object: Option<Object<Manager>>,
    pub(super) place: Place,
}

/// What making a connection needs. It does not keep the pool: a pool that is dropped ends it.
pub(super) struct Attempt {
    pool: Weak<Shared>,
    timing: Timing,
}

impl Attempt {
    /// The pool is over, or gone.
    fn is_for_nothing(&self) -> bool {
        self.pool.upgrade().is_none_or(|shared| shared.is_over())
    }

    /// Makes a connection. `None` if the deadline, or the end of the pool, came first.
    async fn connect(&self, deadline: Nanos) -> Option<Result<Conn>> {
        let making = Making::of(&*self.pool.upgrade()?);
        tokio::select! {
            made = making.connect() => Some(made),
            () = self.timing.until(deadline) => None,
            () = self.timing.until_so(|| self.is_for_nothing()) => None,
        }
    }
}

/// Makes a connection for a place. `None` if the deadline came first.
pub(super) async fn make(attempt: Attempt, place: Place, deadline: Nanos) -> Option<Result<Made>> {
    let _connecting = attempt.pool.upgrade().map(Connecting::begin);
    let mut pause = Duration::from_millis(20);
    loop {
        let started = Instant::now();
        let made = attempt.connect(deadline).await;
        let shared = attempt.pool.upgrade()?;
        if attempt.is_for_nothing() {
            return Some(Err(closed(&shared.name)));
        }
        let error = match made? {
            Ok(conn) => match shared.made(conn, started) {
                Some(object) => {
                    // A timer of idle connections may have to be set.
                    shared.detector.wake();
                    return Some(Ok(Made { object, place }));
                }
                // An acquire has taken it before us, and needs none of its own any more: we still do.
                None => continue,
            },
            Err(e) => e,
        };
        count(&shared.detector.stats.create_errors);
        // Our own sessions that are still ending count against the server's limit: they make room soon.
        if error.code() != ErrorCode::ServerConnectionLimit || shared.ending.load(Ordering::SeqCst) == 0 {
            return Some(Err(error));
        }
        *shared.last_error.lock() = Some((Arc::new(error), shared.detector.now()));
        drop(shared);
        tokio::select! {
            () = attempt.timing.sleep(pause) => pause = (pause * 2).min(Duration::from_millis(500)),
            () = attempt.timing.until(deadline) => return None,
        }
    }
}

impl Shared {
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
    pub(super) fn unless_closed(&self, connection: Connection) -> Result<Connection> {
        if self.is_closed() { Err(closed(&self.name)) } else { Ok(connection) }
    }

    /// The same for an acquire that had come before the close, which waits for it, up to its limit.
    fn unless_over(&self, connection: Connection) -> Result<Connection> {
        if self.over.load(Ordering::SeqCst) { Err(closed(&self.name)) } else { Ok(connection) }
    }

    /// Lends an idle connection, if there is one; the caller holds a permit, which goes with the connection.
    pub(super) fn lend_idle(self: &Arc<Self>, wish: &mut Wish, waited: Nanos) -> Option<Connection> {
        loop {
            let now = self.detector.now();
            let object = self.pop(now)?;
            if let Some(connection) = self.lend(object, wish, now, waited) {
                return Some(connection);
            }
        }
    }

    /// Lends this connection; `None` if its session died at this very moment.
    pub(super) fn lend(
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
        // Counted first, looked at then: a close either counts this acquire, or is seen here.
        let _acquiring = Acquiring::begin(self.clone());
        self.usable()?;
        self.acquire_slowly(wish).await
    }

    /// The same for a host, whose acquire begins with the call, not when its loop first looks at it: a close that comes
    /// in between serves it.
    pub(crate) fn acquire_now(
        self: Arc<Self>,
        mut wish: Wish,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        let acquiring = Acquiring::begin(self.clone());
        let usable = self.usable();
        async move {
            usable?;
            let _acquiring = acquiring;
            if self.take_permit() {
                match self.lend_idle(&mut wish, 0) {
                    Some(connection) => return self.unless_over(connection),
                    None => self.put_permit(),
                }
            }
            self.acquire_slowly(wish).await
        }
    }

    async fn acquire_slowly(self: Arc<Self>, mut wish: Wish) -> Result<Connection> {
        let started = self.detector.now();
        let timeout = wish.timeout.unwrap_or_else(|| self.options().acquire_timeout);
        let deadline = if timeout.is_zero() { Nanos::MAX } else { started.saturating_add(nanos(timeout)) };

        let place = if self.take_permit() {
            Place::of(&self)
        } else {
            let mut waiting = Waiting::begin(&self);
            let permit = self.timing.before(deadline, self.permits.acquire()).await;
            match permit {
                Some(Ok(permit)) => {
                    permit.forget();
                    waiting.served = true;
                }
                Some(Err(_)) => return Err(closed(&self.name)),
                None => return Err(self.exhausted(AcquirePhase::Wait, started, None)),
            }
            Place::of(&self)
        };
        let waited = |shared: &Shared| shared.detector.now().saturating_sub(started);
        if let Some(connection) = self.lend_idle(&mut wish, waited(&self)) {
            place.keep();
            return self.unless_over(connection);
        }

        // One is on its way back and settles in a moment: that is cheaper, for us and the server, than a new one.
        if self.detector.returning() > 0 {
            self.a_return(SETTLING).await;
            if let Some(connection) = self.lend_idle(&mut wish, waited(&self)) {
                place.keep();
                return self.unless_over(connection);
            }
        }

        // Made by a task on the pool's own runtime, so that the connection never belongs to that of the acquire.
        // If this acquire goes away, the connection becomes an idle one.
        let connecting_since = self.detector.now();
        let making = self.runtime.spawn(make(self.attempt(), place, deadline));
        let made = match self.timing.before(deadline, making).await {
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
        self.unless_over(connection)
    }

    /// For making a connection, which does not keep the pool.
    pub(super) fn attempt(self: &Arc<Self>) -> Attempt {
        Attempt { pool: Arc::downgrade(self), timing: self.timing.clone() }
    }

    /// A connection was made: hands it over. The outer `None` says that somebody else has taken it.
    fn made(&self, conn: Conn, started: Instant) -> Option<Option<Object<Manager>>> {
        self.detector.stats.create_time.record_duration(started.elapsed());
        count(&self.detector.stats.created);
        let backend_pid = conn.control.slot.stamps.backend_pid();
        self.detector.emit(EventData::Connect { backend_pid, took: started.elapsed() });
        *self.last_error.lock() = None;
        let control = conn.control.clone();
        let object = self.hand_over(conn);
        if object.is_none() && !control.is_ended() {
            return None;
        }
        Some(object)
    }

    #[cold]
    pub(super) fn exhausted(
        &self,
        phase: AcquirePhase,
        started: Nanos,
        connecting_since: Option<Nanos>,
    ) -> Error {
        count(&self.detector.stats.timeouts);
        let now = self.detector.now();
        let last_error = self.last_error.lock().clone().filter(|(_, at)| *at >= started).map(|(e, _)| e);
        let exhausted: Arc<Exhausted> = Arc::new(diagnose(Shortage {
            names: self.options().names,
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
}
