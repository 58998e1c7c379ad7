//! Law 5: the books balance, whatever ends a checkout.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use leakpool::{Activity, Connection, ErrorCode, Pool};

use crate::support::*;

async fn kill(watcher: &tokio_postgres::Client, pid: u32) {
    watcher.execute("SELECT pg_terminate_backend($1)", &[&(pid as i32)]).await.unwrap();
}

fn endings(pool: &Pool) -> (u64, u64, u64) {
    let books = books_balance(pool);
    (books.released, books.force_released, books.lost)
}

#[tokio::test]
async fn a_session_that_dies_is_booked_once_whenever_it_dies() {
    let watcher = observer().await;
    let pool = builder().max_size(2).build().unwrap();
    // While it is held.
    let held = pool.acquire().await.unwrap();
    kill(&watcher, held.backend_pid().unwrap()).await;
    eventually("it is lost", || pool.metrics().books.lost == 1).await;
    let e = held.fetch("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::ConnectionLost, "{e}");
    drop(held);
    assert_eq!(endings(&pool), (0, 0, 1));
    // While it is idle.
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    drop(held);
    let before = pool.metrics().removed;
    kill(&watcher, pid).await;
    eventually("it has left the pool", || pool.metrics().removed > before).await;
    assert_eq!(endings(&pool), (1, 0, 1));
    // On its way back.
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    {
        let mut running = Box::pin(held.batch_execute("SELECT pg_sleep(600)"));
        let _ = futures_util::poll!(&mut running);
        eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    }
    drop(held);
    kill(&watcher, pid).await;
    eventually("it has left the pool", || pool.status().returning == 0).await;
    assert_eq!(endings(&pool), (2, 0, 1));
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

/// Polls a future a number of times, each time it wants to be, and drops it then. True if it was ready before.
async fn polled(mut future: Pin<Box<impl Future>>, times: usize) -> bool {
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acquires_that_are_cancelled_anywhere_lose_nothing() {
    let pool = builder().max_size(3).build().unwrap();
    let mut tasks = Vec::new();
    for task in 0..6_usize {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..60_usize {
                // 0 polls: dropped before it began; more: while it waits, or connects, or has just got one.
                if polled(Box::pin(pool.acquire()), (task + round) % 5).await {
                    tokio::task::yield_now().await;
                }
                if round % 10 == task {
                    // A connection that has to be made anew is in the game, too.
                    if let Ok(held) = pool.acquire().await {
                        held.release_broken();
                    }
                }
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(LIMIT, task).await.expect("an acquire hangs").unwrap();
    }
    eventually("quiet", || pool.status().connecting == 0 && pool.status().returning == 0).await;
    books_balance(&pool);
    assert_eq!(pool.status().waiting, 0);
    at_full_capacity(&pool).await;
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_task_that_panics_returns_its_connection_clean() {
    let pool = builder().max_size(1).build().unwrap();
    for _ in 0..3 {
        let theirs = pool.clone();
        let task = tokio::spawn(async move {
            let mut held = theirs.acquire().await.unwrap();
            let transaction = held.transaction().await.unwrap();
            transaction.batch_execute("CREATE TEMP TABLE panicked (x int)").await.unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(task.await.unwrap_err().is_panic());
    }
    let next = pool.acquire().await.unwrap();
    next.batch_execute("SELECT * FROM panicked").await.unwrap_err();
    drop(next);
    assert_eq!(endings(&pool), (4, 0, 0));
    pool.close().await.unwrap();
}

/// Nobody closes the pool; its last clone goes while connections are out.
#[tokio::test]
async fn sessions_end_with_the_last_holder_of_a_dropped_pool() {
    let watcher = observer().await;
    for open in ["", "BEGIN", "SELECT pg_sleep(1)", "LISTEN news"] {
        let pool = builder().max_size(2).build().unwrap();
        let held = pool.acquire().await.unwrap();
        let idle = pool.acquire().await.unwrap();
        let pids = [held.backend_pid().unwrap(), idle.backend_pid().unwrap()];
        drop(idle);
        if open == "SELECT pg_sleep(1)" {
            let mut running = Box::pin(held.batch_execute(open));
            let _ = futures_util::poll!(&mut running);
            eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
        } else {
            held.batch_execute(open).await.unwrap();
        }
        drop(pool);
        // It works on.
        assert!(session_exists(&watcher, pids[0]).await);
        drop(held);
        for pid in pids {
            session_gone(&watcher, pid).await;
        }
    }
}

/// An acquire and a close at the same moment: the checkout is refused, or closed with all the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_checkout_outlives_a_close() {
    for round in 0..20 {
        let pool = builder().max_size(2).build().unwrap();
        drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
        let barrier = Arc::new(tokio::sync::Barrier::new(4));
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (pool, barrier) = (pool.clone(), barrier.clone());
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                let mut got: Vec<Connection> = Vec::new();
                loop {
                    match pool.try_acquire() {
                        Ok(held) if got.is_empty() => got.push(held),
                        Ok(held) => drop(held),
                        Err(e) if e.code() == ErrorCode::NoneIdle => drop(got.pop()),
                        Err(e) => {
                            assert_eq!(e.code(), ErrorCode::PoolClosed);
                            return got;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        barrier.wait().await;
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        pool.close_within(std::time::Duration::ZERO).await.unwrap();
        assert_eq!(pool.checkouts().len(), 0, "a live checkout in a closed pool");
        for task in tasks {
            for held in task.await.unwrap() {
                let e = held.fetch("SELECT 1", &[]).await.unwrap_err();
                assert_eq!(e.code(), ErrorCode::ForceReleased, "{e}");
            }
        }
        books_balance(&pool);
    }
}
