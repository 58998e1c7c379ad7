//! What the core knows, as JSON: for everything that is asked for or told now and then. Names are JavaScript's, times
//! milliseconds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leakpool::{
    BUCKET_BOUNDS, CheckoutId, CheckoutInfo, ConnectConfig, Event, EventData, Exhausted, Frame, FrameKind,
    HistogramSnapshot, Host, Metrics, PoolStatus, Revocation, Site, Verdict,
};
use serde_json::{Map, Value, json};

/// Milliseconds, to the microsecond.
pub(crate) fn ms(d: Duration) -> f64 {
    d.as_micros() as f64 / 1000.0
}

fn at(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, ms)
}

/// `leaksDetected` for `leaks_detected`.
pub(crate) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn frame(frame: &Frame) -> Value {
    let kind = match frame.kind {
        FrameKind::User => "user",
        FrameKind::Dependency => "dependency",
        FrameKind::Library => "library",
        FrameKind::Runtime => "runtime",
        FrameKind::Unknown => "unknown",
    };
    json!({ "function": frame.function, "file": frame.file, "line": frame.line, "kind": kind, "owner": frame.owner })
}

/// Where a checkout was acquired.
pub(crate) fn site(site: &Site) -> Value {
    let resolved = site.resolve();
    json!({
        "function": resolved.culprit.function,
        "file": resolved.culprit.file,
        "line": resolved.culprit.line,
        "known": site.location().is_some(),
        "frames": resolved.frames.iter().map(frame).collect::<Vec<_>>(),
        "stack": resolved.to_string(),
        "acquired": site.acquired(),
        "leaked": site.leaked(),
        "recovered": site.recovered(),
        "forceReleased": site.force_released(),
        "location": resolved.culprit.to_string(),
    })
}

/// Asks where a checkout was acquired that had not told it when it was looked at.
pub(crate) type Told<'a> = &'a dyn Fn(CheckoutId) -> Option<Arc<Site>>;

/// Nobody to ask.
pub(crate) fn nobody(_: CheckoutId) -> Option<Arc<Site>> {
    None
}

fn site_now(then: &Arc<Site>, id: CheckoutId, told: Told<'_>) -> Arc<Site> {
    match then.is_told_later() {
        true => told(id).unwrap_or_else(|| then.clone()),
        false => then.clone(),
    }
}

/// One checkout.
pub(crate) fn checkout(info: &CheckoutInfo, told: Told<'_>) -> Value {
    let acquired_at = site_now(&info.site, info.id, told);
    let reason = match info.verdict {
        Verdict::Suspected(suspicion) => Some(suspicion.name()),
        Verdict::Healthy | Verdict::Busy | Verdict::Expected | Verdict::Proven => None,
    };
    json!({
        "id": info.id.to_string(),
        "pool": &*info.pool,
        "location": acquired_at.resolve().culprit.to_string(),
        "site": site(&acquired_at),
        "label": info.label.as_deref(),
        "owner": info.owner.as_deref(),
        "heldMs": ms(info.held),
        "idleMs": info.idle_for.map(ms),
        "executingMs": info.executing_for.map(ms),
        "activity": info.activity.name(),
        "transactionStatus": transaction(info.transaction),
        "verdict": info.verdict.name(),
        "reason": reason,
        "reported": info.reported,
        "ownerEnded": info.owner_ended,
        "listening": info.listening,
        "expectedDurationMs": info.expected.map(ms),
        "lastSql": info.last_sql.as_ref().map(|sql| json!({ "text": sql.text, "ageMs": ms(sql.age) })),
        "processID": info.backend_pid,
    })
}

/// The letter that the protocol has for it, as `pg` gives it.
pub(crate) fn transaction(status: leakpool::TransactionStatus) -> &'static str {
    match status {
        leakpool::TransactionStatus::Idle => "I",
        leakpool::TransactionStatus::InTransaction => "T",
        leakpool::TransactionStatus::Failed => "E",
    }
}

pub(crate) fn checkouts(all: &[CheckoutInfo], told: Told<'_>) -> Value {
    all.iter().map(|info| checkout(info, told)).collect()
}

pub(crate) fn revocation(r: &Revocation, told: Told<'_>) -> Value {
    let acquired_at = site_now(&r.site, r.checkout, told);
    json!({
        "id": r.checkout.to_string(),
        "pool": &*r.pool,
        "at": at(r.at),
        "reason": r.reason.name(),
        "location": acquired_at.resolve().culprit.to_string(),
        "site": site(&acquired_at),
        "heldMs": ms(r.held),
        "idleMs": r.idle_for.map(ms),
    })
}

