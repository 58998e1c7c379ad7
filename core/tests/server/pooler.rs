//! Through PgBouncer in transaction mode, with default options: no statement runs under another one's name, whoever
//! prepares it, and nothing is lost but what its own session's end takes with it.

use std::time::Duration;

use futures_util::future::join_all;
use leakpool::exchange::{Param, Query};
use leakpool::{Connection, ErrorCode, ManualClock, Pool, StatementCache};

use crate::support::*;

/// PgBouncer's URL; the tests are skipped without one, and `make test` has one.
fn pooler() -> Option<String> {
    let url = std::env::var("PGBOUNCER_URL").ok();
    if url.is_none() {
        skipped("PGBOUNCER_URL is not set (run under tests/with-pgbouncer)");
    }
    url
}

const ROUNDS: i32 = 60;

#[derive(Debug, Clone, Copy)]
enum How {
    Exchange,
    Convenience,
    TokioPostgres,
    Prepared,
    Transaction,
}

const SELECT: &str = "SELECT v FROM pooled_safe WHERE id = $1";
const DELETE: &str = "DELETE FROM pooled_safe WHERE id = $1";

/// The answer to one statement: the one value, or how many rows were affected.
async fn ask(held: &mut Connection, how: How, sql: &str, id: i32) -> Result<i64, leakpool::Error> {
    let selects = sql == SELECT;
    match how {
        How::Exchange => {
            let text = id.to_string();
            let params = [Param::text(text.as_bytes())];
            let answer = held.exchange().extended(&Query::new(sql).params(&params)).await?.one().await?;
            let value = answer
                .rows
                .first()
                .and_then(|row| row.get(0))
                .map(|v| std::str::from_utf8(v).unwrap().parse().unwrap());
            Ok(value.unwrap_or_else(|| answer.tag().and_then(|tag| tag.rows()).unwrap_or(0) as i64))
        }
        How::Convenience if selects => Ok(held.fetch(sql, &[&id]).await?[0].get::<_, i32>(0).into()),
        How::Convenience => Ok(held.run(sql, &[&id]).await? as i64),
        How::TokioPostgres => {
            let result = match selects {
                true => held.query_one(sql, &[&id]).await.map(|row| row.get::<_, i32>(0).into()),
                false => held.execute(sql, &[&id]).await.map(|n| n as i64),
            };
            result.map_err(|e| held.error(e))
        }
        How::Prepared => {
            let result = async {
                let statement = held.prepare_cached(sql).await?;
                match selects {
                    true => held.query_one(&statement, &[&id]).await.map(|row| row.get::<_, i32>(0).into()),
                    false => held.execute(&statement, &[&id]).await.map(|n| n as i64),
                }
            };
            result.await.map_err(|e| held.error(e))
        }
        How::Transaction => {
            let result = async {
                let transaction = held.transaction().await?;
                let value = match selects {
                    true => transaction.query_one(sql, &[&id]).await?.get::<_, i32>(0).into(),
                    false => transaction.execute(sql, &[&id]).await? as i64,
                };
                transaction.commit().await?;
                Ok(value)
            };
            let result: Result<i64, tokio_postgres::Error> = result.await;
            result.map_err(|e| held.error(e))
        }
    }
}

async fn all_are_right(pool: &Pool, how: How, may_be_lost: bool) {
    for round in 0..ROUNDS {
        let asked = (0..10).map(|i| async move {
            let (sql, id, right) = match i % 2 {
                0 => (SELECT, 1 + (round + i) % 100, i64::from(1 + (round + i) % 100) * 10),
                _ => (DELETE, 999, 0),
            };
            let mut held = match pool.acquire().await {
                Err(_) if may_be_lost => return,
                held => held.unwrap(),
            };
            match ask(&mut held, how, sql, id).await {
                Ok(answer) => assert_eq!(answer, right, "{how:?}, round {round}: {sql} with {id}"),
                Err(e) if may_be_lost && e.code() != ErrorCode::Database => {}
                Err(e)
                    if may_be_lost
                        && e.sqlstate().is_some_and(|s| s.starts_with("08") || s.starts_with("57P")) => {}
                Err(e) => panic!("{how:?}, round {round}: {sql}: {e:?}"),
            }
        });
        join_all(asked).await;
    }
}

