//! Connections that the asking thread drives itself, without a runtime of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use leakpool::exchange::{Answer, Param, Query};
use leakpool::{Activity, Connection, Error, ErrorCode, EventKind, Pool, TransactionStatus, host};

use crate::support::*;

fn pool(size: usize) -> Pool {
    let runtime = host::runtime().unwrap();
    let pool = builder().max_size(size).runtime(runtime.handle().clone()).build().unwrap();
    // The runtime ends with its last owner.
    std::mem::forget(runtime);
    pool
}

fn acquire(pool: &Pool) -> Connection {
    host::wait(host::runtime().unwrap().handle(), pool.acquire(), || false).unwrap().unwrap()
}

async fn ask(connection: &Connection, sql: &str, param: &str) -> Result<Answer, Error> {
    let params = [Param::text(param.as_bytes())];
    connection.exchange().extended(&Query::new(sql).params(&params)).await?.one().await
}

fn driven(connection: &Connection, sql: &str, param: &str) -> Result<Answer, Error> {
    connection.drive(ask(connection, sql, param), || false).expect("it never gives up")
}

fn value(answer: &Answer) -> &str {
    std::str::from_utf8(answer.rows[0].get(0).unwrap()).unwrap()
}

/// What must happen, seen from a thread.
#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < limit, "never happened: {what}");
        thread::yield_now();
    }
}

#[test]
fn every_thread_gets_its_own_answers() {
    let pool = pool(3);
    thread::scope(|scope| {
        for t in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for i in 0..200 {
                    let held = acquire(pool);
                    let sent = (t * 1000 + i).to_string();
                    assert_eq!(value(&driven(&held, "SELECT $1::int", &sent).unwrap()), sent);
                    // In between by the runtime, as another host would.
                    if i % 10 == 0 {
                        let wait = host::wait(
                            host::runtime().unwrap().handle(),
                            ask(&held, "SELECT -$1::int", &sent),
                            || false,
                        );
                        assert_eq!(value(&wait.unwrap().unwrap()), (-(t * 1000 + i)).to_string());
                    }
                }
            });
        }
    });
    until("all are back", || pool.status().in_use == 0);
    let books = books_balance(&pool);
    assert_eq!(books.acquired, 800);
    assert!(pool.status().size <= 3);
}

#[test]
fn long_answers_and_copies_are_driven_to_their_end() {
    let pool = pool(1);
    let held = acquire(&pool);
    let rows = held.drive(
        async {
            let sql = "SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n";
            held.exchange().simple(sql)?.collect().await
        },
        || false,
    );
    assert_eq!(rows.unwrap().unwrap()[0].rows.len(), 20_000);
    let copied = held.drive(
        async {
            held.exchange().simple("CREATE TEMP TABLE t (x int, y text)")?.collect().await?;
            let mut copy = held.exchange().copy_in("COPY t FROM STDIN").await?;
            let line = format!("1\t{}\n", "y".repeat(1000)).repeat(64);
            for _ in 0..200 {
                copy.send(line.as_bytes()).await?;
            }
            copy.finish().await
        },
        || false,
    );
    assert_eq!(copied.unwrap().unwrap().rows(), Some(200 * 64));
    assert_eq!(value(&driven(&held, "SELECT count(*) FROM t WHERE x = $1", "1").unwrap()), "12800");
}

#[test]
fn what_a_thread_gives_up_the_runtime_sees_to_its_end() {
    let pool = pool(1);
    let held = acquire(&pool);
    let output = held.drive(ask(&held, "SELECT pg_sleep($1::float8)", "2"), || true);
    assert!(output.is_none());
    assert_eq!(pool.checkouts()[0].activity, Activity::Executing);
    // Nobody asks for anything, and its end is seen all the same (law 7).
    until("the statement ends", || pool.checkouts()[0].activity == Activity::Idle);
    assert_eq!(value(&driven(&held, "SELECT $1::int", "5").unwrap()), "5");

    // Given back in the middle of a transaction and a statement: cleaned, by nobody's thread.
    driven(&held, "SELECT set_config('application_name', $1, false)", "x").unwrap();
    held.drive(async { held.exchange().simple("BEGIN")?.collect().await }, || false).unwrap().unwrap();
    let pid = held.backend_pid();
    drop(held.drive(ask(&held, "SELECT pg_sleep($1::float8)", "0.2"), || true));
    drop(held);
    let again = acquire(&pool);
    assert_eq!((again.backend_pid(), again.transaction_status()), (pid, TransactionStatus::Idle));
}

#[test]
fn a_force_release_reaches_a_thread_that_waits() {
    let pool = pool(1);
    let held = acquire(&pool);
    let id = held.id();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| driven(&held, "SELECT pg_sleep($1::float8)", "600"));
        until("it runs", || pool.checkouts()[0].activity == Activity::Executing);
        pool.force_release(id).unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::ForceReleased, "{error}");
        // The place is free at once.
        assert_eq!(value(&driven(&acquire(&pool), "SELECT $1::int", "1").unwrap()), "1");
    });
    assert_eq!(driven(&held, "SELECT $1::int", "1").unwrap_err().code(), ErrorCode::ForceReleased);
    assert_eq!(held.release_checked(false).unwrap_err().code(), ErrorCode::ForceReleased);
}

#[tokio::test]
async fn a_session_that_ended_while_nobody_watched_is_not_handed_out() {
    let pool = pool(1);
    let removed = pool.events(&[EventKind::Remove]);
    let ending = pool.clone();
    let pid = thread::spawn(move || {
        let held = acquire(&ending);
        driven(&held, "SELECT $1::int", "1").unwrap();
        held.backend_pid().unwrap()
    })
    .join()
    .unwrap();
    let observer = observer().await;
    observer.execute("SELECT pg_terminate_backend($1)", &[&(pid as i32)]).await.unwrap();
    session_gone(&observer, pid).await;
    let again = thread::spawn(move || {
        let held = acquire(&pool);
        assert_ne!(held.backend_pid(), Some(pid));
        driven(&held, "SELECT $1::int", "1").unwrap();
        drop(held);
        pool.metrics().books
    });
    assert_eq!(again.join().unwrap().lost, 0);
    expect_event(&removed, EventKind::Remove).await;
}

#[test]
fn a_session_that_dies_at_the_wheel_is_lost() {
    let pool = pool(2);
    let (victim, other) = (acquire(&pool), acquire(&pool));
    let pid = victim.backend_pid().unwrap().to_string();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| driven(&victim, "SELECT pg_sleep($1::float8)", "600"));
        until("it runs", || pool.checkouts().iter().any(|c| c.activity == Activity::Executing));
        driven(&other, "SELECT pg_terminate_backend($1::int)", &pid).unwrap();
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.sqlstate(), Some("57P01"), "{error}");
    });
    let error = driven(&victim, "SELECT $1::int", "1").unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConnectionLost, "{error}");
    drop((victim, other));
    until("it is counted", || pool.metrics().books.lost == 1);
    books_balance(&pool);
}

#[test]
fn two_threads_may_ask_one_connection() {
    let pool = pool(1);
    let held = Arc::new(acquire(&pool));
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for t in 0..3 {
            let (held, done) = (held.clone(), &done);
            scope.spawn(move || {
                for i in 0..300 {
                    let sent = (t * 1000 + i).to_string();
                    assert_eq!(value(&driven(&held, "SELECT $1::int", &sent).unwrap()), sent);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), 900);
}
