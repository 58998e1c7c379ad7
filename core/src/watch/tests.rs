//! The detector over another library's pool, on a clock that the tests move.

use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::detect::site::HostFrame;

use super::*;
use crate::TransactionStatus;
use crate::clock::ManualClock;
use crate::detect::event::Event;
use crate::detect::sweeper::Sweepable;
use crate::detect::verdict::{Suspicion, Verdict};

mod races;

const LONG: Duration = Duration::from_secs(60);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < limit, "this did not happen in time");
        thread::sleep(Duration::from_millis(1));
    }
}

fn watched(policy: LeakPolicy) -> (LeakDetector, ManualClock, Events) {
    let clock = ManualClock::new();
    let detector = LeakDetector::with_clock("orders", policy, Arc::new(clock.clone())).unwrap();
    let events = detector.events(EventKind::ALL);
    (detector, clock, events)
}

/// The next event but `acquire` and `release`.
fn next(events: &Events) -> Event {
    loop {
        let event = events.recv_timeout(LONG).expect("an event comes");
        match event.kind() {
            EventKind::Acquire | EventKind::Release => {}
            _ => return event,
        }
    }
}

/// True once nothing that is due now is left to be judged.
fn sweepable(detector: &LeakDetector) -> bool {
    let now = detector.0.detector.now();
    detector.0.detector.sweep(now);
    detector.0.detector.sweep(now).is_none_or(|next| next > now)
}

/// All that are told until everything so far was told.
fn told(detector: &LeakDetector, events: &Events) -> Vec<EventKind> {
    assert!(detector.flush(LONG));
    std::iter::from_fn(|| events.try_recv())
        .map(|e| e.kind())
        .filter(|k| !matches!(k, EventKind::Acquire | EventKind::Release))
        .collect()
}

fn verdict(detector: &LeakDetector, id: CheckoutId) -> Verdict {
    detector.checkouts().into_iter().find(|c| c.id == id).expect("it is live").verdict
}

fn balanced(detector: &LeakDetector, active: u64) {
    assert_eq!(detector.metrics().books.active(), active);
    assert_eq!(detector.checkouts().len() as u64, active);
    let live: usize = detector.0.live.iter().map(|shard| shard.lock().len()).sum();
    assert_eq!(live as u64, active);
}

#[test]
fn the_verdicts_of_one_life() {
    let (detector, clock, _events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here()).unwrap();
    assert_eq!(verdict(&detector, id), Verdict::Healthy);
    detector.touch(id, Touch::Executing(Some("SELECT 1"))).unwrap();
    clock.advance(seconds(40));
    assert_eq!(verdict(&detector, id), Verdict::Busy);
    detector.touch(id, Touch::Idle(TransactionStatus::InTransaction)).unwrap();
    clock.advance(seconds(29));
    assert_eq!(verdict(&detector, id), Verdict::Busy);
    clock.advance(seconds(1));
    assert_eq!(verdict(&detector, id), Verdict::Suspected(Suspicion::Unused));
    let info = detector.checkouts().remove(0);
    assert_eq!(info.activity, crate::Activity::IdleInTransaction);
    assert_eq!((info.held, info.idle_for), (seconds(70), Some(seconds(30))));
    assert_eq!(info.last_sql.map(|sql| (sql.text, sql.age)), Some(("SELECT 1".into(), seconds(70))));
    for _ in 0..10 {
        detector.touch(id, Touch::Idle(TransactionStatus::Idle)).unwrap();
        clock.advance(seconds(25));
    }
    assert_eq!(verdict(&detector, id), Verdict::Suspected(Suspicion::HeldByPings));

    let patient = detector.check_out(CheckOut::here().expected(seconds(100))).unwrap();
    clock.advance(seconds(99));
    assert_eq!(verdict(&detector, patient), Verdict::Expected);
    clock.advance(seconds(1));
    assert_eq!(verdict(&detector, patient), Verdict::Suspected(Suspicion::Unused));
}

#[test]
fn a_leak_is_told_once_and_a_release_takes_it_back() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here().label("import").owner("Task-1")).unwrap();
    clock.advance(seconds(30));
    let event = next(&events);
    let EventData::Leak { checkout, suspicion } = &event.data else { panic!("{event:?}") };
    assert_eq!((checkout.id, *suspicion, checkout.reported), (id, Some(Suspicion::Unused), true));
    assert_eq!(checkout.label.as_deref(), Some("import"));
    assert!(checkout.site.place().contains("tests.rs:"), "{}", checkout.site.place());
    for _ in 0..5 {
        clock.advance(seconds(30));
    }
    assert_eq!(detector.leaks().len(), 1);
    assert_eq!(detector.metrics().leaks, 1);
    assert_eq!(detector.status().leaked_now, 1);
    assert!(detector.report().contains("LEAK: "));
    assert!(detector.assert_no_leaks().unwrap_err().to_string().contains("tests.rs:"));
    detector.check_in(id).unwrap();
    let event = next(&events);
    let EventData::LeakRecovered { checkout } = &event.data else { panic!("{event:?}") };
    assert_eq!(checkout.held, seconds(180));
    let metrics = detector.metrics();
    assert_eq!((metrics.leaks, metrics.leaks_recovered, metrics.status.leaked_now), (1, 1, 0));
    assert_eq!(metrics.leak_rate, 100.0);
    detector.assert_no_leaks().unwrap();
    assert!(told(&detector, &events).is_empty());
    balanced(&detector, 0);
}

