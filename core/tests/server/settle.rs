//! Law 3: nothing returns dirty, and a release never waits.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use leakpool::{Activity, Connection, DirtyReason, EventData, EventKind, Pool, RemoveReason, Reset};

use crate::support::*;

/// The next holder's session, which is to be the same one, has nothing open: so says the server.
async fn next_is_clean(pool: &Pool, pid: Option<u32>) -> Connection {
    let next = pool.acquire().await.unwrap();
    assert_eq!(next.backend_pid(), pid, "the session should have been cleaned, not closed");
    let open = "SELECT pg_current_xact_id_if_assigned() IS NULL";
    assert!(next.query_one(open, &[]).await.unwrap().get::<_, bool>(0), "a transaction has written");
    eventually("no transaction is open", || pool.checkouts()[0].activity == Activity::Idle).await;
    next
}

fn one_session(reset: Reset) -> (Pool, leakpool::ManualClock, leakpool::Events) {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).reset(reset));
    let events = pool.events(&[EventKind::DirtyRelease, EventKind::Remove]);
    (pool, clock, events)
}

async fn found(events: &leakpool::Events) -> DirtyReason {
    match expect_event(events, EventKind::DirtyRelease).await.data {
        EventData::DirtyRelease { found, site, .. } => {
            assert!(site.place().contains("settle.rs"), "{}", site.place());
            found
        }
        other => panic!("{other:?}"),
    }
}

