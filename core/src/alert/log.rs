//! The log lines, through `tracing` with the target `leakpool`. They are formatted, and stacks symbolised, on the
//! dispatcher's thread only.
//!
//! Fields: `event` (its name), `pool`, and where there is one `checkout` and `site` (the culprit line).

use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, error, info, trace, warn};

use crate::detect::event::{CheckoutInfo, DirtyReason, Event, EventData, EventKind, spoken};
use crate::monitor::report::{by_place, doing, leak_text, one_line};

const MOST_SQL: usize = 200;

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

/// True if somebody reads lines of that level. One relaxed load.
#[inline]
pub(super) fn wants(kind: EventKind) -> bool {
    level(kind) <= LevelFilter::current()
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

/// Logs one event.
pub(super) fn tell(event: &Event) {
    if !wants(event.kind()) {
        return;
    }
    match &event.data {
        EventData::Leak { checkout, suspicion } => {
            let reason = suspicion.map_or("proven", |s| s.name());
            about!(error, event, checkout, reason, "{}", leak_text(checkout));
        }
        EventData::LeaksDetected { leaks } => {
            line!(error, event, "{} connections leaked at once: {}", leaks.len(), places(leaks));
        }
        EventData::LeakRecovered { checkout } => about!(
            info,
            event,
            checkout,
            "a checkout that was reported as leaked was released after {}; {}",
            spoken(checkout.held),
            checkout.site.resolve().culprit
        ),
        EventData::LongRunning { checkout } => about!(
            info,
            event,
            checkout,
            "a checkout has been held for {} and is {}: {}; last SQL: {}",
            spoken(checkout.held),
            doing(checkout),
            checkout.site.resolve().culprit,
            sql(checkout)
        ),
        EventData::ForceRelease { checkout, reason } => about!(
            warn,
            event,
            checkout,
            reason = reason.name(),
            "a connection was taken back ({}); it had been held for {}, {}, by {}; last SQL: {}",
            reason.name(),
            spoken(checkout.held),
            doing(checkout),
            checkout.site.resolve().culprit,
            sql(checkout)
        ),
        EventData::LateUse { revocation } => line!(
            warn,
            event,
            checkout = %revocation.checkout,
            site = %revocation.site.resolve().culprit,
            "a connection was used after it had been taken back: {revocation}"
        ),
        EventData::LateRelease { revocation } => line!(
            warn,
            event,
            checkout = %revocation.checkout,
            site = %revocation.site.resolve().culprit,
            "a connection was released after it had been taken back: {revocation}"
        ),
        EventData::DirtyRelease { id, site, found, last_sql } => line!(
            warn,
            event,
            checkout = %id,
            site = %site.resolve().culprit,
            "a connection was released with {}: acquired at {}; last SQL: {}",
            still_open(*found),
            site.resolve().culprit,
            last_sql.as_ref().map_or_else(|| "not known".to_owned(), |s| one_line(&s.text, MOST_SQL))
        ),
        EventData::Exhausted(exhausted) => {
            line!(error, event, diagnosis = exhausted.diagnosis.name(), "{exhausted}");
        }
        EventData::Utilization { in_use, max_size } => {
            line!(warn, event, in_use, max_size, "{in_use} of {max_size} connections are in use");
        }
        EventData::Error { code, message } => line!(warn, event, code = code.name(), "{message}"),
        EventData::Connect { backend_pid, took } => {
            line!(debug, event, backend_pid, "a connection was made in {}", spoken(*took));
        }
        EventData::Remove { reason, backend_pid } => {
            line!(debug, event, backend_pid, "a connection left the pool: {}", reason.name());
        }
        EventData::Acquire { id, site, waited } => line!(
            trace,
            event,
            checkout = %id,
            site = %site.place(),
            "acquired after {}",
            spoken(*waited)
        ),
        EventData::Release { id, held } => {
            line!(trace, event, checkout = %id, "released after {}", spoken(*held));
        }
    }
}

fn sql(checkout: &CheckoutInfo) -> String {
    checkout.last_sql.as_ref().map_or_else(|| "none seen".to_owned(), |s| one_line(&s.text, MOST_SQL))
}

fn still_open(found: DirtyReason) -> &'static str {
    match found {
        DirtyReason::Executing => "a statement still running",
        DirtyReason::Stalled => "a COPY open or a result unread",
        DirtyReason::InTransaction => "a transaction open",
        DirtyReason::InFailedTransaction => "a failed transaction open",
    }
}

/// `2 at src/orders.rs:42, 1 at src/users.rs:7`.
fn places(leaks: &[CheckoutInfo]) -> String {
    let places = by_place(leaks);
    let mut shown: Vec<String> =
        places.iter().take(10).map(|(place, at)| format!("{} at {place}", at.len())).collect();
    if places.len() > 10 {
        shown.push(format!("and at {} other places", places.len() - 10));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
