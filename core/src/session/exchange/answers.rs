//! The answer to one request, pulled piece by piece with bounded buffering, or collected.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use super::decode;
use super::plan::{First, Plan, Undo, is_stale};
use super::reader::{Read, Reader};
use super::statement_cache::{Description, Ticket};
use super::values::{Column, RawRow, RowBlock, Tag};
use crate::detect::facts::TransactionStatus;
use crate::error::{Error, ErrorCode, Result};
use crate::net::fields::{MOST_NOTICES, Notice};
use crate::net::framing::{Malformed, back};

/// A piece of an answer. A result is its columns (if it has any), its rows and its [`Ending`]; a simple request with
/// several statements has several results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The columns of the rows that follow.
    Columns(Arc<[Column]>),
    /// One row.
    Row(RawRow),
    /// The result is over.
    End(Ending),
    /// A notice; it may come at any point.
    Notice(Notice),
}

/// A larger piece of an answer: see [`Item`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The columns of the rows that follow.
    Columns(Arc<[Column]>),
    /// Some rows.
    Rows(RowBlock),
    /// The result is over.
    End(Ending),
    /// A notice; it may come at any point.
    Notice(Notice),
}

impl From<Item> for Block {
    fn from(item: Item) -> Block {
        match item {
            Item::Columns(columns) => Block::Columns(columns),
            Item::Row(row) => Block::Rows(row.into()),
            Item::End(ending) => Block::End(ending),
            Item::Notice(notice) => Block::Notice(notice),
        }
    }
}

/// How a result ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its command is complete.
    Complete(Tag),
    /// `max_rows` were sent, and there may be more.
    Suspended,
    /// The SQL text was empty.
    EmptyQuery,
}

/// One result, collected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Its columns; `None` for a command that returns no rows.
    pub columns: Option<Arc<[Column]>>,
    /// Its rows.
    pub rows: Vec<RawRow>,
    /// How it ended.
    pub ending: Ending,
    /// The notices that came with it: the first 1,024.
    pub notices: Vec<Notice>,
}

impl Answer {
    /// Its tag, if its command was completed.
    pub fn tag(&self) -> Option<&Tag> {
        match &self.ending {
            Ending::Complete(tag) => Some(tag),
            Ending::Suspended | Ending::EmptyQuery => None,
        }
    }

    /// The number of rows in its tag. See [`Tag::rows`].
    pub fn row_count(&self) -> Option<u64> {
        self.tag()?.rows()
    }
}

/// The answer to one request: a stream of [`Item`]s that ends after the last one, or with the request's error.
///
/// It is read no faster than you take it: when some 32 to 160 KiB wait, the server waits, and the checkout's activity is
/// [`Stalled`](crate::Activity::Stalled). Dropped in the middle, the rest is read and thrown away by the
/// connection's own task, and the connection stays usable (a statement that runs goes on running: see
/// [`Connection::cancel`](crate::Connection::cancel)). Once the checkout is released, the answer ends with
/// `AlreadyReleased`.
#[must_use = "an answer that is dropped is thrown away"]
pub struct Answers {
    reader: Reader,
    plan: Plan,
    /// What was decoded ahead.
    ahead: VecDeque<Item>,
    columns: Option<Arc<[Column]>>,
    /// The statement itself (not the one in front) was bound: from here on it may have had effects.
    bound: bool,
    stale: bool,
    /// The error of what was decoded ahead.
    failure: Option<Error>,
    doubly_begun: bool,
    parameters: Option<Arc<[u32]>>,
    /// Notices that [`collect`](Answers::collect) has met and not returned.
    notices: Vec<Notice>,
}

impl Answers {
    pub(crate) fn new(reader: Reader, plan: Plan) -> Answers {
        Answers {
            reader,
            plan,
            ahead: VecDeque::new(),
            columns: None,
            bound: false,
            stale: false,
            failure: None,
            doubly_begun: false,
            parameters: None,
            notices: Vec::new(),
        }
    }

    /// An answer that begins with these columns.
    pub(crate) fn with_columns(reader: Reader, plan: Plan, columns: Option<Arc<[Column]>>) -> Answers {
        let mut answers = Answers::new(reader, plan);
        answers.begin(columns);
        answers
    }

    /// The next piece; `None` after the last one. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// Once, and last: `Database` with the [`ServerError`](super::ServerError) as detail, when the server has ended
    /// the request; `ForceReleased`, `ConnectionLost`, `AlreadyReleased`; `Protocol` if the answer makes no sense;
    /// `Unsupported` if the SQL was a `COPY … FROM STDIN`.
    pub async fn next(&mut self) -> Option<Result<Item>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The same in larger pieces, for those who decode many rows: as many rows at once as one read from the socket
    /// brought. May be mixed with [`next`](Answers::next). Cancel-safe.
    ///
    /// # Errors
    /// As for [`next`](Answers::next).
    pub async fn next_block(&mut self) -> Option<Result<Block>> {
        poll_fn(|cx| self.poll_block(cx)).await
    }

