//! What is seen of the pool as the facts that scenarios name: checkouts, events, status, metrics, outcomes.

use std::collections::HashMap;
use std::time::Duration;

use leakpool::{
    CheckoutId, CheckoutInfo, Error, Event, EventData, Exhausted, Metrics, PoolStatus, Revocation, Site,
    TransactionStatus, Verdict,
};
use serde_json::{Value, json};

use crate::places;
use crate::script::Facts;

/// What scenarios call things.
#[derive(Debug, Default)]
pub struct Names {
    /// Every checkout that had a name, the ended ones too.
    pub checkouts: HashMap<CheckoutId, String>,
    /// The place of each line that has acquired.
    pub places: HashMap<u32, String>,
}

fn ms(d: Duration) -> Value {
    if d.as_nanos().is_multiple_of(1_000_000) {
        json!(d.as_millis() as u64)
    } else {
        json!(d.as_secs_f64() * 1e3)
    }
}

fn facts(value: Value) -> Facts {
    match value {
        Value::Object(facts) => facts,
        other => panic!("{other} is no object"),
    }
}

impl Names {
    pub fn of(&self, id: CheckoutId) -> String {
        self.checkouts.get(&id).cloned().unwrap_or_else(|| format!("checkout {id}, which has no name"))
    }

    fn all_of(&self, checkouts: &[CheckoutInfo]) -> Vec<String> {
        checkouts.iter().map(|c| self.of(c.id)).collect()
    }

    fn place(&self, site: &Site) -> String {
        match site.location().filter(|(file, _)| *file == places::FILE) {
            Some((_, line)) => self.places.get(&line).cloned().unwrap_or_else(|| site.place()),
            None => site.place(),
        }
    }

    pub fn checkout(&self, c: &CheckoutInfo) -> Facts {
        let suspicion = match c.verdict {
            Verdict::Suspected(suspicion) => Some(suspicion.name()),
            Verdict::Healthy | Verdict::Busy | Verdict::Expected | Verdict::Proven => None,
        };
        let transaction = match c.transaction {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "in_transaction",
            TransactionStatus::Failed => "failed",
        };
        facts(json!({
            "held_ms": ms(c.held),
            "idle_for_ms": c.idle_for.map(ms),
            "executing_for_ms": c.executing_for.map(ms),
            "activity": c.activity.name(),
            "transaction": transaction,
            "verdict": c.verdict.name(),
            "suspicion": suspicion,
            "reported": c.reported,
            "owner_ended": c.owner_ended,
            "listening": c.listening,
            "expected_ms": c.expected.map(ms),
            "label": c.label.as_deref(),
            "last_sql": c.last_sql.as_ref().map(|sql| sql.text.clone()),
            "last_sql_age_ms": c.last_sql.as_ref().map(|sql| ms(sql.age)),
            "place": self.place(&c.site),
        }))
    }

    fn revocation(&self, r: &Revocation) -> Facts {
        facts(json!({
            "reason": r.reason.name(),
            "held_ms": ms(r.held),
            "idle_for_ms": r.idle_for.map(ms),
            "place": self.place(&r.site),
        }))
    }

    fn exhausted(&self, e: &Exhausted) -> Facts {
        facts(json!({
            "diagnosis": e.diagnosis.name(),
            "phase": e.phase.name(),
            "waited_ms": ms(e.waited),
            "max_size": e.max_size,
            "waiting": e.waiting,
            "holders": self.all_of(&e.holders),
            "last_error": e.last_error,
        }))
    }

    pub fn event(&self, event: &Event) -> Facts {
        match &event.data {
            EventData::Connect { .. } => Facts::new(),
            EventData::Acquire { site, waited, .. } => {
                facts(json!({"place": self.place(site), "waited_ms": ms(*waited)}))
            }
            EventData::Release { held, .. } => facts(json!({"held_ms": ms(*held)})),
            EventData::Remove { reason, .. } => facts(json!({"reason": reason.name()})),
            EventData::Error { code, message } => facts(json!({"error": code.name(), "message": message})),
            EventData::Leak { checkout, suspicion } => {
                let mut leak = self.checkout(checkout);
                leak.insert("suspicion".into(), json!(suspicion.map(|s| s.name())));
                leak
            }
            EventData::LeaksDetected { leaks } => {
                facts(json!({"count": leaks.len(), "leaks": self.all_of(leaks)}))
            }
            EventData::LeakRecovered { checkout } | EventData::LongRunning { checkout } => {
                self.checkout(checkout)
            }
            EventData::ForceRelease { checkout, reason } => {
                let mut released = self.checkout(checkout);
                released.insert("reason".into(), json!(reason.name()));
                released
            }
            EventData::LateUse { revocation } | EventData::LateRelease { revocation } => {
                self.revocation(revocation)
            }
            EventData::DirtyRelease { site, found, last_sql, .. } => facts(json!({
                "found": found.name(),
                "last_sql": last_sql.as_ref().map(|sql| sql.text.clone()),
                "place": self.place(site),
            })),
            EventData::Exhausted(e) => self.exhausted(e),
            EventData::Utilization { in_use, max_size } => {
                facts(json!({"in_use": in_use, "max_size": max_size}))
            }
            other => facts(json!({"kind_unknown_to_this_runner": other.kind().name()})),
        }
    }

    /// How something failed.
    pub fn failure(&self, e: &Error) -> Facts {
        let mut seen = facts(json!({
            "error": e.code().name(), "sqlstate": e.sqlstate(), "message": e.to_string(),
        }));
        if let Some(exhausted) = e.detail::<Exhausted>() {
            seen.extend(self.exhausted(exhausted));
        }
        if let Some(revocation) = e.detail::<Revocation>() {
            seen.extend(self.revocation(revocation));
        }
        seen
    }

    /// That closing succeeded, and who still held.
    pub fn closed(&self, held: &[CheckoutInfo]) -> Facts {
        facts(json!({"error": null, "holders": self.all_of(held)}))
    }
}

/// That something succeeded, and what it gave.
pub fn success(rows: usize, value: Option<String>) -> Facts {
    facts(json!({"error": null, "rows": rows, "value": value}))
}

pub fn status(s: &PoolStatus) -> Facts {
    facts(json!({
        "max_size": s.max_size,
        "size": s.size,
        "idle": s.idle,
        "in_use": s.in_use,
        "returning": s.returning,
        "connecting": s.connecting,
        "waiting": s.waiting,
        "ending": s.ending,
        "closed": s.closed,
        "utilization": s.utilization,
        "leaked_now": s.leaked_now,
    }))
}

pub fn metrics(m: &Metrics) -> Facts {
    facts(json!({
        "acquired": m.books.acquired,
        "released": m.books.released,
        "force_released": m.books.force_released,
        "lost": m.books.lost,
        "active": m.books.active(),
        "leaks": m.leaks,
        "leaks_recovered": m.leaks_recovered,
        "late_uses": m.late_uses,
        "late_releases": m.late_releases,
        "dirty_releases": m.dirty_releases,
        "timeouts": m.timeouts,
        "created": m.created,
        "create_errors": m.create_errors,
        "removed": m.removed,
        "events_dropped": m.events_dropped,
        "oldest_checkout_ms": m.oldest_checkout.map(ms),
        "leak_rate": m.leak_rate,
    }))
}
