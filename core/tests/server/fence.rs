//! Law 1, against a holder who takes the client out of its handle: no two callers hold the same session.

use std::mem;

use deadpool_postgres::ClientWrapper;
use leakpool::{Connection, ErrorCode, Pool};
use tokio_postgres::Client;

use crate::support::*;

async fn pid(client: &Client) -> Option<i32> {
    client.query_one("SELECT pg_backend_pid()", &[]).await.ok().map(|row| row.get(0))
}

async fn two() -> (Pool, Connection, Connection) {
    let pool = builder().max_size(2).build().unwrap();
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    (pool, a, b)
}

/// One of two whose clients were exchanged was released: nobody else gets the session that the other one still has.
async fn is_alone(pool: &Pool, left: Connection) {
    let mine = pid(&left).await;
    for _ in 0..3 {
        let next = pool.acquire().await.unwrap();
        let theirs = pid(&next).await.expect("what is checked out is usable");
        assert_eq!(next.backend_pid(), Some(theirs as u32), "its handle tells of another session");
        assert_ne!(mine, Some(theirs), "two callers hold one session");
        next.batch_execute("BEGIN").await.unwrap();
        drop(next);
        assert_ne!(pid(&left).await, Some(theirs), "two callers hold one session");
    }
    drop(left);
    at_full_capacity(pool).await;
}

#[tokio::test]
async fn handles_whose_clients_were_exchanged_reach_nobody_elses_session() {
    type Swap = fn(&mut Connection, &mut Connection);
    let swaps: [(&str, Swap); 2] = [
        ("the wrappers", |a, b| mem::swap::<ClientWrapper>(a, b)),
        ("the clients inside", |a, b| mem::swap::<Client>(a, b)),
    ];
    for (what, swap) in swaps {
        let (pool, mut a, mut b) = two().await;
        swap(&mut a, &mut b);
        drop(b);
        eprintln!("{what}, one released");
        is_alone(&pool, a).await;

        let (pool, mut a, mut b) = two().await;
        swap(&mut a, &mut b);
        pool.force_release(a.id()).unwrap();
        drop(b);
        eprintln!("{what}, one taken back");
        is_alone(&pool, a).await;
    }
}

#[tokio::test]
async fn a_client_that_was_kept_reaches_nobody_elses_session() {
    let pool = builder().max_size(1).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    let mut kept = observer().await;
    mem::swap::<Client>(&mut held, &mut kept);
    assert!(pid(&kept).await.is_some(), "the session is its holder's as long as it holds it");
    drop(held);
    let next = pool.acquire().await.unwrap();
    next.batch_execute("BEGIN").await.unwrap();
    assert_eq!(pid(&kept).await, None, "the session is not its any more");
    assert_eq!(pid(&next).await.map(|pid| pid as u32), next.backend_pid());
    drop(next);
    at_full_capacity(&pool).await;
    books_balance(&pool);
}

#[tokio::test]
async fn who_only_uses_the_client_keeps_the_session_in_the_pool() {
    let pool = builder().max_size(1).build().unwrap();
    for _ in 0..3 {
        let mut held = pool.acquire().await.unwrap();
        let transaction = held.transaction().await.unwrap();
        transaction.batch_execute("SELECT 1").await.unwrap();
        transaction.commit().await.unwrap();
        drop(held.build_transaction().read_only(true).start().await.unwrap());
        let client: &mut Client = &mut held;
        client.transaction().await.unwrap().commit().await.unwrap();
        drop(held);
    }
    let held = pool.acquire().await.unwrap();
    assert_eq!(pool.metrics().created, 1);
    pool.force_release(held.id()).unwrap();
    is_force_released(&held, held.batch_execute("SELECT 1").await.unwrap_err());
    assert_eq!(held.release_checked(false).unwrap_err().code(), ErrorCode::ForceReleased);
}
