//! What every host asks of an event: the line, the one word, the checkouts. A new event does not compile without them.

use std::sync::Arc;

use super::event::{CheckoutInfo, EventData};
use super::site::Site;

impl EventData {
    /// The line that acquired the checkout that it is about, if it is about one and the line is told.
    pub fn site(&self) -> Option<&Arc<Site>> {
        match self {
            EventData::Acquire { site, .. } | EventData::DirtyRelease { site, .. } => Some(site),
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(&revocation.site)
            }
            EventData::Leak { checkout, .. }
            | EventData::LeakRecovered { checkout }
            | EventData::LongRunning { checkout }
            | EventData::ForceRelease { checkout, .. } => Some(&checkout.site),
            EventData::Connect { .. }
            | EventData::Release { .. }
            | EventData::Remove { .. }
            | EventData::Error { .. }
            | EventData::LeaksDetected { .. }
            | EventData::Exhausted(_)
            | EventData::Utilization { .. } => None,
        }
    }

    /// Why, in one word, the same in every host; `None` where there is nothing to say.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            EventData::Remove { reason, .. } => Some(reason.name()),
            EventData::Error { code, .. } => Some(code.name()),
            EventData::Leak { suspicion, .. } => Some(suspicion.map_or("proven", |s| s.name())),
            EventData::ForceRelease { reason, .. } => Some(reason.name()),
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                Some(revocation.reason.name())
            }
            EventData::DirtyRelease { found, .. } => Some(found.name()),
            EventData::Exhausted(exhausted) => Some(exhausted.diagnosis.name()),
            EventData::Connect { .. }
            | EventData::Acquire { .. }
            | EventData::Release { .. }
            | EventData::LeaksDetected { .. }
            | EventData::LeakRecovered { .. }
            | EventData::LongRunning { .. }
            | EventData::Utilization { .. } => None,
        }
    }

    /// The checkouts that it is about: the one, all that are flagged, or who holds the connections.
    pub fn checkouts(&self) -> &[CheckoutInfo] {
        match self {
            EventData::Leak { checkout, .. }
            | EventData::LeakRecovered { checkout }
            | EventData::LongRunning { checkout }
            | EventData::ForceRelease { checkout, .. } => std::slice::from_ref(&**checkout),
            EventData::LeaksDetected { leaks } => leaks,
            EventData::Exhausted(exhausted) => &exhausted.holders,
            EventData::Connect { .. }
            | EventData::Acquire { .. }
            | EventData::Release { .. }
            | EventData::Remove { .. }
            | EventData::Error { .. }
            | EventData::LateUse { .. }
            | EventData::LateRelease { .. }
            | EventData::DirtyRelease { .. }
            | EventData::Utilization { .. } => &[],
        }
    }
}
