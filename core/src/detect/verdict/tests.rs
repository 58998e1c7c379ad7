//! The table of DESIGN.md, section 5, and that nobody is looked at too late.

use super::*;
use crate::detect::facts::{Traffic, TransactionStatus};

const START: Nanos = 1_000;
const LIMITS: Limits = Limits { threshold: 30, max_held: 300, force_after: 200, force_busy: false };

const EXECUTING: Traffic = Traffic {
    transaction: TransactionStatus::Idle,
    outstanding: 1,
    awaits_client: false,
    sending: false,
    unread: false,
    listening: false,
    may_listen: false,
    unknown: false,
    answered: false,
};
const IDLE: Traffic = Traffic { outstanding: 0, ..EXECUTING };

/// A checkout acquired at `START` and never used.
fn unused() -> Facts {
    Facts {
        acquired_at: START,
        last_use: START,
        last_byte: START,
        statement_started: START,
        traffic: IDLE,
        expected: 0,
        proven: false,
    }
}

fn used(at: Nanos) -> Facts {
    Facts { last_use: START + at, last_byte: START + at, ..unused() }
}

fn executing(since: Nanos) -> Facts {
    Facts { statement_started: START + since, traffic: EXECUTING, ..used(since) }
}

#[test]
fn every_verdict_at_its_boundary() {
    use Suspicion::{HeldByPings, Unused};
    use Verdict::{Busy, Expected, Healthy, Proven, Suspected};
    let force = Some(RevokeReason::Unused);
    let in_transaction = Traffic { transaction: TransactionStatus::InTransaction, ..IDLE };
    let failed = Traffic { transaction: TransactionStatus::Failed, ..IDLE };
    let copying = Traffic { awaits_client: true, outstanding: 0, ..EXECUTING };
    let unread = Traffic { unread: true, ..EXECUTING };
    let listening = Traffic { listening: true, ..IDLE };
    let expects = |expected, facts| Facts { expected, ..facts };
    let busy_too = Limits { force_busy: true, ..LIMITS };
    let off = Limits { threshold: 0, ..LIMITS };
    let never = Limits { force_after: 0, ..LIMITS };
    let patient = Limits { max_held: 0, ..LIMITS };
    let listens_busily = Facts { traffic: Traffic { listening: true, ..EXECUTING }, ..executing(0) };
    let cases = [
        ("just acquired", unused(), LIMITS, 0, Healthy, None),
        ("one before the threshold", unused(), LIMITS, 29, Healthy, None),
        ("at the threshold", unused(), LIMITS, 30, Suspected(Unused), None),
        (
            "in a transaction",
            Facts { traffic: in_transaction, ..unused() },
            LIMITS,
            30,
            Suspected(Unused),
            None,
        ),
        ("in a failed one", Facts { traffic: failed, ..unused() }, LIMITS, 30, Suspected(Unused), None),
        ("used one tick after the acquire", used(1), LIMITS, 30, Busy, None),
        ("used a threshold ago", used(1), LIMITS, 31, Suspected(Unused), None),
        ("executing, young", executing(0), LIMITS, 29, Healthy, None),
        ("executing", executing(0), LIMITS, 30, Busy, None),
        ("executing for ever", executing(0), LIMITS, 100_000, Busy, None),
        ("open COPY IN", Facts { traffic: copying, ..unused() }, LIMITS, 30, Suspected(Unused), None),
        ("unread result", Facts { traffic: unread, ..executing(0) }, LIMITS, 30, Suspected(Unused), None),
        (
            "a COPY whose bytes moved lately",
            Facts { traffic: copying, last_byte: START + 20, ..unused() },
            LIMITS,
            49,
            Busy,
            None,
        ),
        (
            "a COPY whose bytes moved a threshold ago",
            Facts { traffic: copying, last_byte: START + 20, ..unused() },
            LIMITS,
            50,
            Suspected(Unused),
            None,
        ),
        ("pings, before max_held", used(290), LIMITS, 299, Busy, None),
        ("pings, at max_held", used(290), LIMITS, 300, Suspected(HeldByPings), None),
        ("pings, no max_held", used(290), patient, 300, Busy, None),
        ("executing beyond max_held", executing(0), LIMITS, 300, Busy, None),
        (
            "stalled beyond max_held, bytes move",
            Facts { traffic: unread, ..executing(299) },
            LIMITS,
            300,
            Suspected(HeldByPings),
            None,
        ),
        ("expected", expects(100, unused()), LIMITS, 99, Expected, None),
        ("expected, and over", expects(100, unused()), LIMITS, 100, Suspected(Unused), None),
        ("expected, over, in use", expects(100, used(90)), LIMITS, 100, Busy, None),
        (
            "expected beyond max_held, in use",
            expects(400, used(390)),
            LIMITS,
            400,
            Suspected(HeldByPings),
            None,
        ),
        ("expected beyond force release", expects(400, unused()), LIMITS, 399, Expected, None),
        ("beyond force release, and over", expects(400, unused()), LIMITS, 400, Suspected(Unused), None),
        ("as patient then as with others", expects(400, unused()), LIMITS, 569, Suspected(Unused), None),
        (
            "and taken back after that",
            expects(400, unused()),
            LIMITS,
            570,
            Suspected(Unused),
            Some(RevokeReason::Unused),
        ),
        ("its own limit below the threshold", expects(10, unused()), LIMITS, 9, Expected, None),
        (
            "its own limit below the threshold, over",
            expects(10, unused()),
            LIMITS,
            10,
            Suspected(Unused),
            None,
        ),
        ("its own limit below the threshold, in use", expects(10, used(5)), LIMITS, 12, Busy, None),
        ("before force release", unused(), LIMITS, 199, Suspected(Unused), None),
        ("at force release", unused(), LIMITS, 200, Suspected(Unused), force),
        ("force release counts from the last use", used(100), LIMITS, 299, Suspected(Unused), None),
        ("from the last use", used(100), LIMITS, 300, Suspected(Unused), force),
        ("no force release", unused(), never, 100_000, Suspected(Unused), None),
        ("busy is exempt", executing(0), LIMITS, 200, Busy, None),
        ("busy too, before", executing(50), busy_too, 249, Busy, None),
        ("busy too", executing(50), busy_too, 250, Busy, Some(RevokeReason::Busy)),
        ("listening", Facts { traffic: listening, ..unused() }, LIMITS, 200, Suspected(Unused), None),
        ("listening and busy", listens_busily, busy_too, 200, Busy, None),
        ("detection off", unused(), off, 199, Healthy, None),
        ("detection off, force release on", unused(), off, 200, Healthy, force),
        (
            "proven, whatever its age",
            Facts { proven: true, ..unused() },
            LIMITS,
            0,
            Proven,
            Some(RevokeReason::Proven),
        ),
        (
            "proven, though expected and executing",
            Facts { proven: true, ..expects(100, executing(0)) },
            LIMITS,
            1,
            Proven,
            Some(RevokeReason::Proven),
        ),
        ("a clock that went back", used(50), LIMITS, 0, Healthy, None),
    ];
    for (what, facts, limits, held, verdict, revoke) in cases {
        let judgement = judge(&facts, &limits, START + held);
        assert_eq!(judgement.verdict, verdict, "{what}");
        assert_eq!(judgement.revoke, revoke, "{what}");
        let long = verdict == Busy && facts.traffic.activity() == Activity::Executing;
        assert_eq!(judgement.long_running, long, "{what}");
        assert!(judgement.look_again.is_none_or(|at| at > START + held), "{what}: no busy loop");
    }
}

