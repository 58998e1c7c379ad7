//! What a pool is expected to do: sizes, warm connections, notifications, COPY, pipelining, cancel, other ways in.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use leakpool::{Activity, ErrorCode, EventKind, Pool, Reset};

use crate::support::*;

/// Between a `LISTEN` and the first time that they are asked for none is lost; the next checkout gets none of them.
#[tokio::test]
async fn what_came_before_anyone_asked_is_this_checkouts_alone() {
    let pool = builder().max_size(1).build().unwrap();
    let sender = builder().max_size(1).build().unwrap();
    let notify = async |text: &str| {
        sender.execute("SELECT pg_notify('early', $1)", &[&text]).await.unwrap();
    };
    let listener = pool.acquire().await.unwrap();
    listener.batch_execute("LISTEN early").await.unwrap();
    notify("first").await;
    listener.batch_execute("SELECT 1").await.unwrap();
    let mut notifications = listener.notifications();
    notify("second").await;
    for text in ["first", "second"] {
        assert_eq!(notifications.recv().await.unwrap().payload(), text);
    }
    drop((notifications, listener));

    let listener = pool.acquire().await.unwrap();
    listener.batch_execute("LISTEN early").await.unwrap();
    notify("never asked for").await;
    listener.batch_execute("SELECT 1").await.unwrap();
    drop(listener);
    let next = pool.acquire().await.unwrap();
    let mut notifications = next.notifications();
    next.batch_execute("LISTEN early").await.unwrap();
    notify("mine").await;
    assert_eq!(notifications.recv().await.unwrap().payload(), "mine");
}

#[tokio::test]
async fn notifications_arrive_on_the_handle_that_listens() {
    let pool = builder().max_size(2).build().unwrap();
    let listener = pool.acquire().await.unwrap();
    let mut notifications = listener.notifications();
    listener.batch_execute("LISTEN orders").await.unwrap();
    pool.execute("SELECT pg_notify('orders', 'paid 42')", &[]).await.unwrap();
    let told = notifications.recv().await.unwrap();
    assert_eq!((told.channel(), told.payload()), ("orders", "paid 42"));
    assert!(pool.checkouts()[0].listening);
    drop(listener);
    assert!(notifications.next().await.is_none(), "they end with the checkout");
    eventually("it has settled", || pool.status().idle == 2).await;
    // The next holder of that session hears nothing of it.
    let (a, b) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    for next in [&a, &b] {
        let channels = next.fetch("SELECT pg_listening_channels()", &[]).await.unwrap();
        assert!(channels.is_empty());
    }
}

/// What the session of the next holder listens to.
async fn next_hears(pool: &Pool) -> usize {
    let next = pool.acquire().await.unwrap();
    next.fetch("SELECT pg_listening_channels()", &[]).await.unwrap().len()
}

#[tokio::test]
async fn the_next_holder_hears_nothing_of_what_was_listened_to_inside_other_statements() {
    let watcher = observer().await;
    watcher
        .batch_execute(
            "CREATE OR REPLACE PROCEDURE pool_listen_p() LANGUAGE plpgsql AS $$ BEGIN LISTEN inside; END $$;
             CREATE OR REPLACE PROCEDURE pool_listen_q() LANGUAGE plpgsql AS
             $$ BEGIN LISTEN inside; COMMIT; RAISE 'no'; END $$",
        )
        .await
        .unwrap();
    let pool = builder().max_size(1).build().unwrap();
    let does = "DO $$ BEGIN LISTEN inside; END $$";
    for sql in [does, "CALL pool_listen_p()", "BEGIN; DO $$ BEGIN LISTEN inside; END $$; COMMIT"] {
        let held = pool.acquire().await.unwrap();
        held.batch_execute(sql).await.unwrap();
        drop(held);
        assert_eq!(next_hears(&pool).await, 0, "{sql}");
    }
    for sql in [does, "CALL pool_listen_p()"] {
        let held = pool.acquire().await.unwrap();
        held.run(sql, &[]).await.unwrap();
        drop(held);
        assert_eq!(next_hears(&pool).await, 0, "{sql}, by the extended protocol");
        let held = pool.acquire().await.unwrap();
        held.exchange().extended(&leakpool::exchange::Query::new(sql)).await.unwrap().one().await.unwrap();
        drop(held);
        assert_eq!(next_hears(&pool).await, 0, "{sql}, by the exchange");
    }
    // To UNLISTEN one channel is not to UNLISTEN all, whatever else the text says.
    for sql in ["UNLISTEN other -- not UNLISTEN *", "BEGIN; UNLISTEN *; ROLLBACK"] {
        let held = pool.acquire().await.unwrap();
        held.batch_execute("LISTEN inside").await.unwrap();
        held.batch_execute(sql).await.unwrap();
        drop(held);
        assert_eq!(next_hears(&pool).await, 0, "{sql}");
    }
    // What has committed before it fails.
    for sql in ["DO $$ BEGIN LISTEN inside; COMMIT; RAISE 'no'; END $$", "CALL pool_listen_q()"] {
        let held = pool.acquire().await.unwrap();
        held.batch_execute(sql).await.unwrap_err();
        drop(held);
        assert_eq!(next_hears(&pool).await, 0, "{sql}");
    }
    assert_eq!(pool.metrics().created, 1, "none of that is a reason to end a session");
}

