//! The leak detector for another library's pool: the host tells what it hands out and takes back, and gets the verdicts,
//! events, metrics and reports of our own pool.
//!
//! Each checkout claims a slot of the registry and gives it back at its end. Lock protocol: a shard of `live`, the
//! lock of `revoked` and a holding's lock are each held for a few instructions, never two at once, and never while
//! the detector or the host is called.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

mod check_out;
mod holder;

pub use check_out::{CheckOut, Touch};

use crate::alert::dispatch::Outbox;
use crate::alert::{Events, Subscription, UnreleasedCheckouts};
use crate::clock::{Clock, SystemClock, nanos};
use crate::config::{LeakPolicy, check_name};
use crate::detect::checkout::State;
use crate::detect::event::{CheckoutInfo, Event, EventData, EventKind, Revocation};
use crate::detect::id::CheckoutId;
use crate::detect::site::{HostFrame, Site, SiteId};
use crate::detect::stats::count;
use crate::detect::verdict::RevokeReason;
use crate::detect::{CheckOutParams, Detector, Reclaim};
use crate::error::{Error, ErrorCode, Result};
use crate::monitor::status::{Connections, Metrics, PoolStatus};
use crate::monitor::{openmetrics, report};
use crate::process::Process;
use holder::{LateAction, WatchedCheckout};

const SHARDS: usize = 16;
/// How many revoked checkouts are remembered until their holder comes back, so that it learns what happened.
const REMEMBERED: usize = 4096;

/// Finds leaks in a pool that is not ours. Cheap to clone; all clones are the same detector. When the last one is
/// gone, nothing is judged any more and subscriptions fall silent.
///
/// In a forked child every method that returns a [`Result`] fails with `Forked`, lists are empty and streams are at
/// their end: make a new detector there.
///
/// ```
/// use leakpool::{CheckOut, LeakDetector, LeakPolicy, Touch, TransactionStatus};
/// # fn main() -> leakpool::Result<()> {
/// let detector = LeakDetector::new("orders", LeakPolicy::default())?;
/// let id = detector.check_out(CheckOut::here())?;
/// detector.touch(id, Touch::Executing(Some("SELECT 1")))?;
/// detector.touch(id, Touch::Idle(TransactionStatus::Idle))?;
/// detector.check_in(id)?;
/// assert_eq!(detector.metrics().books.released, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LeakDetector(Arc<Watch>);

#[derive(Debug)]
struct Watch {
    detector: Arc<Detector>,
    outbox: Arc<Outbox>,
    live: [Mutex<Live>; SHARDS],
    revoked: Mutex<Remembered>,
    closed: AtomicBool,
    process: Process,
}

type Live = HashMap<CheckoutId, Arc<WatchedCheckout>, BuildHasherDefault<IdHasher>>;

/// Ids are given out by us and differ in slot and generation: no need for a hash that withstands an attacker.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing; the table takes its bits from both ends.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[derive(Debug, Default)]
struct Remembered {
    holdings: HashMap<CheckoutId, Arc<WatchedCheckout>>,
    order: VecDeque<CheckoutId>,
}

impl Watch {
    fn shard(&self, id: CheckoutId) -> &Mutex<Live> {
        &self.live[id.slot() % SHARDS]
    }

    /// The holding, live or revoked.
    fn find(&self, id: CheckoutId) -> Result<Arc<WatchedCheckout>> {
        // In that order: a revoke remembers first and takes out of `live` afterwards.
        let live = self.find_live(id);
        live.or_else(|| self.revoked.lock().holdings.get(&id).cloned()).ok_or_else(|| self.missing(id))
    }

    fn find_live(&self, id: CheckoutId) -> Option<Arc<WatchedCheckout>> {
        self.shard(id).lock().get(&id).cloned()
    }

    fn missing(&self, id: CheckoutId) -> Error {
        let pool = self.detector.name();
        if self.detector.has_issued(id) {
            already_released(id, pool)
        } else {
            Error::new(ErrorCode::UnknownCheckout, format!("pool {pool:?} never had a checkout {id}"))
        }
    }

