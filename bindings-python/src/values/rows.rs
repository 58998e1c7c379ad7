//! The rows of one result: kept as they came, found by number, and decoded when they are asked for, or before that, while
//! others are still on their way.

use std::time::{Duration, Instant};

use leakpool::exchange::{Column, RowBlock};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::context::{AdaptContext, Snapshot};
use super::load::{Loaders, Maker};
use super::object;

/// Rows as they came.
#[derive(Default)]
pub(crate) struct Rows {
    blocks: Vec<RowBlock>,
    /// The number of each block's first row.
    starts: Vec<usize>,
    len: usize,
    /// Number, block and place therein of the row that was found last: usually the next one is asked for next.
    last: Mutex<(usize, usize, usize)>,
}

impl Rows {
    /// Adds what came.
    pub(crate) fn push(&mut self, block: RowBlock) {
        self.starts.push(self.len);
        self.len += block.len();
        self.blocks.push(block);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The values of one row; `None` past the end.
    pub(crate) fn get(&self, row: usize) -> Option<RowValues<'_>> {
        self.starting_at(row).next()
    }

    /// The rows from this one on.
    pub(crate) fn starting_at(&self, row: usize) -> impl Iterator<Item = RowValues<'_>> {
        // The last block that begins at this row or before it.
        let index = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        let begin = self.starts.get(index).copied().unwrap_or(0);
        let messages = self.blocks.get(index).map(|block| &block.messages()[..]).unwrap_or_default();
        let last = *self.last.lock();
        let (mut number, mut place) = match last {
            (number, block, place) if block == index && (begin..=row).contains(&number) => (number, place),
            _ => (begin, 0),
        };
        while number < row && place < messages.len() {
            place += message_len(messages.get(place..).unwrap_or_default());
            number += 1;
        }
        *self.last.lock() = (number, index, place);
        let later = self.blocks.get(index + 1..).unwrap_or_default();
        let later = later.iter().flat_map(|block| Messages { rest: block.messages() });
        Messages { rest: messages.get(place..).unwrap_or_default() }.chain(later)
    }
}

/// The length of the message in front, with its tag. The core has checked it.
#[inline]
fn message_len(messages: &[u8]) -> usize {
    match messages {
        [_, a, b, c, d, ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1,
        _ => messages.len(),
    }
}

/// DataRow messages.
struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = RowValues<'a>;

    #[inline]
    fn next(&mut self) -> Option<RowValues<'a>> {
        let (message, rest) = self.rest.split_at_checked(message_len(self.rest))?;
        self.rest = rest;
        // Tag, length, and the count of values, which is the result's.
        Some(RowValues { rest: message.get(7..)? })
    }
}

/// The values of one row, in order; `None` = NULL.
pub(crate) struct RowValues<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RowValues<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let (len, rest) = self.rest.split_first_chunk()?;
        let (value, rest) = match usize::try_from(i32::from_be_bytes(*len)) {
            Ok(len) => rest.split_at_checked(len).map(|(value, rest)| (Some(value), rest))?,
            Err(_) => (None, rest),
        };
        self.rest = rest;
        Some(value)
    }
}

/// Rows with their loaders, and those that are decoded already.
pub(crate) struct Decoded {
    rows: Rows,
    loaders: Loaders,
    /// The first rows, until they are given away all at once. Locked for an instant, and never while Python runs.
    ahead: Mutex<Option<Py<PyList>>>,
}

impl Decoded {
    /// Rows with these loaders.
    pub(crate) fn new(rows: Rows, loaders: Loaders) -> Decoded {
        Decoded { rows, loaders, ahead: Mutex::new(None) }
    }

    /// The rows as they came.
    pub(crate) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// How many of the first rows are decoded already, and they.
    fn ahead<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyList>> {
        self.ahead.lock().as_ref().map(|list| list.bind(py).clone())
    }

