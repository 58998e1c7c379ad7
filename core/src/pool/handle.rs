//! The pool as its users have it: what they ask for, handed to whoever does it.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::acquire::AcquireRequest;
use super::connection::Connection;
use super::shared::Shared;
use super::transaction::OwnedTransaction;
use crate::alert::{Events, Subscription, UnreleasedCheckouts};
use crate::config::{LeakPolicy, PoolOptions};
use crate::detect::checkout::CheckoutLabels;
use crate::detect::event::{CheckoutInfo, Event, EventKind};
use crate::detect::id::CheckoutId;
use crate::detect::site::{HostFrame, Site, SiteId};
use crate::detect::verdict::RevokeReason;
use crate::detect::{CheckOutParams, Detector};
use crate::error::{Error, ErrorCode, Result};
use crate::monitor;
use crate::monitor::status::{Connections, Metrics, PoolStatus};

/// A pool of connections to a PostgreSQL server that finds its leaks. Cheap to clone; all clones are one pool.
///
/// In a forked child every method that returns a [`Result`] fails with `Forked`, and lists are empty: make a new pool
/// there. The parent's sessions are not touched.
///
/// ```no_run
/// # async fn f() -> leakpool::Result<()> {
/// let pool = leakpool::Pool::builder().dsn("postgres://app@localhost/shop").max_size(20).build()?;
/// let connection = pool.acquire().await?;
/// let rows = connection.fetch("SELECT id, total FROM orders WHERE id = $1", &[&42_i32]).await?;
/// drop(connection); // back in the pool
/// println!("{}", pool.report());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

/// What one acquire may say about itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AcquireOptions {
    /// What this checkout is for, as reports show it.
    pub label: Option<Arc<str>>,
    /// The host's word for who acquires (a task, a thread).
    pub owner: Option<Arc<str>>,
    /// How long it may honestly be held: no suspicion and no force release before that. Zero = not announced.
    pub expected_duration: Duration,
    /// Another time-out than the pool's `acquire_timeout`; zero = for ever.
    pub timeout: Option<Duration>,
}

impl AcquireOptions {
    /// Nothing said.
    pub fn new() -> AcquireOptions {
        AcquireOptions::default()
    }

    /// What this checkout is for.
    #[must_use]
    pub fn label(mut self, label: impl Into<Arc<str>>) -> AcquireOptions {
        self.label = Some(label.into());
        self
    }

    /// How long it may honestly be held.
    #[must_use]
    pub fn expected_duration(mut self, duration: Duration) -> AcquireOptions {
        self.expected_duration = duration;
        self
    }

    /// Another time-out than the pool's.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> AcquireOptions {
        self.timeout = Some(timeout);
        self
    }

    fn request(self, site: SiteId) -> AcquireRequest {
        let extras = CheckoutLabels { label: self.label, owner: self.owner };
        let params = CheckOutParams { expected: self.expected_duration, extras, waited: 0 };
        AcquireRequest { site, params, timeout: self.timeout }
    }
}

impl Pool {
    pub(super) fn of(shared: Arc<Shared>) -> Pool {
        Pool(shared)
    }

    /// A pool with default options. See [`PoolBuilder`](crate::PoolBuilder).
    ///
    /// # Errors
    /// As [`PoolBuilder::build`](crate::PoolBuilder::build).
    pub fn new(dsn: &str) -> Result<Pool> {
        Pool::builder().dsn(dsn).build()
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The options in force, without those about leaks.
    pub fn options(&self) -> Arc<PoolOptions> {
        self.0.options()
    }

    /// The leak policy in force.
    pub fn policy(&self) -> Arc<LeakPolicy> {
        self.detector().policy()
    }

    // ---- acquiring ---------------------------------------------------------------------------------------

    /// A connection: an idle one at once, else one that comes back or is made within `acquire_timeout`.
    ///
    /// The line that calls this is what reports name. Dropping the future is safe at any point: a connection that
    /// was being made for it becomes an idle one.
    ///
    /// # Errors
    /// `AcquireTimeout` with the diagnosis and who holds the connections ([`Exhausted`](crate::Exhausted));
    /// `PoolClosed`; `Forked`; or why no connection could be made.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Connection>> + Send + use<> {
        self.acquire_at(Location::caller(), AcquireOptions::default())
    }

    /// The same with a label that reports show.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire).
    #[track_caller]
    pub fn acquire_labelled(&self, label: &str) -> impl Future<Output = Result<Connection>> + Send + use<> {
        self.acquire_at(Location::caller(), AcquireOptions::new().label(label))
    }

