//! What an ErrorResponse or a NoticeResponse says, field by field (PostgreSQL manual, "Error and Notice Message
//! Fields").

use std::fmt;
use std::ops::Deref;

use super::framing::{Body, Malformed};

/// The fields of an error or a notice, in the server's order.
#[derive(Clone, PartialEq, Eq)]
pub struct Fields(Box<[(u8, Box<str>)]>);

macro_rules! fields {
    ($($(#[$doc:meta])+ $letter:literal $name:ident;)+) => {
        impl Fields {
            $(
                $(#[$doc])+
                pub fn $name(&self) -> Option<&str> {
                    self.field($letter)
                }
            )+
        }
    };
}

fields! {
    /// `D`: a second sentence with more details.
    b'D' detail;
    /// `H`: what to do about it.
    b'H' hint;
    /// `q`: the text of an internally generated command that failed.
    b'q' internal_query;
    /// `W`: the call stack of what was active.
    b'W' context;
    /// `s`: the schema that it is about.
    b's' schema;
    /// `t`: the table.
    b't' table;
    /// `c`: the column.
    b'c' column;
    /// `d`: the data type.
    b'd' datatype;
    /// `n`: the constraint.
    b'n' constraint;
    /// `F`: the file of the server's source.
    b'F' file;
    /// `R`: the routine of the server's source.
    b'R' routine;
}

impl Fields {
    pub(crate) fn decode(body: &[u8]) -> Result<Fields, Malformed> {
        let mut body = Body::of(body);
        let mut fields = Vec::new();
        loop {
            match body.u8()? {
                0 => break,
                letter => fields.push((letter, String::from_utf8_lossy(body.cstr()?).into())),
            }
        }
        body.end()?;
        Ok(Fields(fields.into()))
    }

    /// The field with this letter. Letters that are not in the manual may come from later servers.
    pub fn field(&self, letter: u8) -> Option<&str> {
        self.0.iter().find(|(l, _)| *l == letter).map(|(_, text)| &**text)
    }

    /// Every field, with its letter.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().map(|(letter, text)| (*letter, &**text))
    }

    /// The severity, not translated where the server (9.6 and later) tells it so (the field `V`, else `S`); empty if it told none.
    pub fn severity(&self) -> &str {
        self.field(b'V').or(self.field(b'S')).unwrap_or_default()
    }

    /// The SQLSTATE, five characters; empty if the server told none.
    pub fn code(&self) -> &str {
        self.field(b'C').unwrap_or_default()
    }

    /// What happened, in one sentence; empty if the server told none.
    pub fn message(&self) -> &str {
        self.field(b'M').unwrap_or_default()
    }

    /// Where in the SQL text it happened: in characters, not bytes, from 1.
    pub fn position(&self) -> Option<u32> {
        self.field(b'P')?.parse().ok()
    }

    /// The same in [`internal_query`](Fields::internal_query).
    pub fn internal_position(&self) -> Option<u32> {
        self.field(b'p')?.parse().ok()
    }

    /// The line of the server's source.
    pub fn line(&self) -> Option<u32> {
        self.field(b'L')?.parse().ok()
    }

    /// The SQL had this many characters in front that its author does not know of.
    pub(crate) fn shift_position(&mut self, characters: u32) {
        let Some(position) = self.position().filter(|p| *p > characters) else { return };
        for (letter, text) in &mut self.0 {
            if *letter == b'P' {
                *text = (position - characters).to_string().into();
            }
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.severity(), self.message(), self.code())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (letter, text) in self.iter() {
            map.entry(&char::from(letter), &text);
        }
        map.finish()
    }
}

/// An error of the server with all its fields: what [`Error::detail`](crate::Error::detail) gives for an error of an
/// exchange with [`ErrorCode::Database`](crate::ErrorCode::Database).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError(pub(crate) Fields);

impl Deref for ServerError {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ServerError {}

/// A notice or warning that came with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(pub(crate) Fields);

/// The most notices that are kept for whoever has not asked for them: a server can send them without end.
pub(crate) const MOST_NOTICES: usize = 1024;

impl Notice {
    /// Keeps it, unless there are too many.
    pub(crate) fn keep_in(self, notices: &mut Vec<Notice>) {
        if notices.len() < MOST_NOTICES {
            notices.push(self);
        }
    }
}

impl Deref for Notice {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
