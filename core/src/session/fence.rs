//! The fence: what a revoked session answers.
//!
//! After a revoke the observer has let go of its socket. Every request that was pending, and every later one, is
//! answered with an ErrorResponse (SQLSTATE `LP001`) and a ReadyForQuery, so that an in-flight query, `commit()`
//! and any later use get an ordinary database error that says when, why, from which line, and whether what was asked for
//! may have been executed. In the middle of a message from the server that is not possible: then the stream simply ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::{BufMut, BytesMut};
use tokio::io::ReadBuf;

use super::observer::Observer;
use super::state::SessionState;
use crate::detect::event::{EventData, Revocation};
use crate::detect::stats::count;
use crate::detect::verdict::RevokeReason;
use crate::error::{Error, ErrorCode};
use crate::net::error::FORCE_RELEASED;
use crate::net::framing::front;

pub(crate) struct Fence {
    revocation: Arc<Revocation>,
    answers: BytesMut,
    /// A message from the server was cut off: nothing can be answered any more.
    cut_off: bool,
    /// An open copy was answered with its error; the Sync that ends it only needs its ReadyForQuery.
    copy_failed: bool,
    /// The messages since the last Sync are a use, not only a Close.
    use_of_it: bool,
    /// A part of the next request had been sent before.
    begun: bool,
}

impl Fence {
    pub(crate) fn new(revocation: Arc<Revocation>, observer: &Observer) -> Fence {
        let mut fence = Fence {
            revocation,
            answers: BytesMut::new(),
            cut_off: !observer.input.at_boundary(),
            copy_failed: false,
            use_of_it: false,
            begun: observer.is_within_a_request(),
        };
        for _ in &observer.session.outstanding {
            fence.error(Sent::Maybe);
            fence.ready();
        }
        if observer.session.in_copy() && observer.session.outstanding.is_empty() {
            fence.error(Sent::Maybe);
            fence.copy_failed = true;
        }
        fence
    }

    /// The holder goes on as if nothing had happened.
    pub(crate) fn asked(&mut self, observer: &mut Observer, bytes: &[u8]) {
        let mut late_uses = 0;
        let mut answers = Vec::new();
        let mut use_of_it = self.use_of_it;
        observer.scan_late(bytes, |tag, body| match tag {
            front::QUERY => {
                // What Transaction's drop queues is no use, but its end.
                late_uses += usize::from(!body.starts_with(b"ROLLBACK"));
                answers.push(true);
            }
            front::FUNCTION_CALL => {
                late_uses += 1;
                answers.push(true);
            }
            front::PARSE | front::BIND | front::EXECUTE => use_of_it = true,
            front::SYNC => {
                late_uses += usize::from(std::mem::take(&mut use_of_it));
                answers.push(false);
            }
            _ => {}
        });
        self.use_of_it = use_of_it;
        for simple in answers {
            if simple || !std::mem::take(&mut self.copy_failed) {
                let begun = std::mem::take(&mut self.begun);
                self.error(if begun { Sent::Maybe } else { Sent::No });
            }
            self.ready();
        }
        if late_uses > 0 {
            late_use(&observer.session.state, &self.revocation, late_uses as u64);
        }
    }

    pub(crate) fn poll_read(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut_off {
            // Read as the end of the stream.
            return Poll::Ready(Ok(()));
        }
        if self.answers.is_empty() {
            return Poll::Pending;
        }
        let n = self.answers.len().min(buf.remaining());
        buf.put_slice(&self.answers.split_to(n));
        Poll::Ready(Ok(()))
    }

    /// ErrorResponse (PostgreSQL manual, "Error and Notice Message Fields").
    fn error(&mut self, sent: Sent) {
        let message = told(&self.revocation, sent);
        let mut body = BytesMut::new();
        for (field, value) in [
            (b'S', "ERROR"),
            (b'V', "ERROR"),
            (b'C', FORCE_RELEASED),
            (b'M', message.as_str()),
            (b'H', "Release the connection on every path, or announce the long use with expected_duration."),
        ] {
            body.put_u8(field);
            body.put_slice(value.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
        self.answers.put_u8(b'E');
        self.answers.put_u32(body.len() as u32 + 4);
        self.answers.put_slice(&body);
    }

    fn ready(&mut self) {
        self.answers.put_slice(&[b'Z', 0, 0, 0, 5, b'I']);
    }
}

/// Whether a request had reached the server when its session was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It, or a part of it.
    Maybe,
    No,
}

/// The sentence for the holder of a request.
pub(crate) fn told(revocation: &Revocation, sent: Sent) -> String {
    let what = match sent {
        Sent::Maybe => "this statement had been sent by then, and may have been executed",
        Sent::No => "this statement was not sent",
    };
    format!("{revocation}; {what}")
}

/// A holder used what had been taken away; the event comes once for each connection.
pub(crate) fn late_use(session: &SessionState, revocation: &Arc<Revocation>, uses: u64) {
    session.detector.stats.late_uses.fetch_add(uses, Ordering::Relaxed);
    if !session.late_use_reported.swap(true, Ordering::Relaxed) {
        session.detector.emit(EventData::LateUse { revocation: revocation.clone() });
    }
}

/// A holder released what had been taken away. Where the handle was shown to be unreachable there is no holder: what ends
/// then is the handle itself, in its finalizer.
pub(crate) fn late_release(detector: &crate::detect::Detector, revocation: Arc<Revocation>) {
    if revocation.reason == RevokeReason::Proven || revocation.is_abandoned() {
        return;
    }
    count(&detector.stats.late_releases);
    detector.emit(EventData::LateRelease { revocation });
}

/// For what was not a statement: a release, a cancel.
pub(crate) fn force_released(revocation: &Revocation) -> Error {
    refused(revocation, revocation.to_string())
}

/// For a statement that had been sent when the connection was taken away.
pub(crate) fn sent_and_force_released(revocation: &Revocation) -> Error {
    refused(revocation, told(revocation, Sent::Maybe))
}

/// For a statement that was not sent.
pub(crate) fn not_sent_and_force_released(revocation: &Revocation) -> Error {
    refused(revocation, told(revocation, Sent::No))
}

pub(crate) fn refused(revocation: &Revocation, text: String) -> Error {
    Error::new(ErrorCode::ForceReleased, text).with_sqlstate(FORCE_RELEASED).with_source(revocation.clone())
}
