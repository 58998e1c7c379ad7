//! Acquiring: an idle connection, one that comes back, or a new one, within one deadline.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::establish::Making;
use super::places::{Closed, TooMany};
use super::shared::{Conn, Place, Shared, WeakPlace, closed};
use super::timing::Timing;
use crate::clock::{Nanos, nanos};
use crate::config::named;
use crate::detect::CheckOutParams;
use crate::detect::event::{AcquirePhase, EventData, Exhausted, RemoveReason};
use crate::detect::site::SiteId;
use crate::detect::stats::count;
use crate::detect::verdict::span;
use crate::error::{Error, ErrorCode, Result};
use crate::monitor::diagnosis::{Shortage, diagnose};

/// How long an acquire waits for a connection that is settling before it makes a new one.
const SETTLING: Duration = Duration::from_millis(2);

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
pub(crate) struct AcquireRequest {
    pub(crate) site: SiteId,
    pub(crate) params: CheckOutParams,
    /// `None` = the pool's own; zero = for ever.
    pub(crate) timeout: Option<Duration>,
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

/// Makes a connection for a place, which goes with it. `None` if the deadline came first.
pub(super) async fn make(
    attempt: Attempt,
    mut place: WeakPlace,
    deadline: Nanos,
) -> Option<Result<WeakPlace>> {
    let _connecting = attempt.pool.upgrade().map(Connecting::begin);
    let mut pause = Duration::from_millis(20);
    loop {
        let started = Instant::now();
        let made = attempt.connect(deadline).await;
        let shared = attempt.pool.upgrade()?;
        if attempt.is_for_nothing() {
            // One that was ready at this very moment takes its leave with the idle ones.
            if let Some(Ok(connection)) = made {
                shared.made(&connection, started);
                place.fill(connection);
            }
            return Some(Err(closed(&shared.name)));
        }
        let error = match made? {
            Ok(connection) => {
                shared.made(&connection, started);
                place.fill(connection);
                // A timer of idle connections may have to be set.
                shared.detector.wake();
                return Some(Ok(place));
            }
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
        request: &mut AcquireRequest,
        waited: Nanos,
    ) -> Result<Option<Connection>> {
        self.usable()?;
        let Some(place) = Place::take(self) else { return Ok(None) };
        match self.check_out_idle(place, request, waited) {
            Ok(connection) => self.unless_closed(connection).map(Some),
            Err(_place) => Ok(None),
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

    /// Checks out the connection of a place, or an idle one for it. The place comes back if there is none.
    #[inline]
    fn check_out_idle<'a>(
        self: &Arc<Self>,
        mut place: Place<'a>,
        request: &mut AcquireRequest,
        waited: Nanos,
    ) -> Result<Connection, Place<'a>> {
        loop {
            let now = self.detector.now();
            let Some(connection) = place.idle_connection(now) else { return Err(place) };
            if let Some(connection) = self.check_out(connection, request, now, waited) {
                place.keep();
                return Ok(connection);
            }
        }
    }

    /// Checks this connection out; `None` if its session died at this very moment.
    #[inline]
    fn check_out(
        self: &Arc<Self>,
        connection: Conn,
        request: &mut AcquireRequest,
        now: Nanos,
        waited: Nanos,
    ) -> Option<Connection> {
        let session = &connection.session;
        connection.record.used();
        let mut params = request.params.clone();
        params.waited = waited;
        let id = self.detector.begin(&session.slot, now, request.site, params);
        // The session may have died in between; its task then saw a free slot. One of us sees the other.
        if session.is_ended() && self.detector.lost(&session.slot) {
            self.places.gone();
            self.removed(RemoveReason::Lost, session.slot.stamps.backend_pid());
            return None;
        }
        Some(Connection::new(connection, id, self.clone()))
    }

    /// A connection within the time-out: an idle one, one that comes back, or a new one.
    pub(crate) async fn acquire(self: Arc<Self>, mut request: AcquireRequest) -> Result<Connection> {
        if let Some(connection) = self.try_acquire(&mut request, 0)? {
            return Ok(connection);
        }
        // Counted first, looked at then: a close either counts this acquire, or is seen here.
        let _acquiring = Acquiring::begin(self.clone());
        self.usable()?;
        self.acquire_slowly(request).await
    }

    /// The same for a host, whose acquire begins with the call, not when its loop first looks at it: a close that comes
    /// in between serves it.
    pub(crate) fn acquire_now(
        self: Arc<Self>,
        mut request: AcquireRequest,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        let acquiring = Acquiring::begin(self.clone());
        let usable = self.usable();
        async move {
            usable?;
            let _acquiring = acquiring;
            if let Some(place) = Place::take(&self)
                && let Ok(connection) = self.check_out_idle(place, &mut request, 0)
            {
                return self.unless_over(connection);
            }
            self.acquire_slowly(request).await
        }
    }

    async fn acquire_slowly(self: Arc<Self>, mut request: AcquireRequest) -> Result<Connection> {
        let started = self.detector.now();
        let timeout = request.timeout.unwrap_or_else(|| self.options().acquire_timeout);
        let deadline = if timeout.is_zero() { Nanos::MAX } else { started.saturating_add(nanos(timeout)) };

        let waited = |shared: &Shared| shared.detector.now().saturating_sub(started);
        let mut most = self.options().max_waiting;
        let mut place = loop {
            let place = match Place::take(&self) {
                Some(place) => place,
                None => {
                    let waiting = self.places.wait(most).map_err(|TooMany| self.too_many_waiting(most))?;
                    self.detector.waiting_began();
                    match self.timing.before(deadline, waiting).await {
                        Some(Ok(())) => Place::of(&self),
                        Some(Err(Closed)) => return Err(closed(&self.name)),
                        None => return Err(self.exhausted(AcquirePhase::Wait, started, None)),
                    }
                }
            };
            match self.check_out_idle(place, &mut request, waited(&self)) {
                Ok(connection) => return self.unless_over(connection),
                Err(place) if !self.places.is_overfull() => break place,
                // The pool was made smaller, and what was idle for it is gone: it waits again, and was let in before.
                Err(_place) => most = 0,
            }
        };

        // One is on its way back and settles in a moment: that is cheaper, for us and the server, than a new one.
        if self.detector.returning() > 0 {
            self.wait_for_return(SETTLING).await;
            place = match self.check_out_idle(place, &mut request, waited(&self)) {
                Ok(connection) => return self.unless_over(connection),
                Err(place) => place,
            };
        }

        // Made by a task on the pool's own runtime, so that the connection never belongs to that of the acquire.
        // If this acquire goes away, the connection becomes an idle one.
        let connecting_since = self.detector.now();
        let making = self.runtime.spawn(make(self.attempt(), place.into_weak(), deadline));
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
        match self.check_out_idle(made?.into_strong(&self), &mut request, waited(&self)) {
            Ok(connection) => {
                self.timing.changed.notify_waiters();
                self.unless_over(connection)
            }
            Err(_place) => Err(Error::new(
                ErrorCode::ConnectionLost,
                format!("the new connection of pool {:?} ended before it could be checked out", self.name),
            )),
        }
    }

    /// For making a connection, which does not keep the pool.
    pub(super) fn attempt(self: &Arc<Self>) -> Attempt {
        Attempt { pool: Arc::downgrade(self), timing: self.timing.clone() }
    }

    /// A connection was made.
    fn made(&self, connection: &Conn, started: Instant) {
        self.places.opened();
        self.detector.stats.create_time.record_duration(started.elapsed());
        count(&self.detector.stats.created);
        let backend_pid = connection.session.slot.stamps.backend_pid();
        self.detector.emit(EventData::Connect { backend_pid, took: started.elapsed() });
        *self.last_error.lock() = None;
    }

    #[cold]
    fn too_many_waiting(&self, most: usize) -> Error {
        let option = named(self.options().names, "max_waiting");
        let text = format!(
            "pool {:?}: {most} {} for a connection already, as many as {option} ({most}) allows",
            self.name,
            if most == 1 { "acquire waits" } else { "acquires wait" },
        );
        Error::new(ErrorCode::TooManyWaiting, text)
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
            max_size: self.places.counts().max_size,
            // The others: whoever gives up has left the queue.
            waiting: self.detector.waiting.load(Ordering::SeqCst),
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
