//! Cutting the PostgreSQL protocol into messages while it passes (PostgreSQL manual, "Message Formats").
//!
//! A [`Scanner`] sees each byte once, in pieces of any size, and keeps only the head of those bodies that the
//! observer needs. It allocates nothing for what it does not keep and never looks back.

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
        }
    }

    /// For what the frontend sends, from the startup message on.
    pub(crate) fn frontend() -> Scanner {
        Scanner { untagged: true, have: 1, ..Scanner::backend() }
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
    /// `wanted` says how many bytes of a body of this tag are to be kept. A length that no message can have ends
    /// the scanning: the peer will notice, and everything passes unseen.
    pub(crate) fn feed(&mut self, input: &[u8], wanted: fn(u8) -> usize) -> (usize, Option<Passed<'_>>) {
        let mut used = 0;
        if !self.in_body {
            let take = (5 - self.have).min(input.len());
            self.header[self.have..self.have + take].copy_from_slice(&input[..take]);
            self.have += take;
            used = take;
            if self.have < 5 {
                return (used, None);
            }
            let [_, a, b, c, d] = self.header;
            let tag = if self.untagged { STARTUP } else { self.header[0] };
            self.header[0] = tag;
            self.remaining = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
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
            return (used, None);
        }
        self.in_body = false;
        self.untagged = false;
        self.have = 0;
        (used, Some(Passed { tag: self.header[0], body: &self.body }))
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
                let (used, passed) = scanner.feed(chunk, |tag| if tag == front::QUERY { 8 } else { 0 });
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
    fn an_impossible_length_is_no_reason_to_panic() {
        let mut scanner = Scanner::backend();
        let (used, passed) = scanner.feed(&[b'Z', 0, 0, 0, 1, b'I'], |_| 5);
        assert_eq!((used, passed.map(|p| p.tag)), (5, Some(b'Z')));
    }
}
