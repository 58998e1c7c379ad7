//! Each event as the line that an operator reads.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::*;
use crate::detect::event::{AcquirePhase, DirtyReason, LastSql, RemoveReason, Revocation};
use crate::detect::id::CheckoutId;
use crate::detect::verdict::{RevokeReason, Suspicion};
use crate::error::ErrorCode;
use crate::monitor::diagnosis::{Shortage, diagnose};
use crate::monitor::testing::{executing, leaked, site};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(data: EventData, most: Level) -> String {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(most)
        .without_time()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let event = Event { pool: "orders".into(), at: SystemTime::UNIX_EPOCH, data };
    tracing::subscriber::with_default(subscriber, || tell(&event));
    let text = buffer.0.lock().clone();
    String::from_utf8(text).unwrap()
}

fn all() -> Vec<(EventData, &'static str)> {
    let (s, id) = (site(42), CheckoutId::new(3, 1));
    let leak = || Box::new(leaked(3, &s, 60));
    let revocation = Arc::new(Revocation {
        checkout: id,
        pool: "orders".into(),
        at: SystemTime::now(),
        reason: RevokeReason::Unused,
        site: s.clone(),
        held: Duration::from_secs(400),
        idle_for: Some(Duration::from_secs(300)),
        abandoned: Arc::default(),
    });
    let exhausted = diagnose(Shortage {
        names: crate::config::Names::Core,
        phase: AcquirePhase::Wait,
        waited: Duration::from_secs(30),
        connecting_for: Duration::ZERO,
        max_size: 1,
        waiting: 0,
        ending: 0,
        leak_threshold: Duration::from_secs(30),
        holders: vec![leaked(3, &s, 60)],
        last_error: None,
    });
    vec![
        (
            EventData::Leak { checkout: leak(), suspicion: Some(Suspicion::Unused) },
            "acquired at:\n    app::orders::process (src/orders.rs:42)",
        ),
        (
            EventData::LeaksDetected { leaks: vec![*leak(), *leak(), leaked(4, &site(99), 60)] },
            "3 connections leaked at once: 2 at src/orders.rs:42, 1 at src/orders.rs:99",
        ),
        (EventData::LeakRecovered { checkout: leak() }, "was released after 1 min; app::orders::process"),
        (
            EventData::LongRunning { checkout: Box::new(executing(3, &s, 45)) },
            "held for 45 s and is executing for 45 s: app::orders::process (src/orders.rs:42); last SQL: SELECT pg",
        ),
        (
            EventData::ForceRelease { checkout: leak(), reason: RevokeReason::Unused },
            "taken back (unused); it had been held for 1 min, idle in transaction for 1 min, by app::orders",
        ),
        (
            EventData::LateUse { revocation: revocation.clone() },
            "was used after it had been taken back: checkout 3.1",
        ),
        (EventData::LateRelease { revocation }, "was released after it had been taken back: checkout 3.1"),
        (
            EventData::DirtyRelease {
                id,
                site: s.clone(),
                found: DirtyReason::InTransaction,
                last_sql: Some(LastSql { text: "BEGIN".into(), age: Duration::ZERO }),
            },
            "released with a transaction open: acquired at app::orders::process (src/orders.rs:42); last SQL: BEGIN",
        ),
        (EventData::Exhausted(Arc::new(exhausted)), "no connection became free within 30 s"),
        (EventData::Utilization { in_use: 8, max_size: 10 }, "8 of 10 connections are in use"),
        (
            EventData::Error { code: ErrorCode::ConnectionLost, message: "an idle session died".into() },
            "an idle session died",
        ),
        (
            EventData::Connect { backend_pid: Some(4711), took: Duration::from_millis(3) },
            "a connection was made in 3 ms event=\"connect\" pool=orders backend_pid=4711",
        ),
        (
            EventData::Remove { reason: RemoveReason::Idle, backend_pid: None },
            "a connection left the pool: idle",
        ),
        (EventData::Acquire { id, site: s, waited: Duration::ZERO }, "acquired after 0 ms"),
        (EventData::Release { id, held: Duration::ZERO }, "released after 0 ms"),
    ]
}

#[test]
fn each_event_has_one_line_with_its_fields_at_its_level() {
    let all = all();
    assert_eq!(all.len(), EventKind::ALL.len());
    for (data, text) in all {
        let (kind, id) = (data.kind(), data.checkout());
        let line = logged(data.clone(), level(kind));
        assert!(line.contains(text), "{line}");
        assert_eq!(line.split_whitespace().next(), Some(level(kind).as_str()), "{line}");
        assert!(line.contains(&format!("event=\"{}\" pool=orders", kind.name())), "{line}");
        if let Some(id) = id {
            assert!(line.contains(&format!("checkout={id}")), "{line}");
        }
        if kind != EventKind::Leak && kind != EventKind::Exhausted {
            assert_eq!(line.lines().count(), 1, "{line}");
        }
        let less = match level(kind) {
            Level::ERROR => continue,
            Level::WARN => Level::ERROR,
            Level::INFO => Level::WARN,
            Level::DEBUG => Level::INFO,
            _ => Level::DEBUG,
        };
        assert_eq!(logged(data, less), "", "nothing below its level");
    }
}
