//! Long answers: bounded buffering, slow readers, portals, cancel.

use leakpool::exchange::{Ending, Item, Query};
use leakpool::{Activity, ErrorCode};

use super::*;
use crate::support::*;

#[tokio::test]
async fn ten_megabyte_rows_and_three_megabytes_of_sql() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let sql = "SELECT n, repeat(chr(96 + n), 10 * 1024 * 1024) FROM generate_series(1, 3) n";
    for answer in
        [say(held.exchange(), sql).await.unwrap().remove(0), ask(held.exchange(), sql).await.unwrap()]
    {
        for (row, letter) in answer.rows.iter().zip(b"abc") {
            let value = row.get(1).unwrap();
            assert_eq!(value.len(), 10 << 20);
            assert!(value.iter().all(|b| b == letter));
        }
        assert_eq!(answer.row_count(), Some(3));
    }
    let long = "y".repeat(3 << 20);
    let sql = format!("SELECT length('{long}')");
    assert_eq!(value(&say(held.exchange(), &sql).await.unwrap()[0]), (3 << 20).to_string());
    assert_eq!(value(&ask(held.exchange(), &sql).await.unwrap()), (3 << 20).to_string());
    let megabytes = "z".repeat(20 << 20);
    let echo = ask_with(held.exchange(), "SELECT $1::text", &[&megabytes]).await.unwrap();
    assert!(echo.rows[0].get(0) == Some(megabytes.as_bytes()));
    still_works(&held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_the_server_back_and_is_seen_as_stalled() {
    const ROWS: usize = 60_000;
    let (pool, _clock) = on_manual_clock(|b| b.max_size(1));
    let held = pool.acquire().await.unwrap();
    let sql = format!("SELECT n, repeat('x', 1000) FROM generate_series(1, {ROWS}) n");
    for extended in [false, true] {
        let mut answers = if extended {
            held.exchange().extended(&Query::new(&sql)).await.unwrap()
        } else {
            held.exchange().simple(&sql).unwrap()
        };
        assert!(matches!(answers.next().await, Some(Ok(Item::Columns(_)))));
        eventually("it stalls", || pool.checkouts()[0].activity == Activity::Stalled).await;
        let mut seen = 0;
        while let Some(item) = answers.next().await {
            match item.unwrap() {
                Item::Row(row) => {
                    seen += 1;
                    assert_eq!(row.get(0).unwrap(), seen.to_string().as_bytes());
                }
                Item::End(ending) => {
                    assert_eq!(ending, Ending::Complete(format!("SELECT {ROWS}").as_str().into()))
                }
                other @ (Item::Columns(_) | Item::Notice(_)) => panic!("{other:?}"),
            }
            if seen == ROWS / 2 {
                eventually("it stalls again", || pool.checkouts()[0].activity == Activity::Stalled).await;
                seen += 1;
                let Some(Ok(Item::Row(_))) = answers.next().await else { panic!("a row") };
            }
        }
        assert_eq!(seen, ROWS);
        assert_eq!(pool.checkouts()[0].activity, Activity::Idle);
    }
    // What is not read is thrown away, and the connection goes on.
    let mut answers = held.exchange().simple(&sql).unwrap();
    assert!(answers.next().await.is_some());
    eventually("it stalls", || pool.checkouts()[0].activity == Activity::Stalled).await;
    drop(answers);
    still_works(&held).await;
    let mut answers = held.exchange().simple(&sql).unwrap();
    assert!(answers.next().await.is_some());
    drop(held);
    drop(answers);
    still_works(&pool.acquire().await.unwrap()).await;
}

#[tokio::test]
async fn a_cancel_in_mid_stream() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut answers =
        held.exchange().simple("SELECT repeat('x', 1000) FROM generate_series(1, 100000000)").unwrap();
    for _ in 0..1000 {
        assert!(answers.next().await.unwrap().is_ok());
    }
    held.cancel().unwrap();
    let e = loop {
        match answers.next().await {
            Some(Ok(_)) => {}
            Some(Err(e)) => break e,
            None => panic!("it was not cancelled"),
        }
    };
    assert_eq!((e.code(), e.sqlstate()), (ErrorCode::Database, Some("57014")));
    assert!(answers.next().await.is_none());
    still_works(&held).await;
}

#[tokio::test]
async fn a_portal_is_fetched_in_pieces_with_others_in_between() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let query = Query::new("SELECT n::text FROM generate_series(1, 25) n");
    let e = held.exchange().open(&query).await.unwrap_err();
    assert_eq!(e.code(), ErrorCode::Unsupported, "{e}");
    for _ in 0..2 {
        let portal = held.exchange().after("BEGIN").open(&query).await.unwrap();
        assert_eq!(portal.columns().unwrap()[0].type_oid, 25);
        let mut all = Vec::new();
        loop {
            let answer = held.exchange().fetch(&portal, 10).unwrap().one().await.unwrap();
            all.extend(answer.rows.iter().map(|row| texts(row).remove(0).unwrap()));
            still_works(&held).await;
            if answer.ending != Ending::Suspended {
                assert_eq!(answer.rows.len(), 5);
                break;
            }
        }
        assert_eq!(all, (1..=25).map(|n| n.to_string()).collect::<Vec<_>>());
        drop(portal);
        // The next request has closed it.
        let open = "SELECT count(*) FROM pg_cursors WHERE name LIKE 'lp\\_%'";
        assert_eq!(value(&ask(held.exchange(), open).await.unwrap()), "0");
        say(held.exchange(), "COMMIT").await.unwrap();
    }
    let portal = held.exchange().after("BEGIN").open(&query).await.unwrap();
    say(held.exchange(), "COMMIT").await.unwrap();
    let e = held.exchange().fetch(&portal, 10).unwrap().one().await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("34000"));
    still_works(&held).await;
}
