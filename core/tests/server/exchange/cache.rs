//! The statement cache, as the server sees it in `pg_prepared_statements`.

use leakpool::exchange::{Item, Query};
use leakpool::{Reset, TransactionStatus};

use super::*;
use crate::support::*;

/// The statements that are prepared on the server, other than this one's.
async fn prepared(held: &Connection) -> Vec<String> {
    let sql = "SELECT statement FROM pg_prepared_statements WHERE name LIKE 'lp\\_%' ORDER BY prepare_time, statement";
    let answer = held.exchange().extended(&Query::new(sql).cached(false)).await.unwrap().one().await.unwrap();
    answer.rows.iter().map(|row| texts(row).remove(0).unwrap()).collect()
}

#[tokio::test]
async fn repeated_sql_is_parsed_once_and_kept_by_its_types() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    for i in 0..5 {
        let i = i.to_string();
        assert_eq!(value(&ask_with(held.exchange(), "SELECT $1::text", &[&i]).await.unwrap()), i);
    }
    assert_eq!(prepared(&held).await, ["SELECT $1::text"]);
    assert_eq!(runs(&held).await, 5);
    let params = [Param { oid: 1043, ..Param::text(b"x") }];
    held.exchange()
        .extended(&Query::new("SELECT $1::text").params(&params))
        .await
        .unwrap()
        .one()
        .await
        .unwrap();
    assert_eq!(prepared(&held).await.len(), 2);
    // What is not to be kept, what is too long, what fails to parse.
    held.exchange()
        .extended(&Query::new("SELECT 'fleeting'").cached(false))
        .await
        .unwrap()
        .one()
        .await
        .unwrap();
    ask(held.exchange(), &format!("SELECT '{}'", "l".repeat(17_000))).await.unwrap();
    ask(held.exchange(), "SELECT nope").await.unwrap_err();
    assert_eq!(prepared(&held).await.len(), 2);
    // One that fails when it runs was prepared all the same.
    for _ in 0..3 {
        assert_eq!(
            ask_with(held.exchange(), "SELECT 1 / $1::int4", &["0"]).await.unwrap_err().sqlstate(),
            Some("22012")
        );
    }
    assert_eq!(prepared(&held).await.len(), 3);
    still_works(&held).await;
}

#[tokio::test]
async fn the_cache_is_bounded_and_what_leaves_it_is_closed() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    for i in 0..300 {
        ask(held.exchange(), &format!("SELECT {i}")).await.unwrap();
        ask(held.exchange(), "SELECT 'often used'").await.unwrap();
    }
    let kept = prepared(&held).await;
    assert_eq!(kept.len(), 256);
    assert!(kept.iter().any(|sql| sql == "SELECT 'often used'"));
    assert!(kept.iter().any(|sql| sql == "SELECT 299"));
    assert!(!kept.iter().any(|sql| sql == "SELECT 0"));
}

/// The same without a tag that tells of it, as if another caller had done it.
fn behind(sql: &str) -> String {
    format!("DO $do$ BEGIN EXECUTE $sql${sql}$sql$; END $do$")
}

#[tokio::test]
async fn what_the_connection_itself_alters_is_prepared_anew_in_a_transaction_too() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    say(held.exchange(), "CREATE TEMP TABLE p (a int); INSERT INTO p VALUES (1)").await.unwrap();
    say(held.exchange(), "BEGIN").await.unwrap();
    let all = "SELECT * FROM p";
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 1);
    ask(held.exchange(), "ALTER TABLE p ADD b text").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 2);
    // Taken back: the plan of the transaction is not right any more either.
    say(held.exchange(), "ROLLBACK").await.unwrap();
    say(held.exchange(), "BEGIN").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 1);
    say(held.exchange(), "DROP TABLE p; CREATE TEMP TABLE p (a int, b int, c int)").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows.len(), 0);
    say(held.exchange(), "COMMIT").await.unwrap();
    // A transaction that changed nothing keeps everything.
    say(held.exchange(), "BEGIN").await.unwrap();
    let before = prepared(&held).await;
    say(held.exchange(), "ROLLBACK").await.unwrap();
    assert_eq!(prepared(&held).await, before);
    still_works(&held).await;
}