async fn safe_table(watcher: &tokio_postgres::Client) {
    watcher
        .batch_execute(
            "DROP TABLE IF EXISTS pooled_safe; CREATE TABLE pooled_safe (id int PRIMARY KEY, v int);
             INSERT INTO pooled_safe SELECT g, g * 10 FROM generate_series(1, 100) g",
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_of_six_hundred_are_right_whoever_prepares() {
    let Some(url) = pooler() else { return };
    let watcher = observer().await;
    safe_table(&watcher).await;
    let pool = Pool::builder().dsn(&url).max_size(10).build().unwrap();
    for how in [How::TokioPostgres, How::Exchange, How::Convenience, How::Prepared, How::Transaction] {
        all_are_right(&pool, how, false).await;
    }
    // Two pools share the same server sessions, as two processes do.
    let other = Pool::builder().dsn(&url).max_size(10).build().unwrap();
    for (one, another) in [(How::TokioPostgres, How::Prepared), (How::Exchange, How::Convenience)] {
        tokio::join!(all_are_right(&pool, one, false), all_are_right(&other, another, false));
    }
    // The server sessions end in between, as by a restart: what is under way is lost, and nothing else is.
    let restart = async {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        for _ in 0..20 {
            watcher.query(end, &[&pool.name()]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(all_are_right(&pool, How::TokioPostgres, true), restart);
    for how in [How::Exchange, How::Prepared] {
        all_are_right(&pool, how, false).await;
    }
    assert_eq!(rows(&watcher, "pooled_safe").await, 100, "a SELECT has deleted");
    pool.close().await.unwrap();
    other.close().await.unwrap();
}

/// Another search_path on another server session: a wrong type would be decoded without a word.
#[tokio::test]
async fn other_columns_than_were_described_are_an_error_and_no_wrong_value() {
    let Some(url) = pooler() else { return };
    let watcher = observer().await;
    watcher
        .batch_execute("DROP TABLE IF EXISTS pooled_type; CREATE TABLE pooled_type (x int8); INSERT INTO pooled_type VALUES (7)")
        .await
        .unwrap();
    let pool = Pool::builder().dsn(&url).max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let statement = held.prepare("SELECT x FROM pooled_type").await.unwrap();
    assert_eq!(held.query_one(&statement, &[]).await.unwrap().get::<_, i64>(0), 7);
    watcher.batch_execute("ALTER TABLE pooled_type ALTER x TYPE text USING 'seven'").await.unwrap();
    let e = held.query_one(&statement, &[]).await.unwrap_err();
    assert!(e.to_string().contains("db error"), "{e}");
    assert_eq!(e.code().map(|c| c.code()), Some("0A000"), "{e:?}");
    // Prepared anew, it is right.
    assert_eq!(held.query_one("SELECT x FROM pooled_type", &[]).await.unwrap().get::<_, &str>(0), "seven");
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn copies_portals_and_force_releases_work_without_names() {
    use futures_util::{SinkExt, TryStreamExt};
    let Some(url) = pooler() else { return };
    let watcher = observer().await;
    table(&watcher, "pooled_copy").await;
    let pool = Pool::builder().dsn(&url).max_size(2).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    let sink = held.copy_in::<_, bytes::Bytes>("COPY pooled_copy FROM STDIN").await.unwrap();
    let mut sink = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"1\n2\n3\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 3);
    let out = held.copy_out("COPY pooled_copy TO STDOUT").await.unwrap();
    let out: Vec<bytes::Bytes> = out.try_collect().await.unwrap();
    assert_eq!(out.concat(), b"1\n2\n3\n");
    {
        let transaction = held.transaction().await.unwrap();
        let portal = transaction.bind("SELECT x FROM pooled_copy ORDER BY x", &[]).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let rows = transaction.query_portal(&portal, 2).await.unwrap();
            if rows.is_empty() {
                break;
            }
            seen.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
        }
        assert_eq!(seen, [1, 2, 3]);
        transaction.commit().await.unwrap();
    }
    // Pipelined, and taken back in the middle.
    let (one, two) = tokio::join!(held.query_one("SELECT 1", &[]), held.query_one("SELECT 2::int8", &[]));
    assert_eq!((one.unwrap().get::<_, i32>(0), two.unwrap().get::<_, i64>(0)), (1, 2));
    let id = held.id();
    let (asked, ()) = tokio::join!(held.query("SELECT pg_sleep(20)", &[]), async {
        eventually("it runs", || pool.checkouts()[0].activity == leakpool::Activity::Executing).await;
        pool.force_release(id).unwrap();
    });
    is_force_released(&held, asked.unwrap_err());
    is_force_released(&held, held.query("SELECT 1", &[]).await.unwrap_err());
    drop(held);
    let held = pool.acquire().await.unwrap();
    assert_eq!(held.query_one("SELECT 3", &[]).await.unwrap().get::<_, i32>(0), 3);
    drop(held);
    pool.close().await.unwrap();
}

/// What is named goes by what was found, and by what was asked for.
#[tokio::test]
async fn a_pooler_is_found_out_and_overruled_by_hand() {
    let Some(url) = pooler() else { return };
    for (url, option, names) in [
        (url.as_str(), StatementCache::Auto, false),
        (url.as_str(), StatementCache::On, true),
        (url.as_str(), StatementCache::Off, false),
        (&crate::support::url(), StatementCache::Auto, true),
        (&crate::support::url(), StatementCache::Off, false),
    ] {
        let pool = Pool::builder().dsn(url).max_size(1).statement_cache(option).build().unwrap();
        let held = pool.acquire().await.unwrap();
        assert_eq!(held.names_statements(), names, "{option} at {url}");
        let query = Query::new("SELECT name FROM pg_prepared_statements WHERE name LIKE 'lp\\_%'");
        held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        let named = held.exchange().extended(&query).await.unwrap().one().await.unwrap();
        // Its own name, which no other connection can have. (A session of the pooler's may have others' names.)
        let name = named.rows.first().and_then(|row| row.get(0)).map(|name| name.len());
        if url == crate::support::url() {
            assert_eq!(name.is_some_and(|len| len > 3 + 32), names, "{option} at {url}");
        }
        drop(held);
        pool.close().await.unwrap();
    }
}

/// A parameter that PgBouncer does not take is named, and so is its option.
#[tokio::test]
async fn a_start_up_parameter_that_the_pooler_refuses_is_named() {
    let Some(url) = pooler() else { return };
    let dsn =
        format!("{url}{}options=-c%20statement_timeout%3D1000", if url.contains('?') { '&' } else { '?' });
    let pool = Pool::builder().dsn(&dsn).max_size(1).build().unwrap();
    let e = pool.acquire().await.unwrap_err();
    let text = e.to_string();
    assert!(text.contains("options") && text.contains("ignore_startup_parameters"), "{text}");
    pool.close().await.unwrap();
}

/// A statement waits in the pooler for a server session when its connection is given up, and is ended from outside. Its
/// task is over then: on a runtime of one thread nothing else would ever run if it went on looking.
#[test]
fn a_session_that_ends_while_the_pooler_lets_it_wait_is_over() {
    let Some(url) = pooler() else { return };
    let ours = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock = ManualClock::new();
    let pool = Pool::builder()
        .dsn(&url)
        .max_size(4)
        .clock(clock.clone())
        .runtime(ours.handle().clone())
        .build()
        .unwrap();
    let theirs = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    theirs.block_on(async {
        let mut held = join_all((0..4).map(|_| pool.acquire()))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect::<Vec<_>>();
        let waits = held.pop().unwrap();
        // All server sessions that the pooler has are taken.
        for connection in &held {
            connection.batch_execute("BEGIN; SELECT 1").await.unwrap();
        }
        assert!(
            tokio::time::timeout(Duration::from_millis(100), waits.batch_execute("SELECT 2")).await.is_err()
        );
        drop(waits);
        clock.advance(Duration::from_secs(6));
        eventually("it has left", || pool.metrics().removed == 1).await;
    });
    let (tell, told) = std::sync::mpsc::channel();
    // It may look once more before it is over: what is asked for afterwards tells.
    let runs = (0..20).all(|_| {
        let tell = tell.clone();
        ours.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = tell.send(());
        });
        told.recv_timeout(Duration::from_secs(10)).is_ok()
    });
    ours.shutdown_background();
    assert!(runs, "the runtime of the pool does nothing else any more");
}
