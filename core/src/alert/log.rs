//! The log lines, through `tracing` with the target `leakpool`. They are formatted, and stacks symbolised, on the
//! dispatcher's thread only.
//!
//! Fields: `event` (its name), `pool`, and where there is one `checkout` and `site` (the culprit line).

use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, error, info, trace, warn};

use crate::detect::event::{Event, EventData, EventKind};
use crate::detect::id::CheckoutId;
use crate::detect::site::Site;

/// At which level an event of this kind is logged.
pub(super) const fn level(kind: EventKind) -> Level {
    match kind {
        EventKind::Leak | EventKind::LeaksDetected | EventKind::Exhausted => Level::ERROR,
        EventKind::ForceRelease
        | EventKind::LateUse
        | EventKind::LateRelease
        | EventKind::DirtyRelease
        | EventKind::Utilization
        | EventKind::Error => Level::WARN,
        EventKind::LeakRecovered | EventKind::LongRunning => Level::INFO,
        EventKind::Connect | EventKind::Remove => Level::DEBUG,
        EventKind::Acquire | EventKind::Release => Level::TRACE,
    }
}

/// True if somebody reads lines of that kind.
#[inline]
pub(super) fn wants(kind: EventKind) -> bool {
    reads(level(kind))
}

/// True if somebody reads lines of that level. One relaxed load.
#[inline]
pub(crate) fn reads(level: Level) -> bool {
    level <= LevelFilter::current()
}

/// A mistake of the library's own.
pub(super) fn complain(text: &str) {
    error!(target: "leakpool", "{text}");
}

/// More lines came than were taken.
pub(super) fn lost(lines: u64) {
    warn!(target: "leakpool", lines, "{lines} log lines were lost: they came faster than they were taken");
}

/// True for the kinds that come with every acquire.
pub(super) const fn chatty(kind: EventKind) -> bool {
    match kind {
        EventKind::Acquire | EventKind::Release => true,
        EventKind::Connect
        | EventKind::Remove
        | EventKind::Error
        | EventKind::Leak
        | EventKind::LeaksDetected
        | EventKind::LeakRecovered
        | EventKind::LongRunning
        | EventKind::ForceRelease
        | EventKind::LateUse
        | EventKind::LateRelease
        | EventKind::DirtyRelease
        | EventKind::Exhausted
        | EventKind::Utilization => false,
    }
}

/// One log line at `$level` with the fields that every line has; nothing is evaluated unless somebody reads it.
macro_rules! line {
    ($level:ident, $event:expr, $($rest:tt)+) => {
        $level!(target: "leakpool", event = $event.kind().name(), pool = %$event.pool, $($rest)+)
    };
}

/// The same about a checkout.
macro_rules! about {
    ($level:ident, $event:expr, $checkout:expr, $($text:tt)+) => {
        line!($level, $event, checkout = %$checkout.id, site = %$checkout.site.resolve().culprit, $($text)+)
    };
}

/// Adds the place to a leak that was logged without it.
pub(crate) fn place(pool: &str, id: CheckoutId, site: &Site) {
    let resolved = site.resolve();
    error!(
        target: "leakpool", event = "leak", pool, checkout = %id, site = %resolved.culprit,
        "the leaked checkout {id} of pool {pool:?} was acquired at {}\n  {}",
        resolved.culprit, resolved.to_string().replace('\n', "\n  ")
    );
}

/// Logs one event.
pub(super) fn tell(event: &Event) {
    if !wants(event.kind()) {
        return;
    }
    match &event.data {
        EventData::Leak { checkout, suspicion } => {
            let reason = suspicion.map_or("proven", |s| s.name());
            about!(error, event, checkout, reason, "{}", event.text());
        }
        EventData::LeaksDetected { .. } => line!(error, event, "{}", event.text()),
        EventData::LeakRecovered { checkout } | EventData::LongRunning { checkout } => {
            about!(info, event, checkout, "{}", event.text());
        }
        EventData::ForceRelease { checkout, reason } => {
            about!(warn, event, checkout, reason = reason.name(), "{}", event.text());
        }
        EventData::LateUse { revocation } | EventData::LateRelease { revocation } => line!(
            warn,
            event,
            checkout = %revocation.checkout,
            site = %revocation.site.resolve().culprit,
            "{}",
            event.text()
        ),
        EventData::DirtyRelease { id, site, .. } => line!(
            warn,
            event,
            checkout = %id,
            site = %site.resolve().culprit,
            "{}",
            event.text()
        ),
        EventData::Exhausted(exhausted) => {
            line!(error, event, diagnosis = exhausted.diagnosis.name(), "{}", event.text());
        }
        EventData::Utilization { in_use, max_size } => {
            line!(warn, event, in_use, max_size, "{}", event.text());
        }
        EventData::Error { code, .. } => line!(warn, event, code = code.name(), "{}", event.text()),
        EventData::Connect { backend_pid, .. } | EventData::Remove { backend_pid, .. } => {
            line!(debug, event, backend_pid, "{}", event.text());
        }
        EventData::Acquire { id, site, .. } => line!(
            trace,
            event,
            checkout = %id,
            site = %site.place(),
            "{}",
            event.text()
        ),
        EventData::Release { id, .. } => line!(trace, event, checkout = %id, "{}", event.text()),
    }
}

#[cfg(test)]
mod tests;