#[test]
fn the_first_look_is_at_the_first_limit() {
    let first =
        |threshold, force_after, expected| Limits { threshold, force_after, ..LIMITS }.first_look(expected);
    assert_eq!(first(30, 200, 0), 30);
    assert_eq!(first(0, 200, 0), 200);
    assert_eq!(first(30, 0, 0), 30);
    assert_eq!(first(0, 0, 0), 0, "never");
    assert_eq!(first(30, 200, 100), 100);
    assert_eq!(first(30, 200, 10), 10);
    assert_eq!(first(0, 0, 100), 0, "detection is off");
}

/// What makes a sweep say or do something.
fn is_due(before: &Judgement, after: &Judgement) -> bool {
    (after.verdict.is_leak() && !before.verdict.is_leak())
        || (after.long_running && !before.long_running)
        || (after.revoke.is_some() && before.revoke.is_none())
}

/// Steps time from each look: whatever becomes of the session, nothing falls due before the next look.
#[test]
fn nobody_is_looked_at_too_late() {
    let ends = START + 130;
    let mut looked = 0;
    for threshold in [0, 10, 20] {
        for max_held in [0, 35, 60] {
            for force_after in [0, 25, 50] {
                for force_busy in [false, true] {
                    let limits = Limits { threshold, max_held, force_after, force_busy };
                    for (outstanding, unread, listening) in [
                        (0, false, false),
                        (1, false, false),
                        (1, true, false),
                        (0, false, true),
                        (1, false, true),
                    ] {
                        for expected in [0, 5, 45] {
                            for last in [0, 7, 33] {
                                let traffic = Traffic { outstanding, unread, listening, ..IDLE };
                                let facts = Facts { traffic, expected, ..executing(last) };
                                for now in (START + last..START + 80).step_by(3) {
                                    looked += 1;
                                    not_too_late(&facts, &limits, now, ends);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(looked > 10_000);
}

fn not_too_late(facts: &Facts, limits: &Limits, now: Nanos, ends: Nanos) {
    let before = judge(facts, limits, now);
    let look = before.look_again.unwrap_or(Nanos::MAX);
    for time in now + 1..look.min(ends) {
        let after = judge(facts, limits, time);
        assert!(!is_due(&before, &after), "{facts:?} {limits:?}: {before:?} at {now}, {after:?} at {time}");
    }
    // The statement ends, or `UNLISTEN` is used, at any moment before the next look.
    let ended = Traffic { outstanding: 0, unread: false, listening: false, ..facts.traffic };
    if ended == facts.traffic || before.revoke.is_some() {
        return; // Taken back now, or (`exhausted`) looked at whenever a caller waits.
    }
    for end in (now + 1..look.min(ends)).step_by(4) {
        let facts = Facts { traffic: ended, last_use: end, last_byte: end, ..*facts };
        for time in end..look.min(ends + limits.force_after) {
            let after = judge(&facts, limits, time);
            let pinged = after.verdict == Verdict::Suspected(Suspicion::HeldByPings);
            if pinged && look - time <= limits.threshold / 10 {
                continue;
            }
            let due = (after.verdict.is_leak() && !before.verdict.is_leak()) || after.revoke.is_some();
            assert!(!due, "{facts:?} {limits:?}: {before:?} at {now}, {after:?} at {time}");
        }
    }
}

/// What nobody knows is listed, and neither suspected nor taken back by time, however long it lasts.
#[test]
fn what_is_not_known_is_not_unused() {
    let limits = Limits { force_busy: true, ..LIMITS };
    for (outstanding, now) in [(0, START + 31), (0, START + 1_000_000), (1, START + 1_000_000)] {
        let traffic = Traffic { unknown: true, outstanding, ..IDLE };
        let facts = Facts {
            acquired_at: START,
            last_use: START,
            last_byte: START,
            statement_started: START,
            traffic,
            expected: 0,
            proven: false,
        };
        let judgement = judge(&facts, &limits, now);
        assert_eq!(
            (judgement.verdict, judgement.revoke, judgement.long_running),
            (Verdict::Busy, None, false)
        );
        assert_eq!(traffic.activity().name(), "unknown");
        let proven = judge(&Facts { proven: true, ..facts }, &limits, now);
        assert_eq!(proven.revoke, Some(RevokeReason::Proven), "a proof is a proof");
    }
}
