//! What the server tests share: a pool on a manual clock, and waiting for a condition.

use std::future::Future;
use std::time::{Duration, Instant};

use leakpool::{ManualClock, Pool, PoolBuilder};

/// The server's URL.
pub fn url() -> String {
    std::env::var("DATABASE_URL")
        .expect("DATABASE_URL is not set: run `make test`, or tests/with-postgres CMD")
}

/// A builder for the test server.
pub fn builder() -> PoolBuilder {
    Pool::builder().dsn(&url())
}

/// A pool that is judged by a clock which the test moves.
pub fn on_manual_clock(configure: impl FnOnce(PoolBuilder) -> PoolBuilder) -> (Pool, ManualClock) {
    let clock = ManualClock::new();
    let pool = configure(builder()).clock(clock.clone()).build().unwrap();
    (pool, clock)
}

/// Waits until `condition` holds. Fails, naming `what`, if it never does.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let location = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let limit = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < limit, "never happened: {what} (waited for at {location})");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A connection of its own, outside any pool, to look at the server with.
pub async fn observer() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// True if the server has a session with this pid.
pub async fn session_exists(observer: &tokio_postgres::Client, pid: u32) -> bool {
    let sql = "SELECT 1 FROM pg_stat_activity WHERE pid = $1";
    !observer.query(sql, &[&(pid as i32)]).await.unwrap().is_empty()
}

/// Waits until the server has no session with this pid.
pub async fn session_gone(observer: &tokio_postgres::Client, pid: u32) {
    let limit = Instant::now() + Duration::from_secs(30);
    while session_exists(observer, pid).await {
        assert!(Instant::now() < limit, "session {pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
