//! DESIGN.md, section 10: what the proof of concept gets wrong, one test for each.

use std::time::Duration;

use leakpool::{
    AcquireOptions, Connection, Diagnosis, ErrorCode, EventData, EventKind, Exhausted, Pool, Verdict,
};

use crate::support::*;
use crate::{child, independence};

const OVER: Duration = Duration::from_secs(31);

#[tokio::test]
async fn item_1_a_force_release_recovers_the_connection() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let leaked = pool.acquire().await.unwrap();
    let waiter = tokio::spawn(pool.acquire_with(AcquireOptions::new().timeout(Duration::ZERO)));
    eventually("somebody waits", || pool.status().waiting == 1).await;
    clock.advance(Duration::from_secs(301));
    let next = tokio::time::timeout(LIMIT, waiter).await.expect("its place is not free").unwrap().unwrap();
    next.batch_execute("SELECT 1").await.unwrap();
    drop((leaked, next));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_2_a_leak_counts_once_however_often_it_is_swept() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).force_release_after(Duration::ZERO));
    let events = pool.events(&[EventKind::Leak, EventKind::LeakRecovered]);
    let leaked = pool.acquire().await.unwrap();
    for _ in 0..20 {
        clock.advance(OVER);
        // Each policy that comes into force is a look at every checkout.
        let looks = || pool.metrics().sweep_time.count;
        let before = looks();
        pool.reconfigure((*pool.policy()).clone()).unwrap();
        eventually("a sweep", || looks() > before).await;
    }
    expect_event(&events, EventKind::Leak).await;
    drop(leaked);
    // In order: what comes next is not another leak.
    expect_event(&events, EventKind::LeakRecovered).await;
    let metrics = pool.metrics();
    assert_eq!((metrics.leaks, metrics.leaks_recovered, metrics.status.leaked_now), (1, 1, 0));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_3_a_release_tells_how_long_it_was_held() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(1).force_release_after(Duration::ZERO));
    let events = pool.events(&[EventKind::Release, EventKind::LeakRecovered]);
    for open in ["SELECT 1", "BEGIN"] {
        let held = pool.acquire().await.unwrap();
        held.batch_execute(open).await.unwrap();
        clock.advance(Duration::from_secs(12));
        drop(held);
        let EventData::Release { held, .. } = expect_event(&events, EventKind::Release).await.data else {
            panic!()
        };
        assert_eq!(held, Duration::from_secs(12), "{open}");
    }
    let held = pool.acquire().await.unwrap();
    clock.advance(OVER);
    eventually("it is flagged", || pool.status().leaked_now == 1).await;
    drop(held);
    let EventData::LeakRecovered { checkout } = expect_event(&events, EventKind::LeakRecovered).await.data
    else {
        panic!()
    };
    assert_eq!(checkout.held, OVER);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_4_a_broken_connection_does_not_return_to_the_pool() {
    let watcher = observer().await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    held.release_broken();
    let next = pool.acquire().await.unwrap();
    assert_ne!(next.backend_pid(), Some(pid));
    session_gone(&watcher, pid).await;
    drop(next);
    assert_eq!(books_balance(&pool).released, 2);
    pool.close().await.unwrap();
}

/// No timer, task or thread of a closed pool is left that would keep a process alive.
#[test]
fn item_5_after_close_nothing_runs_any_more() {
    child::run("threads");
}

