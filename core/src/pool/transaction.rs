//! Conveniences that acquire, do one thing and release: single statements, and a transaction that owns its
//! connection.

use std::ops::Deref;
use std::sync::atomic::Ordering;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::connection::Connection;
use crate::detect::facts::TransactionStatus;
use crate::detect::sql;
use crate::error::{Error, ErrorCode, Result};
use crate::net::error as failure;
use crate::session::exchange::Query;

/// The most statements that our conveniences keep prepared on one connection.
const MOST_PREPARED: usize = 512;

type Param<'a> = &'a (dyn ToSql + Sync);

/// What a statement is to give.
enum Wanted {
    Rows,
    Count,
}

enum Given {
    Rows(Vec<Row>),
    Count(u64),
}

impl Connection {
    /// Runs one statement and returns its rows: prepared once per connection, or without any named statement if
    /// `statement_cache` is off, or a pooler stands between.
    ///
    /// A statement that is not valid any more on this connection is prepared anew and sent once more, unless the server
    /// had begun with it, or a transaction has failed by it.
    ///
    /// # Errors
    /// As the server says (`Database`; SQLSTATE `25P02` for a `COMMIT` of a transaction that had failed before, which was
    /// rolled back instead), or `ForceReleased`, `ConnectionLost`.
    pub async fn fetch(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        match self.statement(sql, params, Wanted::Rows).await? {
            Given::Rows(rows) => Ok(rows),
            Given::Count(_) => Ok(Vec::new()),
        }
    }

    /// For conveniences that run one statement on a connection of their own: that it has left no transaction open, which
    /// nobody could ever end. As the server says, whatever the text is.
    ///
    /// # Errors
    /// `InvalidArgument`; the release that follows rolls the transaction back.
    pub fn ends_here(&self) -> Result<()> {
        if self.session_state().seen().status() == TransactionStatus::Idle {
            return Ok(());
        }
        let text = "this statement has left a transaction open, on a connection that goes back to the pool at once: nobody \
                    could ever end it, and the next statement would run on another connection; it is rolled back. \
                    Acquire a connection and run the whole transaction on it";
        Err(Error::new(ErrorCode::InvalidArgument, text))
    }

    /// The same, but returns how many rows were affected.
    ///
    /// # Errors
    /// As for [`fetch`](Connection::fetch).
    pub async fn run(&self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        match self.statement(sql, params, Wanted::Count).await? {
            Given::Rows(_) => Ok(0),
            Given::Count(count) => Ok(count),
        }
    }

