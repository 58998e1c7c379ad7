//! The wire observer: what the session does, told by what passes on its wire.
//!
//! [`Observed`] wraps the decrypted stream under `tokio-postgres`. It stamps the connection's slot with the
//! transaction status, what runs, the last SQL and the last use; it carries raw exchanges (`exchange.rs`) between
//! tokio-postgres's own requests; and after a revoke it becomes the tombstone (`tombstone.rs`), which sends
//! nothing any more. It runs inside the connection's task alone; what it tells others goes through atomics.
//!
//! Outstanding work is a queue of what will be answered by a ReadyForQuery: Query, Sync, FunctionCall and the
//! startup. What is in flight is published as one word (`in_flight.rs`), and the detector's share of it in the slot.
//! Wire and client take turns: an exchange starts only while nothing of tokio-postgres is outstanding,
//! and tokio-postgres's next request waits until the exchange has ended, so that a COPY of one never meets a
//! request of the other.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::control::{Control, Standing};
use super::exchange::transport::{Active, Chunk, copy_abort};
use super::in_flight::OnTheWire;
use super::parameters;
use super::protocol::{Malformed, STARTUP, Scanner, back, backend_message, cstr, front, transaction_status};
use super::reset;
use super::rewrite::Rewriter;
use super::tombstone::Tombstone;
use crate::clock::Nanos;
use crate::config::SqlText;
use crate::detect::checkout::{Traffic, TransactionStatus};
use crate::detect::sql::MAX_SQL;

/// Something that a ReadyForQuery will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outstanding {
    /// A Sync: a CopyInResponse voids it, as the server ignores it while it copies.
    pub(super) sync: bool,
    /// Something other than Close: a batch of Close alone waits for nothing, changes nothing, and is no use of the
    /// connection.
    pub(super) work: bool,
}

/// The messages since the last Sync.
#[derive(Debug, Default)]
struct Batch {
    open: bool,
    /// Something other than Close.
    work: bool,
    sql: Option<Arc<str>>,
}

/// The scanners of both directions, and what they make known.
pub(super) struct Observer {
    out: Scanner,
    pub(super) input: Scanner,
    /// The server has sent what is no message: nothing behind it can be understood, and the session ends.
    broken: bool,
    pub(super) session: Session,
}

/// Everything that is known of the session.
pub(super) struct Session {
    pub(super) control: Arc<Control>,
    pub(super) outstanding: VecDeque<Outstanding>,
    batch: Batch,
    traffic: Traffic,
    /// The server waits for copy data.
    copy_in: bool,
    /// A voided Sync: the server will skip everything up to the next one.
    needs_sync: bool,
    /// tokio-postgres has something that it could not write, or flush.
    unflushed: bool,
    /// A raw exchange has its turn, or waits for it.
    exchange: bool,
    /// The start-up is over: what follows are messages with tags.
    started: bool,
    /// What was published last.
    published: (OnTheWire, Traffic),
    /// The text of each prepared statement; `None` for those that tokio-postgres makes for itself.
    statements: HashMap<Vec<u8>, Option<Arc<str>>>,
    /// The last simple query ends every LISTEN.
    unlistens: bool,
    /// The text that was sent last.
    last_sent: Option<Arc<str>>,
    /// The transaction has changed or dropped something.
    altered: bool,
    /// How much of the next simple query is not shown: it is not its asker's.
    in_front: usize,
}

/// A stream under observation.
pub(crate) struct Observed<S> {
    inner: Option<S>,
    observer: Observer,
    channel_binding: Option<Vec<u8>>,
    active: Option<Active>,
    /// tokio-postgres wanted to write while an exchange was active.
    client_waits: bool,
    /// What was read while an exchange was active and is not routed yet.
    buffered: BytesMut,
    /// How much the next read of an answer may bring, at least.
    room: usize,
    /// What is routed to tokio-postgres and not fetched yet.
    to_client: BytesMut,
    /// Behind a pooler: what tokio-postgres names is unnamed on its way.
    rewriter: Option<Rewriter>,
    tombstone: Option<Tombstone>,
    goodbye: Goodbye,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    NotYet,
    Sending { sent: usize },
    Said,
}

const SHORT_READ: usize = 8 * 1024;
const LONG_READ: usize = 32 * 1024;

/// Terminate (PostgreSQL manual, "Message Formats").
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