#[test]
fn a_forced_release_reclaims_and_late_comers_learn_why() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    let (tell, reclaimed) = mpsc::channel();
    let id = detector
        .check_out(CheckOut::here().on_reclaim(move |revocation| {
            tell.send((revocation.reason, thread::current().name().map(str::to_owned))).unwrap();
        }))
        .unwrap();
    clock.advance(seconds(30));
    assert_eq!(next(&events).kind(), EventKind::Leak);
    clock.advance(seconds(270));
    assert_eq!(next(&events).kind(), EventKind::ForceRelease);
    let thread = Some("leakpool-events".to_owned());
    assert_eq!(reclaimed.recv_timeout(LONG), Ok((RevokeReason::Unused, thread)));
    balanced(&detector, 0);
    assert_eq!(detector.status().leaked_now, 0);

    // The place is handed out again; the late one must not touch the new holder's checkout.
    let other = detector.check_out(CheckOut::here()).unwrap();
    for n in 0..2 {
        let error = detector.touch(id, Touch::Executing(Some("SELECT 'late'"))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ForceReleased, "{n}");
        assert_eq!(error.detail::<Revocation>().map(|r| r.checkout), Some(id));
    }
    assert_eq!(detector.force_release(id).unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(detector.checkouts()[0].last_sql, None);
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::AlreadyReleased);
    assert_eq!(detector.touch(id, Touch::Executing(None)).unwrap_err().code(), ErrorCode::AlreadyReleased);
    assert_eq!(told(&detector, &events), [EventKind::LateUse, EventKind::LateRelease]);
    let metrics = detector.metrics();
    assert_eq!((metrics.late_uses, metrics.late_releases, metrics.books.force_released), (1, 1, 1));
    detector.check_in(other).unwrap();
    balanced(&detector, 0);
}

#[test]
fn what_is_proven_is_told_and_taken_back_whatever_its_age() {
    let (detector, _clock, events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here()).unwrap();
    detector.owner_ended(id).unwrap();
    assert!(detector.checkouts()[0].owner_ended);
    detector.prove(id).unwrap();
    let event = next(&events);
    let EventData::Leak { checkout, suspicion: None } = &event.data else { panic!("{event:?}") };
    assert_eq!(checkout.verdict, Verdict::Proven);
    let event = next(&events);
    let EventData::ForceRelease { reason, .. } = event.data else { panic!("{event:?}") };
    assert_eq!(reason, RevokeReason::Proven);
    assert_eq!(detector.prove(id).unwrap_err().code(), ErrorCode::ForceReleased);
    balanced(&detector, 0);
}

#[test]
fn the_batch_alert_comes_once_for_each_time_the_number_is_reached() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    let out: Vec<_> = (0..4).map(|_| detector.check_out(CheckOut::here()).unwrap()).collect();
    clock.advance(seconds(30));
    until(|| detector.metrics().leaks == 4);
    clock.advance(seconds(10));
    until(|| detector.0.outbox.flush(LONG) && detector.metrics().leaks == 4);
    let mut kinds = told(&detector, &events);
    while kinds.len() < 5 {
        kinds.push(next(&events).kind());
    }
    assert_eq!(kinds.iter().filter(|k| **k == EventKind::LeaksDetected).count(), 1, "{kinds:?}");
    detector.check_in(out[0]).unwrap();
    detector.check_in(out[1]).unwrap();
    assert_eq!(told(&detector, &events), [EventKind::LeakRecovered, EventKind::LeakRecovered]);
    detector.check_out(CheckOut::here()).unwrap();
    clock.advance(seconds(30));
    assert_eq!(next(&events).kind(), EventKind::Leak);
    let event = next(&events);
    let EventData::LeaksDetected { leaks } = &event.data else { panic!("{event:?}") };
    assert_eq!(leaks.len(), 3);
}

#[test]
fn a_long_statement_is_told_once_and_never_as_a_leak() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here()).unwrap();
    detector.touch(id, Touch::Executing(Some("SELECT report()"))).unwrap();
    clock.advance(seconds(30));
    assert_eq!(next(&events).kind(), EventKind::LongRunning);
    for _ in 0..40 {
        clock.advance(seconds(30));
    }
    detector.check_in(id).unwrap();
    assert!(told(&detector, &events).is_empty());
    assert_eq!(detector.metrics().leaks, 0);
}

