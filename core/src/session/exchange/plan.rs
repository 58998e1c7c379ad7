//! What is known of a request while its answer is read, and what makes it worth sending again.

use super::statement_cache::{Description, Ticket};
use super::values::{Format, Formats};
use crate::error::Error;
use crate::net::error as failure;
use crate::net::fields::ServerError;

/// What is known of a request before its answer comes.
#[derive(Default)]
pub(crate) struct Plan {
    /// A statement in front whose results are swallowed.
    pub(crate) first: First,
    /// The columns, where the server is not asked.
    pub(crate) description: Option<Description>,
    pub(crate) formats: OwnedFormats,
    pub(crate) ticket: Option<Ticket>,
    /// A simple request tells its columns for each result; an extended one once, when it is bound.
    pub(crate) simple: bool,
}

/// The statement in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum First {
    #[default]
    None,
    /// Its results are still to come.
    Awaited,
    /// It began a transaction.
    Began,
    /// It did something else.
    Done,
}

#[derive(Debug, Clone)]
pub(crate) enum OwnedFormats {
    All(Format),
    PerColumn(Box<[Format]>),
}

impl Default for OwnedFormats {
    fn default() -> Self {
        OwnedFormats::All(Format::Text)
    }
}

impl From<Formats<'_>> for OwnedFormats {
    fn from(formats: Formats<'_>) -> Self {
        match formats {
            Formats::All(format) => OwnedFormats::All(format),
            Formats::PerColumn(formats) => OwnedFormats::PerColumn(formats.into()),
        }
    }
}

impl OwnedFormats {
    pub(crate) fn get(&self) -> Formats<'_> {
        match self {
            OwnedFormats::All(format) => Formats::All(*format),
            OwnedFormats::PerColumn(formats) => Formats::PerColumn(formats),
        }
    }
}

/// What has to be undone before a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    Nothing,
    /// The transaction that the statement in front has begun.
    Begin,
}

/// What the request relied on is not valid any more.
pub(crate) fn is_stale(e: &Error) -> bool {
    e.detail::<ServerError>().is_some_and(|error| failure::is_stale(error.code(), error.routine()))
}
