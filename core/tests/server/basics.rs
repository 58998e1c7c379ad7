//! Acquire, use, release; the books; the wire's truth.

use std::time::Duration;

use leakpool::{Activity, EventKind, Verdict};

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_handed_out_used_and_handed_out_again() {
    let pool = builder().max_size(2).build().unwrap();
    let first = pool.acquire().await.unwrap();
    let pid = first.backend_pid().unwrap();
    let row = first.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0) as u32, pid);
    assert_eq!(pool.status().in_use, 1);
    drop(first);
    let second = pool.acquire().await.unwrap();
    assert_eq!(second.backend_pid(), Some(pid), "the same session");
    let rows = second.fetch("SELECT $1::int4 + 1", &[&41_i32]).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 42);
    drop(second);
    eventually("all is back", || pool.status().idle == 1).await;
    let books = pool.metrics().books;
    assert_eq!((books.acquired, books.released, books.active()), (2, 2, 0));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn the_wire_tells_what_a_session_does() {
    let (pool, _clock) = on_manual_clock(|b| b.max_size(2));
    let mut held = pool.acquire().await.unwrap();
    let look = || pool.checkouts().remove(0);
    assert_eq!(look().activity, Activity::Idle);
    let transaction = held.transaction().await.unwrap();
    assert_eq!(look().activity, Activity::IdleInTransaction);
    assert!(transaction.batch_execute("SELECT 1/0").await.is_err());
    // The error comes before the ReadyForQuery that tells the status.
    eventually("it has failed", || look().activity == Activity::IdleInFailedTransaction).await;
    assert_eq!(look().last_sql.unwrap().text, "SELECT 1/0");
    transaction.rollback().await.unwrap();
    assert_eq!(look().activity, Activity::Idle);
    {
        let sleeping = held.batch_execute("SELECT pg_sleep(60)");
        tokio::pin!(sleeping);
        tokio::select! {
            _ = &mut sleeping => panic!("slept"),
            () = eventually("it runs", || look().activity == Activity::Executing) => {}
        }
        held.cancel().unwrap();
        assert_eq!(sleeping.await.unwrap_err().code().unwrap().code(), "57014");
    }
    assert_eq!(look().verdict, Verdict::Healthy);
}

#[tokio::test]
async fn a_leak_is_found_named_and_taken_back() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).name("taken-back"));
    let events =
        pool.events(&[EventKind::Leak, EventKind::ForceRelease, EventKind::LateUse, EventKind::LateRelease]);
    let watcher = observer().await;
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    held.batch_execute("SELECT 'last words'").await.unwrap();
    clock.advance(Duration::from_secs(31));
    let leak = events.recv_timeout(Duration::from_secs(20)).expect("a leak");
    assert_eq!(leak.kind(), EventKind::Leak);
    let report = pool.report();
    assert!(report.contains("server/basics.rs"), "{report}");
    assert!(report.contains("last words"), "{report}");
    clock.advance(Duration::from_secs(300));
    let taken = events.recv_timeout(Duration::from_secs(20)).expect("a force release");
    assert_eq!(taken.kind(), EventKind::ForceRelease);
    let next = pool.acquire().await.unwrap();
    assert_ne!(next.backend_pid(), Some(pid));
    session_gone(&watcher, pid).await;
    let e = held.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(e.code().unwrap().code(), leakpool::FORCE_RELEASED);
    let e = held.error(e);
    assert_eq!(e.code(), leakpool::ErrorCode::ForceReleased);
    println!("{e}");
    drop(held);
    assert_eq!(events.recv_timeout(Duration::from_secs(20)).unwrap().kind(), EventKind::LateUse);
    assert_eq!(events.recv_timeout(Duration::from_secs(20)).unwrap().kind(), EventKind::LateRelease);
    drop(next);
    let books = pool.metrics().books;
    assert_eq!((books.acquired, books.released, books.force_released, books.lost), (2, 1, 1, 0));
    println!("{report}");
    pool.close().await.unwrap();
}

#[tokio::test]
async fn nothing_returns_dirty() {
    let (pool, _clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::DirtyRelease]);
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    held.batch_execute("BEGIN; CREATE TEMP TABLE never (x int)").await.unwrap();
    drop(held);
    let next = pool.acquire().await.unwrap();
    assert_eq!(next.backend_pid(), pid);
    assert!(next.batch_execute("SELECT * FROM never").await.is_err());
    eventually("no transaction is open", || pool.checkouts()[0].activity == Activity::Idle).await;
    assert_eq!(events.recv_timeout(Duration::from_secs(20)).unwrap().kind(), EventKind::DirtyRelease);
    // A BEGIN that is still queued in the client is seen, too.
    {
        let begin = next.batch_execute("BEGIN");
        tokio::pin!(begin);
        let _ = futures_util::poll!(&mut begin);
    }
    drop(next);
    let next = pool.acquire().await.unwrap();
    next.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(pool.checkouts()[0].activity, Activity::Idle, "the server says that no transaction is open");
    assert_eq!(pool.metrics().dirty_releases, 2);
    drop(next);
    pool.close().await.unwrap();
}
