//! Laws 2 to 4: settled means that nothing is in flight, of any kind and in either direction; idle, that the server owes
//! nothing and no byte moves. Half-written messages, statements that wait in Parse, copies that failed, goodbyes that are
//! not heard, cancels that nobody confirms, requests that were sent behind the one that is cancelled.

use std::time::Duration;

use futures_util::SinkExt;
use leakpool::{Activity, ErrorCode, EventKind, Pool, RemoveReason};

use crate::proxy::Proxy;
use crate::support::*;

/// Longer than what sockets and proxies on the way buffer.
const LONG: usize = 20_000_000;

/// Longer than `force_release_after`.
const FORCED: Duration = Duration::from_secs(600);

/// A pool of one connection through a proxy, which sees what passes.
fn through(proxy: &Proxy) -> Pool {
    let url = proxy.url();
    let dsn = format!("{url}{}sslmode=disable", if url.contains('?') { '&' } else { '?' });
    Pool::builder().dsn(&dsn).max_size(1).build().unwrap()
}

/// An `ACCESS EXCLUSIVE` lock on a table, as a migration takes it, until this is dropped.
struct Locked(Option<tokio_postgres::Client>);

impl Locked {
    async fn table(name: &str) -> Locked {
        let other = observer().await;
        other.batch_execute(&format!("BEGIN; LOCK TABLE {name}")).await.unwrap();
        Locked(Some(other))
    }

    async fn let_go(mut self) {
        self.0.take().unwrap().batch_execute("ROLLBACK").await.unwrap();
    }
}

