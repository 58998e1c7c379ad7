//! Exchanges and tokio-postgres's own requests on one connection at the same time.

use leakpool::exchange::Query;
use leakpool::{ErrorCode, EventKind};

use super::*;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_of_two_hundred_are_right() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let (raw, client) = (held.exchange(), &held);
    let raws = async {
        for i in 0..200_usize {
            let sent = i.to_string();
            match i % 4 {
                0 => assert_eq!(value(&ask_with(raw, "SELECT $1::text", &[&sent]).await.unwrap()), sent),
                1 => assert_eq!(value(&say(raw, &format!("SELECT {i}; SELECT 0")).await.unwrap()[0]), sent),
                2 => {
                    // A text of its own each time: parsed, kept, and now and then another one is closed for it.
                    let answer = ask(raw, &format!("SELECT {i}, repeat('y', {i} * 1000)")).await.unwrap();
                    assert_eq!(answer.rows[0].get(1).unwrap().len(), i * 1000);
                }
                _ => assert_eq!(ask(raw, "SELECT 1/0").await.unwrap_err().sqlstate(), Some("22012")),
            }
        }
        200
    };
    let rows = async {
        for i in 0..200_i32 {
            let row = client.query_one("SELECT $1::int4, repeat('x', $1 * 100)", &[&i]).await.unwrap();
            assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1).len()), (i, i as usize * 100));
            if i % 10 == 0 {
                assert!(client.batch_execute("SELECT 1/0").await.is_err());
            }
        }
        200
    };
    assert_eq!(tokio::join!(raws, rows), (200, 200));
    still_works(&held).await;
}

#[tokio::test]
async fn requests_that_are_asked_for_at_once_are_answered_in_order() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    say(held.exchange(), "CREATE TEMP SEQUENCE turns").await.unwrap();
    let mut asked: Vec<_> =
        (0..50).map(|_| held.exchange().simple("SELECT nextval('turns')").unwrap()).collect();
    for (i, answers) in asked.iter_mut().enumerate() {
        assert_eq!(value(&answers.collect().await.unwrap()[0]), (i + 1).to_string());
    }
    let raw = held.exchange();
    let same = (0..20).map(|i| async move {
        let i = i.to_string();
        (value(&ask_with(raw, "SELECT $1::text", &[&i]).await.unwrap()), i)
    });
    for (got, wanted) in futures_util::future::join_all(same).await {
        assert_eq!(got, wanted);
    }
    still_works(&held).await;
}

