//! The detector under load: how late it tells, what a sweep costs, and whether those who acquire notice it.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use leakpool::{CheckOut, CheckoutId, EventData, EventKind, LeakDetector, LeakPolicy, ManualClock};
use support::report::{Row, Section, time};
use support::rounds::{Spread, quantile};

const LIVE: usize = 100_000;
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
const THRESHOLD: Duration = Duration::from_secs(1);

fn policy() -> LeakPolicy {
    let mut policy = LeakPolicy::default();
    policy.leak_threshold = THRESHOLD;
    policy
}

/// Checkouts that will not be due while we measure.
fn fill(detector: &LeakDetector, count: usize) {
    for _ in 0..count {
        detector.check_out(CheckOut::here().expected(FAR)).unwrap();
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        if started.elapsed() > Duration::from_secs(20) {
            eprintln!("gave up waiting: {what}");
            return;
        }
        thread::sleep(Duration::from_micros(100));
    }
}

// ---- lateness ------------------------------------------------------------------------------------------------

const DUE: usize = 1000;
const OVER: Duration = Duration::from_secs(2);

/// Nanoseconds from the threshold until the callback for the event `leak` runs, sorted; and by how much a thread that
/// does nothing but sleep until given times was late meanwhile: what the machine does to everybody.
fn lateness() -> (Vec<f64>, Vec<f64>) {
    let detector = LeakDetector::new("lateness", policy()).unwrap();
    fill(&detector, LIVE - DUE);
    let begun: Arc<Mutex<HashMap<CheckoutId, Instant>>> = Arc::default();
    let late: Arc<Mutex<Vec<f64>>> = Arc::default();
    let told = {
        let (begun, late) = (begun.clone(), late.clone());
        detector.subscribe(&[EventKind::Leak], move |event| {
            let now = Instant::now();
            let EventData::Leak { checkout, .. } = &event.data else { return };
            let begun = begun.lock().unwrap().get(&checkout.id).copied();
            if let Some(begun) = begun {
                late.lock().unwrap().push((now - begun).saturating_sub(THRESHOLD).as_nanos() as f64);
            }
        })
    };
    let mut sleeper = Vec::with_capacity(DUE);
    let started = Instant::now();
    for i in 0..DUE {
        let at = started + OVER.mul_f64(i as f64 / DUE as f64);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let before = Instant::now();
        sleeper.push((before - at).as_nanos() as f64);
        let id = detector.check_out(CheckOut::here()).unwrap();
        begun.lock().unwrap().insert(id, before);
    }
    wait_until("for every leak to be told", || late.lock().unwrap().len() == DUE);
    drop(told);
    let mut late = std::mem::take(&mut *late.lock().unwrap());
    late.sort_by(f64::total_cmp);
    sleeper.sort_by(f64::total_cmp);
    (late, sleeper)
}

fn report_lateness(section: &mut Section) {
    let (late, sleeper): (Vec<_>, Vec<_>) = (0..5).map(|_| lateness()).unzip();
    let told = "lateness of `leak` after the threshold";
    let control = "lateness of a thread that only sleeps";
    let note = format!("{DUE} due within {} s, each told to a callback", OVER.as_secs());
    for (work, rounds, note, goal) in
        [(told, &late, note.as_str(), Some(5.0)), (control, &sleeper, "meanwhile, for comparison", None)]
    {
        for (name, share, goal) in [("p50", 0.5, None), ("p99", 0.99, goal), ("the latest", 1.0, None)] {
            let values: Vec<f64> = rounds.iter().map(|all| quantile(all, share) / 1e6).collect();
            section.row(Row::value(&format!("{work}, {name}"), "ms", goal, Spread::of(&values), note));
        }
    }
}

// ---- nothing due ---------------------------------------------------------------------------------------------

/// Processor time of the sweeper's thread so far. `None` where there is no /proc.
fn sweeper_time() -> Option<Duration> {
    for task in fs::read_dir("/proc/self/task").ok()?.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        // The kernel keeps 15 characters of a name.
        if name.starts_with("leakpool-sweepe") {
            let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            return stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos);
        }
    }
    None
}

fn report_idle(section: &mut Section) {
    let detector = LeakDetector::new("idle", policy()).unwrap();
    fill(&detector, LIVE);
    // What became due by being scheduled at all is over.
    thread::sleep(Duration::from_millis(300));
    let (mut sweeps, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (before, cpu) = (detector.metrics().sweep_time, sweeper_time());
        let period = Duration::from_secs(1);
        thread::sleep(period);
        let after = detector.metrics().sweep_time;
        sweeps.push((after.count - before.count) as f64);
        if let (Some(before), Some(after)) = (cpu, sweeper_time()) {
            shares.push((after - before).as_secs_f64() * 1e6 / period.as_secs_f64());
        }
    }
    let note = "rounds of the sweeper in which it looked at a checkout, a second";
    let work = "none due";
    section.row(Row::value(&format!("{work}: looks"), "/s", Some(0.0), Spread::of(&sweeps), note));
    if !shares.is_empty() {
        let note = "processor time of the sweeper's thread, a second; its check_interval is 5 s";
        section.row(Row::value(&format!("{work}: sweeper's time"), "µs/s", None, Spread::of(&shares), note));
    }
}

// ---- many due at once ----------------------------------------------------------------------------------------

const AT_ONCE: usize = 100;

