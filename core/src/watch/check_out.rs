//! What a host says about a checkout when it begins and while it lasts. Plain data and the stamping of it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Nanos;
use crate::detect::checkout::{CheckoutLabels, Slot};
use crate::detect::event::Revocation;
use crate::detect::facts::TransactionStatus;
use crate::detect::site::{HostFrame, SiteId};
use crate::detect::sql::cut;

pub(super) type Reclaimer = Box<dyn FnOnce(&Revocation) + Send>;

/// What a host says about a checkout when it begins.
///
/// ```
/// use leakpool::CheckOut;
/// let checkout = CheckOut::here().label("nightly import").expected(std::time::Duration::from_secs(600));
/// ```
#[must_use]
pub struct CheckOut<'a> {
    pub(super) location: &'static Location<'static>,
    pub(super) frames: &'a [HostFrame<'a>],
    pub(super) site: Option<SiteId>,
    pub(super) extras: CheckoutLabels,
    pub(super) expected: Duration,
    pub(super) waited: Duration,
    pub(super) reclaim: Option<Reclaimer>,
}

impl fmt::Debug for CheckOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOut").field("location", &self.location).finish_non_exhaustive()
    }
}

impl<'a> CheckOut<'a> {
    /// A checkout at the line that calls this.
    #[track_caller]
    pub fn here() -> CheckOut<'a> {
        CheckOut::at(Location::caller())
    }

    /// A checkout at a location that a wrapper passes on.
    pub fn at(location: &'static Location<'static>) -> CheckOut<'a> {
        CheckOut {
            location,
            frames: &[],
            site: None,
            extras: CheckoutLabels::default(),
            expected: Duration::ZERO,
            waited: Duration::ZERO,
            reclaim: None,
        }
    }

    /// A checkout whose line the host tells later, with [`LeakDetector::locate`](crate::LeakDetector::locate).
    pub fn site_later() -> CheckOut<'a> {
        CheckOut { site: Some(SiteId::LATER), ..CheckOut::here() }
    }

    /// A checkout with the stack of a host, innermost frame first.
    #[track_caller]
    pub fn with_frames(frames: &'a [HostFrame<'a>]) -> CheckOut<'a> {
        CheckOut { frames, ..CheckOut::here() }
    }

    /// At a site that [`LeakDetector::host_site`](super::LeakDetector::host_site) of the same detector gave.
    pub fn site(mut self, site: SiteId) -> CheckOut<'a> {
        self.site = Some(site);
        self
    }

    /// What its caller calls it; shown in reports.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> CheckOut<'a> {
        self.extras.label = Some(label.into());
        self
    }

    /// The host's word for who acquires it: an asyncio task, a thread.
    pub fn owner(mut self, owner: impl Into<Arc<str>>) -> CheckOut<'a> {
        self.extras.owner = Some(owner.into());
        self
    }

    /// How long it will be held: it is not suspected before. Zero = nothing announced.
    pub fn expected(mut self, duration: Duration) -> CheckOut<'a> {
        self.expected = duration;
        self
    }

    /// How long the acquire had waited, for the metric.
    pub fn waited(mut self, waited: Duration) -> CheckOut<'a> {
        self.waited = waited;
        self
    }

    /// What ends the session when the checkout is taken away: called at most once, on the thread that runs
    /// callbacks, with no lock held, after the event `force_release` was told. Without one a force release only
    /// ends the checkout in the books.
    pub fn on_reclaim(mut self, reclaim: impl FnOnce(&Revocation) + Send + 'static) -> CheckOut<'a> {
        self.reclaim = Some(Box::new(reclaim));
        self
    }
}

/// What a session does now, told by the host instead of by the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch<'a> {
    /// A statement was sent. Its text, without parameter values, if it is known.
    Executing(Option<&'a str>),
    /// The answer is complete; this is the transaction status after it.
    Idle(TransactionStatus),
    /// From now on nobody knows what it does, until the next touch: its holder has ways to the server that are not
    /// followed. It is listed, and neither suspected nor taken back by time.
    Unknown,
}

/// Stamps a slot that the caller knows to be held. The traffic comes last: whoever reads it first sees at least
/// these times (`Slot::facts_of`).
pub(super) fn stamp(slot: &Slot, touch: Touch<'_>, now: Nanos) {
    let stamps = &slot.stamps;
    let mut traffic = stamps.traffic();
    traffic.unknown = touch == Touch::Unknown;
    match touch {
        Touch::Unknown => {}
        Touch::Executing(sql) => {
            stamps.statement_started(now);
            if let Some(sql) = sql {
                match first_word(sql) {
                    Some("LISTEN") => traffic.listening = true,
                    Some("UNLISTEN") if sql.contains('*') => traffic.listening = false,
                    Some(_) | None => {}
                }
                stamps.set_sql(Some(Arc::from(cut(sql))), now);
            }
            traffic.outstanding = 1;
        }
        Touch::Idle(status) => {
            traffic.outstanding = 0;
            traffic.transaction = status;
        }
    }
    stamps.used(now);
    stamps.byte_moved(now);
    stamps.set_traffic(traffic);
}

/// `LISTEN` or `UNLISTEN`, if the text begins with one, in any case.
fn first_word(sql: &str) -> Option<&'static str> {
    let word = sql.split_whitespace().next()?;
    ["LISTEN", "UNLISTEN"].into_iter().find(|known| word.eq_ignore_ascii_case(known))
}
