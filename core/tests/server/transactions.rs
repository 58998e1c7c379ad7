//! What is said of a transaction, and of a statement that failed, is what has happened: a commit that was none is an
//! error, and nothing that has run is run again.

use leakpool::{Connection, ErrorCode, TransactionStatus};

use crate::support::*;

#[track_caller]
fn was_rolled_back<T: std::fmt::Debug>(outcome: leakpool::Result<T>, what: &str) {
    let e = outcome.expect_err(what);
    assert_eq!((e.code(), e.sqlstate()), (ErrorCode::Database, Some("25P02")), "{what}: {e}");
    assert!(e.to_string().contains("rolled back"), "{what}: {e}");
}

#[tokio::test]
async fn an_owned_transaction_that_had_failed_was_not_committed() {
    let watcher = observer().await;
    table(&watcher, "transactions_owned").await;
    let pool = builder().max_size(1).build().unwrap();
    let transaction = pool.begin().await.unwrap();
    transaction.run("INSERT INTO transactions_owned VALUES (1)", &[]).await.unwrap();
    transaction.run("SELECT 1/0", &[]).await.unwrap_err();
    was_rolled_back(transaction.commit().await, "the commit");
    assert_eq!(rows(&watcher, "transactions_owned").await, 0);
    // One that was ended by hand has nothing left to commit.
    let transaction = pool.begin().await.unwrap();
    transaction.run("ROLLBACK", &[]).await.unwrap();
    assert_eq!(transaction.commit().await.unwrap_err().code(), ErrorCode::InvalidArgument);
    // A constraint that is looked at only now.
    pool.execute("CREATE TEMP TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)", &[]).await.unwrap();
    let transaction = pool.begin().await.unwrap();
    transaction.run("INSERT INTO late VALUES (1), (1)", &[]).await.unwrap();
    assert_eq!(transaction.commit().await.unwrap_err().sqlstate(), Some("23505"));
    let transaction = pool.begin().await.unwrap();
    transaction.run("INSERT INTO transactions_owned VALUES (2)", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(rows(&watcher, "transactions_owned").await, 1);
    assert_eq!((pool.metrics().dirty_releases, pool.metrics().created), (0, 1));
}

/// Leaves a failed transaction.
async fn fail(held: &Connection) {
    held.run("BEGIN", &[]).await.unwrap();
    held.run("SELECT 1/0", &[]).await.unwrap_err();
    // The error is told before the ReadyForQuery has come.
    eventually("it has failed", || held.transaction_status() == TransactionStatus::Failed).await;
}

#[tokio::test]
async fn a_commit_by_hand_of_a_transaction_that_had_failed_is_an_error() {
    for cache in [true, false] {
        let pool = builder().max_size(1).statement_cache(cache).build().unwrap();
        let held = pool.acquire().await.unwrap();
        let commits =
            ["COMMIT", "commit work;", " -- over\n/* and /* out */ */ End", "PREPARE TRANSACTION 'x'"];
        for sql in commits {
            fail(&held).await;
            was_rolled_back(held.run(sql, &[]).await, sql);
            assert_eq!(held.transaction_status(), TransactionStatus::Idle);
            fail(&held).await;
            was_rolled_back(held.fetch(sql, &[]).await, sql);
        }
        // What says that it rolls back is no failed commit, and a commit that is one is none either.
        fail(&held).await;
        held.run("ROLLBACK", &[]).await.unwrap();
        held.run("BEGIN", &[]).await.unwrap();
        assert_eq!(held.run("COMMIT", &[]).await.unwrap(), 0);
        assert_eq!(held.fetch("COMMIT", &[]).await.unwrap().len(), 0, "only a warning");
        held.run("COMMIT; SELECT 1", &[]).await.expect_err("two statements are still none");
        let e = held.run("COMMIT", &[&1_i32]).await.expect_err("and it takes no parameters");
        assert_eq!(e.code(), ErrorCode::InvalidArgument, "{e}");
    }
}

#[tokio::test]
async fn a_statement_that_has_run_is_not_run_again() {
    let watcher = observer().await;
    table(&watcher, "transactions_once").await;
    watcher
        .batch_execute(
            "DROP TABLE IF EXISTS transactions_wide; CREATE TABLE transactions_wide (a int);
             CREATE OR REPLACE PROCEDURE transactions_call(how text) LANGUAGE plpgsql AS $$
             BEGIN
               INSERT INTO transactions_once VALUES (1);
               COMMIT;
               IF how = 'stale' THEN EXECUTE 'EXECUTE wide'; END IF;
               RAISE EXCEPTION 'after the commit' USING ERRCODE = how;
             END $$",
        )
        .await
        .unwrap();
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    held.batch_execute(
        "PREPARE wide AS SELECT * FROM transactions_wide; EXECUTE wide;
         ALTER TABLE transactions_wide ADD b int",
    )
    .await
    .unwrap();
    let mut calls = 0;
    for (how, state) in [("0A000", "0A000"), ("26000", "26000"), ("stale", "0A000")] {
        for fetch in [false, true] {
            let sql = format!("CALL transactions_call('{how}')");
            let outcome = match fetch {
                true => held.fetch(&sql, &[]).await.map(drop),
                false => held.run(&sql, &[]).await.map(drop),
            };
            let e = outcome.unwrap_err();
            assert_eq!(e.sqlstate(), Some(state), "{e}");
            calls += 1;
            assert_eq!(rows(&watcher, "transactions_once").await, calls, "{how}: it ran once more");
        }
    }
}
