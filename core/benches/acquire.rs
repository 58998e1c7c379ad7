//! Acquire and release of an idle connection: leakpool against the pool that it is built on, as users call both.
//!
//! Nothing is sent to the server, so this is the library's own time and nothing else.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use deadpool::managed::Timeouts;
use leakpool::{EventKind, Pool, StackCapture, Subscription};
use support::report::{Row, Section};
use support::rounds::{Contest, Samples};
use support::{Boxed, starts};
use tokio::runtime::Runtime;

/// Async functions between the task and the acquire: none, and what a web application has.
const DEPTHS: [(&str, usize); 2] = [("shallow", 0), ("deep", 18)];
const NOW: Timeouts = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };

struct Pools {
    bare: deadpool_postgres::Pool,
    off: Pool,
    site: Pool,
    full: Pool,
    /// `full`, and somebody listens to every event but those that come with each acquire.
    leaks: Pool,
    /// `full`, and somebody listens to everything.
    all: Pool,
    _subscriptions: Vec<Subscription>,
}

impl Pools {
    async fn new(max_size: usize) -> Pools {
        let url = support::database_url();
        let our = |capture| support::our_pool(&url, max_size, capture);
        let bare = support::bare_pool(&url, max_size);
        support::warm_bare(&bare, max_size).await;
        let [off, site, full] = [StackCapture::Off, StackCapture::Site, StackCapture::Full].map(our);
        let [leaks, all] = [our(StackCapture::Full), our(StackCapture::Full)];
        for pool in [&off, &site, &full, &leaks, &all] {
            support::warm_ours(pool, max_size).await;
        }
        let quiet: Vec<EventKind> = EventKind::ALL
            .iter()
            .copied()
            .filter(|kind| !matches!(kind, EventKind::Acquire | EventKind::Release))
            .collect();
        let listen = |event: &leakpool::Event| {
            black_box(event.kind());
        };
        let subscriptions = vec![leaks.subscribe(&quiet, listen), all.subscribe(EventKind::ALL, listen)];
        Pools { bare, off, site, full, leaks, all, _subscriptions: subscriptions }
    }
}

fn bare_loop(pool: deadpool_postgres::Pool) -> impl FnMut(u64) -> Boxed<'static, Duration> {
    move |count| {
        let pool = pool.clone();
        Box::pin(async move {
            let started = Instant::now();
            for _ in 0..count {
                drop(black_box(pool.get().await.unwrap()));
            }
            started.elapsed()
        })
    }
}

fn zero_wait_loop(pool: deadpool_postgres::Pool) -> impl FnMut(u64) -> Boxed<'static, Duration> {
    move |count| {
        let pool = pool.clone();
        Box::pin(async move {
            let started = Instant::now();
            for _ in 0..count {
                drop(black_box(pool.timeout_get(&NOW).await.unwrap()));
            }
            started.elapsed()
        })
    }
}

fn our_loop(pool: &Pool) -> impl FnMut(u64) -> Boxed<'static, Duration> + use<> {
    let pool = pool.clone();
    move |count| {
        let pool = pool.clone();
        Box::pin(async move {
            let started = Instant::now();
            for _ in 0..count {
                drop(black_box(pool.acquire().await.unwrap()));
            }
            started.elapsed()
        })
    }
}

fn alone(runtime: &Runtime) -> Samples {
    let pools = runtime.block_on(Pools::new(1));
    let mut contest = Contest::default();
    for (label, frames) in DEPTHS {
        let mut add = |name: &str, mut work: Box<dyn FnMut(u64) -> Boxed<'static, Duration>>| {
            contest.case(format!("{name}, {label}"), move |count| {
                support::in_task(runtime, frames, work(count))
            });
        };
        add("deadpool-postgres", Box::new(bare_loop(pools.bare.clone())));
        add("deadpool-postgres with a zero wait", Box::new(zero_wait_loop(pools.bare.clone())));
        add("off", Box::new(our_loop(&pools.off)));
        add("site", Box::new(our_loop(&pools.site)));
        add("full", Box::new(our_loop(&pools.full)));
        add("full, leak events subscribed", Box::new(our_loop(&pools.leaks)));
        add("full, every event subscribed", Box::new(our_loop(&pools.all)));
    }
    let samples = contest.run(12, Duration::from_millis(6));
    let frames = |pool: &Pool| pool.sites().iter().map(|s| s.addresses().len() as f64).fold(0.0, f64::max);
    let mut samples = samples;
    samples.0.push(("frames".into(), vec![frames(&pools.full)]));
    samples
}

