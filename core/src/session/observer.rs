//! What passes on a session's wire, and what it says: the observer of both directions.
//!
//! It stamps the connection's slot with the transaction status, what runs, the last SQL and the last use. Outstanding work
//! is a queue of what will be answered by a ReadyForQuery: Query, Sync, FunctionCall and the startup. What is in flight is
//! published as one word (`in_flight.rs`), and the detector's share of it in the slot. It reads and writes nothing itself;
//! whose bytes these are is the business of `wire.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::in_flight::OnTheWire;
use super::parameters;
use super::reset;
use super::state::SessionState;
use crate::clock::Nanos;
use crate::config::SqlText;
use crate::detect::facts::{Traffic, TransactionStatus};
use crate::detect::sql::MAX_SQL;
use crate::net::framing::{Malformed, STARTUP, Scanner, back, cstr, front};

/// Something that a ReadyForQuery will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// A Sync: a CopyInResponse voids it, as the server ignores it while it copies.
    pub(crate) sync: bool,
    /// Something other than Close: a batch of Close alone waits for nothing, changes nothing, and is no use of the
    /// connection.
    pub(crate) work: bool,
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
pub(crate) struct Observer {
    pub(crate) out: Scanner,
    pub(crate) input: Scanner,
    /// The server has sent what is no message: nothing behind it can be understood, and the session ends.
    pub(crate) broken: bool,
    pub(crate) session: Session,
}