    /// The rows from `start` to before `stop`.
    ///
    /// # Errors
    /// What the first value that cannot be loaded gives.
    pub(crate) fn list<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let stop = stop.min(self.rows.len());
        let start = start.min(stop);
        let ahead = self.ahead(py);
        let known = ahead.as_ref().map_or(0, |list| list.len());
        let mut maker = Maker::new(py);
        match ahead {
            Some(list) if start == 0 && known == stop && stop == self.rows.len() => {
                // They are the caller's now, who may change the list.
                let kept = self.ahead.lock().take();
                drop(kept);
                Ok(list)
            }
            Some(list) if start < known => {
                let part = list.get_slice(start, stop.min(known));
                let mut rest = self.rows.starting_at(known);
                for _ in known..stop {
                    let Some(values) = rest.next() else { break };
                    object::append(&part, self.loaders.values(&mut maker, values)?.as_any())?;
                }
                Ok(part)
            }
            _ => {
                let mut rest = self.rows.starting_at(start);
                object::list(py, stop - start, |_| match rest.next() {
                    Some(values) => self.loaders.values(&mut maker, values).map(Bound::into_any),
                    None => Ok(py.None().into_bound(py)),
                })
            }
        }
    }

    /// One row; `None` past the end.
    ///
    /// # Errors
    /// As for [`list`](Decoded::list).
    pub(crate) fn one<'py>(&self, py: Python<'py>, row: usize) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if let Some(list) = self.ahead(py)
            && row < list.len()
        {
            return Ok(Some(list.get_item(row)?.cast_into::<PyTuple>()?));
        }
        let values = self.rows.get(row);
        values.map(|values| self.loaders.values(&mut Maker::new(py), values)).transpose()
    }

    /// Tells the garbage collector what is held.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.loaders.traverse(visit)?;
        match self.ahead.try_lock() {
            Some(ahead) => visit.call(&*ahead),
            None => Ok(()),
        }
    }
}

/// With fewer rows than this on hand, asking for the GIL costs more than it brings.
const WORTH: usize = 200;
/// More rows than this are not decoded before they are asked for: perhaps they never are.
const MOST: usize = 50_000;
/// Whoever waits this long for the GIL has a thread beside it that computes, and would wait as long each time.
const PATIENCE: Duration = Duration::from_micros(500);

/// Decodes rows while others are still on their way: the server is busy making them anyway.
pub(crate) struct Ahead {
    /// As the session was then.
    session: Snapshot,
    loaders: Loaders,
    list: Py<PyList>,
}

/// Where decoding ahead stands.
#[derive(Default)]
pub(crate) enum Decoding {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun.
    Begun(Box<Ahead>),
    /// Not to be gone on with.
    Over(Option<Box<Ahead>>),
}

impl Decoding {
    /// Decodes what has come, if that is worth it. Errors are left for those who ask for the row.
    ///
    /// `attach` calls what it is given with the GIL, or not at all.
    pub(crate) fn go_on(
        &mut self,
        rows: &Rows,
        columns: &[Column],
        context: &AdaptContext<'_>,
        attach: impl FnOnce(&mut dyn FnMut(Python<'_>)),
    ) {
        let mut begun = match std::mem::take(self) {
            Decoding::Waiting if rows.len() < WORTH => return,
            Decoding::Waiting => None,
            Decoding::Begun(ahead) => Some(ahead),
            over @ Decoding::Over(_) => {
                *self = over;
                return;
            }
        };
        let asked = Instant::now();
        attach(&mut |py| {
            let waited = asked.elapsed();
            let ahead = match begun.take() {
                Some(ahead) => Ok(ahead),
                None => Loaders::new(py, columns, context).map(|loaders| {
                    Box::new(Ahead { session: context.snapshot(), loaders, list: PyList::empty(py).unbind() })
                }),
            };
            *self = match ahead {
                Err(_) => Decoding::Over(None),
                Ok(ahead) => {
                    let decoded = ahead.decode(py, rows);
                    match decoded.is_err() || waited > PATIENCE || rows.len() > MOST {
                        true => Decoding::Over(Some(ahead)),
                        false => Decoding::Begun(ahead),
                    }
                }
            };
        });
    }

    /// The rows with what is decoded of them. That is thrown away if the request has changed the session: a server tells
    /// that at the end.
    ///
    /// # Errors
    /// As for [`Loaders::new`].
    pub(crate) fn end(
        self,
        py: Python<'_>,
        rows: Rows,
        columns: &[Column],
        context: &AdaptContext<'_>,
    ) -> PyResult<Decoded> {
        match self {
            Decoding::Begun(ahead) | Decoding::Over(Some(ahead)) if ahead.session == context.snapshot() => {
                let Ahead { loaders, list, .. } = *ahead;
                Ok(Decoded { rows, loaders, ahead: Mutex::new(Some(list)) })
            }
            _ => Ok(Decoded::new(rows, Loaders::new(py, columns, context)?)),
        }
    }
}

impl Ahead {
    fn decode(&self, py: Python<'_>, rows: &Rows) -> PyResult<()> {
        let list = self.list.bind(py);
        let mut maker = Maker::new(py);
        for values in rows.starting_at(list.len()) {
            object::append(list, self.loaders.values(&mut maker, values)?.as_any())?;
        }
        Ok(())
    }
}
