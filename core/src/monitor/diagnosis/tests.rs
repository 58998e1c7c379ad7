//! Every cause with its neighbours, and the messages word by word.

use super::*;
use crate::error::ErrorCode;
use crate::monitor::testing::{executing, holder, leaked, site};

fn shortage(holders: Vec<CheckoutInfo>) -> Shortage<'static> {
    Shortage {
        names: Names::Core,
        phase: AcquirePhase::Wait,
        waited: Duration::from_secs(30),
        connecting_for: Duration::ZERO,
        max_size: 4,
        waiting: 0,
        ending: 0,
        leak_threshold: Duration::from_secs(30),
        holders,
        last_error: None,
    }
}

#[test]
fn what_keeps_it_waiting() {
    let s = site(42);
    let full = Error::new(ErrorCode::ServerConnectionLimit, "too many clients").with_sqlstate("53300");
    let refused = Error::new(ErrorCode::Unreachable, "connection refused");
    let quick = |n| holder(n, &s, 2);
    let connect = |holders, last_error| Shortage {
        phase: AcquirePhase::Connect,
        connecting_for: Duration::from_secs(30),
        last_error,
        ..shortage(holders)
    };
    let cases = [
        (
            "all leaked",
            shortage(vec![leaked(0, &s, 60), leaked(1, &s, 50), leaked(2, &s, 40)]),
            Diagnosis::Leak,
        ),
        (
            "one leak would have served the one who waits",
            shortage(vec![leaked(0, &s, 60), quick(1), quick(2), quick(3)]),
            Diagnosis::Leak,
        ),
        (
            "one leak explains nothing where many wait",
            Shortage { waiting: 9, ..shortage(vec![leaked(0, &s, 60), quick(1), quick(2), quick(3)]) },
            Diagnosis::PoolTooSmall,
        ),
        (
            "one leak beside many slow ones, many wait",
            Shortage {
                waiting: 9,
                ..shortage(vec![
                    leaked(0, &s, 60),
                    executing(1, &s, 40),
                    executing(2, &s, 40),
                    executing(3, &s, 40),
                ])
            },
            Diagnosis::SlowQueries,
        ),
        (
            "not flagged yet, but unused during the whole wait",
            Shortage {
                waited: Duration::from_secs(5),
                waiting: 9,
                ..shortage(vec![holder(0, &s, 6), holder(1, &s, 5), quick(2)])
            },
            Diagnosis::Leak,
        ),
        (
            "a wait too short to tell",
            Shortage {
                waited: Duration::from_millis(50),
                ..shortage(vec![holder(0, &s, 6), holder(1, &s, 5)])
            },
            Diagnosis::PoolTooSmall,
        ),
        (
            "unused, but announced",
            shortage(vec![CheckoutInfo { verdict: Verdict::Expected, ..holder(0, &s, 60) }]),
            Diagnosis::PoolTooSmall,
        ),
        (
            "long statements",
            shortage(vec![executing(0, &s, 40), executing(1, &s, 31), quick(2)]),
            Diagnosis::SlowQueries,
        ),
        (
            "statements longer than a short wait",
            Shortage { waited: Duration::from_secs(1), ..shortage(vec![executing(0, &s, 2)]) },
            Diagnosis::SlowQueries,
        ),
        (
            "detection is off",
            Shortage { leak_threshold: Duration::ZERO, ..shortage(vec![executing(0, &s, 29)]) },
            Diagnosis::PoolTooSmall,
        ),
        (
            "short statements",
            shortage(vec![executing(0, &s, 1), executing(1, &s, 1), executing(2, &s, 40)]),
            Diagnosis::PoolTooSmall,
        ),
        ("healthy", shortage(vec![quick(0), quick(1)]), Diagnosis::PoolTooSmall),
        ("refused", connect(vec![], Some(&refused)), Diagnosis::DatabaseUnreachable),
        ("no answer", connect(vec![], None), Diagnosis::DatabaseUnreachable),
        (
            "refused beside a leak",
            connect(vec![leaked(0, &s, 60)], Some(&refused)),
            Diagnosis::DatabaseUnreachable,
        ),
        (
            "the server is full beside a leak",
            connect(vec![leaked(0, &s, 60)], Some(&full)),
            Diagnosis::ServerConnectionLimit,
        ),
        (
            "became free too late to connect",
            Shortage {
                connecting_for: Duration::from_millis(20),
                ..connect(vec![leaked(0, &s, 60), leaked(1, &s, 60)], None)
            },
            Diagnosis::Leak,
        ),
        (
            "waits for others who fail to connect",
            Shortage { last_error: Some(&refused), ..shortage(vec![]) },
            Diagnosis::DatabaseUnreachable,
        ),
        (
            "waits for others whom the server refuses",
            Shortage { last_error: Some(&full), ..shortage(vec![]) },
            Diagnosis::ServerConnectionLimit,
        ),
        (
            "an old error does not outweigh the leaks",
            Shortage { last_error: Some(&refused), ..shortage(vec![leaked(0, &s, 60)]) },
            Diagnosis::Leak,
        ),
    ];
    for (what, shortage, diagnosis) in cases {
        assert_eq!(cause(&shortage), diagnosis, "{what}");
    }
}

