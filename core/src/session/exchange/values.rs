//! The plain values of an exchange: what is asked (parameters, formats) and what is answered (columns, rows, tags).

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

/// How a value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// As the type's text, in the session's `DateStyle`, `TimeZone` and so on.
    #[default]
    Text,
    /// As the type's binary form.
    Binary,
}

impl Format {
    /// The protocol's code: 0 or 1.
    pub const fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// The formats of a result's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formats<'a> {
    /// All of them the same.
    All(Format),
    /// One for each column; the server refuses (`08P01`) if their number is wrong.
    PerColumn(&'a [Format]),
}

impl Default for Formats<'_> {
    fn default() -> Self {
        Formats::All(Format::Text)
    }
}

impl Formats<'_> {
    /// The format of one column.
    pub(crate) fn of(self, column: usize) -> Format {
        match self {
            Formats::All(format) => format,
            Formats::PerColumn(formats) => formats.get(column).copied().unwrap_or_default(),
        }
    }
}

/// One parameter of a statement.
///
/// ```
/// use leakpool::exchange::{Format, Param};
/// let inferred = Param::text(b"42");
/// assert_eq!((inferred.oid, inferred.format), (0, Format::Text));
/// let int4 = Param { oid: 23, format: Format::Binary, value: Some(&[0, 0, 0, 42]) };
/// assert_eq!(int4.value.map(<[u8]>::len), Some(4));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Param<'a> {
    /// The type's OID, of your choosing; 0 = unknown, the server infers it from the statement.
    pub oid: u32,
    /// How `value` is given.
    pub format: Format,
    /// The value; `None` = NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    /// NULL, of a type that the server infers.
    pub const NULL: Param<'static> = Param { oid: 0, format: Format::Text, value: None };

    /// A text whose type the server infers.
    pub const fn text(value: &'a [u8]) -> Param<'a> {
        Param { oid: 0, format: Format::Text, value: Some(value) }
    }
}

/// One column of a result, as RowDescription tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name; bytes that are no UTF-8 (after `SET client_encoding`) are replaced.
    pub name: Arc<str>,
    /// The OID of the table that it comes from; 0 if it is computed.
    pub table_oid: u32,
    /// Its number in that table, from 1; 0 if it is computed.
    pub column_id: i16,
    /// The OID of its type.
    pub type_oid: u32,
    /// The size of its type in bytes (`pg_type.typlen`); negative = variable.
    pub type_size: i16,
    /// The type's modifier (`pg_attribute.atttypmod`); -1 = none.
    pub type_modifier: i32,
    /// How its values come.
    pub format: Format,
}

/// One row, as the server sent it. It keeps the piece of the answer alive that it lies in (8 to 32 KiB, or more for
/// longer rows): copy out what is kept for long.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRow {
    len: u16,
    /// The DataRow without its count: for each value its length and its bytes. Checked when it was decoded.
    values: Bytes,
}

impl RawRow {
    pub(crate) fn new(len: u16, values: Bytes) -> RawRow {
        RawRow { len, values }
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True if it has none (`SELECT` without columns gives such rows).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of one column; `None` = NULL, or no such column. Walks over those before it: for all of them, use
    /// [`iter`](RawRow::iter).
    pub fn get(&self, column: usize) -> Option<&[u8]> {
        self.iter().nth(column).flatten()
    }

    /// The same as a slice that shares the row's memory and lives as long as you like.
    pub fn bytes(&self, column: usize) -> Option<Bytes> {
        self.get(column).map(|value| self.values.slice_ref(value))
    }

    /// The values in order; `None` = NULL.
    pub fn iter(&self) -> Values<'_> {
        Values { left: self.len, rest: &self.values }
    }
}

impl<'a> IntoIterator for &'a RawRow {
    type Item = Option<&'a [u8]>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

impl fmt::Debug for RawRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the values: they may be secrets.
        f.debug_struct("RawRow").field("len", &self.len).field("bytes", &self.values.len()).finish()
    }
}