fn front_body(tag: u8) -> usize {
    match tag {
        front::QUERY | front::PARSE => MAX_SQL + 128,
        front::BIND | front::CLOSE => 256,
        _ => 0,
    }
}

fn back_body(tag: u8) -> usize {
    match tag {
        back::READY_FOR_QUERY => 1,
        back::BACKEND_KEY_DATA => 8,
        back::COMMAND_COMPLETE => 16,
        back::PARAMETER_STATUS => parameters::LONGEST_BODY,
        _ => 0,
    }
}

/// The queries by which tokio-postgres looks types up for itself.
fn is_type_lookup(sql: &str) -> bool {
    sql.starts_with("SELECT t.typname, t.typtype, t.typelem, ")
        || sql.starts_with("SELECT enumlabel\nFROM pg_catalog.pg_enum")
        || sql.starts_with("SELECT attname, atttypid\nFROM pg_catalog.pg_attribute")
}

fn text(bytes: &[u8]) -> Arc<str> {
    let kept = &bytes[..bytes.len().min(MAX_SQL)];
    match std::str::from_utf8(kept) {
        Ok(text) => text.into(),
        // The cut may have hit the middle of a character.
        Err(e) if e.error_len().is_none() => String::from_utf8_lossy(&kept[..e.valid_up_to()]).into(),
        Err(_) => String::from_utf8_lossy(kept).into(),
    }
}

impl Observer {
    /// True if a request of another owner may follow: all of the last one is out, and it has been answered.
    fn between_requests(&self) -> bool {
        self.out.at_boundary() && self.input.at_boundary() && self.session.is_quiet()
    }

    /// A part of a request is out, and not all of it.
    pub(super) fn is_within_a_request(&self) -> bool {
        !self.out.at_boundary() || self.session.batch.open
    }

    /// These bytes went out.
    fn sent(&mut self, mut bytes: &[u8]) {
        let now = self.session.now();
        while !bytes.is_empty() {
            // What goes out is ours, or tokio-postgres's: it is made of messages.
            let Ok((used, passed)) = self.out.feed(bytes, front_body) else { break };
            bytes = &bytes[used..];
            if let Some(passed) = passed {
                self.session.front(passed.tag, passed.body, now);
            }
        }
        self.moved(now);
    }

    /// Bytes have passed.
    fn moved(&mut self, now: Nanos) {
        self.session.control.slot.stamps.byte_moved(now);
        self.publish(now);
    }

    /// Tells what is in flight now.
    fn publish(&mut self, now: Nanos) {
        let session = &mut self.session;
        let requests = session.outstanding.iter().filter(|o| o.work).count();
        let on_the_wire = OnTheWire {
            unflushed: session.unflushed,
            sending: !self.out.at_boundary(),
            receiving: !self.input.at_boundary(),
            batch: session.batch.open,
            owes_sync: session.needs_sync,
            copy_in: session.copy_in,
            exchange: session.exchange,
            status: session.traffic.transaction,
            requests,
        };
        // What belongs to Close alone is no work, and neither is the goodbye.
        let half = self.out.within().is_some_and(|tag| !matches!(tag, front::CLOSE | front::SYNC | STARTUP));
        let begun = half || session.batch.work;
        session.traffic.sending = half || session.unflushed;
        session.traffic.awaits_client = session.copy_in || session.needs_sync;
        // Copy data are a part of their request.
        let one_more = begun && !session.traffic.awaits_client;
        session.traffic.outstanding = u32::try_from(requests + usize::from(one_more)).unwrap_or(u32::MAX);
        if (on_the_wire, session.traffic) == session.published {
            return;
        }
        let before = session.published.1.outstanding;
        session.published = (on_the_wire, session.traffic);
        let stamps = &session.control.slot.stamps;
        if before == 0 && session.traffic.outstanding > 0 {
            // From its first byte on, a request is at work.
            stamps.used(now);
            stamps.statement_started(now);
        }
        stamps.set_traffic(session.traffic);
        session.control.task.publish(on_the_wire);
    }

    /// These bytes came in. Returns how many of them stand before what is no message: all, if everything is.
    fn received(&mut self, bytes: &[u8]) -> usize {
        let now = self.session.now();
        let mut understood = 0;
        while understood < bytes.len() && !self.broken {
            match self.understand(&bytes[understood..], now) {
                Ok(used) => understood += used,
                Err(Malformed) => self.broken = true,
            }
        }
        self.moved(now);
        understood
    }