    fn forget_live(&self, id: CheckoutId, remember: bool) {
        if remember && let Some(checkout) = self.find_live(id) {
            let forgotten = {
                let mut revoked = self.revoked.lock();
                revoked.holdings.insert(id, checkout);
                revoked.order.push_back(id);
                let oldest = if revoked.order.len() > REMEMBERED { revoked.order.pop_front() } else { None };
                oldest.and_then(|oldest| revoked.holdings.remove(&oldest))
            };
            drop(forgotten);
        }
        let removed = self.shard(id).lock().remove(&id);
        drop(removed);
    }

    fn too_late(&self, id: CheckoutId, late: LateAction) -> Error {
        match late {
            LateAction::Revoked(revocation, _) => {
                Error::new(ErrorCode::ForceReleased, revocation.to_string())
                    .with_source(Revocation::clone(&revocation))
            }
            LateAction::Revoking => Error::new(
                ErrorCode::ForceReleased,
                format!("checkout {id} of pool {:?} is being taken back right now", self.detector.name()),
            ),
            LateAction::Ended => already_released(id, self.detector.name()),
        }
    }

    fn check_fork(&self) -> Result<()> {
        if !self.process.is_current() {
            return Err(Error::new(
                ErrorCode::Forked,
                format!(
                    "this process was forked after the detector of pool {:?} was made: make a new one here",
                    self.detector.name()
                ),
            ));
        }
        Ok(())
    }
}

fn already_released(id: CheckoutId, pool: &str) -> Error {
    Error::new(ErrorCode::AlreadyReleased, format!("checkout {id} of pool {pool:?} has ended already"))
}

impl LeakDetector {
    /// A detector on the system's clock. Errors: `InvalidOption` for a policy that contradicts itself, or a name that
    /// is empty, longer than 63 bytes or holds control characters,
    /// `LimitReached` if a thread cannot be started.
    pub fn new(name: impl Into<Arc<str>>, policy: LeakPolicy) -> Result<LeakDetector> {
        LeakDetector::with_clock(name, policy, Arc::new(SystemClock::new()))
    }

