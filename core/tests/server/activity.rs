//! Law 4: a running query is not a leak, and a session that waits for its client is not running.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use leakpool::{Activity, EventData, EventKind, Events, Pool, RevokeReason, Suspicion, Verdict};

use crate::support::*;

const OVER: Duration = Duration::from_secs(31);

async fn leak(events: &Events) -> (leakpool::CheckoutInfo, Option<Suspicion>) {
    match expect_event(events, EventKind::Leak).await.data {
        EventData::Leak { checkout, suspicion } => (*checkout, suspicion),
        other => panic!("{other:?}"),
    }
}

fn activity(pool: &Pool) -> Activity {
    pool.checkouts()[0].activity
}

#[tokio::test]
async fn a_long_statement_is_busy_and_its_holder_leaks_only_once_it_is_over() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::Leak, EventKind::LongRunning, EventKind::ForceRelease]);
    let held = pool.acquire().await.unwrap();
    let cancel = held.cancel_handle();
    let holder = tokio::spawn(async move {
        let result = held.batch_execute("SELECT pg_sleep(600)").await;
        (held, result)
    });
    eventually("it runs", || activity(&pool) == Activity::Executing).await;
    clock.advance(OVER);
    expect_event(&events, EventKind::LongRunning).await;
    // Far beyond every limit, max_held and force_release_after included.
    clock.advance(Duration::from_secs(3600));
    assert_eq!(pool.checkouts()[0].verdict, Verdict::Busy);
    cancel.cancel().unwrap();
    let (held, result) = holder.await.unwrap();
    assert_eq!(result.unwrap_err().code().unwrap().code(), "57014");
    eventually("it is over", || activity(&pool) == Activity::Idle).await;
    clock.advance(OVER);
    let (checkout, _) = leak(&events).await;
    assert_eq!(checkout.idle_for, Some(OVER), "idle since the end of the statement, not since its beginning");
    assert_eq!(pool.metrics().leaks, 1);
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_is_taken_back_only_where_that_was_asked_for() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).force_release_busy(true));
    let events = pool.events(&[EventKind::ForceRelease]);
    let held = pool.acquire().await.unwrap();
    // Held for long, and used now and then: the time counts from the start of the statement.
    clock.advance(Duration::from_secs(200));
    let holder = tokio::spawn(async move {
        let result = held.batch_execute("SELECT pg_sleep(600)").await;
        (held, result)
    });
    eventually("it runs", || activity(&pool) == Activity::Executing).await;
    clock.advance(Duration::from_secs(301));
    let EventData::ForceRelease { checkout, reason } =
        expect_event(&events, EventKind::ForceRelease).await.data
    else {
        panic!("another event")
    };
    assert_eq!(reason, RevokeReason::Busy);
    assert_eq!(checkout.executing_for, Some(Duration::from_secs(301)));
    let (held, result) = holder.await.unwrap();
    is_force_released(&held, result.unwrap_err());
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_stalled_copy_leaks_and_one_that_moves_does_not() {
    let watcher = observer().await;
    table(&watcher, "stalled_copy").await;
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::Leak]);
    let held = pool.acquire().await.unwrap();
    let copy = held.copy_in::<_, bytes::Bytes>("COPY stalled_copy FROM STDIN").await.unwrap();
    let mut copy = Box::pin(copy);
    for _ in 0..4 {
        clock.advance(Duration::from_secs(20));
        // Larger than what the client keeps back until it is worth sending.
        copy.send(bytes::Bytes::from(b"1\n".repeat(10_000))).await.unwrap();
        let moved = || pool.checkouts()[0].idle_for.is_some_and(|idle| idle.is_zero());
        eventually("a byte moves", || activity(&pool) == Activity::Stalled && moved()).await;
    }
    assert_eq!(pool.checkouts()[0].verdict, Verdict::Busy, "held for 80 s, moved just now");
    clock.advance(OVER);
    let (checkout, suspicion) = leak(&events).await;
    assert_eq!((checkout.activity, checkout.idle_for), (Activity::Stalled, Some(OVER)));
    assert_eq!(suspicion, Some(Suspicion::Unused));
    drop((copy, held));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_unread_result_leaks() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).force_release_after(Duration::ZERO));
    let events = pool.events(&[EventKind::Leak]);
    let held = pool.acquire().await.unwrap();
    let none: [i32; 0] = [];
    let sql = "SELECT repeat('x', 10000) FROM generate_series(1, 2000)";
    let mut rows = Box::pin(held.query_raw(sql, none).await.unwrap());
    rows.next().await.unwrap().unwrap();
    eventually("nobody reads", || activity(&pool) == Activity::Stalled).await;
    // The client may read on a little before it stops for good.
    eventually("it leaks", || {
        clock.advance(OVER);
        pool.metrics().leaks == 1
    })
    .await;
    let (checkout, _) = leak(&events).await;
    assert_eq!(checkout.activity, Activity::Stalled);
    // Read on, it goes on.
    while let Some(row) = rows.next().await {
        row.unwrap();
    }
    eventually("it is over", || activity(&pool) == Activity::Idle).await;
    drop(rows);
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_listener_leaks_but_is_not_taken_back_while_it_listens() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::Leak, EventKind::ForceRelease]);
    let held = pool.acquire().await.unwrap();
    held.batch_execute("LISTEN news").await.unwrap();
    clock.advance(Duration::from_secs(3600));
    let (checkout, _) = leak(&events).await;
    assert!(checkout.listening);
    assert_eq!(held.batch_execute("UNLISTEN *").await.map_err(|e| e.to_string()), Ok(()));
    eventually("it listens no more", || !pool.checkouts()[0].listening).await;
    clock.advance(Duration::from_secs(301));
    expect_event(&events, EventKind::ForceRelease).await;
    drop(held);
    pool.close().await.unwrap();
}