    /// All results. On an error, the notices that came before it are in [`notices`](Answers::notices).
    ///
    /// # Errors
    /// As for [`next`](Answers::next).
    pub async fn collect(&mut self) -> Result<Vec<Answer>> {
        let mut answers: Vec<Answer> = Vec::new();
        let mut columns = None;
        let mut rows = Vec::new();
        while let Some(item) = self.next().await {
            match item? {
                Item::Columns(c) => columns = Some(c),
                Item::Row(row) => rows.push(row),
                Item::Notice(notice) => notice.keep_in(&mut self.notices),
                Item::End(ending) => answers.push(Answer {
                    columns: columns.take(),
                    rows: std::mem::take(&mut rows),
                    ending,
                    notices: std::mem::take(&mut self.notices),
                }),
            }
        }
        if let Some(last) = answers.last_mut() {
            last.notices.append(&mut self.notices);
        }
        Ok(answers)
    }

    /// The only result of a request that has one: what [`extended`](super::Exchange::extended) gives.
    ///
    /// # Errors
    /// As for [`next`](Answers::next); `Protocol` if there was no result.
    pub async fn one(mut self) -> Result<Answer> {
        let mut all = self.collect().await?;
        all.pop().ok_or_else(|| self.reader.origin.violated("an answer without a result"))
    }

    /// The notices that [`collect`](Answers::collect) met and did not return, because an error came: the first 1,024.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The transaction status that the answer ended with; `None` before its end.
    pub fn transaction_status(&self) -> Option<TransactionStatus> {
        self.reader.status
    }