#[tokio::test]
async fn a_session_that_turns_out_to_listen_is_not_handed_out_as_it_is() {
    let watcher = observer().await;
    watcher
        .batch_execute(
            "CREATE OR REPLACE FUNCTION pool_listen_g() RETURNS int LANGUAGE plpgsql AS
             $$ BEGIN LISTEN inside_g; RETURN 1; END $$",
        )
        .await
        .unwrap();
    let pool = builder().max_size(1).build().unwrap();
    // A notification shows it while it is held.
    let held = pool.acquire().await.unwrap();
    let mut heard = held.notifications();
    held.fetch("SELECT pool_listen_g()", &[]).await.unwrap();
    watcher.batch_execute("NOTIFY inside_g").await.unwrap();
    assert_eq!(heard.next().await.unwrap().channel(), "inside_g");
    assert!(pool.checkouts()[0].listening);
    drop(held);
    assert_eq!(next_hears(&pool).await, 0);
    assert_eq!(pool.metrics().created, 1);
    // And while it is idle.
    let held = pool.acquire().await.unwrap();
    held.fetch("SELECT pool_listen_g()", &[]).await.unwrap();
    drop(held);
    watcher.batch_execute("NOTIFY inside_g").await.unwrap();
    eventually("the next holder hears nothing", || {
        let next = pool.try_acquire().ok();
        next.is_none_or(|next| !pool.checkouts()[0].listening && next.backend_pid().is_some())
    })
    .await;
    let limit = std::time::Instant::now() + LIMIT;
    while next_hears(&pool).await > 0 {
        assert!(std::time::Instant::now() < limit, "it still listens");
    }
}

#[tokio::test]
async fn notifications_that_are_dropped_take_nothing_from_the_others() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let (mut a, b, mut c) = (held.notifications(), held.notifications(), held.notifications());
    drop(b);
    held.batch_execute("LISTEN at_once; NOTIFY at_once, 'x'").await.unwrap();
    assert_eq!(a.next().await.unwrap().payload(), "x");
    assert_eq!(c.next().await.unwrap().payload(), "x");
    drop(held);
    assert!(a.next().await.is_none(), "they end with the checkout");
}

#[tokio::test]
async fn one_cancel_is_on_its_way_however_often_it_is_asked_for() {
    let proxy = crate::proxy::Proxy::start();
    let pool = Pool::builder().dsn(&proxy.url()).max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let cancel = held.cancel_handle();
    let running = tokio::spawn(async move {
        let outcome = held.batch_execute("SELECT pg_sleep(600)").await.map_err(|e| held.error(e));
        (held, outcome)
    });
    eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
    proxy.hold_requests(true);
    let before = proxy.connections();
    for _ in 0..20_000 {
        cancel.cancel().unwrap();
    }
    eventually("it is on its way", || proxy.connections() > before).await;
    for _ in 0..20_000 {
        cancel.cancel().unwrap();
    }
    proxy.hold_requests(false);
    let (held, outcome) = running.await.unwrap();
    assert_eq!(outcome.unwrap_err().sqlstate(), Some("57014"));
    eventually("it has arrived", || !held.is_being_cancelled()).await;
    // The one of before the first had gone, and one for all that were asked for meanwhile.
    assert!(proxy.connections() <= before + 2, "{} connections", proxy.connections() - before);
    held.batch_execute("SELECT 1").await.unwrap();
    drop(held);
    pool.close().await.unwrap();
}