/// The server says that the session waits for a lock.
async fn waits_for_a_lock(watcher: &tokio_postgres::Client, pid: u32) {
    let limit = std::time::Instant::now() + LIMIT;
    let sql =
        "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock' AND state = 'active'";
    while watcher.query(sql, &[&(pid as i32)]).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < limit, "session {pid} does not wait for a lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next holder writes a row outside of anybody's transaction, and nothing of the last one's is there.
async fn next_commits_alone(pool: &Pool, watcher: &tokio_postgres::Client, table: &str) {
    let next = tokio::time::timeout(LIMIT, pool.acquire()).await.expect("the acquire hangs").unwrap();
    next.execute(&format!("INSERT INTO {table} VALUES (2)"), &[]).await.unwrap();
    drop(next);
    eventually("it is back", || pool.status().returning == 0).await;
    assert_eq!(
        rows(watcher, &format!("{table} WHERE x = 1")).await,
        0,
        "the first holder's row was committed"
    );
    assert_eq!(rows(watcher, &format!("{table} WHERE x = 2")).await, 1, "the second holder's row is lost");
}

#[tokio::test]
async fn a_half_written_message_is_in_flight() {
    let watcher = observer().await;
    table(&watcher, "half_written").await;
    let proxy = Proxy::start();
    let pool = through(&proxy);
    let held = pool.acquire().await.unwrap();
    proxy.hold_requests(true);
    let sql = format!("BEGIN; INSERT INTO half_written VALUES (1); --{}", "x".repeat(LONG));
    {
        let mut sent = Box::pin(held.batch_execute(&sql));
        let _ = futures_util::poll!(&mut sent);
    }
    tokio::task::yield_now().await;
    assert_eq!(pool.checkouts()[0].activity, Activity::Executing, "it is being sent");
    drop(held);
    let status = pool.status();
    assert_eq!((status.returning, status.idle), (1, 0), "half a message is not settled");
    proxy.hold_requests(false);
    next_commits_alone(&pool, &watcher, "half_written").await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_half_written_exchange_is_in_flight() {
    let watcher = observer().await;
    table(&watcher, "half_exchanged").await;
    let proxy = Proxy::start();
    let pool = through(&proxy);
    let held = pool.acquire().await.unwrap();
    proxy.hold_requests(true);
    let sql = format!("BEGIN; INSERT INTO half_exchanged VALUES (1); --{}", "x".repeat(LONG));
    drop(held.exchange().simple(&sql).unwrap());
    // Asked for and given up before it began: it may be sent, or not.
    let again = held.exchange().simple("BEGIN; INSERT INTO half_exchanged VALUES (1)").unwrap();
    drop(again);
    drop(held);
    let status = pool.status();
    assert_eq!((status.returning, status.idle), (1, 0), "half a message is not settled");
    proxy.hold_requests(false);
    next_commits_alone(&pool, &watcher, "half_exchanged").await;
    pool.close().await.unwrap();
}

/// Short messages on a slow link, cut off where it happens to be: whatever is checked out is settled.
#[tokio::test]
async fn what_is_given_up_at_any_moment_is_in_flight() {
    let watcher = observer().await;
    table(&watcher, "given_up").await;
    let pool = builder().max_size(1).build().unwrap();
    for round in 0..40_u64 {
        let held = pool.acquire().await.unwrap();
        let size = [20, 40_000, 400_000, 4_000_000][round as usize % 4];
        let sql = format!("BEGIN; INSERT INTO given_up VALUES (1); --{}", "x".repeat(size));
        let _ = tokio::time::timeout(Duration::from_micros(50 * round), held.batch_execute(&sql)).await;
        drop(held);
        let next = pool.acquire().await.unwrap();
        next.execute("INSERT INTO given_up VALUES (2)", &[]).await.unwrap();
        drop(next);
        assert_eq!(rows(&watcher, "given_up WHERE x = 2").await, round as i64 + 1);
    }
    assert_eq!(rows(&watcher, "given_up WHERE x = 1").await, 0);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn what_is_queued_behind_a_describe_that_waits_is_nobody_elses() {
    let watcher = observer().await;
    table(&watcher, "behind_describe").await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let locked = Locked::table("behind_describe").await;
    {
        let mut described = Box::pin(held.exchange().describe("SELECT * FROM behind_describe", &[]));
        let _ = futures_util::poll!(&mut described);
        waits_for_a_lock(&watcher, held.backend_pid().unwrap()).await;
        let mut queued = Box::pin(held.batch_execute("BEGIN; INSERT INTO behind_describe VALUES (1)"));
        let _ = futures_util::poll!(&mut queued);
    }
    drop(held);
    assert_eq!(pool.status().returning, 1);
    locked.let_go().await;
    next_commits_alone(&pool, &watcher, "behind_describe").await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_waits_in_parse_executes() {
    let watcher = observer().await;
    table(&watcher, "parsed_late").await;
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::Leak, EventKind::ForceRelease]);
    let held = std::sync::Arc::new(pool.acquire().await.unwrap());
    let pid = held.backend_pid().unwrap();
    let locked = Locked::table("parsed_late").await;
    let theirs = held.clone();
    let query = tokio::spawn(async move { theirs.query("SELECT x FROM parsed_late", &[]).await });
    waits_for_a_lock(&watcher, pid).await;
    clock.advance(FORCED);
    let checkout = &pool.checkouts()[0];
    assert_eq!((checkout.activity, checkout.verdict.name()), (Activity::Executing, "busy"));
    assert_eq!(checkout.last_sql.as_ref().map(|sql| &*sql.text), Some("SELECT x FROM parsed_late"));
    // A cancel reaches it.
    held.cancel().unwrap();
    let e = query.await.unwrap().unwrap_err();
    assert_eq!(e.code().map(|c| c.code()), Some("57014"), "{e}");
    assert!(events.try_recv().is_none(), "an honest statement was flagged");
    locked.let_go().await;
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_waits_in_parse_is_not_handed_out_and_is_cancelled_when_it_is_given_up() {
    let watcher = observer().await;
    table(&watcher, "parsed_never").await;
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    let locked = Locked::table("parsed_never").await;
    {
        let mut query = Box::pin(held.query("SELECT x FROM parsed_never", &[]));
        let _ = futures_util::poll!(&mut query);
        waits_for_a_lock(&watcher, pid).await;
    }
    drop(held);
    assert_eq!((pool.status().returning, pool.status().idle), (1, 0));
    clock.advance(pool.options().reset_timeout + Duration::from_millis(1));
    // The lock is still there: only a cancel ends the session.
    session_gone(&watcher, pid).await;
    at_full_capacity(&pool).await;
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    {
        let mut query = Box::pin(held.query("SELECT x FROM parsed_never", &[]));
        let _ = futures_util::poll!(&mut query);
        waits_for_a_lock(&watcher, pid).await;
    }
    pool.force_release(held.id()).unwrap();
    session_gone(&watcher, pid).await;
    drop(held);
    locked.let_go().await;
    pool.close().await.unwrap();
}

/// A parameter on its way is at work, however long it takes; nothing is taken back while bytes move.
#[tokio::test]
async fn an_upload_executes() {
    let proxy = Proxy::start();
    let clock = leakpool::ManualClock::new();
    let pool = Pool::builder().dsn(&proxy.url()).max_size(1).clock(clock.clone()).build().unwrap();
    let held = std::sync::Arc::new(pool.acquire().await.unwrap());
    let statement = held.prepare("SELECT length($1)").await.unwrap();
    proxy.hold_requests(true);
    let theirs = held.clone();
    let query = tokio::spawn(async move { theirs.query_one(&statement, &[&"x".repeat(LONG)]).await });
    eventually("it is under way", || pool.checkouts()[0].activity == Activity::Executing).await;
    clock.advance(FORCED);
    assert_eq!(pool.checkouts()[0].verdict.name(), "busy");
    proxy.hold_requests(false);
    assert_eq!(query.await.unwrap().unwrap().get::<_, i32>(0), LONG as i32);
    drop(held);
    pool.close().await.unwrap();
}

/// The server has refused a copy, and skips everything up to the Sync that its sender still owes.
#[tokio::test]
async fn a_copy_that_failed_is_in_flight_until_its_sync() {
    let watcher = observer().await;
    table(&watcher, "copied_badly").await;
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::Remove]);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    let sink = held.copy_in::<_, bytes::Bytes>("COPY copied_badly FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"no number\n")).await.unwrap();
    sink.flush().await.unwrap();
    let idle =
        "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND query LIKE 'COPY%' AND wait_event = 'ClientRead'";
    eventually("the copy has begun", || pool.checkouts()[0].activity == Activity::Stalled).await;
    let limit = std::time::Instant::now() + LIMIT;
    while watcher.query(idle, &[&(pid as i32)]).await.unwrap().is_empty() {
        assert!(std::time::Instant::now() < limit, "the server does not wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(held);
    assert_eq!((pool.status().returning, pool.status().idle), (1, 0), "it owes a Sync");
    clock.advance(pool.options().reset_timeout + Duration::from_millis(1));
    let removed = expect_event(&events, EventKind::Remove).await;
    assert!(matches!(removed.data, leakpool::EventData::Remove { reason: RemoveReason::Reset, .. }));
    session_gone(&watcher, pid).await;
    let next = pool.acquire().await.unwrap();
    next.batch_execute("SELECT 1").await.unwrap();
    drop(next);
    // With its sink gone, the Sync comes, and the session is handed out again.
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    let sink = held.copy_in::<_, bytes::Bytes>("COPY copied_badly FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"no number\n")).await.unwrap();
    drop((held, sink));
    let next = tokio::time::timeout(LIMIT, pool.acquire()).await.expect("never settled").unwrap();
    assert_eq!(next.backend_pid(), pid);
    next.batch_execute("SELECT 1").await.unwrap();
    drop(next);
    pool.close().await.unwrap();
}

/// A server that does not hear the Terminate of a session does not keep it open: a Terminate has a limit.
#[tokio::test]
async fn a_goodbye_that_is_not_heard_has_a_limit() {
    let watcher = observer().await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    if !may_signal(pid) {
        return;
    }
    let port: i32 = held.query_one("SELECT inet_client_port()", &[]).await.unwrap().get(0);
    let statement = held.prepare("SELECT 1").await.unwrap();
    let stopped = Stopped::stop(pid);
    // A batch of Close and Sync, which the server does not answer.
    drop(statement);
    drop(held);
    eventually("it is back", || pool.status().idle == 1).await;
    pool.drain().unwrap();
    assert_eq!(pool.status().idle, 0);
    eventually("its socket is closed", || !has_socket(port)).await;
    drop(stopped);
    session_gone(&watcher, pid).await;
    pool.close().await.unwrap();
}

/// What was discarded while a statement waited ends with the pool, not with the lock.
#[tokio::test]
async fn a_discarded_session_that_waits_is_ended() {
    let watcher = observer().await;
    table(&watcher, "discarded").await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    let locked = Locked::table("discarded").await;
    {
        let mut query = Box::pin(held.query("SELECT x FROM discarded", &[]));
        let _ = futures_util::poll!(&mut query);
        waits_for_a_lock(&watcher, pid).await;
    }
    drop(held);
    pool.drain().unwrap();
    pool.close_within(Duration::from_millis(50)).await.unwrap();
    drop(pool);
    session_gone(&watcher, pid).await;
    locked.let_go().await;
}

/// Nobody can know whether it arrives, and when: the next holder's statement must not be what it hits.
#[tokio::test]
async fn a_session_whose_cancel_is_not_confirmed_is_not_handed_out_again() {
    let watcher = observer().await;
    let proxy = Proxy::start();
    let pool = through(&proxy);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    proxy.cut_cancels(true);
    {
        let mut running = Box::pin(held.batch_execute("SELECT pg_sleep(0.2)"));
        let _ = futures_util::poll!(&mut running);
        eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
        held.cancel().unwrap();
        running.await.unwrap();
    }
    eventually("it was cut off", || proxy.cancels() == 1).await;
    drop(held);
    let next = tokio::time::timeout(LIMIT, pool.acquire()).await.expect("the acquire hangs").unwrap();
    let theirs = tokio::spawn(async move {
        let result = next.batch_execute("SELECT pg_sleep(0.3)").await;
        (next, result)
    });
    eventually("it runs", || pool.checkouts().first().is_some_and(|c| c.activity == Activity::Executing))
        .await;
    proxy.cut_cancels(false);
    eventually("it has arrived", || proxy.cancels_delivered() == 1).await;
    let (next, result) = theirs.await.unwrap();
    result.unwrap();
    assert_ne!(next.backend_pid(), pid);
    session_gone(&watcher, pid.unwrap()).await;
    drop(next);
    pool.close().await.unwrap();
}

/// What was sent behind the statement that is cancelled does not run, and its holder is told what may have.
#[tokio::test]
async fn what_was_sent_behind_a_cancelled_statement_does_not_run() {
    let watcher = observer().await;
    table(&watcher, "sent_behind").await;
    let pool = builder().max_size(1).build().unwrap();
    for round in 0..10 {
        let held = pool.acquire().await.unwrap();
        let (id, pid) = (held.id(), held.backend_pid().unwrap());
        let sql = format!("INSERT INTO sent_behind VALUES ({round})");
        let shown = sql.clone();
        let holder = tokio::spawn(async move {
            let both = tokio::join!(held.batch_execute("SELECT pg_sleep(20)"), held.batch_execute(&sql));
            (held, both)
        });
        eventually("both are sent", || {
            pool.checkouts()[0].last_sql.as_ref().is_some_and(|sql| *sql.text == *shown)
        })
        .await;
        pool.force_release(id).unwrap();
        let (held, (first, second)) = holder.await.unwrap();
        for sent in [first, second] {
            let e = held.error(sent.unwrap_err());
            assert_eq!(e.code(), ErrorCode::ForceReleased);
            assert!(e.to_string().contains("may have been executed"), "{e}");
        }
        let e = held.error(held.batch_execute("SELECT 1").await.unwrap_err());
        assert_eq!(e.code(), ErrorCode::ForceReleased);
        assert!(e.to_string().contains("was not sent"), "{e}");
        drop(held);
        session_gone(&watcher, pid).await;
    }
    assert_eq!(rows(&watcher, "sent_behind").await, 0);
    pool.close().await.unwrap();
}

/// The same told by the raw exchange: one request that runs, one that waits for its turn.
#[tokio::test]
async fn an_exchange_is_told_whether_it_was_sent() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut running = held.exchange().simple("SELECT pg_sleep(20)").unwrap();
    let mut waiting = held.exchange().simple("SELECT 1").unwrap();
    eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    pool.force_release(held.id()).unwrap();
    let (sent, not_sent) = (running.collect().await.unwrap_err(), waiting.collect().await.unwrap_err());
    assert_eq!((sent.code(), not_sent.code()), (ErrorCode::ForceReleased, ErrorCode::ForceReleased));
    assert!(sent.to_string().contains("may have been executed"), "{sent}");
    assert!(not_sent.to_string().contains("was not sent"), "{not_sent}");
    let late = held.exchange().simple("SELECT 1").err().unwrap();
    assert!(late.to_string().contains("was not sent"), "{late}");
    drop(held);
    pool.close().await.unwrap();
}

/// True as long as this process has a socket with this local port.
fn has_socket(local_port: i32) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{local_port:04X}");
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // A socket that nobody has any more has no inode.
        fields.get(1).is_some_and(|l| l.ends_with(&local)) && fields.get(9).is_some_and(|inode| *inode != "0")
    })
}
