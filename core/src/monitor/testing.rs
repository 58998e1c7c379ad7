//! Snapshots for the tests of this folder and of `alert`.

use std::sync::Arc;
use std::time::Duration;

use super::status::{Metrics, PoolStatus};
use crate::detect::event::{CheckoutInfo, LastSql};
use crate::detect::facts::{Activity, TransactionStatus};
use crate::detect::id::CheckoutId;
use crate::detect::site::{HostFrame, Site};
use crate::detect::site_table::SiteTable;
use crate::detect::stats::{Books, Histogram};
use crate::detect::verdict::{Suspicion, Verdict};

/// A site at `src/orders.rs:<line>`, in `app::orders::process`.
pub(crate) fn site(line: u32) -> Arc<Site> {
    let table = SiteTable::new();
    let site = table.get(table.intern_host(&[
        HostFrame::new("src/orders.rs", line, "app::orders::process"),
        HostFrame::new("src/main.rs", 7, "app::main"),
    ]));
    site.acquired_inc();
    site
}

/// A healthy holder, idle since it was acquired `held` seconds ago.
pub(crate) fn holder(slot: u32, site: &Arc<Site>, held: u64) -> CheckoutInfo {
    CheckoutInfo {
        id: CheckoutId::new(slot, 1),
        pool: "orders".into(),
        site: site.clone(),
        label: None,
        owner: None,
        held: Duration::from_secs(held),
        idle_for: Some(Duration::from_secs(held)),
        executing_for: None,
        activity: Activity::Idle,
        transaction: TransactionStatus::Idle,
        verdict: Verdict::Healthy,
        reported: false,
        owner_ended: false,
        listening: false,
        expected: None,
        last_sql: None,
        backend_pid: None,
    }
}

/// A suspect that is idle in a transaction.
pub(crate) fn leaked(slot: u32, site: &Arc<Site>, held: u64) -> CheckoutInfo {
    CheckoutInfo {
        activity: Activity::IdleInTransaction,
        transaction: TransactionStatus::InTransaction,
        verdict: Verdict::Suspected(Suspicion::Unused),
        reported: true,
        last_sql: Some(LastSql {
            text: "UPDATE orders\n   SET state = 'paid'".into(),
            age: Duration::from_secs(held),
        }),
        backend_pid: Some(4711),
        ..holder(slot, site, held)
    }
}

/// A holder whose statement has run for `running` seconds.
pub(crate) fn executing(slot: u32, site: &Arc<Site>, running: u64) -> CheckoutInfo {
    CheckoutInfo {
        activity: Activity::Executing,
        idle_for: None,
        executing_for: Some(Duration::from_secs(running)),
        verdict: Verdict::Busy,
        last_sql: Some(LastSql { text: "SELECT pg_sleep(600)".into(), age: Duration::from_secs(running) }),
        ..holder(slot, site, running)
    }
}

/// Metrics of a pool of five, four in use, three of them leaked.
pub(crate) fn metrics(name: &str) -> Metrics {
    let times = Histogram::default();
    times.record_duration(Duration::from_millis(2));
    times.record_duration(Duration::from_secs(400));
    let times = times.snapshot();
    Metrics {
        status: PoolStatus {
            name: name.into(),
            max_size: 5,
            size: 5,
            idle: 1,
            in_use: 4,
            returning: 0,
            connecting: 0,
            waiting: 2,
            ending: 0,
            closed: false,
            utilization: 0.8,
            leaked_now: 3,
        },
        books: Books { acquired: 100, released: 95, force_released: 1, lost: 0 },
        leaks: 4,
        leaks_recovered: 0,
        late_uses: 0,
        late_releases: 1,
        dirty_releases: 0,
        timeouts: 7,
        created: 6,
        create_errors: 0,
        removed: 1,
        events_dropped: 0,
        oldest_checkout: Some(Duration::from_millis(90_500)),
        leak_rate: 4.0,
        min_idle: 0,
        wait_time: times.clone(),
        use_time: times.clone(),
        create_time: times.clone(),
        sweep_time: times,
    }
}
