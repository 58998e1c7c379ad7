//! Rows in blocks are the same rows.

use leakpool::exchange::{Block, Item, Query};

use super::*;
use crate::support::*;

const SQL: &str = "SELECT n, CASE WHEN n % 7 = 0 THEN NULL ELSE repeat('x', n % 50) END, now()::text \
                   FROM generate_series(1, 3000) n";

/// Every value, and how many pieces they came in.
async fn in_blocks(mut answers: leakpool::exchange::Answers) -> (Vec<Vec<Option<Vec<u8>>>>, usize, String) {
    let (mut rows, mut pieces, mut tags) = (Vec::new(), 0, String::new());
    let mut columns = 0;
    while let Some(block) = answers.next_block().await {
        match block.unwrap() {
            Block::Columns(c) => columns = c.len(),
            Block::Rows(block) => {
                pieces += 1;
                assert_eq!(block.iter().count(), block.len());
                for row in &block {
                    let row: Vec<_> = row.map(|v| v.map(<[u8]>::to_vec)).collect();
                    assert_eq!(row.len(), columns);
                    rows.push(row);
                }
            }
            Block::End(ending) => tags.push_str(&format!("{ending:?};")),
            Block::Notice(notice) => tags.push_str(notice.message()),
        }
    }
    (rows, pieces, tags)
}

#[tokio::test]
async fn they_hold_what_single_rows_hold() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    held.exchange().simple("BEGIN").unwrap().collect().await.unwrap();
    let single = say(held.exchange(), SQL).await.unwrap().remove(0);
    let single: Vec<Vec<_>> =
        single.rows.iter().map(|r| r.iter().map(|v| v.map(<[u8]>::to_vec)).collect()).collect();
    let simple = in_blocks(held.exchange().simple(SQL).unwrap()).await;
    let first = in_blocks(held.exchange().extended(&Query::new(SQL).cached(true)).await.unwrap()).await;
    let again = in_blocks(held.exchange().extended(&Query::new(SQL).cached(true)).await.unwrap()).await;
    for (rows, pieces, _) in [simple, first, again] {
        assert_eq!(rows.len(), 3000);
        assert!(rows == single);
        assert!(pieces < 300, "{pieces} pieces for 3,000 rows");
    }
    held.exchange().simple("COMMIT").unwrap().collect().await.unwrap();
}

#[tokio::test]
async fn results_notices_and_errors_stay_in_their_places() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let sql = "SELECT 1; DO $$ BEGIN RAISE NOTICE 'here'; END $$; SELECT 2, 3 WHERE false; SELECT";
    let (rows, _, tags) = in_blocks(held.exchange().simple(sql).unwrap()).await;
    assert_eq!(rows, [vec![Some(b"1".to_vec())], vec![]]);
    assert_eq!(
        tags.replace("Complete(Tag", "").replace(')', ""),
        "(\"SELECT 1\";here(\"DO\";(\"SELECT 0\";(\"SELECT 1\";"
    );
    let mut answers = held.exchange().after("BEGIN").simple("SELECT 1; SELECT 1/0").unwrap();
    let mut rows = 0;
    let error = loop {
        match answers.next_block().await {
            Some(Ok(Block::Rows(block))) => rows += block.len(),
            Some(Ok(_)) => {}
            Some(Err(e)) => break e,
            None => panic!("the division did not fail"),
        }
    };
    assert_eq!((rows, error.sqlstate()), (1, Some("22012")));
    assert!(answers.next_block().await.is_none());
    say(held.exchange(), "ROLLBACK").await.unwrap();
    still_works(&held).await;
}

#[tokio::test]
async fn a_row_that_was_taken_alone_before_does_not_disturb() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.acquire().await.unwrap();
    let mut answers = held.exchange().simple(SQL).unwrap();
    let mut single = 0;
    let mut blocks = 0;
    while let Some(item) = answers.next().await {
        if let Item::Row(_) = item.unwrap() {
            single += 1;
        }
        if let Some(Block::Rows(block)) = answers.next_block().await.transpose().unwrap() {
            blocks += block.len();
        }
    }
    assert_eq!(single + blocks, 3000);
    assert!(single > 0 && blocks > single);
}
