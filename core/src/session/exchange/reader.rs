//! Reading the answer to one request, message by message, and what its errors mean to the asker.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_channel::mpsc;
use futures_core::Stream;
use tracing::Level;

use super::decode;
use super::transport::Chunk;
use super::values::RowBlock;
use crate::detect::checkout::State;
use crate::detect::facts::TransactionStatus;
use crate::detect::id::CheckoutId;
use crate::error::{Error, ErrorCode, Result};
use crate::net::error::{self as failure, Phase};
use crate::net::fields::{Fields, Notice, ServerError};
use crate::net::framing::{Malformed, back};
use crate::session::fence::{not_sent_and_force_released, sent_and_force_released};
use crate::session::state::SessionState;

/// Who asked, and on which connection.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) session: Arc<SessionState>,
    pub(crate) id: CheckoutId,
}

impl Origin {
    /// An error of the server. What it says after a revoke (a cancel, a shut down socket) is the revoke's doing.
    pub(crate) fn failed(&self, fields: Fields) -> Error {
        match self.session.revocation.get() {
            Some(revocation) => sent_and_force_released(revocation),
            None => {
                failure::exchange_error(ServerError(fields), &self.session.peer.to_string(), Phase::InUse)
            }
        }
    }

    /// The answer ended before its end.
    pub(crate) fn lost(&self, sent: bool) -> Error {
        match self.session.revocation.get() {
            Some(revocation) if sent => return sent_and_force_released(revocation),
            Some(revocation) => return not_sent_and_force_released(revocation),
            None => {}
        }
        let word = self.session.slot.word();
        let held = word.state == State::Held && word.generation == self.id.generation();
        if held || self.session.is_ended() || word.state == State::Ended {
            let text = format!("the connection to {} ended in the middle of an answer", self.session.peer);
            return Error::new(ErrorCode::ConnectionLost, text);
        }
        let text = format!("checkout {} was released before its answer was read", self.id);
        Error::new(ErrorCode::AlreadyReleased, text)
    }

    /// The server said what the protocol does not allow.
    pub(crate) fn violated(&self, what: &str) -> Error {
        Error::new(ErrorCode::Protocol, format!("{}: {what}", self.session.peer))
    }

    pub(crate) fn malformed(&self, tag: u8) -> impl FnOnce(Malformed) -> Error {
        move |Malformed| {
            let what = format!("a message {:?} of the server is malformed", char::from(tag));
            self.violated(&what)
        }
    }

    pub(crate) fn unexpected(&self, tag: u8) -> Error {
        self.violated(&format!("the server sent a message {:?} that does not belong here", char::from(tag)))
    }
}

/// The messages of one answer.
pub(crate) struct Reader {
    pub(crate) origin: Origin,
    /// `None` once the answer is over.
    replies: Option<mpsc::Receiver<Chunk>>,
    rest: Bytes,
    /// False once it is known that the request did not get its turn.
    sent: bool,
    /// The first error, told once the ReadyForQuery is here: the session's status is right by then.
    pub(crate) failure: Option<Error>,
    /// How many characters the SQL has in front that its author does not know of.
    shift: u32,
    /// The transaction status after the answer; `None` before.
    pub(crate) status: Option<TransactionStatus>,
}

/// A message that matters to the reader's owner.
pub(crate) enum Read {
    Message(u8, Bytes),
    Notice(Notice),
    /// The answer is over: with the error, if there was one.
    Over(Result<()>),
}

impl Reader {
    pub(crate) fn new(origin: Origin, replies: mpsc::Receiver<Chunk>) -> Reader {
        let (rest, failure, status) = (Bytes::new(), None, None);
        Reader { origin, replies: Some(replies), rest, sent: true, failure, shift: 0, status }
    }

    pub(crate) fn shifted(self, shift: u32) -> Reader {
        Reader { shift, ..self }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.replies.is_none()
    }

    /// Nothing more of the answer is wanted; the connection's task reads what is left of it.
    pub(crate) fn give_up(&mut self) {
        self.replies = None;
        self.rest = Bytes::new();
    }

    /// The first failure counts: what follows comes of it.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
        }
    }

    fn take(&mut self, chunk: Chunk) {
        self.sent &= !chunk.is_refusal();
        self.rest = chunk.messages;
    }

    fn over(&mut self) -> Read {
        self.give_up();
        Read::Over(self.failure.take().map_or(Ok(()), Err))
    }

    /// The next message. Errors are kept back until the answer is over. After `Over` there is nothing more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            let message = match decode::message(&mut self.rest) {
                Ok(message) => message,
                Err(Malformed) => {
                    let e = self.origin.violated("what the server sent is no message");
                    self.fail(e);
                    return Poll::Ready(self.over());
                }
            };
            let Some((tag, body)) = message else {
                let Some(replies) = self.replies.as_mut() else { return Poll::Ready(Read::Over(Ok(()))) };
                match ready!(Pin::new(replies).poll_next(cx)) {
                    Some(chunk) => self.take(chunk),
                    None => {
                        let lost = self.origin.lost(self.sent);
                        // A last word of the server (an administrator's shutdown) says more than the end itself.
                        if lost.code() != ErrorCode::ConnectionLost {
                            self.failure = None;
                        }
                        self.fail(lost);
                        return Poll::Ready(self.over());
                    }
                }
                continue;
            };
            match tag {
                back::ERROR_RESPONSE => match Fields::decode(&body) {
                    Ok(mut fields) => {
                        fields.shift_position(self.shift);
                        let error = self.origin.failed(fields);
                        self.fail(error);
                        // Its owner may have to know now, but not what it says.
                        return Poll::Ready(Read::Message(tag, Bytes::new()));
                    }
                    Err(e) => return Poll::Ready(self.broken(tag, e)),
                },
                back::NOTICE_RESPONSE => match Fields::decode(&body) {
                    Ok(fields) => {
                        self.log(&fields);
                        return Poll::Ready(Read::Notice(Notice(fields)));
                    }
                    Err(e) => return Poll::Ready(self.broken(tag, e)),
                },
                back::READY_FOR_QUERY => match TransactionStatus::from_wire(&body).ok_or(Malformed) {
                    Ok(status) => {
                        self.status = Some(status);
                        return Poll::Ready(self.over());
                    }
                    Err(e) => return Poll::Ready(self.broken(tag, e)),
                },
                _ => return Poll::Ready(Read::Message(tag, body)),
            }
        }
    }

    fn log(&self, fields: &Fields) {
        if !self.origin.session.detector.sink.reads(Level::DEBUG) {
            return;
        }
        let (severity, message) = (fields.severity().to_owned(), fields.message().to_owned());
        self.origin.session.log(Level::DEBUG, move || {
            tracing::debug!(target: "leakpool", severity, "{message}");
        });
    }

    /// Ready once there is a message to look at, or none will come.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.rest.is_empty()
            && let Some(replies) = self.replies.as_mut()
        {
            match ready!(Pin::new(replies).poll_next(cx)) {
                Some(chunk) => self.take(chunk),
                // `poll` finds the same, and says what it means.
                None => break,
            }
        }
        Poll::Ready(())
    }

    /// The rows that come next, if any do.
    pub(crate) fn rows(&mut self, columns: usize) -> Result<Option<RowBlock>, Malformed> {
        decode::rows(&mut self.rest, columns)
    }

    fn broken(&mut self, tag: u8, e: Malformed) -> Read {
        let error = self.origin.malformed(tag)(e);
        self.fail(error);
        self.over()
    }

    /// The answer makes no sense: its reader gives it up. What the server had said before counts.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        self.give_up();
        self.failure.take().unwrap_or(error)
    }
}
