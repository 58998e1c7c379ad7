//! What the server tests share: a pool on a manual clock, and waiting for a condition.

use std::future::Future;
use std::time::{Duration, Instant};

use leakpool::{Books, Connection, ErrorCode, Event, EventKind, Events, ManualClock, Pool, PoolBuilder};

/// What must happen at all must happen within that; nothing ever waits for it to pass.
pub const LIMIT: Duration = Duration::from_secs(30);

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
        let limit = Instant::now() + LIMIT;
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
    let limit = Instant::now() + LIMIT;
    while session_exists(observer, pid).await {
        assert!(Instant::now() < limit, "session {pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for the next event, which is to be of this kind.
#[track_caller]
pub fn expect_event(events: &Events, kind: EventKind) -> impl Future<Output = Event> {
    let location = std::panic::Location::caller();
    async move {
        let event = tokio::time::timeout(LIMIT, events.recv()).await;
        let event = event.ok().flatten().unwrap_or_else(|| panic!("no event {} ({location})", kind.name()));
        assert_eq!(event.kind(), kind, "{:?} ({location})", event.data);
        event
    }
}

/// As many connections as the pool may have can be checked out at once, and not one more. The pool must be quiet.
pub async fn at_full_capacity(pool: &Pool) {
    let max_size = pool.options().max_size;
    let mut all = Vec::new();
    for i in 0..max_size {
        let one = tokio::time::timeout(LIMIT, pool.acquire()).await;
        let one = one.unwrap_or_else(|_| panic!("the {i}th of {max_size} hangs: {}", pool.status()));
        let one = one.unwrap_or_else(|e| panic!("the {i}th of {max_size}: {e}"));
        one.batch_execute("SELECT 1").await.unwrap();
        all.push(one);
    }
    assert_eq!(pool.status().in_use, max_size);
    assert_eq!(pool.try_acquire().unwrap_err().code(), ErrorCode::NoneIdle, "one more than {max_size}");
    let waiter = tokio::spawn(pool.acquire_with(leakpool::AcquireOptions::new().timeout(Duration::ZERO)));
    let waits = || pool.status().waiting == 1;
    eventually("one more waits, or does not", || waits() || waiter.is_finished()).await;
    assert!(waits(), "there is a place more than {max_size}");
    waiter.abort();
    eventually("it waits no more", || !waits()).await;
    let pids: std::collections::HashSet<_> = all.iter().map(|c| c.backend_pid()).collect();
    assert_eq!(pids.len(), max_size, "two hold one session");
}

/// The books balance and nobody holds anything.
#[track_caller]
pub fn books_balance(pool: &Pool) -> Books {
    let books = pool.metrics().books;
    assert_eq!(books.acquired, books.released + books.force_released + books.lost, "{books:?}");
    assert_eq!(pool.checkouts().len(), 0);
    books
}

/// A table of its own for one test, gone when the server is.
pub async fn table(observer: &tokio_postgres::Client, name: &str) {
    let sql = format!("DROP TABLE IF EXISTS {name}; CREATE UNLOGGED TABLE {name} (x int)");
    observer.batch_execute(&sql).await.unwrap();
}

/// How many rows a table has.
pub async fn rows(observer: &tokio_postgres::Client, table: &str) -> i64 {
    observer.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// The server's `host:port`, as the URL names it.
pub fn server_address() -> String {
    let url = url();
    let rest = url.rsplit_once('@').map_or(url.as_str(), |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    rest[..end].to_owned()
}

/// The same URL with another address.
pub fn url_at(address: &str) -> String {
    url().replace(&server_address(), address)
}

/// Says why a test is not run. Where everything has to be (`make test`), that is a failure.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("LEAKPOOL_TEST_ALL").is_none(), "a test may not be skipped here: {why}");
    eprintln!("skipped: {why}");
}

/// True if `pid` is a server process on this machine that we may signal; says why if it is not.
pub fn may_signal(pid: u32) -> bool {
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let local = comm.trim_end().starts_with("postgres") && server_address().starts_with("127.0.0.1:");
    if !local {
        skipped(&format!("process {pid} of the server is not on this machine"));
    }
    local
}

/// A server process that stands still until this is dropped.
pub struct Stopped(i32);

impl Stopped {
    /// Stops a server process that [`may_signal`].
    pub fn stop(pid: u32) -> Stopped {
        let pid = pid as i32;
        // SAFETY: kill has no memory effects; the pid was looked at by `may_signal`.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.0, libc::SIGCONT) };
    }
}

/// What a failed use of a revoked checkout must be.
#[track_caller]
pub fn is_force_released(connection: &Connection, e: tokio_postgres::Error) {
    let text = e.to_string();
    let e = connection.error(e);
    assert_eq!(e.code(), ErrorCode::ForceReleased, "{text}: {e}");
    assert!(e.to_string().contains("was acquired at"), "{e}");
}
