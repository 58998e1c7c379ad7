//! Cutting the PostgreSQL protocol into messages while it passes (PostgreSQL manual, "Message Formats"), and what a
//! server may send at all: the one set of rules for whoever reads what comes from it, the observer (`wire.rs`) and the
//! exchange (`exchange/decode.rs`). What breaks them is no message, and neither is anything behind it.
//!
//! A [`Scanner`] sees each byte once, in pieces of any size, and keeps only the head of those bodies that the
//! observer needs. It allocates nothing for what it does not keep and never looks back.

use std::io;

/// What the protocol does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(_: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "the server sent what the protocol does not allow")
    }
}

/// The tags of messages that the frontend sends.
pub(crate) mod front {
    pub(crate) const BIND: u8 = b'B';
    pub(crate) const CLOSE: u8 = b'C';
    pub(crate) const COPY_DATA: u8 = b'd';
    pub(crate) const COPY_DONE: u8 = b'c';
    pub(crate) const COPY_FAIL: u8 = b'f';
    pub(crate) const DESCRIBE: u8 = b'D';
    pub(crate) const EXECUTE: u8 = b'E';
    pub(crate) const FLUSH: u8 = b'H';
    pub(crate) const FUNCTION_CALL: u8 = b'F';
    pub(crate) const PARSE: u8 = b'P';
    pub(crate) const QUERY: u8 = b'Q';
    pub(crate) const SYNC: u8 = b'S';
}

/// The tags of messages that the backend sends.
pub(crate) mod back {
    pub(crate) const BACKEND_KEY_DATA: u8 = b'K';
    pub(crate) const BIND_COMPLETE: u8 = b'2';
    pub(crate) const CLOSE_COMPLETE: u8 = b'3';
    pub(crate) const COMMAND_COMPLETE: u8 = b'C';
    pub(crate) const COPY_BOTH_RESPONSE: u8 = b'W';
    pub(crate) const COPY_DATA: u8 = b'd';
    pub(crate) const COPY_DONE: u8 = b'c';
    pub(crate) const COPY_IN_RESPONSE: u8 = b'G';
    pub(crate) const COPY_OUT_RESPONSE: u8 = b'H';
    pub(crate) const DATA_ROW: u8 = b'D';
    pub(crate) const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub(crate) const ERROR_RESPONSE: u8 = b'E';
    pub(crate) const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub(crate) const NOTICE_RESPONSE: u8 = b'N';
    pub(crate) const NOTIFICATION_RESPONSE: u8 = b'A';
    pub(crate) const NO_DATA: u8 = b'n';
    pub(crate) const PARAMETER_DESCRIPTION: u8 = b't';
    pub(crate) const PARAMETER_STATUS: u8 = b'S';
    pub(crate) const PARSE_COMPLETE: u8 = b'1';
    pub(crate) const PORTAL_SUSPENDED: u8 = b's';
    pub(crate) const READY_FOR_QUERY: u8 = b'Z';
    pub(crate) const ROW_DESCRIPTION: u8 = b'T';
}

/// The longest body of a kind of message that may be long. No server makes a longer one (its `MaxAllocSize`).
const LONGEST: usize = 0x3fff_ffff;
/// The longest of the others, which libpq takes for lost synchronisation, too.
const LONGEST_SHORT: usize = 30_000;

