//! The raw exchange: PostgreSQL's own protocol on a connection that is checked out, between the requests of `tokio-postgres`.
//!
//! For hosts in other languages, and for Rust where `tokio-postgres` hides too much: parameters and results as text or
//! binary, parameter OIDs of your choosing, several statements in one text, command tags, every field of an error, COPY.
//! Requests of both kinds may be mixed on one connection, also from several tasks at once: each has its turn, in the
//! order in which it was asked for.
//!
//! ```no_run
//! use leakpool::exchange::{Param, Query};
//! # async fn f(pool: leakpool::Pool) -> leakpool::Result<()> {
//! let connection = pool.acquire().await?;
//! let exchange = connection.exchange();
//! let params = [Param::text(b"42")];
//! let answer = exchange.extended(&Query::new("SELECT $1::int4 + 1").params(&params)).await?.one().await?;
//! assert_eq!(answer.rows[0].get(0), Some(&b"43"[..]));
//! for answer in exchange.simple("CREATE TEMP TABLE t (x int); SELECT 1; INSERT INTO t VALUES (1)")?.collect().await? {
//!     println!("{:?}", answer.tag());
//! }
//! # Ok(()) }
//! ```
//!
//! Who lives where: `values`, `query`, `fields` what is asked and told; `encode`, `decode` their bytes; `cache` the
//! prepared statements; `reader`, `plan`, `answers`, `copy` the answers; `transport` what passes to and from the wire.

mod answers;
mod copy;
mod decode;
mod encode;
mod plan;
mod query;
mod reader;
pub(crate) mod statement_cache;
mod transaction;
pub(crate) mod transport;
mod values;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_channel::mpsc;

use self::encode::Batch;
use self::plan::{First, Plan, Undo};
use self::reader::{Origin, Reader};
use self::statement_cache::{Choice, Named, Statements, Ticket};
use self::transport::{PIECES, Request};
use super::fence::{self, not_sent_and_force_released};
use super::state::SessionState;
use crate::detect::facts::TransactionStatus;
use crate::detect::id::CheckoutId;
use crate::error::{Error, ErrorCode, Result};

pub use self::answers::{Answer, Answers, Block, Ending, Item};
pub use self::copy::{CopyIn, CopyOut};
pub use self::query::Query;
pub use self::values::{Column, Format, Formats, Param, RawRow, RowBlock, Rows, Tag, Values};
pub use crate::net::fields::{Fields, Notice, ServerError};

/// Raw requests on one connection. See the [module](self).
///
/// A request is queued when its method is called (or its future first polled) and has its turn after those that were
/// asked for before. No method waits for anything but the server.
#[derive(Clone, Copy)]
#[must_use]
pub struct Exchange<'a> {
    session: &'a Arc<SessionState>,
    id: CheckoutId,
    /// Repeated SQL is kept prepared under a name.
    names_statements: bool,
    first: Option<&'a str>,
}

/// What a statement takes and gives, without being run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementDescription {
    /// The OIDs of its parameters: yours, or what the server infers where you said 0.
    pub parameters: Arc<[u32]>,
    /// The columns of its result, in text; `None` if it returns no rows.
    pub columns: Option<Arc<[Column]>>,
}

/// An open portal: a result to be fetched in pieces within its transaction. Closed with the first request after it is
/// dropped.
#[must_use = "a portal that is dropped is closed"]
pub struct Portal {
    session: Arc<SessionState>,
    name: Arc<str>,
    columns: Option<Arc<[Column]>>,
}

