//! COPY in and COPY out.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::mpsc;
use futures_core::Stream;

use super::decode;
use super::encode;
use super::reader::{Read, Reader};
use super::values::{Format, Tag};
use crate::error::{Error, ErrorCode, Result};
use crate::net::fields::Notice;
use crate::net::framing::back;

/// What both directions share: the answer, how the data travel, what came along.
struct Copying {
    reader: Reader,
    format: Format,
    columns: Vec<Format>,
    notices: Vec<Notice>,
    tag: Option<Tag>,
    /// Command tags of statements in front that are not the copy's.
    skip: usize,
}

impl Copying {
    fn new(reader: Reader, skip: usize) -> Copying {
        let (format, columns, notices, tag) = (Format::Text, Vec::new(), Vec::new(), None);
        Copying { reader, format, columns, notices, tag, skip }
    }

    /// Reads until the copy begins.
    async fn begin(&mut self, begins: u8, kind: &str) -> Result<()> {
        let misused = || {
            let text =
                format!("this is not a COPY … {kind}; use simple() or extended() for other statements");
            Error::new(ErrorCode::InvalidArgument, text)
        };
        loop {
            match poll_fn(|cx| self.reader.poll(cx)).await {
                // A copy behind something else: given up, and with it what came before.
                Read::Message(tag, _) if tag == begins && self.reader.failure.is_some() => {
                    return Err(self.reader.refuse(misused()));
                }
                Read::Message(tag, body) if tag == begins => {
                    let malformed = self.reader.origin.malformed(tag);
                    let (format, columns) =
                        decode::copy_formats(&body).map_err(malformed).map_err(|e| self.reader.refuse(e))?;
                    self.format = format;
                    self.columns = columns;
                    return Ok(());
                }
                // The other direction, or a statement that has run: told when the answer is over.
                Read::Message(
                    back::COPY_IN_RESPONSE
                    | back::COPY_OUT_RESPONSE
                    | back::COPY_BOTH_RESPONSE
                    | back::ROW_DESCRIPTION
                    | back::EMPTY_QUERY_RESPONSE,
                    _,
                ) => self.reader.fail(misused()),
                Read::Message(back::COMMAND_COMPLETE, _) if self.skip > 0 => self.skip -= 1,
                Read::Message(back::COMMAND_COMPLETE, _) => self.reader.fail(misused()),
                Read::Message(
                    back::DATA_ROW | back::COPY_DATA | back::COPY_DONE | back::ERROR_RESPONSE,
                    _,
                ) => {}
                Read::Message(tag, _) => {
                    let e = self.reader.origin.unexpected(tag);
                    return Err(self.reader.refuse(e));
                }
                Read::Notice(notice) => notice.keep_in(&mut self.notices),
                Read::Over(outcome) => return outcome.and(Err(misused())),
            }
        }
    }

    /// Reads what else comes: copy data as `Some`, the end as `None`.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            match ready!(self.reader.poll(cx)) {
                Read::Message(back::COPY_DATA, data) => return Poll::Ready(Ok(Some(data))),
                Read::Message(back::COMMAND_COMPLETE, body) => match decode::tag(&body) {
                    // Further statements of the same text may follow; the copy's own tag counts.
                    Ok(tag) => self.tag = self.tag.take().or(Some(tag)),
                    Err(e) => {
                        let e = self.reader.origin.malformed(back::COMMAND_COMPLETE)(e);
                        return Poll::Ready(Err(self.reader.refuse(e)));
                    }
                },
                Read::Message(
                    back::COPY_DONE
                    | back::ERROR_RESPONSE
                    | back::ROW_DESCRIPTION
                    | back::DATA_ROW
                    | back::EMPTY_QUERY_RESPONSE
                    | back::COPY_IN_RESPONSE
                    | back::COPY_OUT_RESPONSE,
                    _,
                ) => {}
                Read::Message(tag, _) => {
                    let e = self.reader.origin.unexpected(tag);
                    return Poll::Ready(Err(self.reader.refuse(e)));
                }
                Read::Notice(notice) => notice.keep_in(&mut self.notices),
                Read::Over(outcome) => return Poll::Ready(outcome.map(|()| None)),
            }
        }
    }

    fn take_tag(&mut self) -> Result<Tag> {
        let without = || self.reader.origin.violated("a COPY ended without its command tag");
        self.tag.take().ok_or_else(without)
    }
}

/// An open `COPY … FROM STDIN`: [`send`](CopyIn::send) the data, then [`finish`](CopyIn::finish).
///
/// Dropped before, it is aborted: the server takes back what was copied, and the connection stays usable.
#[must_use = "a copy that is dropped is aborted"]
pub struct CopyIn {
    copying: Copying,
    /// Taken when nothing more is to be sent.
    data: Option<mpsc::Sender<Bytes>>,
}