/// Consecutive rows of one result, in one piece of memory: what one read from the socket brought.
#[derive(Clone, PartialEq, Eq)]
pub struct RowBlock {
    len: usize,
    /// Whole DataRow messages. Checked when they were decoded.
    messages: Bytes,
}

impl RowBlock {
    pub(crate) fn new(len: usize, messages: Bytes) -> RowBlock {
        RowBlock { len, messages }
    }

    /// How many rows it has; at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The rows as they came: DataRow messages (PostgreSQL manual, "Message Formats"), one after the other. Each has as
    /// many values as the result has columns.
    pub fn messages(&self) -> &Bytes {
        &self.messages
    }

    /// The values of each row, in order.
    pub fn iter(&self) -> Rows<'_> {
        Rows { rest: &self.messages }
    }
}

impl<'a> IntoIterator for &'a RowBlock {
    type Item = Values<'a>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.iter()
    }
}

impl fmt::Debug for RowBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the values: they may be secrets.
        f.debug_struct("RowBlock").field("len", &self.len).field("bytes", &self.messages.len()).finish()
    }
}

impl From<RawRow> for RowBlock {
    /// A row that was decoded alone, as the message that it came in.
    fn from(row: RawRow) -> RowBlock {
        let mut message = BytesMut::with_capacity(row.values.len() + 7);
        message.put_u8(b'D');
        message.put_u32(row.values.len() as u32 + 6);
        message.put_u16(row.len);
        message.put_slice(&row.values);
        RowBlock::new(1, message.freeze())
    }
}

/// The rows of a [`RowBlock`].
#[derive(Clone)]
pub struct Rows<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Rows<'a> {
    type Item = Values<'a>;

    fn next(&mut self) -> Option<Values<'a>> {
        // Tag and length of the message, the count of values.
        let (&[_, a, b, c, d, e, f], _) = self.rest.split_first_chunk()?;
        let (message, rest) = self.rest.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize + 1)?;
        self.rest = rest;
        Some(Values { left: u16::from_be_bytes([e, f]), rest: message.get(7..)? })
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("bytes", &self.rest.len()).finish()
    }
}

/// The values of a [`RawRow`], or of a row of a [`RowBlock`].
#[derive(Clone)]
pub struct Values<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = self.rest.split_first_chunk()?;
        match usize::try_from(i32::from_be_bytes(*len)) {
            Ok(len) => {
                let (value, rest) = rest.split_at_checked(len)?;
                self.rest = rest;
                Some(Some(value))
            }
            Err(_) => {
                self.rest = rest;
                Some(None)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Values<'_> {}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("left", &self.left).finish_non_exhaustive()
    }
}

/// A command tag, as `psql` shows it.
///
/// ```
/// use leakpool::exchange::Tag;
/// let tag = Tag::from("INSERT 0 5");
/// assert_eq!((tag.command(), tag.oid(), tag.rows()), ("INSERT", Some(0), Some(5)));
/// let tag = Tag::from("CREATE TABLE");
/// assert_eq!((tag.command(), tag.rows()), ("CREATE", None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    pub(crate) fn new(text: Arc<str>) -> Tag {
        Tag(text)
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first word: what `pg` calls `command`.
    pub fn command(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// How many rows were returned or affected; `None` where the tag has no number, as for DDL.
    pub fn rows(&self) -> Option<u64> {
        let last = self.0.rsplit(' ').next().unwrap_or_default();
        last.parse().ok()
    }

    /// The OID in `INSERT oid rows`: 0 since PostgreSQL 12; `None` for other commands.
    pub fn oid(&self) -> Option<u32> {
        let mut words = self.0.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(_), Some(oid), Some(_)) => oid.parse().ok(),
            _ => None,
        }
    }
}

impl From<&str> for Tag {
    fn from(text: &str) -> Tag {
        Tag(text.into())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
