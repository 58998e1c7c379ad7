//! COPY in and out.

use leakpool::exchange::{Format, Item};
use leakpool::{Activity, ErrorCode, TransactionStatus};

use super::*;
use crate::support::*;

async fn table(pool: &leakpool::Pool) -> Connection {
    let held = pool.acquire().await.unwrap();
    say(held.exchange(), "CREATE TEMP TABLE c (i int CHECK (i > 0), t text)").await.unwrap();
    held
}

async fn count(held: &Connection) -> String {
    value(&ask(held.exchange(), "SELECT count(*) FROM c").await.unwrap())
}

#[tokio::test]
async fn what_is_copied_in_comes_out() {
    let pool = builder().build().unwrap();
    let held = table(&pool).await;
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    assert_eq!((copy.format(), copy.column_formats()), (Format::Text, &[Format::Text; 2][..]));
    assert_eq!(pool.checkouts()[0].activity, Activity::Stalled);
    // Cut anywhere; a megabyte and more in one piece.
    for piece in [&b"1\to"[..], b"ne\n2\t\\", b"N\n", b""] {
        copy.send(piece).await.unwrap();
    }
    copy.send(format!("3\t{}\n", "x".repeat(5 << 20)).as_bytes()).await.unwrap();
    for i in 4..5000 {
        copy.send(format!("{i}\trow\n").as_bytes()).await.unwrap();
    }
    let tag = copy.finish().await.unwrap();
    assert_eq!((tag.as_str(), tag.rows()), ("COPY 4999", Some(4999)));
    assert_eq!(pool.checkouts()[0].activity, Activity::Idle);
    let mut out = held.exchange().copy_out("COPY (SELECT * FROM c ORDER BY i) TO STDOUT").await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = out.next().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(out.tag().map(|t| t.as_str()), Some("COPY 4999"));
    assert!(text.starts_with(b"1\tone\n2\t\\N\n3\txxx"));
    assert!(text.ends_with(b"\n4999\trow\n"));
    // Binary, there and back.
    let mut out = held.exchange().copy_out("COPY c TO STDOUT (FORMAT binary)").await.unwrap();
    assert_eq!(out.format(), Format::Binary);
    let mut binary = Vec::new();
    while let Some(piece) = out.next().await {
        binary.push(piece.unwrap());
    }
    say(held.exchange(), "TRUNCATE c").await.unwrap();
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN (FORMAT binary)").await.unwrap();
    for piece in binary {
        copy.send(&piece).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap().rows(), Some(4999));
    // Nothing at all is fine, too.
    assert_eq!(
        held.exchange().copy_in("COPY c FROM STDIN").await.unwrap().finish().await.unwrap().rows(),
        Some(0)
    );
    still_works(&held).await;
}

#[tokio::test]
async fn a_copy_that_is_given_up_is_undone() {
    let pool = builder().build().unwrap();
    let held = table(&pool).await;
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    copy.send(b"1\ta\n").await.unwrap();
    drop(copy);
    assert_eq!(count(&held).await, "0");
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    copy.send(b"1\ta\n").await.unwrap();
    copy.fail("changed\0 my mind").await.unwrap();
    assert_eq!(count(&held).await, "0");
    // Dropped before it has begun.
    {
        let begin = held.exchange();
        let mut begin = Box::pin(begin.copy_in("COPY c FROM STDIN"));
        assert!(futures_util::poll!(&mut begin).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&held).await, "0");
    // And released in the middle.
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    copy.send(b"1\ta\n").await.unwrap();
    drop(copy);
    drop(held);
    let held = pool.acquire().await.unwrap();
    assert_eq!(count(&held).await, "0");
    still_works(&held).await;
}

#[tokio::test]
async fn the_server_refuses_in_the_middle() {
    let pool = builder().build().unwrap();
    let held = table(&pool).await;
    for bad in [&b"0\tnot positive\n"[..], b"x\tno number\n", b"1\n"] {
        let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
        copy.send(b"1\ta\n").await.unwrap();
        copy.send(bad).await.unwrap();
        // It tells as soon as it notices, or at the end.
        let mut e = None;
        for _ in 0..100_000 {
            if let Err(refused) = copy.send(b"2\tmore and more\n").await {
                e = Some(refused);
                break;
            }
        }
        let e = match e {
            Some(e) => {
                assert_eq!(copy.send(b"3\tlate\n").await.unwrap_err().code(), ErrorCode::InvalidArgument);
                e
            }
            None => copy.finish().await.unwrap_err(),
        };
        assert_eq!(e.code(), ErrorCode::Database);
        assert!(
            e.detail::<leakpool::exchange::ServerError>()
                .unwrap()
                .context()
                .unwrap()
                .starts_with("COPY c, line 2")
        );
        assert_eq!(count(&held).await, "0");
        let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
        copy.send(bad).await.unwrap();
        assert_eq!(copy.finish().await.unwrap_err().sqlstate(), e.sqlstate());
        still_works(&held).await;
    }
    let e = held.exchange().copy_in("COPY nowhere FROM STDIN").await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("42P01"));
    let e = held.exchange().copy_out("COPY nowhere TO STDOUT").await.unwrap_err();
    assert_eq!(e.sqlstate(), Some("42P01"));
    let mut out = held
        .exchange()
        .copy_out("COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) n) TO STDOUT")
        .await
        .unwrap();
    let mut pieces = 0;
    let e = loop {
        match out.next().await.unwrap() {
            Ok(_) => pieces += 1,
            Err(e) => break e,
        }
    };
    assert_eq!((pieces, e.sqlstate()), (2, Some("22012")));
    assert!(out.next().await.is_none());
    assert_eq!(out.tag(), None);
    still_works(&held).await;
}

