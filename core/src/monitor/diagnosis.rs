//! Why an acquire got nothing, and the sentence that says so to somebody who reads it at night.
//!
//! Pure: from what was seen at the time-out to a diagnosis. It runs on the caller's thread, so it shows sites by
//! `file:line` and never symbolises.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::report::{by_place, doing, one_line};
use crate::config::{Names, named};
use crate::detect::event::{AcquirePhase, CheckoutInfo, Diagnosis, Exhausted, spoken};
use crate::detect::verdict::Verdict;
use crate::error::Error;

/// The SQLSTATE of "too many clients" (PostgreSQL manual, appendix A).
const TOO_MANY_CONNECTIONS: &str = "53300";
/// A wait that is shorter than that proves nothing about those who were idle meanwhile.
const TELLING_WAIT: Duration = Duration::from_secs(1);
/// The most places that the message lists.
const MOST_PLACES: usize = 10;
/// The longest SQL in the message, in characters.
const MOST_SQL: usize = 100;

/// What was seen when an acquire ran into its time-out.
#[derive(Debug)]
pub(crate) struct Shortage<'a> {
    /// Whose option names stand in the advice.
    pub(crate) names: Names,
    /// In which phase it was.
    pub(crate) phase: AcquirePhase,
    /// All phases together.
    pub(crate) waited: Duration,
    /// The part of `waited` that went into making a connection.
    pub(crate) connecting_for: Duration,
    pub(crate) max_size: usize,
    /// Other acquires that wait.
    pub(crate) waiting: usize,
    pub(crate) ending: usize,
    /// The policy's; zero = detection is off.
    pub(crate) leak_threshold: Duration,
    /// `Detector::checkouts()`, in any order.
    pub(crate) holders: Vec<CheckoutInfo>,
    /// The last error of an attempt to connect *during this wait*.
    pub(crate) last_error: Option<&'a Error>,
}

/// Says what keeps the acquire waiting. In this order, the first that fits:
///
/// 1. the server refused for its limit (53300) while a connection was being made, or nobody holds one;
/// 2. no connection could be made: the wait was spent on connecting, or nobody holds one and connecting failed;
/// 3. leaked checkouts explain the shortage: they are at least half of the holders, or enough for all who wait;
/// 4. at least half of the holders execute for longer than the wait or than `leak_threshold`;
/// 5. neither: healthy users, more of them than connections.
pub(crate) fn diagnose(shortage: Shortage<'_>) -> Exhausted {
    let diagnosis = cause(&shortage);
    let Shortage { names, phase, waited, max_size, waiting, ending, mut holders, last_error, .. } = shortage;
    // Longest idle first; those that work come last, longest held first.
    holders.sort_by(|a, b| b.idle_for.cmp(&a.idle_for).then(b.held.cmp(&a.held)).then(a.id.cmp(&b.id)));
    let last_error = last_error.map(|e| e.message().to_owned());
    Exhausted { names, diagnosis, phase, waited, max_size, waiting, ending, holders, last_error }
}

fn cause(s: &Shortage<'_>) -> Diagnosis {
    let connecting = match s.phase {
        AcquirePhase::Connect => true,
        // Those who make the connections that this one waits for fail.
        AcquirePhase::Wait => s.holders.is_empty() && s.last_error.is_some(),
    };
    if connecting {
        if s.last_error.is_some_and(|e| e.sqlstate() == Some(TOO_MANY_CONNECTIONS)) {
            return Diagnosis::ServerConnectionLimit;
        }
        // A connection that became free at the last moment and then had no time left to connect is not the
        // database's fault, as long as no attempt failed.
        if s.holders.is_empty() || s.last_error.is_some() || s.connecting_for * 2 >= s.waited {
            return Diagnosis::DatabaseUnreachable;
        }
    }

    let holders = s.holders.len();
    let most = |n: usize| n > 0 && n * 2 >= holders;
    let flagged = s.holders.iter().filter(|h| h.verdict.is_leak()).count();
    let unused = s.holders.iter().filter(|h| h.verdict.is_leak() || slept_through(h, s.waited)).count();
    if most(unused) || (flagged > 0 && flagged > s.waiting) {
        return Diagnosis::Leak;
    }
    let long = match (s.leak_threshold, s.waited) {
        (Duration::ZERO, waited) | (waited, Duration::ZERO) => waited,
        (threshold, waited) => threshold.min(waited),
    };
    let slow = s.holders.iter().filter(|h| h.executing_for.is_some_and(|running| running >= long)).count();
    if most(slow) { Diagnosis::SlowQueries } else { Diagnosis::PoolTooSmall }
}

