//! What tokio-postgres names, unnamed: for a session behind a transaction pooler, where the next batch may reach another
//! server session, on which a name is unknown, or another caller's.
//!
//! tokio-postgres prepares in one batch and executes in another. Here, a Parse of `s1` goes out without the name, its
//! text is kept, and each Bind of `s1` goes out as Parse, Describe and Bind of the unnamed statement in one batch, whose
//! additional answers are kept back. The parameters have the types that were described when it was prepared; if the
//! columns differ from those, the asker, who would decode one type as another, gets an error in place of the rows. A
//! batch that only closes statements is answered here: there is nothing to close.
//!
//! It sees whole messages only, of tokio-postgres's own requests; raw exchanges name nothing in the first place.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BufMut, BytesMut};

use crate::net::framing::{back, cstr, front};

/// The length of the message at the front, if all of it is there.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    let [_, a, b, c, d, ..] = *bytes else { return None };
    let len = (u32::from_be_bytes([a, b, c, d]) as usize).max(4) + 1;
    (bytes.len() >= len).then_some(len)
}

/// A statement of tokio-postgres.
#[derive(Debug, Default, Clone)]
struct Prepared {
    /// Text and parameter types as they were sent, behind the name.
    tail: Vec<u8>,
    /// The types of parameters and columns, once the server has described them.
    parameters: Option<Vec<u32>>,
    columns: Option<Vec<u32>>,
}

/// What a ParseComplete answers.
#[derive(Debug)]
enum Step {
    /// A statement without a name of its own.
    Plain,
    /// The first time, described for its asker.
    First(Vec<u8>),
    /// Once more, for a Bind: the columns that it should have.
    Again(Option<Vec<u32>>),
}

/// The parts of one batch that are answered one by one.
#[derive(Debug, Default)]
struct Batch {
    steps: VecDeque<Step>,
    /// Other columns came than were described: what is answered is kept back.
    differs: bool,
    /// How many statements it closes.
    closes: usize,
    /// It does something else, too, and is sent.
    is_sent: bool,
}

/// What the next description belongs to.
#[derive(Debug)]
enum Describes {
    Nothing,
    First(Vec<u8>),
    Again(Option<Vec<u32>>),
}

#[derive(Debug)]
pub(crate) struct Rewriter {
    prepared: HashMap<Vec<u8>, Prepared>,
    /// What tokio-postgres has written of a message that is not complete.
    partial: BytesMut,
    /// What is to be written.
    pub(crate) out: BytesMut,
    /// The batch that no Sync has ended.
    open: Batch,
    sent: VecDeque<Batch>,
    describes: Describes,
    /// The last transaction status: that of what is answered here, too.
    status: u8,
    /// Answers to what was not sent.
    pub(crate) answers: BytesMut,
}

impl Rewriter {
    pub(crate) fn new() -> Rewriter {
        Rewriter {
            prepared: HashMap::new(),
            partial: BytesMut::new(),
            out: BytesMut::new(),
            open: Batch::default(),
            sent: VecDeque::new(),
            describes: Describes::Nothing,
            status: b'I',
            answers: BytesMut::new(),
        }
    }