    /// Reads until the statement is bound, or the answer is over. What is met is kept for the asker.
    pub(crate) async fn until_bound(&mut self) {
        poll_fn(|cx| {
            while !self.bound && !self.reader.is_over() {
                ready!(self.poll_step(cx));
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn read_on(&mut self) -> Result<()> {
        while let Some(item) = self.next().await {
            item?;
        }
        Ok(())
    }

    /// For a request that only describes: parameters and result.
    pub(crate) async fn described_to_the_end(mut self) -> Result<(Arc<[u32]>, Description)> {
        self.read_on().await?;
        let Answers { reader, plan, parameters, .. } = self;
        parameters
            .zip(plan.description)
            .ok_or_else(|| reader.origin.violated("a statement was not described"))
    }

    /// For a request that only binds: the transaction status after it, and the columns.
    pub(crate) async fn bound_to_the_end(mut self) -> Result<(TransactionStatus, Option<Arc<[Column]>>)> {
        self.read_on().await?;
        if !self.bound {
            return Err(self.reader.origin.violated("a statement was not bound"));
        }
        Ok((self.reader.status.unwrap_or_default(), self.columns))
    }

    /// What the request relied on has become invalid, and nothing else has happened: `Some` with what has to be
    /// undone before it is sent again, if anything has.
    pub(crate) fn is_stale(&mut self) -> Option<Undo> {
        if !self.stale {
            return None;
        }
        if let Some(ticket) = self.plan.ticket.as_mut() {
            ticket.stale();
        }
        match (self.reader.status?, self.plan.first) {
            (TransactionStatus::Idle, _) => Some(Undo::Nothing),
            // The transaction that failed holds nothing but its beginning.
            (TransactionStatus::Failed, First::Began) if !self.doubly_begun => Some(Undo::Begin),
            (TransactionStatus::Failed | TransactionStatus::InTransaction, _) => None,
        }
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item>>> {
        loop {
            if let Some(item) = self.ahead.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            if let Some(e) = self.failure.take() {
                return Poll::Ready(Some(Err(e)));
            }
            if self.reader.is_over() {
                return Poll::Ready(None);
            }
            ready!(self.poll_step(cx));
        }
    }

    fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Block>>> {
        loop {
            if self.ahead.is_empty() && self.failure.is_none() && self.plan.first != First::Awaited {
                ready!(self.reader.poll_fill(cx));
                let columns = self.columns.as_ref().map_or(0, |columns| columns.len());
                if self.columns.is_some() {
                    match self.reader.rows(columns) {
                        Ok(Some(rows)) => return Poll::Ready(Some(Ok(Block::Rows(rows)))),
                        Ok(None) => {}
                        Err(Malformed) => {
                            let e = self.reader.origin.violated("a row is malformed");
                            self.failure = Some(self.reader.refuse(e));
                        }
                    }
                }
            }
            if let Some(item) = self.ahead.pop_front() {
                return Poll::Ready(Some(Ok(item.into())));
            }
            if let Some(e) = self.failure.take() {
                return Poll::Ready(Some(Err(e)));
            }
            if self.reader.is_over() {
                return Poll::Ready(None);
            }
            ready!(self.poll_step(cx));
        }
    }

    /// Takes one message.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(self.reader.poll(cx)) {
            Read::Over(Ok(())) => {}
            Read::Over(Err(e)) => {
                self.stale = !self.bound && self.uses_kept() && is_stale(&e);
                self.failure = Some(e);
            }
            Read::Notice(notice) => {
                // "there is already a transaction in progress": the one in front did not begin it.
                self.doubly_begun |= self.plan.first == First::Awaited && notice.code() == "25001";
                // Nobody takes any before the statement is bound.
                if self.ahead.len() < MOST_NOTICES {
                    self.ahead.push_back(Item::Notice(notice));
                }
            }
            Read::Message(tag, body) => {
                if let Err(bad) = self.message(tag, &body) {
                    let origin = &self.reader.origin;
                    let e = match bad {
                        Bad::Malformed => origin.malformed(tag)(Malformed),
                        Bad::Unexpected => origin.unexpected(tag),
                        Bad::Row => origin.violated("a row does not have the columns that were announced"),
                    };
                    self.failure = Some(self.reader.refuse(e));
                }
            }
        }
        Poll::Ready(())
    }

    fn uses_kept(&self) -> bool {
        self.plan.ticket.as_ref().is_some_and(Ticket::uses_kept)
    }

    fn message(&mut self, tag: u8, body: &Bytes) -> Result<(), Bad> {
        let first = self.plan.first == First::Awaited;
        match tag {
            back::DATA_ROW if first => {}
            back::DATA_ROW => {
                let row = decode::row(body.clone())?;
                if self.columns.as_ref().is_none_or(|columns| columns.len() != row.len()) {
                    return Err(Bad::Row);
                }
                self.ahead.push_back(Item::Row(row));
            }
            back::COMMAND_COMPLETE | back::EMPTY_QUERY_RESPONSE if first => {
                let began = tag == back::COMMAND_COMPLETE && matches!(decode::tag(body)?.command(), "BEGIN" | "START");
                self.plan.first = if began { First::Began } else { First::Done };
            }
            back::COMMAND_COMPLETE => {
                let tag = decode::tag(body)?;
                self.end(Ending::Complete(tag));
            }
            back::EMPTY_QUERY_RESPONSE => self.end(Ending::EmptyQuery),
            back::PORTAL_SUSPENDED => self.end(Ending::Suspended),
            back::ROW_DESCRIPTION if first => {}
            back::ROW_DESCRIPTION => {
                let columns = decode::columns(body)?;
                if self.plan.simple {
                    self.begin(Some(columns));
                } else {
                    self.described(Some(&columns));
                }
            }
            back::NO_DATA => self.described(None),
            back::BIND_COMPLETE if !first => {
                self.bound = true;
                let formats = self.plan.formats.get();
                let columns = self.plan.description.as_ref().and_then(|d| d.columns(formats));
                self.begin(columns);
            }
            back::CLOSE_COMPLETE => {
                if let Some(ticket) = self.plan.ticket.as_mut() {
                    ticket.closed();
                }
            }
            back::COPY_IN_RESPONSE | back::COPY_BOTH_RESPONSE => self.reader.fail(Error::new(
                ErrorCode::Unsupported,
                "COPY in through query() is not supported; use copy_in() (in a host: what it offers for COPY)",
            )),
            back::PARAMETER_DESCRIPTION => self.parameters = Some(decode::parameters(body)?),
            // ParseComplete, the BindComplete of the statement in front; a COPY out whose
            // data nobody asked for; an error, which the reader keeps until the answer is over.
            back::PARSE_COMPLETE | back::BIND_COMPLETE | back::COPY_OUT_RESPONSE | back::COPY_DATA | back::COPY_DONE | back::ERROR_RESPONSE => {}
            _ => return Err(Bad::Unexpected),
        }
        Ok(())
    }

    fn begin(&mut self, columns: Option<Arc<[Column]>>) {
        self.ahead.extend(columns.clone().map(Item::Columns));
        self.columns = columns;
    }

    fn end(&mut self, ending: Ending) {
        self.columns = None;
        self.ahead.push_back(Item::End(ending));
    }

    fn described(&mut self, columns: Option<&[Column]>) {
        let description = Description::new(columns);
        if let Some(ticket) = self.plan.ticket.as_mut() {
            ticket.described(&description);
        }
        self.plan.description = Some(description);
    }
}

/// What is wrong with a message.
enum Bad {
    Malformed,
    Unexpected,
    Row,
}

impl From<Malformed> for Bad {
    fn from(_: Malformed) -> Bad {
        Bad::Malformed
    }
}

impl Stream for Answers {
    type Item = Result<Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Item>>> {
        self.get_mut().poll_item(cx)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("over", &self.reader.is_over()).finish_non_exhaustive()
    }
}