/// How long the body is that follows this header of a message from the server. Known from the header alone, so that
/// nobody waits for what garbage announces.
pub(crate) fn backend_body(header: [u8; 5]) -> Result<usize, Malformed> {
    let [tag, a, b, c, d] = header;
    let len = (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(4).ok_or(Malformed)?;
    let allowed = match tag {
        back::BIND_COMPLETE
        | back::CLOSE_COMPLETE
        | back::COPY_DONE
        | back::EMPTY_QUERY_RESPONSE
        | back::NO_DATA
        | back::PARSE_COMPLETE
        | back::PORTAL_SUSPENDED => 0..=0,
        back::READY_FOR_QUERY => 1..=1,
        back::COPY_DATA
        | back::DATA_ROW
        | back::ERROR_RESPONSE
        | back::FUNCTION_CALL_RESPONSE
        | back::NOTICE_RESPONSE
        | back::NOTIFICATION_RESPONSE
        | back::ROW_DESCRIPTION => 0..=LONGEST,
        // The OIDs of as many parameters as a statement can have.
        back::PARAMETER_DESCRIPTION => 2..=2 + 4 * 65_535,
        // Unknown ones as well: a later server may have more kinds.
        _ => 0..=LONGEST_SHORT,
    };
    if allowed.contains(&len) { Ok(len) } else { Err(Malformed) }
}

/// How long the message from the server at the front is, if all of its header is there.
pub(crate) fn backend_message(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes.first_chunk() {
        Some(header) => backend_body(*header).map(|body| Some(header.len() + body)),
        None => Ok(None),
    }
}

/// The rest of a message's body.
pub(crate) struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Body<'a> {
        Body(bytes)
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// A zero-terminated text, without the zero.
    pub(crate) fn cstr(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|b| *b == 0).ok_or(Malformed)?;
        let text = self.take(end)?;
        self.u8()?;
        Ok(text)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// How long the body is that follows this header of a message to the server: ours, or tokio-postgres's.
fn frontend_body(header: [u8; 5]) -> Result<usize, Malformed> {
    let [_, a, b, c, d] = header;
    (u32::from_be_bytes([a, b, c, d]) as usize).checked_sub(4).ok_or(Malformed)
}

/// The tag under which the untagged first message of a frontend is told.
pub(crate) const STARTUP: u8 = 0;

/// Cuts one direction of a session into messages.
#[derive(Debug)]
pub(crate) struct Scanner {
    header: [u8; 5],
    have: usize,
    /// The rest of the current body that has not passed yet.
    remaining: usize,
    in_body: bool,
    /// How much of the current body is kept.
    keep: usize,
    body: Vec<u8>,
    /// The next message has no tag (the startup message).
    untagged: bool,
    /// How long a body is, by its header.
    body_of: fn([u8; 5]) -> Result<usize, Malformed>,
}

/// A message whose last byte has passed. `body` is its head, as far as it was wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

impl Scanner {
    /// For what the backend sends.
    pub(crate) fn backend() -> Scanner {
        Scanner {
            header: [0; 5],
            have: 0,
            remaining: 0,
            in_body: false,
            keep: 0,
            body: Vec::new(),
            untagged: false,
            body_of: backend_body,
        }
    }

    /// For what the frontend sends, from the startup message on.
    pub(crate) fn frontend() -> Scanner {
        Scanner { untagged: true, have: 1, body_of: frontend_body, ..Scanner::backend() }
    }

    /// True between two messages.
    pub(crate) fn at_boundary(&self) -> bool {
        !self.in_body && self.have == usize::from(self.untagged)
    }

    /// The tag of the message of which a part has passed; `None` between two messages.
    pub(crate) fn within(&self) -> Option<u8> {
        if self.at_boundary() {
            return None;
        }
        Some(if self.untagged { STARTUP } else { self.header[0] })
    }

    /// Takes bytes up to the end of the current message. Returns how many, and the message if it is complete.
    /// `wanted` says how many bytes of a body of this tag are to be kept.
    ///
    /// # Errors
    /// What no message can begin with. Nothing that follows can be understood.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        wanted: fn(u8) -> usize,
    ) -> Result<(usize, Option<Passed<'_>>), Malformed> {
        let mut used = 0;
        if !self.in_body {
            let take = (5 - self.have).min(input.len());
            self.header[self.have..self.have + take].copy_from_slice(&input[..take]);
            self.have += take;
            used = take;
            if self.have < 5 {
                return Ok((used, None));
            }
            let tag = if self.untagged { STARTUP } else { self.header[0] };
            self.header[0] = tag;
            self.remaining = (self.body_of)(self.header)?;
            self.keep = wanted(tag).min(self.remaining);
            self.in_body = true;
            self.body.clear();
        }
        let take = self.remaining.min(input.len() - used);
        let missing = self.keep - self.body.len();
        self.body.extend_from_slice(&input[used..used + take.min(missing)]);
        self.remaining -= take;
        used += take;
        if self.remaining > 0 {
            return Ok((used, None));
        }
        self.in_body = false;
        self.untagged = false;
        self.have = 0;
        Ok((used, Some(Passed { tag: self.header[0], body: &self.body })))
    }
}