    /// Takes what tokio-postgres writes; what comes of it is in `out`.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(len) = whole_message(&self.partial) {
            let message = self.partial.split_to(len);
            self.front(&message);
        }
    }

    /// What was taken and not written, for whoever answers it now.
    pub(crate) fn unwritten(mut self) -> BytesMut {
        self.out.unsplit(self.partial);
        self.out
    }

    fn front(&mut self, message: &[u8]) {
        let (tag, body) = (message[0], &message[5..]);
        let closes = tag == front::CLOSE && body.first() == Some(&b'S');
        self.open.is_sent |= !closes && tag != front::SYNC;
        match tag {
            front::PARSE => {
                let (name, tail) = cstr(body);
                if name.is_empty() {
                    self.open.steps.push_back(Step::Plain);
                    return self.out.put_slice(message);
                }
                let prepared = Prepared { tail: tail.to_vec(), ..Prepared::default() };
                self.parse(&prepared);
                self.prepared.insert(name.to_vec(), prepared);
                self.open.steps.push_back(Step::First(name.to_vec()));
            }
            front::DESCRIBE if body.first() == Some(&b'S') => self.describe(),
            front::BIND => {
                let (portal, rest) = cstr(body);
                let (name, rest) = cstr(rest);
                let Some(prepared) = self.prepared.get(name).filter(|_| !name.is_empty()).cloned() else {
                    return self.out.put_slice(message);
                };
                self.parse(&prepared);
                self.describe();
                self.open.steps.push_back(Step::Again(prepared.columns));
                let mut bind = BytesMut::with_capacity(portal.len() + 2 + rest.len());
                bind.put_slice(portal);
                bind.put_slice(&[0, 0]);
                bind.put_slice(rest);
                self.put(front::BIND, &bind);
            }
            front::CLOSE if closes => {
                self.prepared.remove(cstr(&body[1..]).0);
                self.open.closes += 1;
            }
            front::SYNC => {
                let batch = std::mem::take(&mut self.open);
                if batch.is_sent {
                    // What was to be closed has no name, and goes with the next one that has none.
                    (0..batch.closes).for_each(|_| self.put(front::CLOSE, b"S\0"));
                    self.out.put_slice(message);
                }
                self.sent.push_back(batch);
                let mut answers = std::mem::take(&mut self.answers);
                self.answer(&mut answers);
                self.answers = answers;
            }
            front::QUERY | front::FUNCTION_CALL => {
                self.open.is_sent = false;
                self.sent.push_back(Batch { is_sent: true, ..Batch::default() });
                self.out.put_slice(message);
            }
            _ => self.out.put_slice(message),
        }
    }

    /// Answers those batches at the front that were not sent.
    fn answer(&mut self, to_client: &mut BytesMut) {
        while self.sent.front().is_some_and(|batch| !batch.is_sent)
            && let Some(batch) = self.sent.pop_front()
        {
            (0..batch.closes).for_each(|_| to_client.put_slice(&[back::CLOSE_COMPLETE, 0, 0, 0, 4]));
            to_client.put_slice(&[back::READY_FOR_QUERY, 0, 0, 0, 5, self.status]);
        }
    }

    fn put(&mut self, tag: u8, body: &[u8]) {
        self.out.put_u8(tag);
        // What fits into one message fits into a length.
        self.out.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
        self.out.put_slice(body);
    }

    fn describe(&mut self) {
        self.put(front::DESCRIBE, b"S\0");
    }

    /// Parse without a name: the parameter types are those that were described, if they were.
    fn parse(&mut self, prepared: &Prepared) {
        let mut body = BytesMut::with_capacity(prepared.tail.len() + 1);
        body.put_u8(0);
        match &prepared.parameters {
            None => body.put_slice(&prepared.tail),
            Some(types) => {
                body.put_slice(cstr(&prepared.tail).0);
                body.put_u8(0);
                body.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
                types.iter().for_each(|oid| body.put_u32(*oid));
            }
        }
        self.put(front::PARSE, &body);
    }

    /// One whole message of the server: what of it is tokio-postgres's goes to `to_client`.
    pub(crate) fn back(&mut self, message: &[u8], to_client: &mut BytesMut) {
        let (tag, body) = (message[0], &message[5..]);
        match tag {
            back::NOTICE_RESPONSE | back::NOTIFICATION_RESPONSE | back::PARAMETER_STATUS => {
                to_client.put_slice(message);
            }
            back::READY_FOR_QUERY => {
                self.describes = Describes::Nothing;
                if self.sent.pop_front().is_some_and(|batch| batch.differs) {
                    put_error(to_client);
                }
                to_client.put_slice(message);
                self.status = body.first().copied().unwrap_or(self.status);
                self.answer(to_client);
            }
            _ if self.sent.front().is_some_and(|batch| batch.differs) => {}
            back::COPY_IN_RESPONSE => {
                // The server ignores the Sync that was sent behind it (PostgreSQL manual, "COPY Operations").
                self.sent.pop_front();
                to_client.put_slice(message);
            }
            back::PARSE_COMPLETE => {
                let step = self.sent.front_mut().and_then(|batch| batch.steps.pop_front());
                self.describes = match step {
                    Some(Step::First(name)) => Describes::First(name),
                    Some(Step::Again(columns)) => {
                        self.describes = Describes::Again(columns);
                        return;
                    }
                    Some(Step::Plain) | None => Describes::Nothing,
                };
                to_client.put_slice(message);
            }
            back::PARAMETER_DESCRIPTION => match &self.describes {
                Describes::First(name) => {
                    if let Some(prepared) = self.prepared.get_mut(name) {
                        prepared.parameters = Some(oids(body));
                    }
                    to_client.put_slice(message);
                }
                Describes::Again(_) => {}
                Describes::Nothing => to_client.put_slice(message),
            },
            back::ROW_DESCRIPTION | back::NO_DATA => {
                match std::mem::replace(&mut self.describes, Describes::Nothing) {
                    Describes::First(name) => {
                        if let Some(prepared) = self.prepared.get_mut(&name) {
                            prepared.columns = Some(column_types(body));
                        }
                        to_client.put_slice(message);
                    }
                    Describes::Again(expected) => {
                        if expected.is_some_and(|expected| expected != column_types(body))
                            && let Some(batch) = self.sent.front_mut()
                        {
                            batch.differs = true;
                        }
                    }
                    Describes::Nothing => to_client.put_slice(message),
                }
            }
            _ => to_client.put_slice(message),
        }
    }
}

