//! What an event says to a person. Symbolises, so it is for the dispatcher's thread: log lines and callbacks.

use crate::detect::event::{CheckoutInfo, DirtyReason, Event, EventData, spoken};
use crate::monitor::report::{by_place, doing, leak_text, one_line};

const MOST_SQL: usize = 200;

impl Event {
    /// What happened, for a person: the whole report for a leak, a sentence otherwise. Symbolises stacks, so call it
    /// in a subscriber rather than on a thread that serves requests.
    pub fn text(&self) -> String {
        match &self.data {
            EventData::Leak { checkout, .. } => leak_text(checkout),
            EventData::LeaksDetected { leaks } => match leaks.len() {
                1 => format!("1 connection leaked: {}", places(leaks)),
                n => format!("{n} connections leaked at once: {}", places(leaks)),
            },
            EventData::LeakRecovered { checkout } => format!(
                "a checkout that was reported as leaked was released after {}; {}",
                spoken(checkout.held),
                checkout.site.resolve().culprit
            ),
            EventData::LongRunning { checkout } => format!(
                "a checkout has been held for {} and is {}: {}; last SQL: {}",
                spoken(checkout.held),
                doing(checkout),
                checkout.site.resolve().culprit,
                sql(checkout)
            ),
            EventData::ForceRelease { checkout, reason } => format!(
                "a connection was taken back ({}); it had been held for {}, {}, by {}; last SQL: {}",
                reason.name(),
                spoken(checkout.held),
                doing(checkout),
                checkout.site.resolve().culprit,
                sql(checkout)
            ),
            EventData::LateUse { revocation } => {
                format!("a connection was used after it had been taken back: {revocation}")
            }
            EventData::LateRelease { revocation } => {
                format!("a connection was released after it had been taken back: {revocation}")
            }
            EventData::DirtyRelease { site, found, last_sql, .. } => format!(
                "a connection was released with {}: acquired at {}; last SQL: {}",
                still_open(*found),
                site.resolve().culprit,
                last_sql.as_ref().map_or_else(|| "not known".to_owned(), |s| one_line(&s.text, MOST_SQL))
            ),
            EventData::Exhausted(exhausted) => exhausted.to_string(),
            EventData::Utilization { in_use, max_size } => {
                format!("{in_use} of {max_size} connections are in use")
            }
            EventData::Error { message, .. } => message.clone(),
            EventData::Connect { took, .. } => format!("a connection was made in {}", spoken(*took)),
            EventData::Remove { reason, .. } => format!("a connection left the pool: {}", reason.name()),
            EventData::Acquire { waited, .. } => format!("acquired after {}", spoken(*waited)),
            EventData::Release { held, .. } => format!("released after {}", spoken(*held)),
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