const TASKS: usize = 4;

/// Four tasks on two workers share a pool; each lets others run while it holds.
fn contended(runtime: &Runtime) -> Samples {
    let mut contest = Contest::default();
    for max_size in [4, 2] {
        let pools = Arc::new(runtime.block_on(Pools::new(max_size)));
        let name = |mode: &str| format!("{mode}, {TASKS} tasks, pool of {max_size}");
        let bare = pools.bare.clone();
        contest.case(name("deadpool-postgres"), move |count| {
            let bare = bare.clone();
            in_tasks(runtime, count, move |each| {
                let bare = bare.clone();
                async move {
                    for _ in 0..each {
                        let held = bare.get().await.unwrap();
                        tokio::task::yield_now().await;
                        drop(black_box(held));
                    }
                }
            })
        });
        for (mode, pool) in [("off", &pools.off), ("site", &pools.site), ("full", &pools.full)] {
            let pool = pool.clone();
            contest.case(name(mode), move |count| {
                let pool = pool.clone();
                in_tasks(runtime, count, move |each| {
                    let pool = pool.clone();
                    async move {
                        for _ in 0..each {
                            let held = pool.acquire().await.unwrap();
                            tokio::task::yield_now().await;
                            drop(black_box(held));
                        }
                    }
                })
            });
        }
    }
    contest.run(10, Duration::from_millis(10))
}

/// Lets the tasks do `count` acquires together; the time until the last one is done.
fn in_tasks<F>(runtime: &Runtime, count: u64, work: impl Fn(u64) -> F) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let started = Instant::now();
        let each = count.div_ceil(TASKS as u64);
        let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(work(each))).collect();
        for task in tasks {
            task.await.unwrap();
        }
        started.elapsed()
    })
}

/// Absolute times, by criterion's statistics.
fn absolute() {
    let runtime = support::runtime();
    let pools = runtime.block_on(Pools::new(1));
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    let mut group = criterion.benchmark_group("acquire");
    let (_, frames) = DEPTHS[1];
    let mut bare = bare_loop(pools.bare.clone());
    group.bench_function("deadpool-postgres", |b| {
        b.iter_custom(|count| support::in_task(&runtime, frames, bare(count)));
    });
    for (mode, pool) in [("off", &pools.off), ("site", &pools.site), ("full", &pools.full)] {
        let mut work = our_loop(pool);
        group.bench_function(mode, |b| {
            b.iter_custom(|count| support::in_task(&runtime, frames, work(count)));
        });
    }
    group.finish();
}

fn main() {
    if !support::asked() {
        return;
    }
    let mut section = Section::new(
        "Acquire and release of an idle connection",
        "Within a tokio task on a runtime with two workers. `deep` is below 18 `async` functions that await one \
         another. `get().await` as users of deadpool-postgres call it takes part in tokio's cooperative \
         budget, ours does only when it has to wait. The contended cases hold across one `yield_now`.",
    );
    let samples = starts::in_starts(3, || {
        let runtime = support::runtime();
        let mut samples = alone(&runtime);
        samples.merge(contended(&runtime));
        samples
    });
    let goals = [
        ("off", None),
        ("site", Some(1.3)),
        ("full", Some(2.0)),
        ("full, leak events subscribed", Some(2.0)),
        ("full, every event subscribed", None),
        ("deadpool-postgres with a zero wait", None),
    ];
    for (label, _) in DEPTHS {
        for (mode, goal) in goals {
            let base = format!("deadpool-postgres, {label}");
            let row = Row::ratio(&samples, &format!("{mode}, {label}"), &base, goal);
            section.row(match (mode, label) {
                ("full", "deep") => row.note(&format!("{} frames", samples.median("frames"))),
                _ => row,
            });
        }
    }
    for max_size in [4, 2] {
        let name = |mode: &str| format!("{mode}, {TASKS} tasks, pool of {max_size}");
        for (mode, goal) in [("off", None), ("site", Some(1.3)), ("full", Some(2.0))] {
            section.row(Row::ratio(&samples, &name(mode), &name("deadpool-postgres"), goal));
        }
    }
    section.finish("1-acquire");
    absolute();
}
