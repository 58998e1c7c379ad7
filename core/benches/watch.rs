//! The leak detector on top of another library's pool: a bare deadpool-postgres with and without it.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use leakpool::{CheckOut, LeakDetector, LeakPolicy, StackCapture};
use support::report::{Row, Section};
use support::rounds::{Contest, Samples};
use support::{Boxed, starts};

const DEPTHS: [(&str, usize); 2] = [("shallow", 0), ("deep", 18)];

fn detector(capture: StackCapture) -> LeakDetector {
    let mut policy = LeakPolicy::default();
    policy.stack_capture = capture;
    LeakDetector::new("bench", policy).unwrap()
}

fn bare(pool: deadpool_postgres::Pool) -> impl FnMut(u64) -> Boxed<'static, Duration> {
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

fn watched(
    pool: deadpool_postgres::Pool,
    detector: LeakDetector,
    with_reclaim: bool,
) -> impl FnMut(u64) -> Boxed<'static, Duration> {
    move |count| {
        let (pool, detector) = (pool.clone(), detector.clone());
        Box::pin(async move {
            let started = Instant::now();
            for _ in 0..count {
                let client = pool.get().await.unwrap();
                let mut checkout = CheckOut::here();
                if with_reclaim {
                    let token = client.cancel_token();
                    checkout = checkout.on_reclaim(move |_| drop(token));
                }
                let id = detector.check_out(checkout).unwrap();
                black_box(&client);
                detector.check_in(id).unwrap();
                drop(client);
            }
            started.elapsed()
        })
    }
}

fn contest() -> Samples {
    let runtime = support::runtime();
    let url = support::database_url();
    let pool = runtime.block_on(async {
        let pool = support::bare_pool(&url, 1);
        support::warm_bare(&pool, 1).await;
        pool
    });
    let [off, site, full] = [StackCapture::Off, StackCapture::Site, StackCapture::Full].map(detector);
    let mut contest = Contest::default();
    for (label, frames) in DEPTHS {
        let runtime = &runtime;
        let mut add = |name: &str, mut work: Box<dyn FnMut(u64) -> Boxed<'static, Duration>>| {
            contest.case(format!("{name}, {label}"), move |count| {
                support::in_task(runtime, frames, work(count))
            });
        };
        add("deadpool-postgres", Box::new(bare(pool.clone())));
        add("watched, off", Box::new(watched(pool.clone(), off.clone(), false)));
        add("watched, site", Box::new(watched(pool.clone(), site.clone(), false)));
        add("watched, full", Box::new(watched(pool.clone(), full.clone(), false)));
        add("watched, full, can be taken back", Box::new(watched(pool.clone(), full.clone(), true)));
    }
    contest.run(12, Duration::from_millis(6))
}

fn main() {
    if !support::asked() {
        return;
    }
    let mut section = Section::new(
        "watch(): tracking on top of another pool",
        "`check_out` after `get().await` and `check_in` before the drop, on a bare deadpool-postgres. What can be \
         taken back carries a closure with the connection's cancel token.",
    );
    let samples = starts::in_starts(3, contest);
    for (label, _) in DEPTHS {
        let name = |case: &str| format!("{case}, {label}");
        let base = name("deadpool-postgres");
        for (case, goal) in [
            ("watched, off", None),
            ("watched, site", None),
            ("watched, full", Some(1.5)),
            ("watched, full, can be taken back", None),
        ] {
            section.row(Row::ratio(&samples, &name(case), &base, goal));
        }
    }
    section.finish("6-watch");
}