#[test]
fn holders_come_longest_idle_first_and_those_at_work_last() {
    let s = site(42);
    let told = diagnose(shortage(vec![executing(0, &s, 90), leaked(1, &s, 40), leaked(2, &s, 60)]));
    let order: Vec<_> = told.holders.iter().map(|h| h.id.slot()).collect();
    assert_eq!(order, [2, 1, 0]);
}

#[test]
fn the_message_for_a_leak() {
    let (a, b) = (site(42), site(99));
    let told = diagnose(Shortage {
        waiting: 2,
        ..shortage(vec![leaked(0, &a, 725), executing(1, &b, 40), leaked(2, &a, 60), leaked(3, &a, 61)])
    });
    assert_eq!(
        told.to_string(),
        "no connection became free within 30 s (4 of 4 held, 2 other acquires waiting). Leak: 3 of 4 \
         holders do nothing with their connection. Held by:\n  \
         3 at src/orders.rs:42: the longest held for 12 min 5 s, idle in transaction for 12 min 5 s, last \
         SQL: UPDATE orders SET state = 'paid'\n  \
         1 at src/orders.rs:99: held for 40 s, executing for 40 s, last SQL: SELECT pg_sleep(600)\n\
         What to do: release the connection on every path from src/orders.rs:42, errors included; until \
         then, force_release_after takes such connections back."
    );
}

#[test]
fn the_message_without_holders_is_one_line() {
    let refused = Error::new(ErrorCode::Unreachable, "connection to 10.0.0.1:5432 refused");
    let told = diagnose(Shortage {
        phase: AcquirePhase::Connect,
        connecting_for: Duration::from_secs(30),
        last_error: Some(&refused),
        ..shortage(vec![])
    });
    assert_eq!(
        told.to_string(),
        "no connection could be made within 30 s (0 of 4 held). Database unreachable: no connection could \
         be made; the last attempt to connect failed: connection to 10.0.0.1:5432 refused. What to do: \
         check host, port, network and whether the server runs."
    );
}

#[test]
fn the_message_stays_short() {
    let sql = "x".repeat(4096);
    let holders: Vec<_> = (0..100)
        .map(|n| {
            let mut holder = leaked(n, &site(n), 60);
            if let Some(last) = &mut holder.last_sql {
                last.text.clone_from(&sql);
            }
            holder
        })
        .collect();
    let text = diagnose(shortage(holders)).to_string();
    assert!(text.contains("\n  and 90 more at 90 other places\n"), "{text}");
    assert_eq!(text.lines().count(), 13);
    assert!(text.len() < 3000, "{} bytes", text.len());
}

/// The advice names options as the host does that the pool belongs to.
#[test]
fn the_advice_speaks_the_language_of_the_host() {
    let s = site(42);
    for (names, force_release_after, max_size) in [
        (Names::Core, "force_release_after takes", "max_size (now 4)"),
        (Names::Python, "force_release_after takes", "max_size (now 4)"),
        (Names::Node, "forceReleaseAfterMs takes", "max (now 4)"),
    ] {
        let of = |holders| diagnose(Shortage { names, ..shortage(holders) }).to_string();
        let text = of(vec![leaked(0, &s, 60)]);
        assert!(text.contains(force_release_after), "{text}");
        let text = of(vec![holder(0, &s, 2)]);
        assert!(text.contains(max_size), "{text}");
    }
}