pub(crate) fn exhausted(e: &Exhausted, told: Told<'_>) -> Value {
    json!({
        "diagnosis": e.diagnosis.name(),
        "phase": e.phase.name(),
        "waitedMs": ms(e.waited),
        "max": e.max_size,
        "waiting": e.waiting,
        "ending": e.ending,
        "holders": checkouts(&e.holders, told),
        "lastError": e.last_error,
    })
}

/// Where a pool connects to: the first of its servers, as `pg` shows it.
pub(crate) fn target(config: &ConnectConfig) -> Value {
    let endpoint = config.endpoints.first();
    let host = endpoint.map(|endpoint| match &endpoint.host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    });
    let port = endpoint.map(|endpoint| endpoint.port);
    json!({ "user": config.user, "database": config.dbname, "host": host, "port": port })
}

pub(crate) fn status(s: &PoolStatus) -> Value {
    json!({
        "name": &*s.name, "max": s.max_size, "total": s.size, "idle": s.idle, "active": s.in_use,
        "returning": s.returning, "connecting": s.connecting, "waiting": s.waiting, "ending": s.ending,
        "closed": s.closed, "utilization": s.utilization, "leaked": s.leaked_now,
    })
}

fn histogram(h: &HistogramSnapshot) -> Value {
    json!({
        "count": h.count,
        "sumMs": ms(h.sum),
        "boundsMs": BUCKET_BOUNDS.iter().map(|b| b * 1000.0).collect::<Vec<_>>(),
        "buckets": h.buckets,
    })
}

pub(crate) fn metrics(m: &Metrics) -> Value {
    json!({
        "status": status(&m.status),
        "books": {
            "acquired": m.books.acquired, "released": m.books.released, "forceReleased": m.books.force_released,
            "lost": m.books.lost, "active": m.books.active(),
        },
        "leaks": m.leaks,
        "leaksRecovered": m.leaks_recovered,
        "lateUses": m.late_uses,
        "lateReleases": m.late_releases,
        "dirtyReleases": m.dirty_releases,
        "timeouts": m.timeouts,
        "created": m.created,
        "createErrors": m.create_errors,
        "removed": m.removed,
        "eventsDropped": m.events_dropped,
        "oldestMs": m.oldest_checkout.map(ms),
        "leakRate": m.leak_rate,
        "min": m.min_idle,
        "waitTime": histogram(&m.wait_time),
        "useTime": histogram(&m.use_time),
        "createTime": histogram(&m.create_time),
    })
}

/// One event: `name`, `at`, `pool`, `text`, and what else belongs to it.
pub(crate) fn event(event: &Event, told: Told<'_>) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), camel(event.kind().name()).into());
    map.insert("at".into(), json!(at(event.at)));
    map.insert("pool".into(), (*event.pool).into());
    let body = match &event.data {
        EventData::Leak { checkout: info, .. } => {
            map.insert("reason".into(), json!(event.data.reason()));
            checkout(info, told)
        }
        EventData::LeaksDetected { leaks } => {
            json!({ "count": leaks.len(), "leaks": checkouts(leaks, told) })
        }
        EventData::LeakRecovered { checkout: info } | EventData::LongRunning { checkout: info } => {
            checkout(info, told)
        }
        EventData::ForceRelease { checkout: info, reason } => {
            let mut body = checkout(info, told);
            body["reason"] = reason.name().into();
            body
        }
        EventData::LateUse { revocation: r } | EventData::LateRelease { revocation: r } => {
            revocation(r, told)
        }
        EventData::DirtyRelease { id, site: then, found, last_sql } => {
            let acquired_at = site_now(then, *id, told);
            json!({
                "id": id.to_string(),
                "found": found.name(),
                "location": acquired_at.resolve().culprit.to_string(),
                "site": site(&acquired_at),
                "lastSql": last_sql.as_ref().map(|sql| json!({ "text": sql.text, "ageMs": ms(sql.age) })),
            })
        }
        EventData::Exhausted(e) => exhausted(e, told),
        EventData::Utilization { in_use, max_size } => json!({ "active": in_use, "max": max_size }),
        EventData::Error { code, message } => json!({ "code": code.name(), "message": message }),
        EventData::Remove { reason, backend_pid } => {
            json!({ "reason": reason.name(), "processID": backend_pid })
        }
        EventData::Connect { backend_pid, took } => json!({ "processID": backend_pid, "tookMs": ms(*took) }),
        EventData::Acquire { id, site: then, waited } => {
            let acquired_at = site_now(then, *id, told);
            json!({ "id": id.to_string(), "waitedMs": ms(*waited), "site": site(&acquired_at) })
        }
        EventData::Release { id, held } => json!({ "id": id.to_string(), "heldMs": ms(*held) }),
        // `EventData` may grow; the core's own lists are what has to be complete.
        _ => json!({}),
    };
    if let Value::Object(body) = body {
        for (key, value) in body {
            map.entry(key).or_insert(value);
        }
    }
    Value::Object(map)
}