/// Milliseconds of sweeping for each time that `AT_ONCE` of `live` become leaks.
fn sweeps(live: usize, policy: LeakPolicy) -> Vec<f64> {
    let clock = ManualClock::new();
    let detector = LeakDetector::with_clock("sweep", policy, Arc::new(clock.clone())).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let _subscription = {
        let told = told.clone();
        detector.subscribe(&[EventKind::Leak], move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        })
    };
    fill(&detector, live - AT_ONCE);
    let mut times = Vec::new();
    for round in 0..25 {
        let ids: Vec<CheckoutId> =
            (0..AT_ONCE).map(|_| detector.check_out(CheckOut::here()).unwrap()).collect();
        let before = detector.metrics().sweep_time;
        told.store(0, Ordering::Relaxed);
        clock.advance(THRESHOLD + Duration::from_millis(1));
        // Not by asking for the metrics, which look at every checkout themselves.
        wait_until("for a sweep to find what is due", || told.load(Ordering::Relaxed) == AT_ONCE as u64);
        wait_until("for the sweep to end", || {
            thread::sleep(Duration::from_millis(1));
            detector.metrics().sweep_time.count > before.count
        });
        if round > 2 {
            times.push((detector.metrics().sweep_time.sum - before.sum).as_secs_f64() * 1e3);
        }
        for id in ids {
            detector.check_in(id).unwrap();
        }
    }
    times
}

fn report_sweep(section: &mut Section) {
    let note = "the whole sweep, with its events";
    let work = |live: usize| format!("sweep with {AT_ONCE} due of {live}");
    for (live, goal) in [(LIVE, Some(1.0)), (1000, None)] {
        let times = sweeps(live, policy());
        section.row(Row::value(&work(live), "ms", goal, Spread::of(&times), note));
    }
    let mut silent = policy();
    silent.max_leaks_before_alert = 0;
    let times = sweeps(LIVE, silent);
    let note = "`max_leaks_before_alert` = 0";
    section.row(Row::value(&work(LIVE), "ms", None, Spread::of(&times), note));
}

// ---- those who acquire meanwhile -----------------------------------------------------------------------------

const SLICE: Duration = Duration::from_millis(150);

/// p99 and maximum of check_out + check_in within a slice, in nanoseconds.
fn latencies(detector: &LeakDetector) -> (f64, f64) {
    let mut all = Vec::with_capacity(400_000);
    let started = Instant::now();
    while started.elapsed() < SLICE {
        for _ in 0..64 {
            let before = Instant::now();
            let id = detector.check_out(CheckOut::here()).unwrap();
            detector.check_in(id).unwrap();
            all.push(before.elapsed().as_nanos() as f64);
        }
    }
    all.sort_by(f64::total_cmp);
    (quantile(&all, 0.99), quantile(&all, 0.999))
}

fn report_disturbance(section: &mut Section) {
    let clock = ManualClock::new();
    let detector = LeakDetector::with_clock("disturbed", policy(), Arc::new(clock.clone())).unwrap();
    let _told = detector.subscribe(&[EventKind::Leak], |_| {});
    fill(&detector, LIVE);
    let (sweeping, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let sweeps = Arc::new(AtomicU64::new(0));
    // Does the same in both cases, but moves the clock in only one: so what differs is the sweeps.
    let driver = {
        let (detector, sweeping, over) = (detector.clone(), sweeping.clone(), over.clone());
        let sweeps = sweeps.clone();
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let ids: Vec<CheckoutId> =
                    (0..AT_ONCE).map(|_| detector.check_out(CheckOut::here()).unwrap()).collect();
                if sweeping.load(Ordering::Relaxed) {
                    clock.advance(THRESHOLD + Duration::from_millis(1));
                    sweeps.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_millis(10));
                for id in ids {
                    detector.check_in(id).unwrap();
                }
            }
        })
    };
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut with = Vec::new();
    let mut without = Vec::new();
    for round in 0..=16 {
        let mut measured = [(0.0, 0.0); 2];
        for turn in [round % 2, 1 - round % 2] {
            sweeping.store(turn == 1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(25));
            measured[turn] = latencies(&detector);
        }
        if round > 0 {
            ratios[0].push(measured[1].0 / measured[0].0);
            ratios[1].push(measured[1].1 / measured[0].1);
            with.push(measured[1].0);
            without.push(measured[0].0);
        }
    }
    over.store(true, Ordering::Relaxed);
    driver.join().unwrap();
    let note = format!(
        "{} against {}; {AT_ONCE} leaks every 10 ms or none, {LIVE} live",
        time(Spread::of(&with).median),
        time(Spread::of(&without).median)
    );
    let work = "check_out + check_in during sweeps";
    let mut row = Row::value(&format!("{work}, p99"), "x", Some(1.1), Spread::of(&ratios[0]), note);
    row.against = "without".into();
    section.row(row);
    let mut row = Row::value(&format!("{work}, p99.9"), "x", None, Spread::of(&ratios[1]), "");
    row.against = "without".into();
    section.row(row);
}

fn main() {
    if !support::asked() {
        return;
    }
    let mut late = Section::new(
        "Detection: lateness",
        "A `LeakDetector` on the real clock with 100,000 live checkouts, most of them announced as long ones.",
    );
    report_lateness(&mut late);
    late.finish("3-lateness");
    let mut sweep = Section::new(
        "Sweep",
        "A `LeakDetector` with 100,000 live checkouts. The cost is to follow what is due, not what is live.",
    );
    report_idle(&mut sweep);
    report_sweep(&mut sweep);
    report_disturbance(&mut sweep);
    sweep.finish("4-sweep");
}