    async fn statement(&self, sql: &str, params: &[Param<'_>], wanted: Wanted) -> Result<Given> {
        if sql::commits(sql) {
            if !params.is_empty() {
                let text = format!("{sql:?} takes no parameters, and there are {}", params.len());
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            return self.commit_by_hand(sql, wanted).await;
        }
        let outcome = if self.names_statements() {
            self.cached(sql, params, &wanted).await
        } else {
            self.unnamed(sql, params, &wanted).await
        };
        outcome.map_err(|e| self.error(e))
    }

    /// A commit by its own name: only its command tag, which tokio-postgres keeps to itself, says whether it was one.
    async fn commit_by_hand(&self, sql: &str, wanted: Wanted) -> Result<Given> {
        let answer = self.exchange().extended(&Query::new(sql).cached(false)).await?.one().await?;
        if answer.tag().is_some_and(|tag| tag.command() == "ROLLBACK") {
            return Err(failure::rolled_back_instead());
        }
        Ok(match wanted {
            Wanted::Rows => Given::Rows(Vec::new()),
            Wanted::Count => Given::Count(0),
        })
    }

    async fn cached(
        &self,
        sql: &str,
        params: &[Param<'_>],
        wanted: &Wanted,
    ) -> Result<Given, tokio_postgres::Error> {
        let mut again = true;
        loop {
            if self.statement_cache.size() >= MOST_PREPARED {
                self.statement_cache.clear();
            }
            let statement = self.prepare_cached(sql).await?;
            let bound = || self.session_state().bound.load(Ordering::Relaxed);
            let before = bound();
            let outcome = match wanted {
                Wanted::Rows => self.query(&statement, params).await.map(Given::Rows),
                Wanted::Count => self.execute(&statement, params).await.map(Given::Count),
            };
            match outcome {
                // Bound, it has run, whatever its error looks like; bound meanwhile was perhaps another task's statement,
                // and nobody knows. In a transaction, what was done before is lost with it.
                Err(e)
                    if again
                        && is_stale(&e)
                        && bound() == before
                        && self.session_state().traffic().transaction == TransactionStatus::Idle =>
                {
                    drop(self.statement_cache.remove(sql, &[]));
                    again = false;
                }
                outcome => return outcome,
            }
        }
    }

    async fn unnamed(
        &self,
        sql: &str,
        params: &[Param<'_>],
        wanted: &Wanted,
    ) -> Result<Given, tokio_postgres::Error> {
        let typed: Vec<(Param<'_>, Type)> = params.iter().map(|p| (*p, type_of(*p))).collect();
        Ok(match wanted {
            Wanted::Rows => Given::Rows(self.query_typed(sql, &typed).await?),
            Wanted::Count => Given::Count(self.execute_typed(sql, &typed).await?),
        })
    }
}

fn is_stale(e: &tokio_postgres::Error) -> bool {
    e.as_db_error().is_some_and(|e| failure::is_stale(e.code().code(), e.routine()))
}

/// The type that a parameter is sent as where there is no prepared statement to tell: the first of these that the
/// value accepts. A value that accepts none is sent as `unknown`, and the server infers.
fn type_of(param: Param<'_>) -> Type {
    const CANDIDATES: [Type; 31] = [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::TEXT,
        Type::BYTEA,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMP,
        Type::DATE,
        Type::TIME,
        Type::UUID,
        Type::JSONB,
        Type::JSON,
        Type::NUMERIC,
        Type::INET,
        Type::CIDR,
        Type::MACADDR,
        Type::OID,
        Type::CHAR,
        Type::BIT,
        Type::VARBIT,
        Type::POINT,
        Type::BOX,
        Type::PATH,
        Type::BOOL_ARRAY,
        Type::INT4_ARRAY,
        Type::INT8_ARRAY,
        Type::FLOAT8_ARRAY,
        Type::TEXT_ARRAY,
    ];
    let mut scratch = bytes::BytesMut::new();
    CANDIDATES
        .into_iter()
        .find(|candidate| {
            scratch.clear();
            param.to_sql_checked(candidate, &mut scratch).is_ok()
        })
        .unwrap_or(Type::UNKNOWN)
}

/// A transaction that owns its connection: `COMMIT` or `ROLLBACK` returns it. Dropped without either, it is rolled
/// back before the connection is handed out again.
///
/// ```no_run
/// # async fn f(pool: leakpool::Pool) -> leakpool::Result<()> {
/// let tx = pool.begin().await?;
/// tx.run("UPDATE accounts SET balance = balance - 10 WHERE id = $1", &[&1_i32]).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
#[derive(Debug)]
pub struct OwnedTransaction {
    connection: Connection,
}

impl OwnedTransaction {
    pub(super) async fn begin(connection: Connection) -> Result<OwnedTransaction> {
        let transaction = OwnedTransaction { connection };
        transaction.say("BEGIN").await?;
        Ok(transaction)
    }

    async fn say(&self, sql: &str) -> Result<()> {
        self.batch_execute(sql).await.map_err(|e| self.error(e))
    }

    /// Commits, and returns the connection.
    ///
    /// # Errors
    /// As the server says; `Database` with SQLSTATE `25P02` if a statement had failed before: then everything was rolled
    /// back instead; `InvalidArgument` if a statement has ended the transaction already. The connection is returned, and
    /// rolled back if need be, all the same.
    pub async fn commit(self) -> Result<()> {
        self.exchange().commit().await
    }

    /// Rolls back, and returns the connection.
    ///
    /// # Errors
    /// As the server says.
    pub async fn rollback(self) -> Result<()> {
        self.say("ROLLBACK").await
    }
}

impl Deref for OwnedTransaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for OwnedTransaction {
    fn drop(&mut self) {
        // As the drop of tokio-postgres's own transaction: the ROLLBACK is queued, nobody waits for it.
        queue_rollback(&self.connection);
    }
}

fn queue_rollback(connection: &Connection) {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    if connection.session_state().traffic().transaction != TransactionStatus::Idle
        || !connection.session_state().is_settled()
    {
        let client: &Client = connection;
        let rollback = pin!(client.batch_execute("ROLLBACK"));
        // The first poll queues the request; its answer is of no interest.
        let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
    }
}