#[test]
fn a_listening_session_is_told_but_not_taken() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here()).unwrap();
    detector.touch(id, Touch::Executing(Some("  listen orders"))).unwrap();
    detector.touch(id, Touch::Idle(TransactionStatus::Idle)).unwrap();
    clock.advance(seconds(30));
    assert_eq!(next(&events).kind(), EventKind::Leak);
    clock.advance(seconds(3000));
    until(|| told(&detector, &events).is_empty() && sweepable(&detector));
    assert!(detector.checkouts()[0].listening);
    detector.touch(id, Touch::Executing(Some("UNLISTEN *"))).unwrap();
    detector.touch(id, Touch::Idle(TransactionStatus::Idle)).unwrap();
    // It is looked at again within `force_release_after` of the last use, although it was exempt before.
    clock.advance(seconds(300));
    assert_eq!(next(&events).kind(), EventKind::ForceRelease);
}

#[test]
fn wrong_ids_are_typed_errors() {
    let (detector, _clock, _events) = watched(LeakPolicy::default());
    let id = detector.check_out(CheckOut::here()).unwrap();
    detector.check_in(id).unwrap();
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::AlreadyReleased);
    let again = detector.check_out(CheckOut::here()).unwrap();
    assert_eq!(again.slot(), id.slot(), "the place is used again");
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::AlreadyReleased);
    for raw in [0, again.to_u64() + (1 << 24), 17, u64::MAX] {
        let forged = CheckoutId::from_u64(raw);
        for code in [
            detector.check_in(forged).unwrap_err().code(),
            detector.touch(forged, Touch::Executing(None)).unwrap_err().code(),
            detector.force_release(forged).unwrap_err().code(),
            detector.prove(forged).unwrap_err().code(),
            detector.owner_ended(forged).unwrap_err().code(),
        ] {
            assert_eq!(code, ErrorCode::UnknownCheckout, "{forged}");
        }
    }
    balanced(&detector, 1);
}

#[test]
fn host_frames_are_the_site() {
    let (detector, _clock, _events) = watched(LeakPolicy::default());
    let frames = [HostFrame::new("app/orders.py", 42, "process"), HostFrame::new("app/orders.py", 7, "main")];
    let a = detector.check_out(CheckOut::with_frames(&frames)).unwrap();
    let b = detector.check_out(CheckOut::with_frames(&frames)).unwrap();
    let all = detector.checkouts();
    assert_eq!(all[0].site.place(), "app/orders.py:42");
    assert!(Arc::ptr_eq(&all[0].site, &all[1].site));
    detector.check_in(a).unwrap();
    detector.check_in(b).unwrap();
}

#[test]
fn a_new_policy_judges_those_who_are_out() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    detector.check_out(CheckOut::here()).unwrap();
    clock.advance(seconds(10));
    let policy = LeakPolicy { leak_threshold: seconds(5), ..LeakPolicy::default() };
    detector.reconfigure(policy.clone()).unwrap();
    assert_eq!(next(&events).kind(), EventKind::Leak);
    assert_eq!(detector.policy(), policy);
}

#[test]
fn a_closed_detector_lets_go() {
    let (detector, clock, events) = watched(LeakPolicy::default());
    detector.set_max_size(4);
    let id = detector.check_out(CheckOut::here()).unwrap();
    assert_eq!(detector.status().utilization, 0.25);
    let out = detector.close(LONG);
    assert_eq!(out.len(), 1);
    assert_eq!(detector.check_out(CheckOut::here()).unwrap_err().code(), ErrorCode::PoolClosed);
    assert!(events.is_closed() && detector.status().closed);
    clock.advance(seconds(3000));
    detector.check_in(id).unwrap();
    assert!(detector.close(LONG).is_empty());
    assert!(
        detector
            .openmetrics()
            .contains("leakpool_releases_total{db_client_connection_pool_name=\"orders\"} 1\n")
    );
    balanced(&detector, 0);
}

#[test]
fn the_last_handle_ends_it() {
    let (detector, _clock, events) = watched(LeakPolicy::default());
    detector.check_out(CheckOut::here()).unwrap();
    let (watch, inner) = (Arc::downgrade(&detector.0), Arc::downgrade(&detector.0.detector));
    drop(detector.clone());
    drop(detector);
    assert_eq!(watch.strong_count(), 0);
    until(|| inner.strong_count() == 0);
    assert_eq!(events.recv_timeout(LONG).map(|e| e.kind()), Some(EventKind::Acquire));
    assert!(events.recv_timeout(LONG).is_none() && events.is_closed());
}
