//! Law 2: a force release sends nothing that commits, fences the holder first, and never hands the session on.

use leakpool::{Activity, ErrorCode};

use crate::proxy::Proxy;
use crate::support::*;

/// Runs `sql` on a connection, takes the connection back while it runs, and tells what the holder got.
async fn taken_back_while_running(sql: &'static str) {
    let pool = builder().max_size(1).build().unwrap();
    let watcher = observer().await;
    let held = pool.acquire().await.unwrap();
    let (id, pid) = (held.id(), held.backend_pid().unwrap());
    let holder = tokio::spawn(async move {
        let result = held.batch_execute(sql).await;
        (held, result)
    });
    eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    pool.force_release(id).unwrap();
    let (held, result) = holder.await.unwrap();
    is_force_released(&held, result.unwrap_err());
    session_gone(&watcher, pid).await;
    drop(held);
    at_full_capacity(&pool).await;
    assert_eq!(books_balance(&pool).force_released, 1);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn a_running_insert_does_not_commit() {
    let watcher = observer().await;
    table(&watcher, "never_inserted").await;
    // Cut off without a cancel, the server would sleep to the end and commit.
    taken_back_while_running("INSERT INTO never_inserted SELECT 1 FROM pg_sleep(2)").await;
    assert_eq!(rows(&watcher, "never_inserted").await, 0);
}

#[tokio::test]
async fn a_running_update_does_not_commit() {
    let watcher = observer().await;
    table(&watcher, "never_updated").await;
    watcher.batch_execute("INSERT INTO never_updated VALUES (1)").await.unwrap();
    taken_back_while_running("UPDATE never_updated SET x = 2 WHERE pg_sleep(2) IS NOT NULL").await;
    assert_eq!(rows(&watcher, "never_updated WHERE x = 2").await, 0);
}

/// What had been sent behind the statement that is cancelled is cancelled, too.
#[tokio::test]
async fn a_statement_that_was_queued_behind_does_not_commit() {
    let watcher = observer().await;
    table(&watcher, "never_queued").await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let (id, pid) = (held.id(), held.backend_pid().unwrap());
    let holder = tokio::spawn(async move {
        let both = tokio::join!(
            held.batch_execute("SELECT pg_sleep(2)"),
            held.batch_execute("INSERT INTO never_queued SELECT 1 FROM pg_sleep(2)"),
        );
        (held, both)
    });
    eventually("both are sent", || {
        pool.checkouts()[0].last_sql.as_ref().is_some_and(|sql| sql.text.starts_with("INSERT"))
    })
    .await;
    pool.force_release(id).unwrap();
    let (held, (first, second)) = holder.await.unwrap();
    is_force_released(&held, first.unwrap_err());
    is_force_released(&held, second.unwrap_err());
    session_gone(&watcher, pid).await;
    assert_eq!(rows(&watcher, "never_queued").await, 0);
    drop(held);
    pool.close().await.unwrap();
}

/// A COMMIT that was sent commits if the cancel comes too late; one that still works is cancelled.
#[tokio::test]
async fn a_commit_that_still_works_is_cancelled() {
    let watcher = observer().await;
    table(&watcher, "never_committed").await;
    watcher
        .batch_execute(
            "CREATE OR REPLACE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql
             AS 'BEGIN PERFORM pg_sleep(2); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON never_committed DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION slow_commit()",
        )
        .await
        .unwrap();
    let pool = builder().max_size(1).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    let (id, pid) = (held.id(), held.backend_pid().unwrap());
    let holder = tokio::spawn(async move {
        let transaction = held.transaction().await.unwrap();
        transaction.batch_execute("INSERT INTO never_committed VALUES (1)").await.unwrap();
        let result = transaction.commit().await;
        (held, result)
    });
    eventually("it commits", || {
        let checkout = pool.checkouts().remove(0);
        checkout.activity == Activity::Executing && checkout.last_sql.is_some_and(|sql| sql.text == "COMMIT")
    })
    .await;
    pool.force_release(id).unwrap();
    let (held, result) = holder.await.unwrap();
    is_force_released(&held, result.unwrap_err());
    session_gone(&watcher, pid).await;
    assert_eq!(rows(&watcher, "never_committed").await, 0);
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_open_transaction_is_rolled_back() {
    let watcher = observer().await;
    table(&watcher, "rolled_back").await;
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    held.batch_execute("BEGIN; INSERT INTO rolled_back VALUES (1)").await.unwrap();
    pool.force_release(held.id()).unwrap();
    is_force_released(&held, held.batch_execute("COMMIT").await.unwrap_err());
    session_gone(&watcher, held.backend_pid().unwrap()).await;
    assert_eq!(rows(&watcher, "rolled_back").await, 0);
    drop(held);
    pool.close().await.unwrap();
}

/// The holder lets go at the very moment of the force release: whoever wins, a statement that was taken back does
/// not commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_dropped_meanwhile_does_not_save_its_statement() {
    let watcher = observer().await;
    table(&watcher, "dropped_meanwhile").await;
    // Where the drop wins, the statement is given up by the return.
    let pool = builder().max_size(1).reset_timeout(std::time::Duration::from_millis(50)).build().unwrap();
    let mut taken = 0;
    for round in 0..40_u32 {
        let held = pool.acquire().await.unwrap();
        let (id, pid) = (held.id(), held.backend_pid().unwrap());
        let sql = format!("INSERT INTO dropped_meanwhile SELECT {round} FROM pg_sleep(10)");
        let mut insert = Box::pin(async move {
            let _ = held.batch_execute(&sql).await;
        });
        let _ = futures_util::poll!(&mut insert);
        eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
        let start = std::sync::Arc::new(std::sync::Barrier::new(2));
        let theirs = start.clone();
        let dropper = std::thread::spawn(move || {
            theirs.wait();
            for _ in 0..round * 50 {
                std::hint::spin_loop();
            }
            drop(insert);
        });
        start.wait();
        let outcome = pool.force_release(id);
        dropper.join().unwrap();
        match outcome {
            Ok(_) => {
                taken += 1;
                session_gone(&watcher, pid).await;
                assert_eq!(
                    rows(&watcher, &format!("dropped_meanwhile WHERE x = {round}")).await,
                    0,
                    "{round}"
                );
            }
            Err(e) => {
                assert_eq!(e.code(), ErrorCode::UnknownCheckout);
                // Released in time, and on its way back: it need not be waited for.
                let sql = "SELECT pg_terminate_backend($1)";
                watcher.execute(sql, &[&(pid as i32)]).await.unwrap();
            }
        }
    }
    assert!(taken > 0, "the force release never came first");
    pool.close().await.unwrap();
}

#[tokio::test]
async fn an_idle_session_is_closed_without_asking_the_server_to_cancel() {
    let proxy = Proxy::start();
    let watcher = observer().await;
    let pool = leakpool::Pool::builder().dsn(&proxy.url()).max_size(1).build().unwrap();
    for _ in 0..10 {
        let held = pool.acquire().await.unwrap();
        held.batch_execute("SELECT 1").await.unwrap();
        let before = proxy.connections();
        // Its answer is there before the task has gone back to sleep.
        eventually("it is idle", || pool.checkouts()[0].activity == Activity::Idle).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        pool.force_release(held.id()).unwrap();
        session_gone(&watcher, held.backend_pid().unwrap()).await;
        assert_eq!(proxy.connections(), before, "a cancel request, for nothing that runs");
    }
    pool.close().await.unwrap();
}

#[tokio::test]
async fn the_place_is_free_before_the_server_has_answered() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap();
    if !may_signal(pid) {
        return;
    }
    let watcher = observer().await;
    let stopped = Stopped::stop(pid);
    // Somebody waits already.
    let waiter = tokio::spawn(pool.acquire());
    eventually("somebody waits", || pool.status().waiting == 1).await;
    pool.force_release(held.id()).unwrap();
    let next = waiter.await.unwrap().unwrap();
    assert_ne!(next.backend_pid(), Some(pid), "the session was handed on");
    assert!(session_exists(&watcher, pid).await, "it was stopped, and is gone?");
    assert_eq!(pool.status().ending, 1);
    is_force_released(&held, held.batch_execute("SELECT 1").await.unwrap_err());
    drop(stopped);
    session_gone(&watcher, pid).await;
    drop((held, next));
    pool.close().await.unwrap();
}