#[tokio::test]
async fn item_6_a_checkout_in_flight_is_no_leak_in_the_rate() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(4));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    assert_eq!(pool.metrics().leak_rate, 0.0);
    let leaked = held.pop();
    drop(held);
    clock.advance(OVER);
    eventually("one leaks", || pool.metrics().leaks == 1).await;
    assert_eq!(pool.metrics().leak_rate, 25.0);
    drop(leaked);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_7_five_leaks_of_five_and_an_acquire_times_out_and_names_them() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(5).force_release_after(Duration::ZERO));
    let mut leaked: Vec<Connection> = Vec::new();
    for _ in 0..4 {
        leaked.push(pool.acquire().await.unwrap());
    }
    // Four of five is no exhaustion.
    drop(pool.acquire().await.unwrap());
    leaked.push(pool.acquire().await.unwrap());
    let waiter = tokio::spawn(pool.acquire());
    eventually("it waits", || pool.status().waiting == 1).await;
    clock.advance(OVER);
    let e = tokio::time::timeout(LIMIT, waiter).await.expect("it hangs").unwrap().unwrap_err();
    assert_eq!(e.code(), ErrorCode::AcquireTimeout, "{e}");
    let exhausted = e.detail::<Exhausted>().unwrap();
    assert_eq!((exhausted.diagnosis, exhausted.holders.len()), (Diagnosis::Leak, 5));
    assert!(exhausted.holders.iter().all(|h| h.site.place().contains("poc.rs")), "{exhausted}");
    assert!(e.to_string().contains("poc.rs"), "{e}");
    drop(leaked);
    pool.close().await.unwrap();
}

/// What a framework does: its own layers, an executor, closures.
mod framework {
    use super::*;

    pub async fn handle<F, T>(handler: impl FnOnce(Pool) -> F, pool: Pool) -> T
    where
        F: Future<Output = T>,
    {
        layer(Box::pin(async move { handler(pool).await })).await
    }

    async fn layer<T>(inner: std::pin::Pin<Box<impl Future<Output = T>>>) -> T {
        inner.await
    }
}

#[tokio::test]
async fn item_8_the_culprit_is_the_users_line_whatever_stands_in_between() {
    let pool = builder().max_size(1).build().unwrap();
    let handler = |pool: Pool| async move { (line!(), pool.acquire().await.unwrap()) };
    let (line, held) = framework::handle(handler, pool.clone()).await;
    let checkout = pool.checkouts().remove(0);
    let culprit = checkout.site.resolve().culprit.clone();
    assert!(culprit.file.as_deref().is_some_and(|file| file.ends_with("poc.rs")), "{culprit}");
    assert_eq!(culprit.line, Some(line), "{culprit}");
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_9_a_long_query_is_no_leak_and_one_that_pings_is() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(2).force_release_after(Duration::ZERO));
    let events = pool.events(&[EventKind::Leak]);
    let pinging = pool.acquire().await.unwrap();
    let (pinging_id, working) = (pinging.id(), pool.acquire().await.unwrap());
    let (working_id, cancel) = (working.id(), working.cancel_handle());
    let worker = tokio::spawn(async move {
        let _ = working.batch_execute("SELECT pg_sleep(600)").await;
    });
    let of = |id| pool.checkouts().into_iter().find(|c| c.id == id).unwrap();
    eventually("it runs", || of(working_id).activity == leakpool::Activity::Executing).await;
    // max_held is ten times the threshold of 30 s.
    for _ in 0..31 {
        clock.advance(Duration::from_secs(10));
        pinging.batch_execute("SELECT 1").await.unwrap();
        eventually("it was used", || of(pinging_id).idle_for == Some(Duration::ZERO)).await;
    }
    // The sweeper may have looked in the middle of a ping, each time: it looks again a tenth of the threshold later.
    clock.advance(Duration::from_secs(5));
    let EventData::Leak { checkout, suspicion } = expect_event(&events, EventKind::Leak).await.data else {
        panic!()
    };
    assert_eq!((checkout.id, suspicion), (pinging_id, Some(leakpool::Suspicion::HeldByPings)));
    assert_eq!(of(working_id).verdict, Verdict::Busy);
    assert_eq!(pool.metrics().leaks, 1);
    cancel.cancel().unwrap();
    worker.await.unwrap();
    drop((pinging, cancel));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn item_10_detection_does_not_run_on_the_loop_that_the_leak_blocks() {
    independence::detects_on_a_blocked_runtime("poc-blocked", false).await;
}