    /// The same on a clock of the caller's, so that a test need not wait.
    pub fn with_clock(
        name: impl Into<Arc<str>>,
        policy: LeakPolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<LeakDetector> {
        policy.validate()?;
        let name = name.into();
        check_name(&name, policy.names)?;
        let outbox = Outbox::new()?;
        let detector = Detector::start(name, policy, clock, outbox.clone())?;
        Ok(LeakDetector(Arc::new(Watch {
            detector,
            outbox,
            live: Default::default(),
            revoked: Mutex::default(),
            closed: AtomicBool::new(false),
            process: Process::current(),
        })))
    }

    /// The name of the watched pool.
    pub fn name(&self) -> &str {
        self.0.detector.name()
    }

    /// Tells how many connections the watched pool may have, for `utilization`. Zero = not known.
    pub fn set_max_size(&self, max_size: usize) {
        self.0.detector.capacity.store(max_size, Ordering::Relaxed);
    }

    /// The site of a stack that a host captured, innermost frame first, for [`CheckOut::site`]: a host that keeps the
    /// answer for a stack need not name its frames again.
    pub fn host_site(&self, frames: &[HostFrame<'_>]) -> SiteId {
        match self.0.process.is_current() {
            true => self.0.detector.sites.intern_host(frames),
            false => SiteId::OFF,
        }
    }

    /// A connection was checked out. Errors: `PoolClosed`, `Forked`, `LimitReached` (16,777,216 live checkouts).
    pub fn check_out(&self, checkout: CheckOut<'_>) -> Result<CheckoutId> {
        self.0.check_fork()?;
        let watch = &self.0;
        if watch.closed.load(Ordering::SeqCst) {
            let text = format!("the detector of pool {:?} was closed", watch.detector.name());
            return Err(Error::new(ErrorCode::PoolClosed, text));
        }
        let CheckOut { location, frames, site, extras, expected, waited, reclaim } = checkout;
        let site = match site {
            Some(site) => site,
            None if frames.is_empty() => watch.detector.capture_site(location),
            None => watch.detector.sites.intern_host(frames),
        };
        let slot = watch.detector.claim()?;
        let checkout = WatchedCheckout::new(slot.clone(), Arc::downgrade(watch), reclaim);
        let owner: Arc<dyn Reclaim> = checkout.clone();
        slot.set_owner(Arc::downgrade(&owner));
        // Before it begins: it may be taken away at once.
        let id = slot.next_id();
        watch.shard(id).lock().insert(id, checkout);
        let beginning = CheckOutParams { expected, extras, waited: nanos(waited) };
        Ok(watch.detector.begin(&slot, watch.detector.now(), site, beginning))
    }

    /// Stamps what the session does. Errors: `ForceReleased` if it was taken away (told as `late_use` the first
    /// time), `AlreadyReleased`, `UnknownCheckout`, `Forked`.
    pub fn touch(&self, id: CheckoutId, touch: Touch<'_>) -> Result<()> {
        self.0.check_fork()?;
        let checkout = self.0.find(id)?;
        checkout.touch(touch, self.0.detector.now()).map_err(|late| {
            if let LateAction::Revoked(revocation, true) = &late {
                count(&self.0.detector.stats.late_uses);
                self.0.detector.emit(EventData::LateUse { revocation: revocation.clone() });
            }
            self.0.too_late(id, late)
        })
    }

    /// The holder gave the connection back. Errors: `ForceReleased` if it had been taken away before (counted and
    /// told as `late_release`; the session is not to be handed out again), `AlreadyReleased`, `UnknownCheckout`, `Forked`.
    pub fn check_in(&self, id: CheckoutId) -> Result<()> {
        self.0.check_fork()?;
        let watch = &self.0;
        let checkout = watch.find(id)?;
        let ended = watch.detector.release(&checkout.slot, id, State::Free, watch.detector.now());
        let Err(late) = checkout.give_back(id, ended) else {
            watch.forget_live(id, false);
            watch.detector.retire(&checkout.slot);
            return Ok(());
        };
        match &late {
            LateAction::Revoked(revocation, _) => {
                count(&watch.detector.stats.late_releases);
                watch.detector.emit(EventData::LateRelease { revocation: revocation.clone() });
                let told = watch.revoked.lock().holdings.remove(&id);
                drop(told);
            }
            LateAction::Revoking => count(&watch.detector.stats.late_releases),
            LateAction::Ended => {}
        }
        Err(watch.too_late(id, late))
    }

    /// A finalizer showed that the handle is unreachable: it is reported as leaked whatever its age, and taken
    /// back. Errors: as [`force_release`](LeakDetector::force_release).
    pub fn prove(&self, id: CheckoutId) -> Result<CheckoutInfo> {
        self.0.check_fork()?;
        self.0.detector.prove(id).map_err(|_| self.why_not(id))
    }

    /// The task or thread that acquired it has ended: a reason for suspicion that reports show, no proof. Errors:
    /// as [`force_release`](LeakDetector::force_release).
    pub fn owner_ended(&self, id: CheckoutId) -> Result<()> {
        self.0.check_fork()?;
        self.0.detector.owner_ended(id).map_err(|_| self.why_not(id))
    }

    /// The line of a checkout that began [`site_later`](CheckOut::site_later). Not while it is checked in. If it was
    /// reported as leaked before, a log line adds the place. Errors: `UnknownCheckout` once its slot is used anew;
    /// `Forked`.
    pub fn locate(&self, id: CheckoutId, frames: &[HostFrame<'_>]) -> Result<Arc<Site>> {
        self.0.check_fork()?;
        let detector = &self.0.detector;
        let located = detector.locate(id, detector.sites.intern_host(frames))?;
        if located.reported {
            crate::alert::log_place(self.name(), id, &located.site);
        }
        Ok(located.site)
    }

    /// Where a checkout was acquired; `None` once its slot is used anew.
    pub fn site_of(&self, id: CheckoutId) -> Option<Arc<Site>> {
        self.0.check_fork().ok()?;
        self.0.detector.site_of(id)
    }

    /// Takes a checkout away from its holder, whatever it does. Errors: `ForceReleased` if that had happened
    /// before, `AlreadyReleased`, `UnknownCheckout`, `Forked`.
    pub fn force_release(&self, id: CheckoutId) -> Result<CheckoutInfo> {
        self.0.check_fork()?;
        self.0.detector.revoke(id, RevokeReason::Manual).map_err(|_| self.why_not(id))
    }

    /// Why a checkout that is not live is not.
    fn why_not(&self, id: CheckoutId) -> Error {
        match self.0.find(id) {
            Ok(checkout) => self.0.too_late(id, checkout.why_not()),
            Err(error) => error,
        }
    }

    /// For hosts, before they touch a lock of their own: this is still the process that made the detector.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check_process(&self) -> Result<()> {
        self.0.check_fork()
    }

    /// Every live checkout, longest held first.
    pub fn checkouts(&self) -> Vec<CheckoutInfo> {
        if !self.0.process.is_current() { Vec::new() } else { self.0.detector.checkouts() }
    }

    /// Those of them that are suspected or proven to have leaked.
    pub fn leaks(&self) -> Vec<CheckoutInfo> {
        if !self.0.process.is_current() { Vec::new() } else { self.0.detector.leaks() }
    }

    /// How full the watched pool is, as far as it is known here.
    pub fn status(&self) -> PoolStatus {
        PoolStatus::of(&self.0.detector, self.connections())
    }

    /// The status and everything that was counted.
    pub fn metrics(&self) -> Metrics {
        let oldest = if !self.0.process.is_current() { None } else { self.0.detector.oldest_checkout() };
        Metrics::with_oldest(&self.0.detector, self.connections(), oldest)
    }

    fn connections(&self) -> Connections {
        Connections {
            max_size: self.0.detector.capacity.load(Ordering::Relaxed),
            closed: self.0.closed.load(Ordering::SeqCst),
            ..Connections::default()
        }
    }

    /// The human report. Symbolises stacks, which is slow the first time: not for a thread that serves requests.
    pub fn report(&self) -> String {
        report::report(&self.metrics(), &self.checkouts())
    }

    /// The metrics as OpenMetrics text.
    pub fn openmetrics(&self) -> String {
        openmetrics::encode(&[self.metrics()])
    }

    /// The policy in force.
    pub fn policy(&self) -> LeakPolicy {
        LeakPolicy::clone(&self.0.detector.policy())
    }

    /// Puts a new policy in force for all live checkouts. Errors: `InvalidOption`, and the old one stays; `Forked`.
    pub fn reconfigure(&self, policy: LeakPolicy) -> Result<()> {
        self.0.check_fork()?;
        self.0.detector.reconfigure(policy)
    }

    /// Calls `callback` for each event of these kinds from now on, in order, on a thread of the library's own and
    /// with no lock held. A panic in it is caught and logged.
    pub fn subscribe(
        &self,
        kinds: &[EventKind],
        callback: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Subscription {
        self.0.outbox.subscribe(kinds, callback)
    }

    /// A stream of the events of these kinds from now on, with room for [`Events::DEFAULT_CAPACITY`].
    pub fn events(&self, kinds: &[EventKind]) -> Events {
        self.0.outbox.events(kinds, Events::DEFAULT_CAPACITY)
    }

    /// Waits until everything that happened before has been told; false if `timeout` passed first, or when called
    /// from a callback.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.0.outbox.flush(timeout)
    }

    /// For the end of a test: nothing is checked out any more. Errors: [`UnreleasedCheckouts`], which names every holder and
    /// shows its report when it is printed, also by `unwrap`. Symbolises.
    ///
    /// ```
    /// # fn main() -> leakpool::Result<()> {
    /// let detector = leakpool::LeakDetector::new("orders", leakpool::LeakPolicy::default())?;
    /// let id = detector.check_out(leakpool::CheckOut::here())?;
    /// assert_eq!(detector.assert_no_leaks().unwrap_err().checkouts.len(), 1);
    /// detector.check_in(id)?;
    /// detector.assert_no_leaks().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn assert_no_leaks(&self) -> std::result::Result<(), UnreleasedCheckouts> {
        let checkouts = self.checkouts();
        if checkouts.is_empty() {
            return Ok(());
        }
        Err(UnreleasedCheckouts::new(report::report(&self.metrics(), &checkouts), checkouts))
    }

    /// Stops watching: nothing is judged any more, `check_out` fails, streams end. The connections are the host's
    /// and stay untouched; those still out are returned, longest held first, and may still be checked in. Waits for
    /// at most `timeout` until everything has been told.
    pub fn close(&self, timeout: Duration) -> Vec<CheckoutInfo> {
        if self.0.process.is_current() && !self.0.closed.swap(true, Ordering::SeqCst) {
            self.0.detector.stop();
            self.0.outbox.close();
            self.0.outbox.flush(timeout);
        }
        self.checkouts()
    }
}

#[cfg(test)]
mod tests;