impl CopyIn {
    pub(crate) async fn begin(reader: Reader, data: mpsc::Sender<Bytes>, skip: usize) -> Result<CopyIn> {
        let mut copying = Copying::new(reader, skip);
        copying.begin(back::COPY_IN_RESPONSE, "FROM STDIN").await?;
        Ok(CopyIn { copying, data: Some(data) })
    }

    /// The overall format.
    pub fn format(&self) -> Format {
        self.copying.format
    }

    /// The format of each column that is copied.
    pub fn column_formats(&self) -> &[Format] {
        &self.copying.columns
    }

    /// The notices that have come so far: the first 1,024.
    pub fn notices(&self) -> &[Notice] {
        &self.copying.notices
    }

    /// Sends some data, cut wherever you like. Waits while the server is behind: at most two pieces are buffered.
    /// Cancel-safe: a future that is dropped has sent all of its data or nothing.
    ///
    /// # Errors
    /// As soon as the server refuses: `Database`; `ForceReleased`, `ConnectionLost`, `AlreadyReleased`. The copy is
    /// over then.
    pub async fn send(&mut self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.queue(|| encode::copy_data(data)).await
    }

    async fn queue(&mut self, messages: impl FnOnce() -> Bytes) -> Result<()> {
        let CopyIn { copying, data } = self;
        if data.is_none() {
            return Err(Error::new(ErrorCode::InvalidArgument, "this COPY has ended with an error before"));
        }
        let ready = poll_fn(|cx| {
            // A refusal comes at any time, and so do notices, for which there must be room.
            if let Poll::Ready(outcome) = copying.poll(cx) {
                return match outcome {
                    Ok(Some(_)) => Poll::Ready(Err(copying.reader.origin.unexpected(back::COPY_DATA))),
                    Ok(None) => Poll::Ready(Err(copying.reader.origin.violated("the copy ended by itself"))),
                    Err(e) => Poll::Ready(Err(e)),
                };
            }
            match data.as_mut().map(|data| data.poll_ready(cx)) {
                Some(Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
                // If the wire has let go of it, the answer tells why.
                Some(Poll::Ready(Err(_)) | Poll::Pending) | None => Poll::Pending,
            }
        })
        .await;
        if let Err(e) = ready {
            *data = None;
            return Err(e);
        }
        if let Some(data) = data.as_mut() {
            // There is room, as was just found; if the wire has gone meanwhile, the answer tells.
            let _ = data.start_send(messages());
        }
        Ok(())
    }

    /// All data are sent: returns the tag (`COPY 5`).
    ///
    /// # Errors
    /// As for [`send`](CopyIn::send). A future that is dropped leaves it open whether the copy was completed.
    pub async fn finish(mut self) -> Result<Tag> {
        self.queue(encode::copy_done).await?;
        self.data = None;
        while poll_fn(|cx| self.copying.poll(cx)).await?.is_some() {}
        self.copying.take_tag()
    }

    /// Gives the copy up for a reason, which the server logs, and waits until it has.
    ///
    /// # Errors
    /// `ForceReleased`, `ConnectionLost`, `AlreadyReleased`; `Database` if the server had refused before.
    pub async fn fail(mut self, reason: &str) -> Result<()> {
        self.queue(|| encode::copy_fail(reason)).await?;
        self.data = None;
        loop {
            match poll_fn(|cx| self.copying.poll(cx)).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // query_canceled: what a CopyFail is answered with.
                Err(e) if e.sqlstate() == Some("57014") => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").field("format", &self.format()).finish_non_exhaustive()
    }
}

/// The data of a `COPY … TO STDOUT`: a stream of pieces as the server sends them (one row each, in text format).
///
/// Read and dropped as [`Answers`](super::Answers) are.
#[must_use = "a copy that is dropped is thrown away"]
pub struct CopyOut {
    copying: Copying,
}

impl CopyOut {
    pub(crate) async fn begin(reader: Reader, skip: usize) -> Result<CopyOut> {
        let mut copying = Copying::new(reader, skip);
        copying.begin(back::COPY_OUT_RESPONSE, "TO STDOUT").await?;
        Ok(CopyOut { copying })
    }

    /// The overall format.
    pub fn format(&self) -> Format {
        self.copying.format
    }

    /// The format of each column that is copied.
    pub fn column_formats(&self) -> &[Format] {
        &self.copying.columns
    }

    /// The notices that have come so far: the first 1,024.
    pub fn notices(&self) -> &[Notice] {
        &self.copying.notices
    }

    /// The next piece; `None` after the last one. Cancel-safe.
    ///
    /// # Errors
    /// Once, and last: as for [`Answers::next`](super::Answers::next).
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// The tag (`COPY 5`), once the stream has ended.
    pub fn tag(&self) -> Option<&Tag> {
        self.copying.tag.as_ref().filter(|_| self.copying.reader.is_over())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.copying.reader.is_over() {
            return Poll::Ready(None);
        }
        self.copying.poll(cx).map(Result::transpose)
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.get_mut().poll_piece(cx)
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").field("format", &self.format()).finish_non_exhaustive()
    }
}