/// Everything that is known of the session.
pub(crate) struct Session {
    pub(crate) state: Arc<SessionState>,
    pub(crate) outstanding: VecDeque<Outstanding>,
    batch: Batch,
    traffic: Traffic,
    /// The server waits for copy data.
    pub(crate) copy_in: bool,
    /// A voided Sync: the server will skip everything up to the next one.
    pub(crate) needs_sync: bool,
    /// tokio-postgres has something that it could not write, or flush.
    pub(crate) unflushed: bool,
    /// A raw exchange has its turn, or waits for it.
    pub(crate) exchange: bool,
    /// The start-up is over: what follows are messages with tags.
    pub(crate) started: bool,
    /// What was published last.
    pub(crate) published: (OnTheWire, Traffic),
    /// The text of each prepared statement; `None` for those that tokio-postgres makes for itself.
    statements: HashMap<Vec<u8>, Option<Arc<str>>>,
    /// The last simple query ends every LISTEN.
    unlistens: bool,
    /// The text that was sent last.
    last_sent: Option<Arc<str>>,
    /// The transaction has changed or dropped something.
    altered: bool,
    /// How much of the next simple query is not shown: it is not its asker's.
    pub(crate) in_front: usize,
}

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
    pub(crate) fn new(state: Arc<SessionState>) -> Observer {
        Observer {
            out: Scanner::frontend(),
            input: Scanner::backend(),
            broken: false,
            session: Session {
                state,
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
        }
    }

    /// True if a request of another owner may follow: all of the last one is out, and it has been answered.
    pub(crate) fn between_requests(&self) -> bool {
        self.out.at_boundary() && self.input.at_boundary() && self.session.is_quiet()
    }

    /// A part of a request is out, and not all of it.
    pub(crate) fn is_within_a_request(&self) -> bool {
        !self.out.at_boundary() || self.session.batch.open
    }

    /// These bytes went out.
    pub(crate) fn sent(&mut self, mut bytes: &[u8]) {
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
        self.session.state.slot.stamps.byte_moved(now);
        self.publish(now);
    }

    /// Tells what is in flight now.
    pub(crate) fn publish(&mut self, now: Nanos) {
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
        // What belongs to Close alone is no work, and neither is the Terminate.
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
        let stamps = &session.state.slot.stamps;
        if before == 0 && session.traffic.outstanding > 0 {
            // From its first byte on, a request is at work.
            stamps.used(now);
            stamps.statement_started(now);
        }
        stamps.set_traffic(session.traffic);
        session.state.task.publish(on_the_wire);
    }

    /// These bytes came in. Returns how many of them stand before what is no message: all, if everything is.
    pub(crate) fn received(&mut self, bytes: &[u8]) -> usize {
        let now = self.session.now();
        let mut understood = 0;
        while understood < bytes.len() && !self.broken {
            match self.understand(&bytes[understood..], now) {
                Ok((_, used)) => understood += used,
                Err(Malformed) => self.broken = true,
            }
        }
        self.moved(now);
        understood
    }

    /// These bytes came in for tokio-postgres. Returns how many are left for it, at the front: without what is no message
    /// and all behind it, and without reports of parameters, which we keep within bounds. Its own list of them has none, and
    /// nobody asks it.
    pub(crate) fn received_for_client(&mut self, bytes: &mut [u8]) -> usize {
        let now = self.session.now();
        let (mut understood, mut left) = (0, 0);
        while understood < bytes.len() && !self.broken {
            match self.understand(&bytes[understood..], now) {
                Ok((tag, used)) => {
                    if tag != Some(back::PARAMETER_STATUS) {
                        bytes.copy_within(understood..understood + used, left);
                        left += used;
                    }
                    understood += used;
                }
                Err(Malformed) => self.broken = true,
            }
        }
        self.moved(now);
        left
    }

    /// Takes bytes up to the end of a message: how many, and of what message they are.
    fn understand(&mut self, bytes: &[u8], now: Nanos) -> Result<(Option<u8>, usize), Malformed> {
        let (used, passed) = self.input.feed(bytes, back_body)?;
        if let Some(passed) = passed {
            let tag = passed.tag;
            self.session.back(tag, passed.body, now)?;
            return Ok((Some(tag), used));
        }
        Ok((self.input.within(), used))
    }

    /// For the fence: what a message from the holder asks for, without stamping anything.
    pub(crate) fn scan_late(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
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
    pub(crate) fn now(&self) -> Nanos {
        self.state.detector.now()
    }

    fn is_quiet(&self) -> bool {
        self.outstanding.is_empty() && !self.batch.open && !self.copy_in && !self.needs_sync
    }

    /// The session ends while an exchange has its turn: nothing of it concerns tokio-postgres.
    pub(crate) fn leave_exchange(&mut self) {
        self.outstanding.clear();
        self.copy_in = false;
    }

    pub(crate) fn in_copy(&self) -> bool {
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
                self.state.slot.stamps.statement_started(now);
            }
            front::SYNC => {
                let Batch { work, .. } = std::mem::take(&mut self.batch);
                self.needs_sync = false;
                self.outstanding.push_back(Outstanding { sync: true, work });
                if work {
                    self.state.slot.stamps.used(now);
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
        let stamps = &self.state.slot.stamps;
        stamps.used(now);
        self.traffic.answered = false;
        if let Some(sql) = sql {
            self.last_sent = Some(sql.clone());
            let keep = self.state.detector.policy().sql_text != SqlText::Off;
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
                    self.state.slot.stamps.used(now);
                    self.state.slot.stamps.statement_started(now);
                }
                self.copy_in = false;
                self.traffic.answered = false;
                // One that nobody knows is no clean one.
                self.traffic.transaction = TransactionStatus::Failed;
                self.traffic.transaction = TransactionStatus::from_wire(status).ok_or(Malformed)?;
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
                    self.state.statements.lock().forget_all();
                }
            }
            (back::BIND_COMPLETE, _) => {
                self.state.bound.fetch_add(1, Ordering::Relaxed);
            }
            // A function has listened to something: it says so by its first notification.
            (back::NOTIFICATION_RESPONSE, _) => self.traffic.listening = true,
            (back::PARAMETER_STATUS, body) => self.state.parameters.lock().reported(body),
            (back::BACKEND_KEY_DATA, [a, b, c, d, e, f, g, h]) => {
                self.state
                    .set_key(u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
            }
            _ => {}
        }
        Ok(())
    }
}
