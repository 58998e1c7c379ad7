//! What every benchmark shares: interleaved rounds, statistics, the report. Nothing here knows what is measured.

// Each benchmark is a program of its own and uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod plot;
pub mod report;
pub mod rounds;
pub mod starts;
pub mod versions;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use leakpool::{Pool, StackCapture};
use tokio::runtime::Runtime;

/// True when `cargo bench` runs it; `cargo test --benches` only wants to see it start.
pub fn asked() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// The server to measure against.
pub fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL: run this through tests/with-postgres or make bench")
}

/// The runtime of an ordinary service, with as many workers on every machine.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// deadpool-postgres as its users make it.
pub fn bare_pool(url: &str, max_size: usize) -> deadpool_postgres::Pool {
    let mut config = deadpool_postgres::Config::new();
    config.url = Some(url.to_string());
    config.pool = Some(deadpool_postgres::PoolConfig::new(max_size));
    config.create_pool(Some(deadpool_postgres::Runtime::Tokio1), tokio_postgres::NoTls).unwrap()
}

/// leakpool with every option at its default but these. To be called within a runtime. Without TLS, as the bare one:
/// by default ours would encrypt where the server can.
pub fn our_pool(url: &str, max_size: usize, capture: StackCapture) -> Pool {
    let dsn = format!("{url}{}sslmode=disable", if url.contains('?') { '&' } else { '?' });
    Pool::builder().dsn(&dsn).max_size(max_size).stack_capture(capture).build().unwrap()
}

/// Makes `count` connections, all idle and settled when it returns.
pub async fn warm_bare(pool: &deadpool_postgres::Pool, count: usize) {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(pool.get().await.unwrap());
    }
}

/// The same for ours.
pub async fn warm_ours(pool: &Pool, count: usize) {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(pool.acquire().await.unwrap());
    }
    drop(held);
    while pool.status().idle < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A future that can be moved between threads.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// `work` below that many `async` functions that await one another, as in a web application.
pub fn at_depth<'a, T: Send + 'a>(frames: usize, work: Boxed<'a, T>) -> Boxed<'a, T> {
    if frames == 0 {
        return work;
    }
    Box::pin(async move {
        let result = at_depth(frames - 1, work).await;
        std::hint::black_box(frames);
        result
    })
}

/// Runs `work` as a task of its own, that many async frames deep.
pub fn in_task(runtime: &Runtime, frames: usize, work: Boxed<'static, Duration>) -> Duration {
    runtime.block_on(async { tokio::spawn(at_depth(frames, work)).await }).unwrap()
}