/// True if a holder did nothing during the whole of a wait long enough to tell, and had not said that it would.
/// With an `acquire_timeout` below `leak_threshold`, nobody is flagged yet when the first acquire gives up.
fn slept_through(holder: &CheckoutInfo, waited: Duration) -> bool {
    let announced = match holder.verdict {
        Verdict::Expected => true,
        Verdict::Healthy | Verdict::Busy | Verdict::Suspected(_) | Verdict::Proven => false,
    };
    !announced && waited >= TELLING_WAIT && holder.idle_for.is_some_and(|idle| idle >= waited)
}

impl Exhausted {
    /// Holders that look leaked: flagged, or unused during the whole wait.
    fn leaked(&self) -> usize {
        self.holders.iter().filter(|h| h.verdict.is_leak() || slept_through(h, self.waited)).count()
    }

    fn write_diagnosis(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.holders.len();
        match self.diagnosis {
            Diagnosis::Leak => {
                write!(f, "Leak: {} of {held} holders do nothing with their connection", self.leaked())
            }
            Diagnosis::SlowQueries => {
                let running = self.holders.iter().filter(|h| h.executing_for.is_some()).count();
                write!(f, "Slow queries: {running} of {held} holders are executing a statement")
            }
            Diagnosis::PoolTooSmall => {
                write!(f, "Pool too small: all holders look healthy, there are more users than connections")
            }
            Diagnosis::DatabaseUnreachable => write!(f, "Database unreachable: no connection could be made"),
            Diagnosis::ServerConnectionLimit => {
                write!(f, "Server connection limit: the server has no connection left (SQLSTATE 53300)")
            }
        }
    }

    fn write_advice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.diagnosis {
            Diagnosis::Leak => {
                let first = self.holders.first().map_or_else(|| "there".to_owned(), |h| h.site.place());
                write!(
                    f,
                    "What to do: release the connection on every path from {first}, errors included; until \
                     then, {} takes such connections back.",
                    named(self.names, "force_release_after")
                )
            }
            Diagnosis::SlowQueries => write!(
                f,
                "What to do: make these statements faster, or give them a statement_timeout or a pool of \
                 their own. Nothing is leaked."
            ),
            Diagnosis::PoolTooSmall => write!(
                f,
                "What to do: raise {} (now {}), hold connections for less time, or start less at once.",
                named(self.names, "max_size"),
                self.max_size
            ),
            Diagnosis::DatabaseUnreachable => {
                write!(f, "What to do: check host, port, network and whether the server runs.")
            }
            Diagnosis::ServerConnectionLimit => write!(
                f,
                "What to do: lower {} (now {}) of the pools that share this server, raise its \
                 max_connections, or put a pooler in front.",
                named(self.names, "max_size"),
                self.max_size
            ),
        }
    }

    fn write_holders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = by_place(&self.holders);
        for (place, holders) in places.iter().take(MOST_PLACES) {
            // The first of each place is the one that has been idle longest.
            let Some(first) = holders.first() else { continue };
            write!(f, "\n  {} at {place}: ", holders.len())?;
            if holders.len() > 1 {
                write!(f, "the longest ")?;
            }
            write!(f, "held for {}, {}", spoken(first.held), doing(first))?;
            if let Some(sql) = &first.last_sql {
                write!(f, ", last SQL: {}", one_line(&sql.text, MOST_SQL))?;
            }
        }
        let rest = places.get(MOST_PLACES..).unwrap_or_default();
        if !rest.is_empty() {
            let more: usize = rest.iter().map(|(_, holders)| holders.len()).sum();
            write!(f, "\n  and {more} more at {} other places", rest.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Exhausted {
    /// What happened, in which phase, the diagnosis, the holders by site (at most ten sites), what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            AcquirePhase::Wait => write!(f, "no connection became free within {}", spoken(self.waited))?,
            AcquirePhase::Connect => write!(f, "no connection could be made within {}", spoken(self.waited))?,
        }
        write!(f, " ({} of {} held", self.holders.len(), self.max_size)?;
        if self.waiting > 0 {
            let acquires = if self.waiting == 1 { "acquire" } else { "acquires" };
            write!(f, ", {} other {acquires} waiting", self.waiting)?;
        }
        if self.ending > 0 {
            write!(f, ", {} sessions still ending on the server", self.ending)?;
        }
        write!(f, "). ")?;
        self.write_diagnosis(f)?;
        if let Some(error) = &self.last_error {
            write!(f, "; the last attempt to connect failed: {}", one_line(error, 300))?;
        }
        if self.holders.is_empty() {
            write!(f, ". ")?;
        } else {
            write!(f, ". Held by:")?;
            self.write_holders(f)?;
            writeln!(f)?;
        }
        self.write_advice(f)
    }
}

impl StdError for Exhausted {}

#[cfg(test)]
mod tests;