#[tokio::test]
async fn every_later_use_is_refused_by_name_and_none_reaches_the_next_holder() {
    let pool = builder().max_size(1).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    let cancel = held.cancel_handle();
    held.batch_execute("CREATE TEMP TABLE mine (x int)").await.unwrap();
    let statement = held.prepare("SELECT 1").await.unwrap();
    pool.force_release(held.id()).unwrap();
    let next = pool.acquire().await.unwrap();
    let e = held.fetch("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((e.code(), e.sqlstate()), (ErrorCode::ForceReleased, Some(leakpool::FORCE_RELEASED)));
    let site = &e.detail::<leakpool::Revocation>().unwrap().site;
    assert!(site.place().contains("take_back.rs"), "{}", site.place());
    assert_eq!(held.run("SELECT 1", &[]).await.unwrap_err().code(), ErrorCode::ForceReleased);
    is_force_released(&held, held.query(&statement, &[]).await.unwrap_err());
    is_force_released(&held, held.simple_query("SELECT 1").await.unwrap_err());
    is_force_released(&held, held.prepare("SELECT 2").await.unwrap_err());
    let copy = held.copy_in::<_, bytes::Bytes>("COPY mine FROM STDIN").await;
    is_force_released(&held, copy.err().unwrap());
    let transaction = held.transaction().await;
    let e = transaction.err().unwrap();
    is_force_released(&held, e);
    assert_eq!(held.cancel().unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(cancel.cancel().unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(pool.force_release(held.id()).unwrap_err().code(), ErrorCode::UnknownCheckout);
    let late = pool.metrics().late_uses;
    assert!(late >= 7, "{late} late uses");
    drop(held);
    // The next holder has noticed nothing.
    next.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(pool.metrics().late_releases, 1);
    drop(next);
    pool.close().await.unwrap();
}
