//! A detector in a forked child: typed errors, no hang, no harm to the parent.
#![cfg(unix)]

use std::time::Duration;

use leakpool::{CheckOut, ErrorCode, EventKind, LeakDetector, LeakPolicy, Touch};

/// What the child finds; its exit status. No panic may unwind out of it into a copy of the test harness.
fn in_the_child(detector: LeakDetector, id: leakpool::CheckoutId) -> i32 {
    let forked = |result: Result<(), leakpool::Error>| {
        result.is_err_and(|e| e.code() == ErrorCode::Forked && e.message().contains("fork"))
    };
    let checks = [
        forked(detector.check_out(CheckOut::here()).map(drop)),
        forked(detector.touch(id, Touch::Executing(None))),
        forked(detector.check_in(id)),
        forked(detector.force_release(id).map(drop)),
        forked(detector.prove(id).map(drop)),
        forked(detector.owner_ended(id)),
        forked(detector.reconfigure(LeakPolicy::default())),
        !detector.flush(Duration::from_secs(600)),
        detector.events(EventKind::ALL).recv_timeout(Duration::from_secs(600)).is_none(),
        detector.checkouts().is_empty(),
        detector.metrics().books.acquired == 1,
        detector.close(Duration::from_secs(600)).is_empty(),
    ];
    drop(detector.subscribe(EventKind::ALL, |_| {}));
    drop(detector);
    // The child can have a detector of its own.
    let own = LeakDetector::new("child", LeakPolicy::default()).and_then(|own| {
        let id = own.check_out(CheckOut::here())?;
        own.check_in(id)?;
        Ok(own.flush(Duration::from_secs(20)))
    });
    let failed = checks.iter().position(|ok| !ok);
    match (failed, own) {
        (None, Ok(true)) => 0,
        (None, _) => 99,
        (Some(n), _) => n as i32 + 1,
    }
}

#[test]
fn a_forked_child_gets_errors_and_the_parent_goes_on() {
    let detector = LeakDetector::new("parent", LeakPolicy::default()).unwrap();
    let events = detector.events(EventKind::ALL);
    let id = detector.check_out(CheckOut::here()).unwrap();
    assert!(detector.flush(Duration::from_secs(20)));
    // SAFETY: the child calls only this library, whose locks no other thread of this process holds now (everything
    // was flushed), and leaves by `_exit` under an alarm.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: both take plain integers; `_exit` does not return.
        unsafe {
            libc::alarm(60);
            libc::_exit(in_the_child(detector, id));
        }
    }
    let mut status = 0;
    // SAFETY: `status` lives for the call.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(waited, child);
    assert!(libc::WIFEXITED(status), "the child hung or crashed: {status}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "the number of the check that failed");
    detector.check_in(id).unwrap();
    assert!(detector.flush(Duration::from_secs(20)));
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|e| e.kind()).collect();
    assert_eq!(kinds, [EventKind::Acquire, EventKind::Release]);
}
