//! Acquire, one prepared `SELECT 1`, release: what the wire observer costs. Client and server on the same CPU and
//! on different ones, as the time of a round trip depends on that more than on anything else.

#![allow(clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use leakpool::{Pool, StackCapture};
use support::report::{Row, Section};
use support::rounds::{Contest, Samples};
use support::{starts, versions};

const SQL: &str = "SELECT 1";
const SIZES: [(usize, &str); 2] = [(1, "pool of 1"), (4, "pool of 4")];

async fn on_bare(pool: deadpool_postgres::Pool, count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        let client = pool.get().await.unwrap();
        let statement = client.prepare_cached(SQL).await.unwrap();
        black_box(client.query(&statement, &[]).await.unwrap());
    }
    started.elapsed()
}

async fn on_ours(pool: Pool, count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        let client = pool.acquire().await.unwrap();
        let statement = client.prepare_cached(SQL).await.unwrap();
        black_box(client.query(&statement, &[]).await.unwrap());
    }
    started.elapsed()
}

/// The same by our own convenience.
async fn by_fetch(pool: Pool, count: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..count {
        let client = pool.acquire().await.unwrap();
        black_box(client.fetch(SQL, &[]).await.unwrap());
    }
    started.elapsed()
}

fn contest() -> Samples {
    let runtime = support::runtime();
    let url = support::database_url();
    let mut contest = Contest::default();
    let mut server = None;
    for (size, case) in SIZES {
        let bare = support::bare_pool(&url, size);
        let full = runtime.block_on(async {
            support::warm_bare(&bare, size).await;
            let full = support::our_pool(&url, size, StackCapture::Full);
            support::warm_ours(&full, size).await;
            server = full.acquire().await.unwrap().backend_pid().and_then(versions::cpus_of);
            full
        });
        let (runtime, fetch) = (&runtime, full.clone());
        contest.case(format!("deadpool-postgres, {case}"), move |count| {
            support::in_task(runtime, 0, Box::pin(on_bare(bare.clone(), count)))
        });
        contest.case(format!("full, {case}"), move |count| {
            support::in_task(runtime, 0, Box::pin(on_ours(full.clone(), count)))
        });
        contest.case(format!("full by `fetch`, {case}"), move |count| {
            support::in_task(runtime, 0, Box::pin(by_fetch(fetch.clone(), count)))
        });
    }
    let mut samples = contest.run(15, Duration::from_millis(20));
    // A pinned server shows one CPU; -1 = it may be anywhere.
    let server = server.and_then(|cpus| cpus.parse::<f64>().ok()).unwrap_or(-1.0);
    samples.0.push(("server's CPU".into(), vec![server]));
    samples
}

fn main() {
    if !support::asked() {
        return;
    }
    if starts::is_child() {
        starts::finish_child(&contest());
    }
    let mut section = Section::new(
        "A query through the pool",
        "acquire, `prepare_cached`, `query` of `SELECT 1` over loopback, release. `fetch` is our own convenience, \
         which keeps its statement as well.",
    );
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut places: Vec<Option<usize>> = (0..cpus.min(2)).map(Some).collect();
    places.push(None);
    for cpu in places {
        let mut samples = Samples::default();
        for _ in 0..2 {
            samples.merge(starts::start_once("query", cpu).unwrap_or_default());
        }
        if samples.0.is_empty() {
            eprintln!("the client could not be pinned to CPU {cpu:?}; that row is missing");
            continue;
        }
        let place = match (cpu, samples.median("server's CPU")) {
            (Some(cpu), at) if at == cpu as f64 => "client and server on the same CPU".to_string(),
            (Some(_), at) if at >= 0.0 => "client and server on different CPUs".into(),
            (Some(cpu), _) => format!("client on CPU {cpu}, server anywhere"),
            (None, at) if at >= 0.0 => "client anywhere, server on one CPU".into(),
            (None, _) => "client and server anywhere".into(),
        };
        for (_, size) in SIZES {
            for case in ["full", "full by `fetch`"] {
                let base = format!("deadpool-postgres, {size}");
                section.row(Row::ratio(&samples, &format!("{case}, {size}"), &base, None).note(&place));
            }
        }
    }
    section.finish("7-query");
}
