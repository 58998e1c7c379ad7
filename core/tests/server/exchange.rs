//! The raw exchange, compared with what `tokio-postgres` and `psql` say to the same SQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocks;
mod cache;
mod copy;
mod hostile;
mod interleaved;
mod results;
mod streaming;

use leakpool::exchange::{Answer, Exchange, Param, Query, RawRow};
use leakpool::{Connection, Error};

/// A row's values as text; NULL as `None`.
pub fn texts(row: &RawRow) -> Vec<Option<String>> {
    row.iter().map(|v| v.map(|v| String::from_utf8(v.to_vec()).unwrap())).collect()
}

/// The only value of the only row.
pub fn value(answer: &Answer) -> String {
    assert_eq!(answer.rows.len(), 1);
    texts(&answer.rows[0]).remove(0).unwrap()
}

pub async fn ask(exchange: Exchange<'_>, sql: &str) -> Result<Answer, Error> {
    exchange.extended(&Query::new(sql)).await?.one().await
}

pub async fn ask_with(exchange: Exchange<'_>, sql: &str, params: &[&str]) -> Result<Answer, Error> {
    let params: Vec<Param<'_>> = params.iter().map(|p| Param::text(p.as_bytes())).collect();
    exchange.extended(&Query::new(sql).params(&params)).await?.one().await
}

pub async fn say(exchange: Exchange<'_>, sql: &str) -> Result<Vec<Answer>, Error> {
    exchange.simple(sql)?.collect().await
}

/// The connection still works, both ways, and nothing of before comes with it.
pub async fn still_works(connection: &Connection) {
    let answer = ask_with(connection.exchange(), "SELECT $1::int4 + 1", &["41"]).await.unwrap();
    assert_eq!(value(&answer), "42");
    let row = connection.query_one("SELECT $1::int4 + 1", &[&41_i32]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    assert_eq!(value(&say(connection.exchange(), "SELECT 'both'").await.unwrap()[0]), "both");
}

/// xorshift64*: the same order of things in every run.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}