async fn removed(events: &leakpool::Events) -> RemoveReason {
    match expect_event(events, EventKind::Remove).await.data {
        EventData::Remove { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn transactions_open_failed_or_queued_are_rolled_back() {
    let watcher = observer().await;
    table(&watcher, "never_settled").await;
    let (pool, _clock, events) = one_session(Reset::Rollback);
    for (sql, expected) in [
        ("BEGIN; INSERT INTO never_settled VALUES (1)", DirtyReason::InTransaction),
        ("BEGIN; INSERT INTO never_settled VALUES (1); SELECT 1/0", DirtyReason::InFailedTransaction),
    ] {
        let held = pool.acquire().await.unwrap();
        let pid = held.backend_pid();
        let _ = held.batch_execute(sql).await;
        eventually("the server has answered", || {
            !matches!(pool.checkouts()[0].activity, Activity::Executing | Activity::Idle)
        })
        .await;
        drop(held);
        assert_eq!(found(&events).await, expected);
        drop(next_is_clean(&pool, pid).await);
    }
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    {
        let mut queued = Box::pin(held.batch_execute("BEGIN; INSERT INTO never_settled VALUES (2)"));
        let _ = futures_util::poll!(&mut queued);
    }
    drop(held);
    drop(next_is_clean(&pool, pid).await);
    assert!(matches!(found(&events).await, DirtyReason::Executing | DirtyReason::InTransaction));
    assert_eq!(rows(&watcher, "never_settled").await, 0);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_running_statement_is_waited_for_by_its_task_and_by_nobody_else() {
    let (pool, _clock, events) = one_session(Reset::Rollback);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    {
        let mut running = Box::pin(held.batch_execute("SELECT pg_sleep(0.3)"));
        let _ = futures_util::poll!(&mut running);
        eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    }
    drop(held);
    // The release is over; the place is not free yet.
    let status = pool.status();
    assert_eq!((status.in_use, status.returning, status.idle), (0, 1, 0));
    assert_eq!(found(&events).await, DirtyReason::Executing);
    drop(next_is_clean(&pool, pid).await);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_session_that_stays_busy_is_closed_after_reset_timeout() {
    let watcher = observer().await;
    let (pool, clock, events) = one_session(Reset::Rollback);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    {
        let mut running = Box::pin(held.batch_execute("SELECT pg_sleep(600)"));
        let _ = futures_util::poll!(&mut running);
        eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    }
    drop(held);
    assert_eq!(found(&events).await, DirtyReason::Executing);
    clock.advance(pool.options().reset_timeout + Duration::from_millis(1));
    assert_eq!(removed(&events).await, RemoveReason::Reset);
    session_gone(&watcher, pid).await;
    at_full_capacity(&pool).await;
    assert_eq!(books_balance(&pool).force_released, 0);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_open_copy_is_ended_or_closed() {
    let watcher = observer().await;
    table(&watcher, "never_copied").await;
    let (pool, clock, events) = one_session(Reset::Rollback);
    for kept in [false, true] {
        let held = pool.acquire().await.unwrap();
        let pid = held.backend_pid();
        let copy = held.copy_in::<_, bytes::Bytes>("COPY never_copied FROM STDIN").await.unwrap();
        let mut copy = Box::pin(copy);
        copy.send(bytes::Bytes::from_static(b"1\n")).await.unwrap();
        eventually("it is open", || pool.checkouts()[0].activity == Activity::Stalled).await;
        if kept {
            drop(held);
            assert_eq!(found(&events).await, DirtyReason::Stalled);
            clock.advance(pool.options().reset_timeout + Duration::from_millis(1));
            assert_eq!(removed(&events).await, RemoveReason::Reset);
            session_gone(&watcher, pid.unwrap()).await;
            drop(copy);
        } else {
            // Its drop queues a CopyFail, which the task sends.
            drop(copy);
            drop(held);
            drop(next_is_clean(&pool, pid).await);
            found(&events).await;
        }
    }
    assert_eq!(rows(&watcher, "never_copied").await, 0);
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_unread_result_is_read_to_its_end_or_closed() {
    let watcher = observer().await;
    let (pool, clock, events) = one_session(Reset::Rollback);
    for kept in [false, true] {
        let held = pool.acquire().await.unwrap();
        let pid = held.backend_pid();
        let none: [i32; 0] = [];
        let sql = "SELECT repeat('x', 10000) FROM generate_series(1, 2000)";
        let mut rows = Box::pin(held.query_raw(sql, none).await.unwrap());
        rows.next().await.unwrap().unwrap();
        eventually("nobody reads", || pool.checkouts()[0].activity == Activity::Stalled).await;
        if kept {
            drop(held);
            assert_eq!(found(&events).await, DirtyReason::Stalled);
            clock.advance(pool.options().reset_timeout + Duration::from_millis(1));
            assert_eq!(removed(&events).await, RemoveReason::Reset);
            session_gone(&watcher, pid.unwrap()).await;
        } else {
            drop(rows);
            drop(held);
            drop(next_is_clean(&pool, pid).await);
            found(&events).await;
        }
    }
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

const SESSION_STATE: &str = "SET statement_timeout = '77s'; CREATE TEMP TABLE theirs (x int); \
    SELECT pg_advisory_lock(7, 7); LISTEN theirs; DECLARE c CURSOR WITH HOLD FOR SELECT 1; \
    SET ROLE pg_monitor";

/// statement_timeout, temporary tables, advisory locks, channels, cursors, role.
async fn session_state(connection: &Connection) -> (String, i64, i64, i64, i64, bool) {
    let sql = "SELECT current_setting('statement_timeout'),
        (SELECT count(*) FROM pg_class WHERE relname = 'theirs' AND relpersistence = 't'),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT count(*) FROM pg_listening_channels()),
        (SELECT count(*) FROM pg_cursors WHERE is_holdable),
        current_user = session_user";
    let row = connection.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5))
}

#[tokio::test]
async fn reset_session_leaves_nothing_but_prepared_statements() {
    let (pool, _clock, _events) = one_session(Reset::Session);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    let fresh = session_state(&held).await;
    held.fetch("SELECT 40 + $1::int4", &[&2_i32]).await.unwrap();
    held.batch_execute("PREPARE kept AS SELECT 43").await.unwrap();
    held.batch_execute(SESSION_STATE).await.unwrap();
    assert_eq!(session_state(&held).await, ("77s".to_owned(), 1, 1, 1, 1, false));
    drop(held);
    let next = next_is_clean(&pool, pid).await;
    assert_eq!(session_state(&next).await, fresh);
    assert_eq!(next.query_one("EXECUTE kept", &[]).await.unwrap().get::<_, i32>(0), 43);
    let rows = next.fetch("SELECT 40 + $1::int4", &[&2_i32]).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 42, "the statement cache is broken");
    drop(next);
    // Clean sessions are reset as well, and that is no dirty release.
    assert_eq!(pool.metrics().dirty_releases, 0);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn reset_rollback_keeps_the_session_state_but_listens_no_more() {
    let (pool, _clock, _events) = one_session(Reset::Rollback);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    held.batch_execute(SESSION_STATE).await.unwrap();
    drop(held);
    let next = next_is_clean(&pool, pid).await;
    assert_eq!(session_state(&next).await, ("77s".to_owned(), 1, 1, 0, 1, false));
    drop(next);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn reset_none_closes_what_is_dirty_and_keeps_what_is_clean() {
    let watcher = observer().await;
    let (pool, _clock, events) = one_session(Reset::None);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    held.batch_execute("SELECT 1").await.unwrap();
    drop(held);
    let held = next_is_clean(&pool, pid).await;
    held.batch_execute("BEGIN").await.unwrap();
    drop(held);
    assert_eq!(found(&events).await, DirtyReason::InTransaction);
    assert_eq!(removed(&events).await, RemoveReason::Reset);
    session_gone(&watcher, pid.unwrap()).await;
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_session_whose_reset_fails_is_closed() {
    let watcher = observer().await;
    let (pool, _clock, events) = one_session(Reset::Rollback);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    held.batch_execute("BEGIN; SELECT pg_terminate_backend(pg_backend_pid())").await.unwrap_err();
    drop(held);
    removed(&events).await;
    session_gone(&watcher, pid).await;
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}
