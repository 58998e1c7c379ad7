//! Many checkouts, many threads, and the moments in between.

use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::detect::Reclaim;

#[test]
fn a_hundred_thousand_live_checkouts() {
    let (detector, clock, _events) =
        watched(LeakPolicy { force_release_after: Duration::ZERO, ..LeakPolicy::default() });
    let ids: Vec<_> = (0..100_000).map(|_| detector.check_out(CheckOut::here()).unwrap()).collect();
    clock.advance(seconds(30));
    until(|| detector.metrics().leaks == 100_000);
    balanced(&detector, 100_000);
    assert!(detector.report().len() < 4000);
    for id in ids {
        detector.check_in(id).unwrap();
    }
    balanced(&detector, 0);
    assert_eq!(detector.metrics().leaks_recovered, 100_000);
    assert!(detector.check_out(CheckOut::here()).unwrap().slot() < 100_000);
}

#[test]
fn each_checkout_ends_once_however_many_end_it() {
    const EACH: usize = 400;
    let policy =
        LeakPolicy { leak_threshold: seconds(1), force_release_after: seconds(2), ..LeakPolicy::default() };
    let (detector, clock, _events) = watched(policy);
    let reclaimed = Arc::new(AtomicUsize::new(0));
    let (released, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..5 {
        let start = Barrier::new(9);
        thread::scope(|scope| {
            for n in 0..8 {
                let (detector, reclaimed, released, late, start) =
                    (&detector, &reclaimed, &released, &late, &start);
                scope.spawn(move || {
                    start.wait();
                    for i in 0..EACH {
                        let reclaimed = reclaimed.clone();
                        let checkout = CheckOut::here().on_reclaim(move |_| {
                            reclaimed.fetch_add(1, Ordering::SeqCst);
                        });
                        let id = detector.check_out(checkout).unwrap();
                        // Another thread takes it away while this one uses it and gives it back.
                        thread::scope(|pair| {
                            if (i + n) % 4 == 0 {
                                pair.spawn(move || drop(detector.force_release(id)));
                            }
                            let _ = detector.touch(id, Touch::Executing(Some("SELECT 1")));
                            let _ = detector.touch(id, Touch::Idle(TransactionStatus::Idle));
                            match detector.check_in(id).map_err(|e| e.code()) {
                                Ok(()) => released.fetch_add(1, Ordering::SeqCst),
                                Err(ErrorCode::ForceReleased) => late.fetch_add(1, Ordering::SeqCst),
                                Err(code) => panic!("{code}"),
                            };
                        });
                    }
                });
            }
            start.wait();
            for _ in 0..100 {
                clock.advance(Duration::from_millis(700));
                thread::yield_now();
            }
        });
    }
    assert!(detector.flush(LONG));
    let metrics = detector.metrics();
    assert_eq!(metrics.books.acquired, 5 * 8 * EACH as u64);
    assert_eq!(metrics.books.released, released.load(Ordering::SeqCst) as u64);
    assert_eq!(metrics.books.force_released, reclaimed.load(Ordering::SeqCst) as u64);
    assert_eq!(metrics.late_releases, late.load(Ordering::SeqCst) as u64);
    assert_eq!(metrics.late_releases, metrics.books.force_released);
    assert!(metrics.books.force_released > 0 && metrics.books.released > 0, "{:?}", metrics.books);
    assert_eq!(metrics.status.leaked_now, 0);
    balanced(&detector, 0);
}

/// The moment between the registry's decision to take a checkout away and its owner's being told.
#[test]
fn a_release_in_the_middle_of_a_revoke_is_late_and_told_once() {
    let (detector, _clock, events) = watched(LeakPolicy::default());
    let (tell, reclaimed) = mpsc::channel();
    let id = detector.check_out(CheckOut::here().on_reclaim(move |_| tell.send(()).unwrap())).unwrap();
    let checkout = detector.0.find(id).unwrap();
    checkout.slot.end_holding(id.generation(), State::Ended, detector.0.detector.now()).unwrap();
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::AlreadyReleased);
    assert!(told(&detector, &events).is_empty(), "nobody knows why yet");
    let site = detector.0.detector.sites.get(checkout.slot.site());
    let at = std::time::SystemTime::now();
    let reason = RevokeReason::Manual;
    let (held, idle_for, pool) = (Duration::ZERO, None, "orders".into());
    checkout.revoke(Arc::new(Revocation {
        checkout: id,
        pool,
        at,
        reason,
        site,
        held,
        idle_for,
        abandoned: Arc::default(),
    }));
    assert_eq!(told(&detector, &events), [EventKind::LateRelease]);
    assert_eq!(reclaimed.recv_timeout(LONG), Ok(()), "the session is ended all the same");
    assert_eq!(detector.metrics().late_releases, 1);
    assert!(detector.0.revoked.lock().holdings.is_empty(), "its holder has been told");
    assert_eq!(detector.check_in(id).unwrap_err().code(), ErrorCode::AlreadyReleased);
}

#[test]
fn only_so_many_revoked_checkouts_are_remembered() {
    let (detector, _clock, _events) = watched(LeakPolicy::default());
    let ids: Vec<_> = (0..REMEMBERED + 10)
        .map(|_| {
            let id = detector.check_out(CheckOut::here()).unwrap();
            detector.force_release(id).unwrap();
            id
        })
        .collect();
    assert_eq!(detector.0.revoked.lock().holdings.len(), REMEMBERED);
    assert_eq!(detector.check_in(ids[0]).unwrap_err().code(), ErrorCode::AlreadyReleased);
    assert_eq!(detector.check_in(ids[10]).unwrap_err().code(), ErrorCode::ForceReleased);
    balanced(&detector, 0);
}

#[test]
fn a_listing_never_shows_one_checkout_with_the_site_of_another() {
    let (detector, _clock, _events) = watched(LeakPolicy::default());
    let check_out = |n: u32| {
        let frames = [HostFrame::new("a.py", n, "f")];
        detector.check_out(CheckOut::with_frames(&frames).label(n.to_string())).unwrap()
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60_000 {
                let id = check_out(n % 7);
                assert_eq!(id.slot(), 0);
                detector.check_in(id).unwrap();
            }
            stop.store(true, Ordering::SeqCst);
        });
        while !stop.load(Ordering::SeqCst) {
            for info in detector.checkouts() {
                let line = (info.id.generation() - 1) % 7;
                assert_eq!(info.site.place(), format!("a.py:{line}"), "{info:?}");
                assert_eq!(info.label.as_deref(), Some(&*line.to_string()));
            }
        }
    });
}