    fn understand(&mut self, bytes: &[u8], now: Nanos) -> Result<usize, Malformed> {
        let (used, passed) = self.input.feed(bytes, back_body)?;
        if let Some(passed) = passed {
            self.session.back(passed.tag, passed.body, now)?;
        }
        Ok(used)
    }

    /// For the tombstone: what a message from the holder asks for, without stamping anything.
    pub(super) fn scan_late(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            let Ok((used, passed)) = self.out.feed(bytes, front_body) else { break };
            bytes = &bytes[used..];
            if let Some(passed) = passed {
                each(passed.tag, passed.body);
            }
        }
    }
}

impl Session {
    fn now(&self) -> Nanos {
        self.control.detector.now()
    }

    fn is_quiet(&self) -> bool {
        self.outstanding.is_empty() && !self.batch.open && !self.copy_in && !self.needs_sync
    }

    /// The session ends while an exchange has its turn: nothing of it concerns tokio-postgres.
    fn leave_exchange(&mut self) {
        self.outstanding.clear();
        self.copy_in = false;
    }

    pub(super) fn in_copy(&self) -> bool {
        self.copy_in
    }

    fn front(&mut self, tag: u8, body: &[u8], now: Nanos) {
        match tag {
            STARTUP => self.outstanding.push_back(Outstanding { sync: false, work: false }),
            front::QUERY => {
                let sql = cstr(body).0;
                let whole = text(sql);
                self.unlistens = reset::ends_listening(&whole);
                let shown = match std::mem::take(&mut self.in_front) {
                    0 => whole,
                    front => text(sql.get(front..).unwrap_or(sql)),
                };
                self.asked(Some(shown), now);
                self.outstanding.push_back(Outstanding { sync: false, work: true });
            }
            front::FUNCTION_CALL => {
                self.traffic.may_listen = true;
                self.asked(None, now);
                self.outstanding.push_back(Outstanding { sync: false, work: true });
            }
            front::PARSE => {
                let (name, rest) = cstr(body);
                let sql = text(cstr(rest).0);
                let shown = (!is_type_lookup(&sql)).then_some(sql);
                self.batch.open = true;
                self.batch.work = true;
                self.batch.sql = shown.clone();
                self.statements.insert(name.to_vec(), shown.clone());
                // It may wait for a lock already now.
                self.asked(shown, now);
            }
            front::BIND => {
                let (_portal, rest) = cstr(body);
                self.batch.open = true;
                self.batch.work = true;
                self.batch.sql = self.statements.get(cstr(rest).0).cloned().flatten();
            }
            front::EXECUTE => {
                self.batch.open = true;
                self.batch.work = true;
                let sql = self.batch.sql.clone();
                self.asked(sql, now);
            }
            front::CLOSE => {
                self.batch.open = true;
                if let [b'S', name @ ..] = body {
                    self.statements.remove(cstr(name).0);
                }
            }
            front::COPY_DONE | front::COPY_FAIL => {
                self.copy_in = false;
                // What follows is the end of a statement, whose own Sync was voided.
                self.batch.work |= self.needs_sync;
                self.batch.open |= self.needs_sync;
                self.control.slot.stamps.statement_started(now);
            }
            front::SYNC => {
                let Batch { work, .. } = std::mem::take(&mut self.batch);
                self.needs_sync = false;
                self.outstanding.push_back(Outstanding { sync: true, work });
                if work {
                    self.control.slot.stamps.used(now);
                }
            }
            front::COPY_DATA => {}
            front::DESCRIBE | front::FLUSH => {
                self.batch.open = true;
                self.batch.work = true;
            }
            _ => {}
        }
    }

    /// What was kept prepared is gone with this command, or may be about a table that is not the same any more: in a
    /// transaction, that could not be told from a failure, nor mended.
    fn ends_plans(&mut self, tag: &[u8]) -> bool {
        let changed = tag.starts_with(b"ALTER ") || tag.starts_with(b"DROP ");
        if tag.starts_with(b"ROLLBACK\0") {
            return std::mem::take(&mut self.altered);
        }
        self.altered = changed || (self.altered && !tag.starts_with(b"COMMIT\0"));
        changed || tag.starts_with(b"DEALLOCATE ALL\0") || tag.starts_with(b"DISCARD ALL\0")
    }