#[tokio::test]
async fn an_invalid_plan_is_prepared_anew() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    say(held.exchange(), "CREATE TEMP TABLE p (a int); INSERT INTO p VALUES (1)").await.unwrap();
    let all = "SELECT * FROM p";
    assert_eq!(texts(&ask(held.exchange(), all).await.unwrap().rows[0]), [Some("1".into())]);
    say(held.exchange(), &behind("ALTER TABLE p ADD b text DEFAULT 'new'")).await.unwrap();
    let answer = ask(held.exchange(), all).await.unwrap();
    assert_eq!(texts(&answer.rows[0]), [Some("1".into()), Some("new".into())]);
    assert_eq!(answer.columns.unwrap().len(), 2);
    // The statement is gone on the server, behind our back or before our eyes.
    held.batch_execute("DEALLOCATE ALL").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 2);
    held.batch_execute("DISCARD ALL").await.unwrap();
    held.batch_execute("CREATE TEMP TABLE p (a int); INSERT INTO p VALUES (1)").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 1);
    let names = "SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT * FROM p'";
    let name = held.query_one(names, &[]).await.unwrap().get::<_, String>(0);
    held.batch_execute(&format!("DEALLOCATE \"{name}\"")).await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 1);
    // Within a transaction that has done something, it is an error; the next time is right.
    say(held.exchange(), &format!("BEGIN; {}", behind("ALTER TABLE p ADD b text DEFAULT 'new'")))
        .await
        .unwrap();
    let e = ask(held.exchange(), all).await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("0A000"), "{e}");
    assert_eq!(held.transaction_status(), TransactionStatus::Failed);
    say(held.exchange(), "ROLLBACK").await.unwrap();
    assert_eq!(ask(held.exchange(), all).await.unwrap().rows[0].len(), 1);
    // If the transaction has only just begun, with it, it begins anew.
    say(held.exchange(), &behind("ALTER TABLE p ADD b text DEFAULT 'new'")).await.unwrap();
    let answer = ask(held.exchange().after("BEGIN"), all).await.unwrap();
    assert_eq!((answer.rows[0].len(), held.transaction_status()), (2, TransactionStatus::InTransaction));
    // But not if it was open before.
    say(held.exchange(), &behind("ALTER TABLE p ADD c text DEFAULT 'newer'")).await.unwrap();
    assert_eq!(ask(held.exchange().after("BEGIN"), all).await.unwrap_err().sqlstate(), Some("0A000"));
    assert_eq!(held.transaction_status(), TransactionStatus::Failed);
    say(held.exchange(), "ROLLBACK").await.unwrap();
    // What the server does not support at all is told, not tried again for ever.
    assert_eq!(
        ask(held.exchange(), "SELECT 1 FOR UPDATE OF nothing").await.unwrap_err().sqlstate(),
        Some("42P01")
    );
    still_works(&held).await;
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_prepared_that_nobody_knows() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut random = Seeded(7);
    for i in 0..200 {
        let sql = format!("SELECT {i}, $1::text");
        {
            let (exchange, params) = (held.exchange(), [Param::text(b"x")]);
            let query = Query::new(&sql).params(&params);
            let mut future = Box::pin(async { exchange.extended(&query).await.unwrap().next().await });
            for _ in 0..random.below(6) {
                if futures_util::poll!(&mut future).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        if random.below(4) == 0 {
            assert_eq!(
                value(&ask_with(held.exchange(), "SELECT $1::text", &["right"]).await.unwrap()),
                "right"
            );
        }
    }
    // Everything that the server has is known, and used again.
    ask_with(held.exchange(), "SELECT $1::text", &["closes what is to be closed"]).await.unwrap();
    let (before, runs) = (prepared(&held).await, runs(&held).await);
    assert!((1..200).contains(&before.len()), "some were kept, some dropped: {}", before.len());
    for sql in &before {
        assert!(ask_with(held.exchange(), sql, &["x"]).await.is_ok());
    }
    assert_eq!(prepared(&held).await, before);
    assert_eq!(self::runs(&held).await, runs + before.len());
}

/// How often the statements that are prepared on the server were run.
async fn runs(held: &Connection) -> usize {
    let sql = "SELECT sum(generic_plans + custom_plans) FROM pg_prepared_statements WHERE name LIKE 'lp\\_%'";
    let query = Query::new(sql).cached(false);
    value(&held.exchange().extended(&query).await.unwrap().one().await.unwrap()).parse().unwrap()
}

#[tokio::test]
async fn it_survives_a_reset_of_the_session_and_belongs_to_the_connection() {
    let pool = builder().max_size(1).reset(Reset::Session).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    ask(held.exchange(), "SELECT 'kept'").await.unwrap();
    say(held.exchange(), "SET TimeZone = 'Asia/Tokyo'").await.unwrap();
    drop(held);
    let held = pool.acquire().await.unwrap();
    assert_eq!(held.backend_pid(), pid);
    assert_ne!(held.parameter("TimeZone").as_deref(), Some("Asia/Tokyo"));
    assert_eq!(prepared(&held).await, ["SELECT 'kept'"]);
    assert_eq!(value(&ask(held.exchange(), "SELECT 'kept'").await.unwrap()), "kept");
    assert_eq!(prepared(&held).await.len(), 1);
}

#[tokio::test]
async fn without_a_cache_nothing_is_prepared() {
    let pool = builder().max_size(1).statement_cache(false).build().unwrap();
    let held = pool.acquire().await.unwrap();
    for _ in 0..3 {
        assert_eq!(value(&ask_with(held.exchange(), "SELECT $1::text", &["x"]).await.unwrap()), "x");
        let portal = held.exchange().after("BEGIN").open(&Query::new("SELECT 1")).await.unwrap();
        assert_eq!(held.exchange().fetch(&portal, 0).unwrap().one().await.unwrap().rows.len(), 1);
        say(held.exchange(), "COMMIT").await.unwrap();
    }
    let all = "SELECT count(*) FROM pg_prepared_statements";
    assert_eq!(value(&ask(held.exchange(), all).await.unwrap()), "0");
}

#[tokio::test]
async fn through_a_pgbouncer_in_transaction_mode() {
    let Ok(url) = std::env::var("PGBOUNCER_URL") else {
        eprintln!("skipped: PGBOUNCER_URL is not set (run under tests/with-pgbouncer)");
        return;
    };
    let pool = leakpool::Pool::builder().dsn(&url).max_size(4).statement_cache(false).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    for round in 0..20 {
        for connection in &held {
            let sent = round.to_string();
            assert_eq!(
                value(&ask_with(connection.exchange(), "SELECT $1::text", &[&sent]).await.unwrap()),
                sent
            );
            assert_eq!(value(&say(connection.exchange(), "SELECT 1; SELECT 2").await.unwrap()[1]), "2");
            let answer =
                ask_with(connection.exchange().after("BEGIN"), "SELECT $1::int4", &["5"]).await.unwrap();
            assert_eq!(value(&answer), "5");
            let portal =
                connection.exchange().open(&Query::new("SELECT generate_series(1, 3)")).await.unwrap();
            let mut answers = connection.exchange().fetch(&portal, 2).unwrap();
            assert!(matches!(answers.next().await, Some(Ok(Item::Columns(_)))));
            drop(answers);
            say(connection.exchange(), "COMMIT").await.unwrap();
            drop(portal);
            assert_eq!(ask(connection.exchange(), "SELECT 1/0").await.unwrap_err().sqlstate(), Some("22012"));
        }
    }
}