    /// The same with everything that an acquire may say.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire).
    #[track_caller]
    pub fn acquire_with(
        &self,
        options: AcquireOptions,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        self.acquire_at(Location::caller(), options)
    }

    /// The same for wrappers, which pass their own caller's location on.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire).
    pub fn acquire_at(
        &self,
        location: &'static Location<'static>,
        options: AcquireOptions,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        // Now, not in the future: by the time that is polled, the caller's frames may be gone.
        let site = self.site(location);
        self.0.clone().acquire(options.request(site))
    }

    /// An idle connection, at once and without a runtime.
    ///
    /// # Errors
    /// `NoneIdle`, `PoolClosed`, `Forked`.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Connection> {
        let site = self.site(Location::caller());
        self.try_acquire_for(AcquireOptions::default().request(site))
    }

    fn try_acquire_for(&self, mut request: AcquireRequest) -> Result<Connection> {
        self.0.try_acquire(&mut request, 0)?.ok_or_else(|| {
            Error::new(ErrorCode::NoneIdle, format!("pool {:?} has no idle connection now", self.name()))
        })
    }

    /// For hosts: the site of a stack of another language, for [`acquire_site`](Pool::acquire_site). `frames`, innermost
    /// first; none if unknown. A host that keeps the answer for a stack need not name its frames again.
    pub fn host_site(&self, frames: &[HostFrame<'_>]) -> SiteId {
        match self.0.process.is_current() {
            true => self.detector().sites.intern_host(frames),
            false => SiteId::OFF,
        }
    }

    /// For hosts: an acquire from a site that [`host_site`](Pool::host_site) of this pool gave; or from
    /// [`SiteId::LATER`], whose line [`locate`](Pool::locate) tells.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire).
    pub fn acquire_site(
        &self,
        site: SiteId,
        options: AcquireOptions,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        self.0.clone().acquire_now(options.request(site))
    }

    /// For hosts: [`try_acquire`](Pool::try_acquire) from such a site.
    ///
    /// # Errors
    /// As for [`try_acquire`](Pool::try_acquire).
    pub fn try_acquire_site(&self, site: SiteId, options: AcquireOptions) -> Result<Connection> {
        self.try_acquire_for(options.request(site))
    }

    /// For hosts: an acquire from a line of another language. `frames`, innermost first; none if unknown.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire).
    pub fn acquire_from(
        &self,
        frames: &[HostFrame<'_>],
        options: AcquireOptions,
    ) -> impl Future<Output = Result<Connection>> + Send + use<> {
        self.acquire_site(self.host_site(frames), options)
    }

    /// For hosts: [`try_acquire`](Pool::try_acquire) from a line of another language.
    ///
    /// # Errors
    /// As for [`try_acquire`](Pool::try_acquire).
    pub fn try_acquire_from(&self, frames: &[HostFrame<'_>], options: AcquireOptions) -> Result<Connection> {
        self.try_acquire_site(self.host_site(frames), options)
    }

    /// For hosts whose stacks cost too much to be looked at for every checkout: the line of a checkout that was
    /// acquired from [`SiteId::LATER`], once it is old enough to matter. The holder must not release it
    /// meanwhile. If it was reported as leaked before, a log line adds the place.
    ///
    /// # Errors
    /// `UnknownCheckout` if its connection is checked out anew, or gone; `Forked`.
    pub fn locate(&self, id: CheckoutId, frames: &[HostFrame<'_>]) -> Result<Arc<Site>> {
        self.0.process.check(self.name())?;
        let site = self.detector().sites.intern_host(frames);
        let located = self.detector().locate(id, site)?;
        if located.reported {
            crate::alert::log_place(self.name(), id, &located.site);
        }
        Ok(located.site)
    }

    /// Where a checkout was acquired; `None` once its connection is checked out anew, or gone.
    pub fn site_of(&self, id: CheckoutId) -> Option<Arc<Site>> {
        self.checkouts_if_ours(|detector| detector.site_of(id))
    }

    /// Acquires, runs one statement, returns its rows and releases.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire) and [`Connection::fetch`].
    #[track_caller]
    pub fn query<'a>(
        &self,
        sql: &'a str,
        params: &'a [&'a (dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>>> + Send + use<'a> {
        let acquire = self.acquire_at(Location::caller(), AcquireOptions::default());
        async move {
            let connection = acquire.await?;
            let rows = connection.fetch(sql, params).await?;
            connection.ends_here()?;
            Ok(rows)
        }
    }

    /// Acquires, runs one statement, returns how many rows were affected and releases.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire) and [`Connection::run`].
    #[track_caller]
    pub fn execute<'a>(
        &self,
        sql: &'a str,
        params: &'a [&'a (dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64>> + Send + use<'a> {
        let acquire = self.acquire_at(Location::caller(), AcquireOptions::default());
        async move {
            let connection = acquire.await?;
            let count = connection.run(sql, params).await?;
            connection.ends_here()?;
            Ok(count)
        }
    }

    /// Acquires and begins a transaction that owns its connection.
    ///
    /// # Errors
    /// As [`acquire`](Pool::acquire), or as the server says to `BEGIN`.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<OwnedTransaction>> + Send + use<> {
        let acquire = self.acquire_at(Location::caller(), AcquireOptions::default());
        async move { OwnedTransaction::begin(acquire.await?).await }
    }

    // ---- watching ----------------------------------------------------------------------------------------

    /// How many connections there are, and what they do. Cheap.
    pub fn status(&self) -> PoolStatus {
        PoolStatus::of(self.detector(), self.connections())
    }

    /// In a forked child there are none, and the locks that say so may be held by a thread that does not exist here.
    fn connections(&self) -> Connections {
        match self.0.process.is_current() {
            true => self.0.connections(),
            false => Connections { closed: true, ..Connections::default() },
        }
    }

    /// Everything that is counted.
    pub fn metrics(&self) -> Metrics {
        let oldest = self.checkouts_if_ours(Detector::oldest_checkout);
        Metrics::with_oldest(self.detector(), self.connections(), oldest)
    }

    /// Every checkout that is held, longest held first.
    pub fn checkouts(&self) -> Vec<CheckoutInfo> {
        self.checkouts_if_ours(Detector::checkouts)
    }

    /// True while this checkout is held. Costs one load, however many there are.
    pub fn is_live(&self, id: CheckoutId) -> bool {
        self.checkouts_if_ours(|detector| detector.is_live(id))
    }

    /// What the detector says of the live checkouts; nothing in a forked child, where there are none.
    fn checkouts_if_ours<T: Default>(&self, ask: impl FnOnce(&Detector) -> T) -> T {
        if self.0.process.is_current() { ask(self.detector()) } else { T::default() }
    }

    /// Those of them that are suspected or proven to have leaked.
    pub fn leaks(&self) -> Vec<CheckoutInfo> {
        self.checkouts_if_ours(Detector::leaks)
    }

    /// Every line that has acquired so far, with its record: acquired, leaked, recovered, force-released.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        self.checkouts_if_ours(|detector| detector.sites.sites())
    }

    /// The human text: who leaks, grouped by the line that acquired. Symbolises stacks, so it may take a while
    /// the first time (0.1 s); not for a hot path.
    pub fn report(&self) -> String {
        monitor::report::report(&self.metrics(), &self.checkouts())
    }

    /// The metrics as OpenMetrics text. For several pools in one text: [`openmetrics`](crate::openmetrics).
    pub fn openmetrics(&self) -> String {
        monitor::openmetrics::encode(&[self.metrics()])
    }

    /// Calls `callback` for every event of these kinds, in order, on a thread of the library's, until the
    /// subscription is dropped. A slow subscriber loses events; they are counted.
    pub fn subscribe(
        &self,
        kinds: &[EventKind],
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.outbox.subscribe(kinds, callback)
    }

    /// The events of these kinds, to be received.
    pub fn events(&self, kinds: &[EventKind]) -> Events {
        self.0.outbox.events(kinds, 1024)
    }

    /// Waits until every event of before has been told to its subscribers, or the limit is over. Blocks. True if
    /// they were.
    pub fn flush_events(&self, limit: Duration) -> bool {
        self.0.outbox.flush(limit)
    }

    // ---- acting ------------------------------------------------------------------------------------------

    /// Takes a checkout away from its holder, whatever it does: its place is free at once, and its session ends.
    ///
    /// Nothing that its holder asks for from now on is sent. A statement that runs is cancelled before the connection is
    /// closed; it has run to its end only if the cancel came too late. What was sent behind it does not run on a direct
    /// connection (the connection is reset first); behind a pooler or a proxy, or on a network that delays the two
    /// differently, it may. The holder's errors say of each statement that it "may have been executed" or "was not sent".
    ///
    /// # Errors
    /// `UnknownCheckout` if it is not live; `Forked`.
    pub fn force_release(&self, id: CheckoutId) -> Result<CheckoutInfo> {
        self.0.process.check(self.name())?;
        self.detector().revoke(id, RevokeReason::Manual)
    }

    /// For hosts: a finalizer showed that the handle is unreachable.
    ///
    /// # Errors
    /// `UnknownCheckout` if it is not live; `Forked`.
    pub fn prove_leaked(&self, id: CheckoutId) -> Result<CheckoutInfo> {
        self.0.process.check(self.name())?;
        self.detector().prove(id)
    }

    /// For hosts: the task or thread that acquired it has ended; a reason for suspicion, no proof.
    ///
    /// # Errors
    /// `UnknownCheckout` if it is not live; `Forked`.
    pub fn owner_ended(&self, id: CheckoutId) -> Result<()> {
        self.0.process.check(self.name())?;
        self.detector().owner_ended(id)
    }

    /// For hosts, before they touch a lock of their own: this is still the process that made the pool.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check_process(&self) -> Result<()> {
        self.0.process.check(self.name())
    }

    /// For hosts: why a checkout that they do not hold (any more) is not theirs to use.
    pub fn missing(&self, id: CheckoutId) -> Error {
        if self.detector().has_issued(id) {
            let text = format!("checkout {id} of pool {:?} has ended already", self.name());
            Error::new(ErrorCode::AlreadyReleased, text)
        } else {
            Error::new(ErrorCode::UnknownCheckout, format!("pool {:?} never had this checkout", self.name()))
        }
    }

    /// Puts another leak policy in force; live checkouts are judged by it at once.
    ///
    /// # Errors
    /// `InvalidOption`, and the old policy stays; `Forked`.
    pub fn reconfigure(&self, policy: LeakPolicy) -> Result<()> {
        self.0.process.check(self.name())?;
        self.detector().reconfigure(policy)
    }

    /// Changes `max_size`. Made smaller, surplus idle connections are closed now, others as they are returned.
    ///
    /// # Errors
    /// `InvalidOption`, `PoolClosed`, `Forked`.
    pub fn resize(&self, max_size: usize) -> Result<()> {
        self.0.resize(None, max_size)
    }

    /// Changes `min_idle` and `max_size`.
    ///
    /// # Errors
    /// As for [`resize`](Pool::resize).
    pub fn resize_between(&self, min_idle: usize, max_size: usize) -> Result<()> {
        self.0.resize(Some(min_idle), max_size)
    }

    /// Makes every connection anew, for whatever has changed: those that are idle are closed now, those that are held
    /// when they come back.
    ///
    /// # Errors
    /// `PoolClosed`, `Forked`.
    pub fn drain(&self) -> Result<()> {
        self.0.drain()
    }

    /// Waits until so many connections are open, at most for `limit`. False if there were fewer by then, or the pool was
    /// closed.
    pub async fn wait_until_open(&self, connections: usize, limit: Duration) -> bool {
        self.0.wait_until_open(connections, limit).await
    }

    /// Stops new acquires, waits up to `close_timeout` for those who hold a connection (not for flagged ones),
    /// takes back what is left, and ends every session, task and thread. Returns who still held.
    ///
    /// # Errors
    /// `PoolClosed` if it was closed before; `Forked`.
    pub async fn close(&self) -> Result<Vec<CheckoutInfo>> {
        let limit = self.0.options().close_timeout;
        self.0.close(limit).await
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// As [`close`](Pool::close).
    pub async fn close_within(&self, limit: Duration) -> Result<Vec<CheckoutInfo>> {
        self.0.close(limit).await
    }

    /// True once the pool was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// For the end of a test: an error, whose `Debug` is the report, if anything is still held.
    ///
    /// # Errors
    /// [`UnreleasedCheckouts`] with every checkout that has not ended.
    ///
    /// ```no_run
    /// # fn f(pool: leakpool::Pool) {
    /// pool.assert_no_leaks().unwrap();
    /// # }
    /// ```
    pub fn assert_no_leaks(&self) -> std::result::Result<(), UnreleasedCheckouts> {
        let checkouts = self.checkouts();
        if checkouts.is_empty() {
            return Ok(());
        }
        Err(UnreleasedCheckouts::new(monitor::report::report(&self.metrics(), &checkouts), checkouts))
    }

    /// Inlined, so that the stack is walked from the acquire's own frame. In a forked child nothing is captured: the
    /// table of sites may be locked there by a thread that does not exist.
    #[inline(always)]
    fn site(&self, location: &'static Location<'static>) -> SiteId {
        match self.0.process.is_current() {
            true => self.detector().capture_site(location),
            false => SiteId::OFF,
        }
    }

    fn detector(&self) -> &Detector {
        &self.0.detector
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