/// The zero-terminated text at the front of `body` (as far as it was kept), and what follows it.
pub(crate) fn cstr(body: &[u8]) -> (&[u8], &[u8]) {
    match body.iter().position(|b| *b == 0) {
        Some(end) => (&body[..end], &body[end + 1..]),
        None => (body, &[]),
    }
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

    fn scan(mut scanner: Scanner, bytes: &[u8], piece: usize) -> Vec<(u8, Vec<u8>)> {
        let mut seen = Vec::new();
        for chunk in bytes.chunks(piece) {
            let mut chunk = chunk;
            while !chunk.is_empty() {
                let (used, passed) =
                    scanner.feed(chunk, |tag| if tag == front::QUERY { 8 } else { 0 }).unwrap();
                if let Some(p) = passed {
                    seen.push((p.tag, p.body.to_vec()));
                }
                chunk = &chunk[used..];
            }
        }
        assert!(scanner.at_boundary());
        seen
    }

    #[test]
    fn pieces_of_any_size_give_the_same_messages() {
        let mut bytes = message(0, b"\0\x03\0\0user\0x\0\0").split_off(1);
        bytes.extend(message(front::QUERY, b"SELECT 123456789\0"));
        bytes.extend(message(front::SYNC, b""));
        bytes.extend(message(front::QUERY, b"x\0"));
        let expected = vec![
            (STARTUP, vec![]),
            (front::QUERY, b"SELECT 1".to_vec()),
            (front::SYNC, vec![]),
            (front::QUERY, b"x\0".to_vec()),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(scan(Scanner::frontend(), &bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_no_message_begins_with_is_an_error_before_its_body_is_there() {
        let header = |tag: u8, len: u32| {
            let [a, b, c, d] = len.to_be_bytes();
            [tag, a, b, c, d]
        };
        for (tag, len) in [
            (b'Z', 4),
            (b'Z', 6),
            (b'Z', 0),
            (b'D', 3),
            (b'D', u32::MAX),
            (b'E', 0x4000_0004),
            (b'1', 5),
            (b'S', 30_005),
            (b't', 5),
            (b't', 2 + 4 * 65_535 + 5),
            (b'g', u32::from_be_bytes(*b"arba")),
        ] {
            let header = header(tag, len);
            assert_eq!(backend_body(header), Err(Malformed), "{header:?}");
            assert_eq!(backend_message(&header), Err(Malformed));
            for piece in 1..=5 {
                let mut scanner = Scanner::backend();
                let refused = header.chunks(piece).any(|c| scanner.feed(c, |_| 5).is_err());
                assert!(refused, "in pieces of {piece}");
            }
        }
        for (tag, len, body) in [(b'Z', 5, 1), (b'D', 4, 0), (b'2', 4, 0), (b'~', 8, 4), (b'K', 260, 256)] {
            assert_eq!(backend_body(header(tag, len)), Ok(body));
        }
        assert_eq!(backend_message(&[b'Z', 0, 0, 0]), Ok(None));
        assert_eq!(backend_message(&[b'Z', 0, 0, 0, 5, b'I', b'Z']), Ok(Some(6)));
        assert!(Scanner::frontend().feed(&[0, 0, 0, 3], |_| 0).is_err());
    }
}