/// What a batch does with its statement.
#[derive(Clone, Copy)]
enum Do<'a> {
    Execute,
    /// Only binds it to a portal of this name.
    Open(&'a str),
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        session: &'a Arc<SessionState>,
        id: CheckoutId,
        names_statements: bool,
    ) -> Exchange<'a> {
        Exchange { session, id, names_statements, first: None }
    }

    /// The same, with one statement (`BEGIN`, say) that travels in front of the request, in the same round trip, and
    /// whose results are swallowed: if it fails, the request is not run and ends with its error. It applies to every
    /// method but [`fetch`](Exchange::fetch).
    pub const fn after(self, first: &'a str) -> Exchange<'a> {
        Exchange { first: Some(first), ..self }
    }

    /// Runs a text of any number of statements by the simple protocol: results in text, one transaction unless the
    /// text says otherwise. It never uses prepared statements.
    ///
    /// # Errors
    /// `InvalidArgument` for a text that the protocol cannot carry; `Forked`, `ForceReleased`, `ConnectionLost`. What
    /// the server says comes out of the [`Answers`].
    pub fn simple(self, sql: &str) -> Result<Answers> {
        let reader = self.text(sql, None)?;
        let first = if self.first.is_some() { First::Awaited } else { First::None };
        Ok(Answers::new(reader, Plan { first, simple: true, ..Plan::default() }))
    }

    /// Runs one statement by the extended protocol, in one round trip. Parameter types are those that you say, or
    /// inferred by the server from the statement alone.
    ///
    /// With the pool's option `statement_cache` the statement stays prepared on this connection (the last 256 different
    /// texts with their OIDs do, up to 16 KiB each), and is not parsed again; if that has become invalid, it is
    /// prepared anew and sent once more, unless that would lose what a transaction has done. Without it, and behind a
    /// pooler, only unnamed statements are used, each parsed, bound and executed in one batch.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple). Waits until the server has taken the parameters, or refused; what it says
    /// comes out of the [`Answers`].
    pub async fn extended(self, query: &Query<'_>) -> Result<Answers> {
        self.run(query, Do::Execute).await
    }

    /// What a statement takes and gives, without running it. `oids` are the types of its first parameters, 0 = infer.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple), and `Database`.
    pub async fn describe(self, sql: &str, oids: &[u32]) -> Result<StatementDescription> {
        encode::check_text("the SQL text", sql)?;
        encode::check_count("parameter types", oids.len())?;
        let params: Vec<Param<'_>> = oids.iter().map(|oid| Param { oid: *oid, ..Param::NULL }).collect();
        let (reader, plan) = self.batch(
            |_| Choice::Unnamed,
            |batch, _| {
                batch.parse("", sql, &params)?;
                batch.describe_statement("")
            },
        )?;
        let answers = Answers::new(reader, plan);
        let (parameters, description) = answers.described_to_the_end().await?;
        Ok(StatementDescription { parameters, columns: description.columns(Formats::default()) })
    }

    /// Binds a statement to a portal, whose rows are then [fetched](Exchange::fetch) in pieces, with other requests in
    /// between if you like. A portal lives within its transaction only.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple); `Database`; `Unsupported` outside a transaction.
    pub async fn open(self, query: &Query<'_>) -> Result<Portal> {
        let session = self.session;
        let name = session.statements.lock().name("lp_p");
        let mut portal = Portal { session: session.clone(), name, columns: None };
        let answers = self.run(query, Do::Open(&portal.name)).await?;
        let (status, columns) = answers.bound_to_the_end().await?;
        match status {
            TransactionStatus::InTransaction | TransactionStatus::Failed => {}
            TransactionStatus::Idle => {
                return Err(Error::new(
                    ErrorCode::Unsupported,
                    "a result can be fetched in pieces only within a transaction: BEGIN first",
                ));
            }
        }
        portal.columns = columns;
        Ok(portal)
    }

    /// The next rows of a portal, at most that many (0 = all): an answer with one result, which ends
    /// [`Suspended`](Ending::Suspended) as long as there may be more.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple); `InvalidArgument` for a portal of another connection.
    pub fn fetch(self, portal: &Portal, max_rows: u32) -> Result<Answers> {
        if !Arc::ptr_eq(&portal.session, self.session) {
            return Err(Error::new(ErrorCode::InvalidArgument, "this portal belongs to another connection"));
        }
        let without = Exchange { first: None, ..self };
        let (reader, plan) =
            without.batch(|_| Choice::Unnamed, |batch, _| batch.execute(&portal.name, max_rows))?;
        Ok(Answers::with_columns(reader, plan, portal.columns.clone()))
    }

    /// Begins a `COPY … FROM STDIN`.
    ///
    /// # Errors
    /// As for [`simple`](Exchange::simple); `Database`; `InvalidArgument` if the SQL is something else (which has then
    /// been run).
    pub async fn copy_in(self, sql: &str) -> Result<CopyIn> {
        let (data, more) = mpsc::channel(1);
        let reader = self.text(sql, Some(more))?;
        CopyIn::begin(reader, data, usize::from(self.first.is_some())).await
    }

    /// Begins a `COPY … TO STDOUT`.
    ///
    /// # Errors
    /// As for [`copy_in`](Exchange::copy_in).
    pub async fn copy_out(self, sql: &str) -> Result<CopyOut> {
        let reader = self.text(sql, None)?;
        CopyOut::begin(reader, usize::from(self.first.is_some())).await
    }

    // ---- how requests are sent ---------------------------------------------------------------------------

    /// A request by the simple protocol. What goes first becomes a part of the text, so that its failure ends all.
    fn text(self, sql: &str, more: Option<mpsc::Receiver<Bytes>>) -> Result<Reader> {
        encode::check_text("the SQL text", sql)?;
        let (bytes, in_front, shift) = match self.first {
            None => (encode::simple(sql)?, 0, 0),
            Some(first) => {
                encode::check_text("the statement in front", first)?;
                let text = format!("{first}\n;{sql}");
                (encode::simple(&text)?, text.len() - sql.len(), first.chars().count() + 2)
            }
        };
        self.usable()?;
        let (replies, reader) = self.reader();
        let generation = self.generation();
        self.session.request(Request { bytes, in_front, more, replies, generation });
        Ok(reader.shifted(u32::try_from(shift).unwrap_or(u32::MAX)))
    }

    async fn run(self, query: &Query<'_>, what: Do<'_>) -> Result<Answers> {
        encode::check_query(query)?;
        let cached = query.cached && self.names_statements;
        let mut again = true;
        loop {
            let mut answers = self.start(query, what, cached)?;
            answers.until_bound().await;
            match answers.is_stale() {
                Some(Undo::Nothing) if again => {}
                Some(Undo::Begin) if again => {
                    let back = Exchange { first: None, ..self };
                    back.simple("ROLLBACK")?.collect().await?;
                }
                Some(Undo::Nothing | Undo::Begin) | None => return Ok(answers),
            }
            again = false;
        }
    }

    fn start(self, query: &Query<'_>, what: Do<'_>, cached: bool) -> Result<Answers> {
        let choose = |statements: &mut Statements| {
            if cached { statements.choose(query.sql, query.params) } else { Choice::Unnamed }
        };
        let (reader, plan) = self.batch(choose, |batch, choice| match what {
            Do::Execute => {
                batch.bind_statement(choice, "", query)?;
                batch.execute("", query.max_rows)
            }
            Do::Open(portal) => batch.bind_statement(choice, portal, query),
        })?;
        Ok(Answers::new(reader, Plan { formats: query.formats.into(), ..plan }))
    }

    /// A request by the extended protocol: what waits to be closed, what goes first, what `fill` adds, Sync.
    fn batch(
        self,
        choose: impl FnOnce(&mut Statements) -> Choice,
        fill: impl FnOnce(&mut Batch, &Choice) -> Result<()>,
    ) -> Result<(Reader, Plan)> {
        if let Some(first) = self.first {
            encode::check_text("the statement in front", first)?;
        }
        self.usable()?;
        let session = self.session;
        let (replies, reader) = self.reader();
        let (closes, choice, queued) = {
            let mut statements = session.statements.lock();
            let choice = choose(&mut statements);
            let closes = statements.take_closes();
            let mut batch = Batch::new();
            let filled = batch
                .close(&closes)
                .and_then(|()| self.first.map_or(Ok(()), |first| batch.first(first)))
                .and_then(|()| fill(&mut batch, &choice));
            // Still under the lock: the order of requests is the order of decisions about statements.
            let queued = filled.map(|()| {
                let (bytes, generation) = (batch.sync(), self.generation());
                session.queue(Request { bytes, in_front: 0, more: None, replies, generation });
            });
            (closes, choice, queued)
        };
        let ticket = Ticket::new(session.statements.clone(), closes, &choice);
        queued?;
        session.requested();
        let description = match choice {
            Choice::Known { description, .. } => Some(description),
            Choice::Prepare { .. } | Choice::Unnamed => None,
        };
        let first = if self.first.is_some() { First::Awaited } else { First::None };
        Ok((reader, Plan { first, description, ticket: Some(ticket), ..Plan::default() }))
    }

    fn generation(self) -> u64 {
        self.id.generation()
    }

    fn reader(self) -> (mpsc::Sender<transport::Chunk>, Reader) {
        let (replies, answer) = mpsc::channel(PIECES - 1);
        let origin = Origin { session: self.session.clone(), id: self.id };
        (replies, Reader::new(origin, answer))
    }

    /// Refuses what cannot be sent any more.
    fn usable(self) -> Result<()> {
        let session = self.session;
        session.process.check(session.detector.name())?;
        if let Some(revocation) = session.revocation.get() {
            fence::late_use(session, revocation, 1);
            return Err(not_sent_and_force_released(revocation));
        }
        if session.is_ended() {
            return Err(Error::new(
                ErrorCode::ConnectionLost,
                format!("the connection to {} is closed", session.peer),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exchange").field(&self.id).finish()
    }
}

impl Portal {
    /// The columns of its rows; `None` for a command that returns none.
    pub fn columns(&self) -> Option<&Arc<[Column]>> {
        self.columns.as_ref()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.session.statements.lock().close_later(Named::Portal(self.name.clone()));
    }
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("name", &self.name).finish_non_exhaustive()
    }
}