#[tokio::test]
async fn copy_pipelining_and_transactions_work_through_the_handle() {
    let pool = builder().max_size(1).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    held.batch_execute("CREATE TEMP TABLE copied (id int, name text)").await.unwrap();
    let sink = held.copy_in("COPY copied FROM STDIN").await.unwrap();
    pin_mut!(sink);
    sink.send(Bytes::from_static(b"1\tone\n2\ttwo\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 2);
    let out = held.copy_out("COPY copied TO STDOUT").await.unwrap();
    let out: Vec<Bytes> = out.try_collect().await.unwrap();
    assert_eq!(out.concat(), b"1\tone\n2\ttwo\n");
    let (a, b, c) = tokio::join!(
        held.query_one("SELECT 1", &[]),
        held.query_one("SELECT 2", &[]),
        held.query_one("SELECT 3", &[]),
    );
    let values: Vec<i32> = [a, b, c].into_iter().map(|row| row.unwrap().get(0)).collect();
    assert_eq!(values, [1, 2, 3]);
    {
        let transaction = held.transaction().await.unwrap();
        transaction.execute("INSERT INTO copied VALUES (3, 'three')", &[]).await.unwrap();
        // Dropped: rolled back.
    }
    let count = held.query_one("SELECT count(*) FROM copied", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 2);
    drop(held);
    pool.assert_no_leaks().unwrap();
    eventually("it has settled", || pool.status().idle == 1).await;
    assert_eq!(pool.metrics().dirty_releases, 0, "all of that is good manners");
}

#[tokio::test]
async fn an_owned_transaction_commits_or_is_rolled_back() {
    let pool = builder().max_size(1).build().unwrap();
    pool.execute("CREATE TEMP TABLE kept (id int)", &[]).await.unwrap();
    let transaction = pool.begin().await.unwrap();
    transaction.run("INSERT INTO kept VALUES ($1)", &[&1_i32]).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = pool.begin().await.unwrap();
    transaction.run("INSERT INTO kept VALUES ($1)", &[&2_i32]).await.unwrap();
    drop(transaction);
    let rows = pool.query("SELECT id FROM kept", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|r| r.get::<_, i32>(0)).collect::<Vec<_>>(), [1]);
    assert_eq!(pool.metrics().dirty_releases, 0);
}

#[tokio::test]
async fn a_plan_that_has_become_invalid_is_prepared_anew() {
    let pool = builder().max_size(1).build().unwrap();
    pool.execute("CREATE TEMP TABLE changing (a int)", &[]).await.unwrap();
    assert_eq!(pool.query("SELECT * FROM changing", &[]).await.unwrap().len(), 0);
    let held = pool.acquire().await.unwrap();
    held.batch_execute("ALTER TABLE changing ADD b text; INSERT INTO changing VALUES (1, 'x')")
        .await
        .unwrap();
    assert_eq!(held.fetch("SELECT * FROM changing", &[]).await.unwrap()[0].len(), 2);
    held.batch_execute("DEALLOCATE ALL").await.unwrap();
    assert_eq!(held.fetch("SELECT * FROM changing", &[]).await.unwrap()[0].len(), 2);
}

#[tokio::test]
async fn without_a_statement_cache_no_statement_has_a_name() {
    // PgBouncer before 1.21 in transaction mode, where there is one; else the server itself, where it can be seen.
    let bouncer = std::env::var("PGBOUNCER_URL").ok();
    let dsn = bouncer.clone().unwrap_or_else(url);
    let pool = Pool::builder().dsn(&dsn).statement_cache(false).max_size(3).build().unwrap();
    for n in 0..20_i32 {
        let rows = pool.query("SELECT $1 + 1, $2 || '!', $3", &[&n, &"so", &Some(1.5_f64)]).await.unwrap();
        assert_eq!(rows[0].get::<_, i32>(0), n + 1);
        assert_eq!(rows[0].get::<_, String>(1), "so!");
        assert_eq!(rows[0].get::<_, f64>(2), 1.5);
    }
    let named = pool.query("SELECT count(*) FROM pg_prepared_statements", &[]).await.unwrap();
    assert_eq!(named[0].get::<_, i64>(0), 0);
    if bouncer.is_none() {
        println!("PGBOUNCER_URL is not set: tried without PgBouncer");
    }
}

#[tokio::test]
async fn the_pool_can_be_made_smaller_and_larger_while_connections_are_out() {
    let pool = builder().max_size(6).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(pool.acquire().await.unwrap());
    }
    pool.resize(2).unwrap();
    assert_eq!(pool.try_acquire().unwrap_err().code(), ErrorCode::NoneIdle);
    pool.resize(4).unwrap();
    assert_eq!(pool.try_acquire().unwrap_err().code(), ErrorCode::NoneIdle);
    held.clear();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    assert_eq!(pool.try_acquire().unwrap_err().code(), ErrorCode::NoneIdle, "4, and not one more");
    assert_eq!(pool.status().max_size, 4);
    held.clear();
    eventually("surplus connections are gone", || pool.status().size <= 4).await;
    let e = pool.resize(0).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidOption);
    assert!(e.to_string().contains("max_size"), "{e}");
}

