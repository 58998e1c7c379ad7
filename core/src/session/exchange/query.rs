//! One statement of the extended protocol: its text, its parameters, and how its result is wanted.

use super::values::{Formats, Param};

/// One statement with its parameters.
///
/// ```
/// use leakpool::exchange::{Format, Formats, Param, Query};
/// let params = [Param::text(b"42"), Param::NULL];
/// let query = Query::new("SELECT $1::int4, $2::text").params(&params).formats(Formats::All(Format::Binary));
/// assert_eq!(query.sql, "SELECT $1::int4, $2::text");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query<'a> {
    /// The text: one statement, with `$1`, `$2`, … for its parameters.
    pub sql: &'a str,
    /// The parameters, at most 65,535.
    pub params: &'a [Param<'a>],
    /// How the result is wanted; text if nothing is said.
    pub formats: Formats<'a>,
    /// After that many rows the result is suspended, and the rest of it never comes; 0 = all. (To fetch in pieces,
    /// see [`Exchange::open`](super::Exchange::open).)
    pub max_rows: u32,
    /// Keep the statement prepared, if the pool's option `statement_cache` is on. True if nothing is said.
    pub cached: bool,
}

impl<'a> Query<'a> {
    /// The statement alone.
    pub const fn new(sql: &'a str) -> Query<'a> {
        let formats = Formats::All(super::values::Format::Text);
        Query { sql, params: &[], formats, max_rows: 0, cached: true }
    }

    /// With parameters.
    #[must_use]
    pub const fn params(mut self, params: &'a [Param<'a>]) -> Query<'a> {
        self.params = params;
        self
    }

    /// With a result in these formats.
    #[must_use]
    pub const fn formats(mut self, formats: Formats<'a>) -> Query<'a> {
        self.formats = formats;
        self
    }

    /// With at most that many rows.
    #[must_use]
    pub const fn max_rows(mut self, max_rows: u32) -> Query<'a> {
        self.max_rows = max_rows;
        self
    }

    /// Kept prepared, or not.
    #[must_use]
    pub const fn cached(mut self, cached: bool) -> Query<'a> {
        self.cached = cached;
        self
    }
}