/// The types of a ParameterDescription.
fn oids(mut body: &[u8]) -> Vec<u32> {
    let mut oids = Vec::new();
    if body.remaining() >= 2 {
        body.advance(2);
    }
    while body.remaining() >= 4 {
        oids.push(body.get_u32());
    }
    oids
}

/// The types of a RowDescription; none for NoData.
fn column_types(body: &[u8]) -> Vec<u32> {
    let mut types = Vec::new();
    let Some(mut rest) = body.get(2..) else { return types };
    while !rest.is_empty() {
        let (_, fixed) = cstr(rest);
        // Table, column, type, size, modifier, format.
        let Some((mut fixed, next)) = fixed.split_at_checked(18) else { break };
        fixed.advance(6);
        types.push(fixed.get_u32());
        rest = next;
    }
    types
}

fn put_error(to: &mut BytesMut) {
    let mut body = BytesMut::new();
    for (field, value) in [
        (b'S', "ERROR"),
        (b'V', "ERROR"),
        (b'C', "0A000"),
        (
            b'M',
            "behind a pooler, this prepared statement has other result columns on this server session than on the one \
             that described it; it was executed, and its rows are not shown",
        ),
        (b'H', "Qualify names with their schema, or set the search_path for the role or the database."),
    ] {
        body.put_u8(field);
        body.put_slice(value.as_bytes());
        body.put_u8(0);
    }
    body.put_u8(0);
    to.put_u8(back::ERROR_RESPONSE);
    to.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    to.put_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut m = vec![tag];
        m.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        m.extend_from_slice(body);
        m
    }

    fn tags(mut bytes: &[u8]) -> String {
        let mut tags = String::new();
        while let Some(len) = whole_message(bytes) {
            tags.push(char::from(bytes[0]));
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty());
        tags
    }

    fn columns(oid: u32) -> Vec<u8> {
        let mut body = vec![0, 1, b'x', 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&oid.to_be_bytes());
        body.extend_from_slice(&[0, 4, 255, 255, 255, 255, 0, 0]);
        message(back::ROW_DESCRIPTION, &body)
    }

    fn prepared() -> Rewriter {
        let mut rewriter = Rewriter::new();
        let prepare = [
            message(front::PARSE, b"s1\0SELECT x FROM t WHERE y = $1\0\0\0"),
            message(front::DESCRIBE, b"Ss1\0"),
            message(front::SYNC, b""),
        ]
        .concat();
        // In pieces, as a buffer may be cut.
        prepare.chunks(3).for_each(|piece| rewriter.take(piece));
        assert_eq!(tags(&rewriter.out.split()), "PDS");
        let mut to_client = BytesMut::new();
        for answer in [
            message(back::PARSE_COMPLETE, b""),
            message(back::PARAMETER_DESCRIPTION, &[0, 1, 0, 0, 0, 20]),
            columns(23),
            message(back::READY_FOR_QUERY, b"I"),
        ] {
            rewriter.back(&answer, &mut to_client);
        }
        assert_eq!(tags(&to_client), "1tTZ", "the asker is told everything");
        rewriter
    }

    fn bound(rewriter: &mut Rewriter, oid: u32) -> BytesMut {
        rewriter.take(&message(front::BIND, b"\0s1\0\0\0\0\0\0\0"));
        rewriter.take(&message(front::EXECUTE, b"\0\0\0\0\0"));
        rewriter.take(&message(front::SYNC, b""));
        let out = rewriter.out.split();
        assert_eq!(tags(&out), "PDBES");
        assert!(!out.windows(3).any(|w| w == b"s1\0"), "no name goes out");
        let parse = whole_message(&out).unwrap();
        assert!(out[..parse].ends_with(&[0, 0, 1, 0, 0, 0, 20]), "the types are those that were described");
        let mut to_client = BytesMut::new();
        for answer in [
            message(back::PARSE_COMPLETE, b""),
            message(back::PARAMETER_DESCRIPTION, &[0, 1, 0, 0, 0, 20]),
            columns(oid),
            message(back::BIND_COMPLETE, b""),
            message(back::DATA_ROW, &[0, 0]),
            message(back::NOTICE_RESPONSE, b"\0"),
            message(back::COMMAND_COMPLETE, b"SELECT 1\0"),
            message(back::READY_FOR_QUERY, b"I"),
        ] {
            rewriter.back(&answer, &mut to_client);
        }
        to_client
    }

    #[test]
    fn a_named_statement_is_parsed_again_with_each_bind() {
        let mut rewriter = prepared();
        for _ in 0..3 {
            assert_eq!(tags(&bound(&mut rewriter, 23)), "2DNCZ", "as if it had been prepared");
        }
        // Closed while something else is under way, it is answered in its turn; otherwise at once. It is not sent.
        rewriter.take(&message(front::QUERY, b"SELECT 1\0"));
        let close = [message(front::CLOSE, b"Ss1\0"), message(front::SYNC, b"")].concat();
        rewriter.take(&close);
        assert_eq!((tags(&rewriter.out.split()), rewriter.answers.len()), ("Q".to_owned(), 0));
        let mut to_client = BytesMut::new();
        rewriter.back(&message(back::COMMAND_COMPLETE, b"SELECT 1\0"), &mut to_client);
        rewriter.back(&message(back::READY_FOR_QUERY, b"T"), &mut to_client);
        assert_eq!(tags(&to_client), "CZ3Z");
        assert_eq!(to_client[to_client.len() - 1], b'T');
        rewriter.take(&close);
        assert_eq!((tags(&rewriter.out), tags(&rewriter.answers)), (String::new(), "3Z".to_owned()));
        assert!(rewriter.prepared.is_empty() && rewriter.sent.is_empty());
    }

    #[test]
    fn other_columns_than_described_are_an_error() {
        let mut rewriter = prepared();
        let answer = bound(&mut rewriter, 25);
        assert_eq!(tags(&answer), "NEZ");
        assert_eq!(tags(&bound(&mut rewriter, 23)), "2DNCZ", "the next one is right again");
    }

    #[test]
    fn a_copy_has_one_end_for_its_two_syncs() {
        let mut rewriter = prepared();
        rewriter.take(&message(front::BIND, b"\0s1\0\0\0\0\0\0\0"));
        rewriter.take(&message(front::EXECUTE, b"\0\0\0\0\0"));
        rewriter.take(&message(front::SYNC, b""));
        let mut to_client = BytesMut::new();
        for answer in [
            message(back::PARSE_COMPLETE, b""),
            message(back::PARAMETER_DESCRIPTION, &[0, 0]),
            message(back::NO_DATA, b""),
            message(back::BIND_COMPLETE, b""),
        ] {
            rewriter.back(&answer, &mut to_client);
        }
        rewriter.sent[0].differs = false;
        rewriter.back(&message(back::COPY_IN_RESPONSE, &[0, 0, 0]), &mut to_client);
        rewriter.take(&message(front::COPY_DONE, b""));
        rewriter.take(&message(front::SYNC, b""));
        rewriter.back(&message(back::COMMAND_COMPLETE, b"COPY 0\0"), &mut to_client);
        rewriter.back(&message(back::READY_FOR_QUERY, b"I"), &mut to_client);
        assert!(rewriter.sent.is_empty());
    }
}