#[tokio::test]
async fn a_drained_pool_makes_every_connection_anew() {
    let pool = builder().max_size(3).build().unwrap();
    let (held, idle) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let before = [held.backend_pid(), idle.backend_pid()];
    drop(idle);
    eventually("one is idle", || pool.status().idle == 1).await;
    pool.drain().unwrap();
    assert_eq!(pool.status().idle, 0, "what was idle leaves at once");
    held.batch_execute("SELECT 1").await.unwrap();
    drop(held);
    eventually("what was held leaves as it comes back", || pool.status().size == 0).await;
    assert!(!before.contains(&pool.acquire().await.unwrap().backend_pid()));
    pool.close().await.unwrap();
    assert_eq!(pool.drain().unwrap_err().code(), ErrorCode::PoolClosed);
}

#[tokio::test]
async fn min_idle_may_change_while_the_pool_runs() {
    let pool = builder().max_size(2).build().unwrap();
    pool.resize_between(2, 3).unwrap();
    eventually("two are made at once", || pool.status().idle == 2).await;
    assert_eq!((pool.options().min_idle, pool.options().max_size), (2, 3));
    let e = pool.resize_between(4, 3).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidOption);
    assert_eq!(pool.options().min_idle, 2, "a refused change changes nothing");
}

#[tokio::test]
async fn what_is_given_back_in_the_middle_of_a_cancelled_statement_comes_back() {
    let pool = builder().max_size(1).build().unwrap();
    for _ in 0..20 {
        let held = pool.acquire().await.unwrap();
        {
            let mut slow = std::pin::pin!(held.batch_execute("SELECT pg_sleep(60)"));
            let _ = futures_util::poll!(slow.as_mut());
            eventually("it runs", || pool.checkouts()[0].activity == Activity::Executing).await;
        }
        held.cancel().unwrap();
        drop(held);
        pool.acquire().await.unwrap().batch_execute("SELECT 1").await.unwrap();
    }
    assert_eq!(pool.metrics().created, 1, "no return had to be given up");
}

#[tokio::test]
async fn connections_are_kept_warm_and_closed_when_idle_for_too_long() {
    let (pool, clock) = on_manual_clock(|b| b.max_size(4).min_idle(1).idle_timeout(Duration::from_secs(60)));
    let removed = pool.events(&[EventKind::Remove]);
    eventually("one is warm before anybody asks", || pool.status().idle == 1).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    held.clear();
    eventually("all are back", || pool.status().idle == 4).await;
    clock.advance(Duration::from_secs(61));
    eventually("three were surplus", || pool.status().size == 1).await;
    for _ in 0..3 {
        assert!(removed.recv_timeout(Duration::from_secs(20)).is_some());
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_lifetime_and_its_uses() {
    let (pool, clock) =
        on_manual_clock(|b| b.max_size(1).max_uses(2).max_lifetime(Duration::from_secs(3600)));
    let pid = |c: &leakpool::Connection| c.backend_pid().unwrap();
    let first = pid(&pool.acquire().await.unwrap());
    assert_eq!(pid(&pool.acquire().await.unwrap()), first);
    let second = pid(&pool.acquire().await.unwrap());
    assert_ne!(second, first, "two uses are over");
    clock.advance(Duration::from_secs(3600));
    assert_ne!(pid(&pool.acquire().await.unwrap()), second, "its life is over");
}

#[tokio::test]
async fn a_cancel_of_the_past_does_nothing_to_the_next_holder() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let handle = held.cancel_handle();
    handle.cancel().unwrap();
    drop(held);
    let next = pool.acquire().await.unwrap();
    assert_eq!(handle.cancel().unwrap_err().code(), ErrorCode::AlreadyReleased);
    next.batch_execute("SELECT pg_sleep(0.05)").await.unwrap();
}

/// The statement may be over before the cancel arrives: the next one is safe once that has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_was_waited_for_spares_the_next_statement() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut waited = 0;
    for round in 0..100 {
        let mut answers = held.exchange().simple("SELECT generate_series(1, 20000)").unwrap();
        assert!(answers.next().await.is_some());
        held.cancel().unwrap();
        waited += u32::from(held.is_being_cancelled());
        // Cancelled, or over before.
        while answers.next().await.is_some() {}
        eventually("the cancel arrives", || !held.is_being_cancelled()).await;
        let slept = held.batch_execute("SELECT pg_sleep(0.002)").await;
        assert!(slept.is_ok(), "round {round}: {slept:?}");
    }
    assert!(waited > 0, "no cancel was under way");
}