#[tokio::test]
async fn copy_through_query_is_an_error_and_the_connection_survives() {
    let pool = builder().build().unwrap();
    let held = table(&pool).await;
    for sql in ["COPY c FROM STDIN", "COPY c FROM STDIN (FORMAT binary)"] {
        for e in [say(held.exchange(), sql).await.unwrap_err(), ask(held.exchange(), sql).await.unwrap_err()]
        {
            assert_eq!(e.code(), ErrorCode::Unsupported);
            assert!(e.to_string().starts_with("COPY in through query() is not supported; "), "{e}");
            still_works(&held).await;
        }
    }
    let sql = "INSERT INTO c VALUES (1); COPY c FROM STDIN; INSERT INTO c VALUES (2)";
    assert_eq!(say(held.exchange(), sql).await.unwrap_err().code(), ErrorCode::Unsupported);
    assert_eq!(count(&held).await, "0");
    say(held.exchange(), "INSERT INTO c VALUES (1), (2)").await.unwrap();
    // The other direction does no harm: its data are nobody's, as with pg.
    for answer in [
        say(held.exchange(), "COPY c TO STDOUT").await.unwrap().remove(0),
        ask(held.exchange(), "COPY c TO STDOUT").await.unwrap(),
    ] {
        assert_eq!((answer.row_count(), answer.rows.len()), (Some(2), 0));
    }
    // And what is no COPY at all.
    for sql in ["SELECT 1", "CREATE TEMP TABLE other (i int)", "", "SELECT 1; COPY c FROM STDIN"] {
        assert_eq!(
            held.exchange().copy_in(sql).await.unwrap_err().code(),
            ErrorCode::InvalidArgument,
            "{sql}"
        );
        assert_eq!(
            held.exchange().copy_out("SELECT 1").await.unwrap_err().code(),
            ErrorCode::InvalidArgument
        );
    }
    assert_eq!(
        held.exchange().copy_in("COPY c TO STDOUT").await.unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        held.exchange().copy_out("COPY c FROM STDIN").await.unwrap_err().code(),
        ErrorCode::InvalidArgument
    );
    still_works(&held).await;
}

#[tokio::test]
async fn a_copy_with_a_statement_in_front_and_others_behind() {
    let pool = builder().build().unwrap();
    let held = table(&pool).await;
    let mut copy = held.exchange().after("BEGIN").copy_in("COPY c FROM STDIN").await.unwrap();
    copy.send(b"1\ta\n").await.unwrap();
    assert_eq!(copy.finish().await.unwrap().as_str(), "COPY 1");
    assert_eq!(held.transaction_status(), TransactionStatus::InTransaction);
    let mut out = held.exchange().copy_out("COPY c TO STDOUT; SELECT 1").await.unwrap();
    assert_eq!(out.next().await.unwrap().unwrap()[..], *b"1\ta\n");
    assert!(out.next().await.is_none());
    assert_eq!(out.tag().map(|t| t.as_str()), Some("COPY 1"));
    say(held.exchange(), "ROLLBACK").await.unwrap();
    assert_eq!(count(&held).await, "0");
    // Others wait until it is over.
    let mut copy = held.exchange().copy_in("COPY c FROM STDIN").await.unwrap();
    let mut behind = held.exchange().simple("SELECT count(*) FROM c").unwrap();
    let theirs = held.query_one("SELECT count(*) FROM c", &[]);
    let mut theirs = Box::pin(theirs);
    assert!(futures_util::poll!(&mut theirs).is_pending());
    copy.send(b"1\ta\n2\tb\n").await.unwrap();
    copy.finish().await.unwrap();
    assert!(matches!(behind.next().await, Some(Ok(Item::Columns(_)))));
    assert!(matches!(behind.next().await, Some(Ok(Item::Row(row))) if row.get(0) == Some(b"2")));
    drop(behind);
    assert_eq!(theirs.await.unwrap().get::<_, i64>(0), 2);
}

#[tokio::test]
async fn a_slow_reader_of_a_copy_and_one_who_leaves() {
    let (pool, _clock) = on_manual_clock(|b| b.max_size(1));
    let held = pool.acquire().await.unwrap();
    let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 50000)) TO STDOUT";
    let mut out = held.exchange().copy_out(sql).await.unwrap();
    eventually("it stalls", || pool.checkouts()[0].activity == Activity::Stalled).await;
    let mut bytes = 0;
    while let Some(piece) = out.next().await {
        bytes += piece.unwrap().len();
    }
    assert_eq!(bytes, 50_000 * 1001);
    let mut out = held.exchange().copy_out(sql).await.unwrap();
    assert!(out.next().await.is_some());
    drop(out);
    still_works(&held).await;
}