#[tokio::test]
async fn a_transaction_and_a_copy_of_tokio_postgres_are_not_disturbed() {
    use futures_util::SinkExt;
    let pool = builder().max_size(1).build().unwrap();
    let mut held = pool.acquire().await.unwrap();
    held.batch_execute("CREATE TEMP TABLE d (i int)").await.unwrap();
    let transaction = held.transaction().await.unwrap();
    transaction.execute("INSERT INTO d VALUES (1)", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    let sink = held.copy_in::<_, bytes::Bytes>("COPY d FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(b"1\n2\n")).await.unwrap();
    // Queued behind the copy, which is still open.
    let mut count = held.exchange().simple("SELECT count(*) FROM d").unwrap();
    sink.send(bytes::Bytes::from_static(b"3\n")).await.unwrap();
    assert_eq!(sink.finish().await.unwrap(), 3);
    assert_eq!(value(&count.collect().await.unwrap()[0]), "3");
    still_works(&held).await;
}

#[tokio::test]
async fn notifications_come_through_in_the_middle_of_everything() {
    let pool = builder().max_size(2).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let other = pool.acquire().await.unwrap();
    let mut heard = held.notifications();
    say(held.exchange(), "LISTEN ears").await.unwrap();
    for i in 0..20 {
        // One's own come with the ReadyForQuery, others' whenever they like.
        say(held.exchange(), &format!("NOTIFY ears, 'own {i}'")).await.unwrap();
        ask(other.exchange(), &format!("SELECT pg_notify('ears', 'other {i}')")).await.unwrap();
        let long =
            ask(held.exchange(), "SELECT repeat('x', 100000) FROM generate_series(1, 3)").await.unwrap();
        assert_eq!(long.rows.len(), 3);
        still_works(&held).await;
    }
    let mut got: Vec<String> = Vec::new();
    while got.len() < 40 {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), heard.recv()).await;
        got.push(next.expect("a notification").unwrap().payload().to_owned());
    }
    for kind in ["own", "other"] {
        let of_kind: Vec<&String> = got.iter().filter(|g| g.starts_with(kind)).collect();
        let expected: Vec<String> = (0..20).map(|i| format!("{kind} {i}")).collect();
        assert_eq!(of_kind, expected.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn futures_dropped_anywhere_leave_the_session_right() {
    let pool = builder().max_size(1).build().unwrap();
    let mut random = Seeded(1972);
    let mut held = pool.acquire().await.unwrap();
    say(held.exchange(), "CREATE TEMP TABLE dropped (i int)").await.unwrap();
    for round in 0..300_u64 {
        let sql = format!(
            "SELECT {round}, repeat('x', {}) FROM generate_series(1, {})",
            random.below(20_000),
            1 + random.below(30)
        );
        let polls = random.below(12);
        {
            let raw = held.exchange();
            let what = random.below(6);
            let future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>> = match what {
                0 => Box::pin(async { drop(say(raw, &sql).await) }),
                1 => Box::pin(async { drop(ask(raw, &sql).await) }),
                2 => Box::pin(async { drop(ask_with(raw, "SELECT $1::text", &["cached"]).await) }),
                3 => Box::pin(async { drop(ask(raw, "COPY pg_class FROM STDIN").await) }),
                4 => Box::pin(async {
                    let Ok(mut copy) = raw.copy_in("COPY dropped FROM STDIN").await else { return };
                    if copy.send(b"1\n").await.is_ok() {
                        drop(copy.finish().await);
                    }
                }),
                _ => Box::pin(async { drop(held.query(sql.as_str(), &[]).await) }),
            };
            drop_after(future, polls).await;
        }
        if random.below(3) == 0 {
            drop(held);
            held = pool.acquire().await.unwrap();
        }
        let wanted = format!("right {round}");
        assert_eq!(value(&ask_with(held.exchange(), "SELECT $1::text", &[&wanted]).await.unwrap()), wanted);
        if random.below(2) == 0 {
            still_works(&held).await;
        }
    }
    assert_eq!(pool.metrics().books.lost, 0);
}

/// Polls a future so often, giving the connection's task a chance in between, and drops it.
async fn drop_after(mut future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>, polls: u64) {
    for _ in 0..polls {
        if futures_util::poll!(&mut future).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_force_release_ends_an_exchange() {
    let (pool, _clock) = on_manual_clock(|b| b.max_size(1));
    let events = pool.events(&[EventKind::LateUse]);
    let watcher = observer().await;
    // While it runs, while it streams, while it copies, while it waits for its turn, and afterwards.
    for during in [
        "SELECT pg_sleep(60)",
        "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)",
        "COPY t FROM STDIN",
        "",
    ] {
        let held = pool.acquire().await.unwrap();
        let pid = held.backend_pid().unwrap();
        let mut copy = None;
        let mut answers = None;
        if during.starts_with("COPY") {
            say(held.exchange(), "CREATE TEMP TABLE t (i int)").await.unwrap();
            let mut begun = held.exchange().copy_in(during).await.unwrap();
            begun.send(b"1\n").await.unwrap();
            copy = Some(begun);
        } else if !during.is_empty() {
            let mut asked = held.exchange().simple(during).unwrap();
            if during.contains("repeat") {
                assert!(matches!(asked.next().await, Some(Ok(leakpool::exchange::Item::Columns(_)))));
            } else {
                eventually("it runs", || pool.checkouts()[0].activity == leakpool::Activity::Executing).await;
            }
            answers = Some(asked);
        }
        let waiting = (!during.is_empty()).then(|| held.exchange().simple("SELECT 1").unwrap());
        let id = held.id();
        pool.force_release(id).unwrap();
        let check = |e: Error| {
            assert_eq!(e.code(), ErrorCode::ForceReleased, "{during}: {e}");
            assert_eq!(e.sqlstate(), Some(leakpool::FORCE_RELEASED));
            assert_eq!(e.detail::<leakpool::Revocation>().unwrap().checkout, id);
        };
        if let Some(mut answers) = answers {
            check(answers.collect().await.unwrap_err());
        }
        if let Some(mut copy) = copy {
            while copy.send(b"2\n").await.is_ok() {
                tokio::task::yield_now().await;
            }
            check(held.exchange().copy_in("COPY t FROM STDIN").await.map(drop).unwrap_err());
        }
        if let Some(mut waiting) = waiting {
            check(waiting.collect().await.unwrap_err());
        }
        check(say(held.exchange(), "SELECT 1").await.unwrap_err());
        check(ask(held.exchange(), "SELECT 1").await.unwrap_err());
        // tokio-postgres gets its fence on the same connection.
        let e = held.batch_execute("SELECT 1").await.unwrap_err();
        assert_eq!(e.code().map(|c| c.code()), Some(leakpool::FORCE_RELEASED), "{during}: {e}");
        session_gone(&watcher, pid).await;
        drop(held);
        assert_eq!(
            events.recv_timeout(std::time::Duration::from_secs(20)).unwrap().kind(),
            EventKind::LateUse
        );
    }
}

#[tokio::test]
async fn the_end_of_a_session_is_told() {
    let pool = builder().max_size(1).build().unwrap();
    let watcher = observer().await;
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid().unwrap() as i32;
    let mut running = held.exchange().simple("SELECT pg_sleep(60)").unwrap();
    let mut waiting = held.exchange().simple("SELECT 1").unwrap();
    eventually("it runs", || pool.checkouts()[0].activity == leakpool::Activity::Executing).await;
    watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let e = running.collect().await.unwrap_err();
    assert_eq!((e.code(), e.sqlstate()), (ErrorCode::ConnectionLost, Some("57P01")), "{e}");
    assert_eq!(waiting.collect().await.unwrap_err().code(), ErrorCode::ConnectionLost);
    eventually("it has ended", || held.is_closed()).await;
    assert_eq!(say(held.exchange(), "SELECT 1").await.unwrap_err().code(), ErrorCode::ConnectionLost);
    let e = held.exchange().extended(&Query::new("SELECT 1")).await.map(drop).unwrap_err();
    assert_eq!(e.code(), ErrorCode::ConnectionLost);
}

/// As `client.query(…); client.release()` in a host: who still waits gets the answer, and the next holder waits for it.
#[tokio::test]
async fn what_is_waited_for_is_answered_after_the_release() {
    let watcher = observer().await;
    table(&watcher, "asked_before").await;
    let (pool, clock) = on_manual_clock(|b| b.max_size(1));
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    let mut slow = held.exchange().simple("SELECT pg_sleep(0.3)").unwrap();
    let mut rows_of_it =
        held.exchange().simple("SELECT repeat('x', 1000) FROM generate_series(1, 20000)").unwrap();
    let mut queued = held.exchange().simple("INSERT INTO asked_before VALUES (1)").unwrap();
    drop(held);
    assert_eq!(pool.status().returning, 1);
    // It is at work: the time that a return may take has not begun.
    clock.advance(pool.options().reset_timeout * 2);
    let next = tokio::spawn(pool.acquire());
    assert_eq!(value(&slow.collect().await.unwrap()[0]), "");
    assert_eq!(rows_of_it.collect().await.unwrap()[0].rows.len(), 20000);
    queued.collect().await.unwrap();
    let next = next.await.unwrap().unwrap();
    assert_eq!(next.backend_pid(), pid);
    assert_eq!(rows(&watcher, "asked_before").await, 1);
    // Nobody reads what has been asked for: the session is not kept for that.
    let mut unread =
        next.exchange().simple("SELECT repeat('x', 1000) FROM generate_series(1, 200000)").unwrap();
    assert!(unread.next().await.is_some());
    eventually("it is stalled", || pool.checkouts()[0].activity == leakpool::Activity::Stalled).await;
    drop(next);
    clock.advance(pool.options().reset_timeout + std::time::Duration::from_millis(1));
    let other = pool.acquire().await.unwrap();
    assert_ne!(other.backend_pid(), pid);
    assert!(unread.collect().await.is_err());
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_blocks_nobody() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let pid = held.backend_pid();
    let mut answers =
        held.exchange().simple("SELECT repeat('x', 1000) FROM generate_series(1, 20000)").unwrap();
    assert!(answers.next().await.is_some());
    let queued = held.exchange().simple("CREATE TABLE never_made (i int)").unwrap();
    drop((answers, queued, held));
    let next = pool.acquire().await.unwrap();
    assert_eq!(next.backend_pid(), pid, "the same session, read to its end");
    still_works(&next).await;
    let made =
        ask(next.exchange(), "SELECT count(*) FROM pg_class WHERE relname = 'never_made'").await.unwrap();
    assert_eq!(value(&made), "0");
    // The same with a copy.
    say(next.exchange(), "CREATE TEMP TABLE c (i int)").await.unwrap();
    let mut copy = next.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    copy.send(b"1\n").await.unwrap();
    drop(next);
    let last = pool.acquire().await.unwrap();
    assert_eq!(last.backend_pid(), pid);
    assert_eq!(value(&ask(last.exchange(), "SELECT count(*) FROM c").await.unwrap()), "0");
    assert_eq!(copy.finish().await.unwrap_err().code(), ErrorCode::AlreadyReleased);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_release_at_any_moment_is_told_as_one() {
    let (pool, _clock) = on_manual_clock(|b| b.max_size(1));
    let mut random = Seeded(99);
    for _ in 0..60 {
        let held = pool.acquire().await.unwrap();
        let id = held.id();
        let busy = tokio::spawn(async move {
            loop {
                if let Err(e) = say(held.exchange(), "SELECT 1; SELECT 2").await {
                    return e;
                }
                if let Err(e) = ask(held.exchange(), "SELECT 3").await {
                    return e;
                }
            }
        });
        for _ in 0..random.below(200) {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(3000)));
        pool.force_release(id).unwrap();
        let e = busy.await.unwrap();
        assert_eq!(e.code(), ErrorCode::ForceReleased, "{e}");
        assert_eq!(e.detail::<leakpool::Revocation>().unwrap().checkout, id);
    }
}

/// A request that waits behind what tokio-postgres has sent for itself is in flight, too.
#[tokio::test]
async fn what_waits_for_its_turn_is_answered_after_the_release() {
    let pool = builder().max_size(1).build().unwrap();
    for round in 0..200 {
        let held = pool.acquire().await.unwrap();
        let statement = held.prepare("SELECT 1").await.unwrap();
        // A batch of Close and Sync.
        drop(statement);
        let mut asked = held.exchange().simple(&format!("SELECT {round}")).unwrap();
        drop(held);
        assert_eq!(value(&asked.collect().await.unwrap()[0]), round.to_string());
    }
}