#[tokio::test]
async fn a_session_reset_leaves_nothing_but_prepared_statements() {
    let pool = builder().max_size(1).reset(Reset::Session).build().unwrap();
    let held = pool.acquire().await.unwrap();
    held.fetch("SELECT 'kept'", &[]).await.unwrap();
    held.batch_execute(
        "SET work_mem = '77MB'; CREATE TEMP TABLE gone (x int); SELECT pg_advisory_lock(1); LISTEN gone; \
         DECLARE gone CURSOR WITH HOLD FOR SELECT 1",
    )
    .await
    .unwrap();
    drop(held);
    let next = pool.acquire().await.unwrap();
    let row = next
        .query_one(
            "SELECT current_setting('work_mem'), to_regclass('pg_temp.gone')::text, \
             (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
             (SELECT count(*) FROM pg_listening_channels()), \
             (SELECT count(*) FROM pg_cursors WHERE name = 'gone'), \
             (SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%kept%')",
            &[],
        )
        .await
        .unwrap();
    assert_ne!(row.get::<_, String>(0), "77MB");
    assert_eq!(row.get::<_, Option<String>>(1), None);
    let counts: Vec<i64> = (2..6).map(|i| row.get(i)).collect();
    assert_eq!(counts[..3], [0, 0, 0]);
    assert!(counts[3] >= 1, "prepared statements are kept");
}

#[tokio::test]
async fn the_pools_name_is_what_the_server_shows() {
    let pool = builder().name("shown-to-the-server").build().unwrap();
    let rows = pool.query("SELECT current_setting('application_name')", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "shown-to-the-server");
    let e = builder().name("shown-to-the-server").build().unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidOption);
    assert!(e.to_string().contains("another pool"), "{e}");
    drop(pool);
    builder().name("shown-to-the-server").build().unwrap();
}

/// The URL of the test server with other parameters.
fn url_with(parameters: &str) -> String {
    let url = url();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

#[tokio::test]
async fn the_wire_is_watched_and_sessions_are_taken_back_under_tls_too() {
    if std::env::var("LEAKPOOL_TEST_CERTS").is_err() {
        println!("LEAKPOOL_TEST_CERTS is not set: the server has no TLS");
        return;
    }
    let dsn = url_with("sslmode=require&channel_binding=require");
    let watcher = observer().await;
    let pool = Pool::builder().dsn(&dsn).max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let ssl = held.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(ssl.get::<_, bool>(0));
    let big = held.query_one("SELECT repeat('x', 3000000)", &[]).await.unwrap();
    assert_eq!(big.get::<_, &str>(0).len(), 3_000_000);
    let pid = held.backend_pid().unwrap();
    {
        let sleeping = held.batch_execute("SELECT pg_sleep(600)");
        pin_mut!(sleeping);
        tokio::select! {
            _ = &mut sleeping => panic!("slept"),
            () = eventually("it runs", || pool.checkouts()[0].executing_for.is_some()) => {}
        }
        pool.force_release(pool.checkouts()[0].id).unwrap();
        assert_eq!(sleeping.await.unwrap_err().code().unwrap().code(), leakpool::FORCE_RELEASED);
    }
    session_gone(&watcher, pid).await;
    pool.acquire().await.unwrap().batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_as_good() {
    let Ok(directory) = std::env::var("LEAKPOOL_TEST_SOCKET_DIR") else {
        println!("LEAKPOOL_TEST_SOCKET_DIR is not set: no unix socket to try");
        return;
    };
    let pool = Pool::builder().dsn(&url_with(&format!("host={directory}"))).max_size(1).build().unwrap();
    let watcher = observer().await;
    let held = pool.acquire().await.unwrap();
    let address = held.query_one("SELECT inet_client_addr() IS NULL", &[]).await.unwrap();
    assert!(address.get::<_, bool>(0), "a unix socket has no address");
    let pid = held.backend_pid().unwrap();
    pool.force_release(held.id()).unwrap();
    session_gone(&watcher, pid).await;
}

/// The same for exchanges, which wait by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_spares_the_exchange_that_is_asked_for_next() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut under_way = 0;
    for round in 0..20 {
        // Over long before the cancel arrives.
        let mut answers = held.exchange().simple("SELECT 1").unwrap();
        held.cancel().unwrap();
        while answers.next().await.is_some() {}
        under_way += u32::from(held.is_being_cancelled());
        let mut slept = held.exchange().simple("SELECT pg_sleep(0.01)").unwrap();
        while let Some(item) = slept.next().await {
            assert!(item.is_ok(), "round {round}: {item:?}");
        }
    }
    assert!(under_way > 0, "no cancel was under way");
}