    /// A statement was sent. What tokio-postgres runs for itself (no SQL) leaves the last SQL as it was.
    fn asked(&mut self, sql: Option<Arc<str>>, now: Nanos) {
        let stamps = &self.control.slot.stamps;
        stamps.used(now);
        self.traffic.answered = false;
        if let Some(sql) = sql {
            self.last_sent = Some(sql.clone());
            let keep = self.control.detector.policy().sql_text != SqlText::Off;
            stamps.set_sql(keep.then_some(sql), now);
        }
    }

    /// A statement has failed, and may have listened to something before.
    fn failed(&mut self) {
        let last = self.last_sent.as_deref();
        self.traffic.may_listen |=
            self.outstanding.len() > 1 || last.is_some_and(reset::may_commit_before_it_fails);
    }

    /// What the session listens to now, by the tag of a command.
    fn listens(&mut self, tag: &[u8]) {
        if tag.starts_with(b"LISTEN\0") {
            self.traffic.listening = true;
        } else if tag.starts_with(b"DO\0") || tag.starts_with(b"CALL\0") {
            // What ran inside says no tag of its own.
            self.traffic.may_listen = true;
        } else if tag.starts_with(b"DISCARD ALL\0")
            || (tag.starts_with(b"UNLISTEN\0")
                && self.unlistens
                && self.traffic.transaction == TransactionStatus::Idle)
        {
            (self.traffic.listening, self.traffic.may_listen) = (false, false);
        }
    }

