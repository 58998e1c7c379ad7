//! The verdict: a pure function of a checkout's facts, the policy and the time. No clock, no lock, no I/O.

use std::fmt;
use std::time::Duration;

use super::facts::{Activity, Facts};
use crate::clock::{Nanos, nanos};
use crate::config::LeakPolicy;

/// Why a checkout is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// Nobody has used it for `leak_threshold`.
    Unused,
    /// It has been held for more than `max_held`; being used now and then no longer excuses it.
    HeldByPings,
}

impl Suspicion {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            Suspicion::Unused => "unused",
            Suspicion::HeldByPings => "held_by_pings",
        }
    }
}

/// Why a checkout was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RevokeReason {
    /// Unused for `force_release_after`.
    Unused,
    /// One statement ran for `force_release_after`, and `force_release_busy` is set.
    Busy,
    /// The handle was shown to be unreachable.
    Proven,
    /// Somebody asked for it.
    Manual,
    /// The pool was closed.
    PoolClosed,
}

impl RevokeReason {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            RevokeReason::Unused => "unused",
            RevokeReason::Busy => "busy",
            RevokeReason::Proven => "proven",
            RevokeReason::Manual => "manual",
            RevokeReason::PoolClosed => "pool_closed",
        }
    }
}

/// What the detector concludes about a checkout (DESIGN.md, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Held for less than `leak_threshold`.
    Healthy,
    /// Held for longer, but at work or recently used.
    Busy,
    /// Within the duration that its caller announced.
    Expected,
    /// Probably leaked.
    Suspected(Suspicion),
    /// Certainly leaked: the handle cannot be reached any more.
    Proven,
}

impl Verdict {
    /// The name in `snake_case`, the same in every host.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Busy => "busy",
            Verdict::Expected => "expected",
            Verdict::Suspected(_) => "suspected",
            Verdict::Proven => "proven",
        }
    }

    /// True for the two verdicts that are reported as leaks.
    pub const fn is_leak(self) -> bool {
        match self {
            Verdict::Suspected(_) | Verdict::Proven => true,
            Verdict::Healthy | Verdict::Busy | Verdict::Expected => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The policy's times as nanoseconds, worked out once for each policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) threshold: Nanos,
    pub(crate) max_held: Nanos,
    pub(crate) force_after: Nanos,
    pub(crate) force_busy: bool,
}

impl Limits {
    pub(crate) fn of(policy: &LeakPolicy) -> Limits {
        Limits {
            threshold: nanos(policy.leak_threshold),
            max_held: nanos(policy.effective_max_held()),
            force_after: nanos(policy.force_release_after),
            force_busy: policy.force_release_busy,
        }
    }

    /// How long after an acquire the first look is due; zero = never. A checkout with a limit of its own is first
    /// looked at when that is over.
    pub(crate) fn first_look(&self, expected: Nanos) -> Nanos {
        match (expected, earliest([self.threshold, self.force_after])) {
            (0, first) => first,
            (_, 0) => 0,
            (expected, _) => expected,
        }
    }

    /// How long a checkout may be of no use: the threshold, or its own limit if that is shorter.
    fn patience(&self, facts: &Facts) -> Nanos {
        if facts.expected > 0 { self.threshold.min(facts.expected) } else { self.threshold }
    }
}

fn earliest(times: [Nanos; 2]) -> Nanos {
    match times {
        [0, b] => b,
        [a, 0] => a,
        [a, b] => a.min(b),
    }
}

/// The verdict, whether the connection is due to be taken back, and when to look again if nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) revoke: Option<RevokeReason>,
    /// Long running: over the threshold with a statement at work.
    pub(crate) long_running: bool,
    pub(crate) look_again: Option<Nanos>,
}

/// How long a checkout has been of no use; `None` while the server works for it, and where nobody knows.
pub(crate) fn idle_since(facts: &Facts) -> Option<Nanos> {
    match facts.traffic.activity() {
        Activity::Executing | Activity::Unknown => None,
        Activity::Stalled => Some(facts.last_byte.max(facts.last_use)),
        Activity::Idle | Activity::IdleInTransaction | Activity::IdleInFailedTransaction => {
            Some(facts.last_use)
        }
    }
}