    fn back(&mut self, tag: u8, body: &[u8], now: Nanos) -> Result<(), Malformed> {
        match (tag, body) {
            (back::READY_FOR_QUERY, status) => {
                self.started = true;
                let done = self.outstanding.pop_front();
                if done.is_some_and(|d| d.work) {
                    // What was sent behind it begins now.
                    self.control.slot.stamps.used(now);
                    self.control.slot.stamps.statement_started(now);
                }
                self.copy_in = false;
                self.traffic.answered = false;
                // One that nobody knows is no clean one.
                self.traffic.transaction = TransactionStatus::Failed;
                self.traffic.transaction = transaction_status(status)?;
            }
            (back::COPY_IN_RESPONSE | back::COPY_BOTH_RESPONSE, _) => {
                self.copy_in = true;
                if self.outstanding.front().is_some_and(|o| o.sync) {
                    self.outstanding.pop_front();
                    self.needs_sync = true;
                }
            }
            (back::ERROR_RESPONSE, _) => {
                self.failed();
                self.copy_in = false;
                self.traffic.answered = self.outstanding.len() == 1 && !self.needs_sync;
            }
            (back::COMMAND_COMPLETE, tag) => {
                // A simple query may have more statements to come.
                self.traffic.answered = self.outstanding.len() == 1 && self.outstanding[0].sync;
                self.listens(tag);
                if self.ends_plans(tag) {
                    self.control.statements.lock().forget_all();
                }
            }
            (back::BIND_COMPLETE, _) => {
                self.control.bound.fetch_add(1, Ordering::Relaxed);
            }
            // A function has listened to something: it says so by its first notification.
            (back::NOTIFICATION_RESPONSE, _) => self.traffic.listening = true,
            (back::PARAMETER_STATUS, body) => self.control.parameters.lock().reported(body),
            (back::BACKEND_KEY_DATA, [a, b, c, d, e, f, g, h]) => {
                self.control
                    .set_key(u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
            }
            _ => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Observed<S> {
    pub(crate) fn new(inner: S, control: Arc<Control>, channel_binding: Option<Vec<u8>>) -> Observed<S> {
        Observed {
            inner: Some(inner),
            observer: Observer {
                out: Scanner::frontend(),
                input: Scanner::backend(),
                broken: false,
                session: Session {
                    control,
                    outstanding: VecDeque::new(),
                    batch: Batch::default(),
                    traffic: Traffic::default(),
                    copy_in: false,
                    needs_sync: false,
                    unflushed: false,
                    exchange: false,
                    started: false,
                    published: (OnTheWire::default(), Traffic::default()),
                    statements: HashMap::new(),
                    unlistens: false,
                    last_sent: None,
                    altered: false,
                    in_front: 0,
                },
            },
            channel_binding,
            active: None,
            client_waits: false,
            buffered: BytesMut::new(),
            room: SHORT_READ,
            to_client: BytesMut::new(),
            rewriter: None,
            tombstone: None,
            goodbye: Goodbye::NotYet,
        }
    }

    /// Becomes the tombstone as soon as the fence stands.
    fn tombstone(&mut self) -> Option<&mut Tombstone> {
        if self.tombstone.is_none() {
            let control = &self.observer.session.control;
            let Some(revocation) = control.revocation.get().cloned() else {
                if control.is_cut() && self.inner.is_some() {
                    self.let_go();
                    self.observer.session.control.session_ended();
                }
                return None;
            };
            if self.let_go() {
                // What is outstanding is the exchange's, which learns it by the end of its answer.
                self.observer.session.leave_exchange();
            }
            let mut tombstone = Tombstone::new(revocation, &self.observer);
            if let Some(rewriter) = self.rewriter.take() {
                // Taken from tokio-postgres, and not written yet.
                tombstone.asked(&mut self.observer, &rewriter.unwritten());
            }
            self.tombstone = Some(tombstone);
            self.observer.session.control.session_ended();
        }
        self.observer.session.control.drop_requests();
        self.tombstone.as_mut()
    }

    /// Lets go of the socket without a word; the closer holds the duplicate and ends the session. What is in flight
    /// stays published: the closer goes by it. True if an exchange had its turn.
    fn let_go(&mut self) -> bool {
        self.inner = None;
        self.buffered.clear();
        self.active.take().is_some()
    }

    /// tokio-postgres begins to write, or has flushed everything.
    fn set_unflushed(&mut self, unflushed: bool) {
        if std::mem::replace(&mut self.observer.session.unflushed, unflushed) != unflushed {
            let now = self.observer.session.now();
            self.observer.publish(now);
        }
    }

    fn set_exchange(&mut self, exchange: bool) {
        if std::mem::replace(&mut self.observer.session.exchange, exchange) != exchange {
            let now = self.observer.session.now();
            self.observer.publish(now);
        }
    }

    /// Sends what raw exchanges have to send, while it is their turn.
    fn pump(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.inner.is_none() {
                return Ok(());
            }
            if self.active.is_none() {
                let control = &self.observer.session.control;
                let next =
                    control.requests.lock().front().map(|request| control.standing(request.generation));
                // What waits for its turn is in flight.
                self.set_exchange(next.is_some());
                let control = &self.observer.session.control;
                if matches!(next, None | Some(Standing::Ended))
                    || !self.observer.between_requests()
                    || !self.to_client.is_empty()
                    // What is asked for next is not what the cancel was meant for.
                    || control.is_being_cancelled()
                {
                    return Ok(());
                }
                let request = control.requests.lock().pop_front();
                // Whoever asked may have gone before anything was sent; or has given the connection back and waits.
                let asked = matches!(next, Some(Standing::Held | Standing::Returning));
                self.active =
                    request.filter(|request| asked && !request.replies.is_closed()).map(Active::new);
                self.observer.session.in_front = self.active.as_ref().map_or(0, |active| active.in_front);
                continue;
            }
            let Some(inner) = self.inner.as_mut() else { return Ok(()) };
            let Some(active) = self.active.as_mut() else { return Ok(()) };
            let control = &self.observer.session.control;
            let awaited = match control.standing(active.generation) {
                Standing::Held | Standing::Ended => true,
                // The rest of a copy would come from somebody whose checkout is over.
                Standing::Returning => active.is_awaited() && !active.has_more(),
                Standing::Returned => false,
            };
            control.awaited.store(awaited, Ordering::SeqCst);
            if !awaited {
                active.abandon();
            }
            while active.pending.has_remaining() {
                match Pin::new(&mut *inner).poll_write(cx, &active.pending) {
                    Poll::Ready(n) => {
                        let sent = active.pending.split_to(n?);
                        self.observer.sent(&sent);
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            match active.poll_more(cx) {
                Poll::Ready(Some(bytes)) => {
                    active.pending = bytes;
                    continue;
                }
                // Nothing more comes: an open copy is ended, a voided Sync made up for.
                Poll::Ready(None) if self.observer.session.copy_in || self.observer.session.needs_sync => {
                    active.pending =
                        copy_abort(self.observer.session.copy_in, self.observer.session.needs_sync);
                    continue;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            if let Poll::Ready(flushed) = Pin::new(&mut *inner).poll_flush(cx) {
                flushed?;
            }
            if !self.observer.between_requests() {
                return Ok(());
            }
            self.active = None;
            self.observer.session.control.awaited.store(false, Ordering::SeqCst);
            if std::mem::take(&mut self.client_waits) {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Reads while an exchange is active: whole messages, each to its owner. `Ready` if there is something for
    /// tokio-postgres or the exchange is over, so that the caller looks again.
    fn read_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(active) = self.active.as_mut() else { return Poll::Ready(Ok(())) };
            // Bounded: nothing more is read than the other side has taken.
            if active.poll_ready(cx).is_pending() {
                self.observer.session.control.read_blocked.store(false, Ordering::Release);
                return Poll::Pending;
            }
            let mut chunk = BytesMut::new();
            let mut done = false;
            while let Some(len) = whole_message(&self.buffered) {
                let message = self.buffered.split_to(len);
                self.observer.received(&message);
                if self.observer.broken {
                    // Whoever asked meets it as well, and is told what it was.
                    chunk.unsplit(message);
                    break;
                }
                match message[0] {
                    back::NOTIFICATION_RESPONSE => self.to_client.extend_from_slice(&message),
                    // Kept by us, within bounds; tokio-postgres's own list of them has none, and nobody asks it.
                    back::PARAMETER_STATUS => {}
                    back::READY_FOR_QUERY => {
                        chunk.unsplit(message);
                        done = self.observer.session.outstanding.is_empty();
                        break;
                    }
                    _ => chunk.unsplit(message),
                }
            }
            if !chunk.is_empty() {
                active.send(Chunk { messages: chunk.freeze() });
            }
            self.intact()?;
            if done || !self.to_client.is_empty() {
                self.pump(cx)?;
                return Poll::Ready(Ok(()));
            }
            if whole_message(&self.buffered).is_some() {
                continue;
            }
            self.pump(cx)?;
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
            self.buffered.reserve(self.room);
            let room = self.buffered.capacity() - self.buffered.len();
            let read = pin!(inner.read_buf(&mut self.buffered)).poll(cx);
            if let Poll::Ready(Ok(n)) = read {
                // A long answer is read in longer pieces.
                self.room = if n == room { LONG_READ } else { SHORT_READ };
            }
            self.observer.session.control.read_blocked.store(read.is_pending(), Ordering::Release);
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What cannot be understood ends the session, once all that came before it is told.
    fn intact(&self) -> Result<(), Malformed> {
        if self.observer.broken && self.to_client.is_empty() { Err(Malformed) } else { Ok(()) }
    }

    /// Says goodbye: Terminate and the end of the stream. Only while nothing is in flight.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
        loop {
            match self.goodbye {
                Goodbye::NotYet => self.goodbye = Goodbye::Sending { sent: 0 },
                Goodbye::Sending { sent } if sent == TERMINATE.len() => {
                    ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
                    self.goodbye = Goodbye::Said;
                }
                Goodbye::Sending { sent } => {
                    let n = ready!(Pin::new(&mut *inner).poll_write(cx, &TERMINATE[sent..]))?;
                    self.goodbye = Goodbye::Sending { sent: sent + n };
                }
                Goodbye::Said => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Observed<S> {
    /// The rewriter, from the moment on in which a pooler is known of. tokio-postgres has named nothing before.
    fn rewrites(&mut self) -> Option<&mut Rewriter> {
        let control = &self.observer.session.control;
        if self.rewriter.is_none()
            && self.observer.session.started
            && control.behind_pooler.load(Ordering::Acquire)
            && self.observer.out.at_boundary()
            && self.observer.input.at_boundary()
        {
            self.rewriter = Some(Rewriter::new());
        }
        self.rewriter.as_mut()
    }

    /// Writes what has become of tokio-postgres's requests. `Ready` once nothing is left of it.
    fn write_rewritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(rewriter), Some(inner)) = (self.rewriter.as_mut(), self.inner.as_mut()) else {
            return Poll::Ready(Ok(()));
        };
        while !rewriter.out.is_empty() {
            let n = ready!(Pin::new(&mut *inner).poll_write(cx, &rewriter.out))?;
            let sent = rewriter.out.split_to(n);
            self.observer.sent(&sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads whole messages for tokio-postgres, without those that answer what was added to its requests. `Ready` if
    /// there is something for it.
    fn read_rewritten(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(len) = whole_message(&self.buffered) {
                let message = self.buffered.split_to(len);
                let understood = self.observer.received(&message);
                self.intact()?;
                match self.rewriter.as_mut() {
                    Some(rewriter) if understood == message.len() => {
                        rewriter.back(&message, &mut self.to_client)
                    }
                    Some(_) | None => self.to_client.extend_from_slice(&message[..understood]),
                }
            }
            if !self.to_client.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Some(inner) = self.inner.as_mut() else { return Poll::Ready(Ok(())) };
            self.buffered.reserve(SHORT_READ);
            let read = pin!(inner.read_buf(&mut self.buffered)).poll(cx);
            self.observer.session.control.read_blocked.store(read.is_pending(), Ordering::Release);
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// The length of the message at the front, if all of it is there. What is no message is all of it.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    match backend_message(bytes) {
        Ok(len) => len.filter(|len| *len <= bytes.len()),
        Err(Malformed) => Some(bytes.len()),
    }
}

/// Moves as much as fits.
fn drain(from: &mut BytesMut, to: &mut ReadBuf<'_>) {
    let n = from.len().min(to.remaining());
    to.put_slice(&from.split_to(n));
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Observed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.to_client.is_empty()
                && let Some(tombstone) = this.tombstone()
            {
                return tombstone.poll_read(buf);
            }
            if this.observer.session.control.closing.load(Ordering::Acquire)
                && this.observer.session.published.0.is_quiet()
            {
                ready!(this.poll_goodbye(cx))?;
                return Poll::Ready(Ok(()));
            }
            this.intact()?;
            this.pump(cx)?;
            if !this.to_client.is_empty() {
                drain(&mut this.to_client, buf);
                return Poll::Ready(Ok(()));
            }
            if this.active.is_some() {
                ready!(this.read_exchange(cx))?;
                continue;
            }
            if this.rewriter.is_some() {
                ready!(this.read_rewritten(cx))?;
                continue;
            }
            if !this.buffered.is_empty() {
                // Read together with the end of the last exchange, and nobody's but tokio-postgres's.
                let understood = this.observer.received(&this.buffered);
                this.buffered.truncate(understood);
                this.to_client.unsplit(this.buffered.split());
                continue;
            }
            let Some(inner) = this.inner.as_mut() else { return Poll::Ready(Ok(())) };
            let before = buf.filled().len();
            let read = Pin::new(inner).poll_read(cx, buf);
            this.observer.session.control.read_blocked.store(read.is_pending(), Ordering::Release);
            ready!(read)?;
            let understood = this.observer.received(&buf.filled()[before..]);
            buf.set_filled(before + understood);
            if understood == 0 {
                // Nothing came, or nothing that could be understood.
                this.intact()?;
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.tombstone().is_some() {
            if let Some(tombstone) = this.tombstone.as_mut() {
                tombstone.asked(&mut this.observer, buf);
                // The answers are read in the next poll.
                cx.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(buf.len()));
        }
        // Not before a flush of everything: whatever is not written now waits in the client's buffer.
        this.set_unflushed(true);
        this.pump(cx)?;
        if this.active.is_some() {
            this.client_waits = true;
            return Poll::Pending;
        }
        if this.inner.is_none() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(rewriter) = this.rewrites() {
            // All of it is taken; the flush that follows waits until it is written.
            rewriter.take(buf);
            if !rewriter.answers.is_empty() {
                let answers = rewriter.answers.split();
                this.to_client.extend_from_slice(&answers);
                // They are read in the next poll.
                cx.waker().wake_by_ref();
            }
            let _ = this.write_rewritten(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let n = ready!(Pin::new(inner).poll_write(cx, buf))?;
        this.observer.sent(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tombstone().is_some() {
            return Poll::Ready(Ok(()));
        }
        this.pump(cx)?;
        if this.rewriter.as_ref().is_some_and(|rewriter| !rewriter.out.is_empty()) {
            this.set_unflushed(true);
            if this.active.is_some() {
                this.client_waits = true;
                return Poll::Pending;
            }
            ready!(this.write_rewritten(cx))?;
        }
        if let Some(inner) = this.inner.as_mut()
            && let Poll::Pending = Pin::new(inner).poll_flush(cx)?
        {
            this.set_unflushed(true);
            return Poll::Pending;
        }
        // tokio-postgres flushes after all that it had to write, and its buffer is empty by then.
        this.set_unflushed(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.inner.as_mut() {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Observed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.channel_binding {
            Some(data) => ChannelBinding::tls_server_end_point(data.clone()),
            None => ChannelBinding::none(),
        }
    }
}