/// Judges one held checkout.
pub(crate) fn judge(facts: &Facts, limits: &Limits, now: Nanos) -> Judgement {
    let held = now.saturating_sub(facts.acquired_at);
    let idle_since = idle_since(facts);
    if facts.proven {
        return Judgement {
            verdict: Verdict::Proven,
            revoke: Some(RevokeReason::Proven),
            long_running: false,
            look_again: None,
        };
    }
    if facts.expected > 0 && held < facts.expected {
        let look_again = Some(facts.acquired_at.saturating_add(facts.expected));
        return Judgement { verdict: Verdict::Expected, revoke: None, long_running: false, look_again };
    }

    // Idleness that was announced does not count: a checkout that is over its own limit is suspected at once, and
    // taken back as much later as any other one.
    let patience = limits.patience(facts);
    let excused_until = facts.acquired_at.saturating_add(facts.expected.saturating_sub(patience));
    let idle_since = idle_since.map(|since| since.max(excused_until));
    let revoke = revoke_reason(facts, limits, idle_since, now);
    let verdict = match idle_since {
        _ if limits.threshold == 0 || held < patience => Verdict::Healthy,
        None => Verdict::Busy,
        Some(since) if now.saturating_sub(since) >= patience => Verdict::Suspected(Suspicion::Unused),
        Some(_) if limits.max_held > 0 && held >= limits.max_held.max(facts.expected) => {
            Verdict::Suspected(Suspicion::HeldByPings)
        }
        Some(_) => Verdict::Busy,
    };
    Judgement {
        verdict,
        revoke,
        long_running: verdict == Verdict::Busy && idle_since.is_none() && !facts.traffic.unknown,
        look_again: look_again(facts, limits, idle_since, verdict, now),
    }
}

fn revoke_reason(
    facts: &Facts,
    limits: &Limits,
    idle_since: Option<Nanos>,
    now: Nanos,
) -> Option<RevokeReason> {
    if limits.force_after == 0 || facts.traffic.listening || facts.traffic.unknown {
        return None;
    }
    match idle_since {
        Some(since) if now.saturating_sub(since) >= limits.force_after => Some(RevokeReason::Unused),
        None if limits.force_busy && now.saturating_sub(facts.statement_started) >= limits.force_after => {
            Some(RevokeReason::Busy)
        }
        Some(_) | None => None,
    }
}

/// The earliest moment at which the judgement can change for the worse, if the session stays as it is or becomes
/// idle right now. A session that goes on working only moves that moment on, so looking then is never late.
fn look_again(
    facts: &Facts,
    limits: &Limits,
    idle_since: Option<Nanos>,
    verdict: Verdict,
    now: Nanos,
) -> Option<Nanos> {
    let from = idle_since.unwrap_or(now);
    let patience = limits.patience(facts);
    let mut next: Option<Nanos> = None;
    let mut at = |time: Nanos| {
        if time > now {
            next = Some(next.map_or(time, |n: Nanos| n.min(time)));
        }
    };
    if limits.threshold > 0 && !verdict.is_leak() {
        if idle_since.is_none() {
            // Healthy and at work: long running from then on. An earlier checkout's deadline may bring us here before.
            at(facts.acquired_at.saturating_add(patience));
        }
        at(from.saturating_add(patience).max(facts.acquired_at.saturating_add(patience)));
        if limits.max_held > 0 {
            let limit = facts.acquired_at.saturating_add(limits.max_held.max(facts.expected));
            // Past it and at work: it may become idle at any moment, and would be due at once.
            at(if limit > now { limit } else { now.saturating_add((patience / 10).max(1)) });
        }
    }
    if limits.force_after > 0 {
        let due = from.saturating_add(limits.force_after);
        // Past it and exempt: it may end the exemption at any moment, by a use from which the time counts again.
        at(if facts.traffic.listening && due <= now { now.saturating_add(limits.force_after) } else { due });
        if limits.force_busy && idle_since.is_none() {
            at(facts.statement_started.saturating_add(limits.force_after));
        }
    }
    next
}

/// A span of nanoseconds as a `Duration`.
pub(crate) fn span(from: Nanos, to: Nanos) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}

#[cfg(test)]
mod tests;
