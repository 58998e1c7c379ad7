//! Loaders of values that are made of values: arrays, records, ranges and multiranges.

use std::borrow::Cow;
use std::sync::Arc;

use leakpool::exchange::Format;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};

use super::Loader;
use super::scalar::shown;
use crate::values::classes::Own;
use crate::values::context::{AdaptContext, Snapshot};
use crate::values::encoding::Encoding;
use crate::values::errors::data_error;
use crate::values::object::{self, Object};

/// The loaders of what lies in a binary value that names the types of its elements: made when they are met.
pub(crate) struct Elements {
    session: Snapshot,
    /// Those that were met. Never locked while Python runs.
    known: Mutex<Vec<(u32, Arc<Loader>)>>,
}

impl Elements {
    pub(super) fn new(context: &AdaptContext<'_>) -> Box<Elements> {
        Box::new(Elements { session: context.snapshot(), known: Mutex::new(Vec::new()) })
    }

    fn of(&self, py: Python<'_>, oid: u32) -> PyResult<Arc<Loader>> {
        let known =
            self.known.lock().iter().find(|(one, _)| *one == oid).map(|(_, loader)| Arc::clone(loader));
        if let Some(loader) = known {
            return Ok(loader);
        }
        let loader = Arc::new(Loader::new(py, oid, Format::Binary, &AdaptContext::new(&self.session))?);
        self.known.lock().push((oid, Arc::clone(&loader)));
        Ok(loader)
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // It is locked only by a thread that is attached, and the collector runs while the others are not; should it be
        // locked all the same, what it holds is not told, and so not collected, this time.
        match self.known.try_lock() {
            Some(known) => known.iter().try_for_each(|(_, loader)| loader.traverse(visit)),
            None => Ok(()),
        }
    }
}

/// Removes the escapes: a backslash and what it stands for (arrays), or a quote or backslash that is doubled (records,
/// ranges).
fn unescape(text: &[u8], doubled: bool) -> Cow<'_, [u8]> {
    let escape = |c: &u8| *c == b'\\' || doubled && *c == b'"';
    if !text.iter().any(escape) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(c) = rest.next() {
        match rest.peek().copied() {
            Some(next) if !doubled && c == b'\\' => {
                out.push(next);
                rest.next();
            }
            Some(next) if doubled && escape(&c) && next == c => {
                out.push(c);
                rest.next();
            }
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

// --- arrays ---------------------------------------------------------------------------------------------------------

/// Lists, as deep as the array. Lower bounds other than 1 are not told.
pub(super) fn text_array<'py>(
    py: Python<'py>,
    value: &[u8],
    element: &Loader,
    delimiter: u8,
) -> PyResult<Object<'py>> {
    let mut rest = value;
    if rest.first() == Some(&b'[') {
        let Some(equals) = rest.iter().position(|c| *c == b'=') else {
            return Err(data_error(py, "malformed array: no '=' after dimension information"));
        };
        rest = rest.get(equals + 1..).unwrap_or_default();
    }
    // The lists that are open, the innermost last.
    let mut open: Vec<Bound<'py, PyList>> = Vec::new();
    loop {
        let Some((first, tail)) = rest.split_first() else {
            return Err(data_error(py, format!("malformed array: {}", shown(py, value))));
        };
        match first {
            b'{' => {
                let list = PyList::empty(py);
                if let Some(outer) = open.last() {
                    object::append(outer, list.as_any())?;
                }
                open.push(list);
                rest = tail;
                continue;
            }
            b'}' => {
                let Some(closed) = open.pop() else {
                    return Err(data_error(py, "malformed array: unexpected '}'"));
                };
                rest = tail;
                if open.is_empty() {
                    return match rest.is_empty() {
                        true => Ok(closed.into_any()),
                        false => Err(data_error(
                            py,
                            format!("malformed array: data after its end: {}", shown(py, value)),
                        )),
                    };
                }
            }
            _ => {
                let Some(inner) = open.last() else {
                    return Err(data_error(py, format!("malformed array: unexpected {}", shown(py, rest))));
                };
                let item = if *first == b'"' {
                    let Some(end) = closing_quote(tail, b'\\') else {
                        return Err(data_error(
                            py,
                            format!("malformed array: a quote is not closed: {}", shown(py, value)),
                        ));
                    };
                    let (quoted, after) = tail.split_at(end);
                    rest = after.get(1..).unwrap_or_default();
                    element.load(py, &unescape(quoted, false))?
                } else {
                    let len = rest.iter().position(|c| *c == delimiter || *c == b'}').unwrap_or(rest.len());
                    let (plain, after) = rest.split_at(len);
                    rest = after;
                    if plain == b"NULL" { py.None().into_bound(py) } else { element.load(py, plain)? }
                };
                object::append(inner, &item)?;
            }
        }
        // After an element or a list within a list.
        match rest.split_first() {
            Some((c, tail)) if *c == delimiter => rest = tail,
            Some((b'}', _)) => {}
            _ => return Err(data_error(py, format!("malformed array: {}", shown(py, value)))),
        }
    }
}

/// Where the quote is that closes a quoted text, which may have quotes after this escape.
fn closing_quote(text: &[u8], escape: u8) -> Option<usize> {
    let mut index = 0;
    while let Some(c) = text.get(index) {
        match c {
            c if *c == escape && (escape != b'"' || text.get(index + 1) == Some(&b'"')) => index += 2,
            b'"' => return Some(index),
            _ => index += 1,
        }
    }
    None
}

/// Reads numbers and pieces of a binary value.
struct Reader<'v> {
    rest: &'v [u8],
}

impl<'v> Reader<'v> {
    fn i32(&mut self) -> Option<i32> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*number))
    }

    fn u32(&mut self) -> Option<u32> {
        self.i32().map(i32::cast_unsigned)
    }

    fn take(&mut self, len: usize) -> Option<&'v [u8]> {
        let (piece, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(piece)
    }

    /// A length and so many bytes; `Some(None)` for NULL.
    fn value(&mut self) -> Option<Option<&'v [u8]>> {
        match usize::try_from(self.i32()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Some(None),
        }
    }
}

/// Lists, as deep as the array.
pub(super) fn array<'py>(py: Python<'py>, value: &[u8], elements: &Elements) -> PyResult<Object<'py>> {
    let malformed = || data_error(py, "malformed binary array");
    let mut reader = Reader { rest: value };
    let (Some(depth), Some(_), Some(oid)) = (reader.u32(), reader.u32(), reader.u32()) else {
        return Err(malformed());
    };
    // The server allows 6.
    if depth > 64 {
        return Err(malformed());
    }
    let mut lengths = Vec::new();
    for _ in 0..depth {
        let (Some(length), Some(_lower)) = (reader.u32(), reader.u32()) else { return Err(malformed()) };
        // Each element takes at least 4 bytes: a length that cannot be true allocates nothing.
        let length =
            usize::try_from(length).ok().filter(|length| *length <= value.len() / 4).ok_or_else(malformed)?;
        lengths.push(length);
    }
    if lengths.is_empty() {
        return Ok(PyList::empty(py).into_any());
    }
    let element = elements.of(py, oid)?;
    let list = array_level(py, &mut reader, &lengths, &element)?;
    Ok(list)
}

fn array_level<'py>(
    py: Python<'py>,
    reader: &mut Reader<'_>,
    lengths: &[usize],
    element: &Loader,
) -> PyResult<Object<'py>> {
    let Some((length, inner)) = lengths.split_first() else {
        return Err(data_error(py, "malformed binary array"));
    };
    let list = object::list(py, *length, |_| {
        if !inner.is_empty() {
            return array_level(py, reader, inner, element);
        }
        match reader.value() {
            Some(Some(value)) => element.load(py, value),
            Some(None) => Ok(py.None().into_bound(py)),
            None => Err(data_error(py, "malformed binary array")),
        }
    })?;
    Ok(list.into_any())
}

/// A piece of a value, without escapes; `None` = NULL, or nothing.
type Field<'v> = Option<Cow<'v, [u8]>>;

// --- records --------------------------------------------------------------------------------------------------------

/// The fields of a composite value's text, without escapes; `None` = NULL. `()` has none.
pub(super) fn fields<'v>(py: Python<'_>, value: &'v [u8]) -> PyResult<Vec<Field<'v>>> {
    let malformed = || data_error(py, format!("malformed record: {}", shown(py, value)));
    let mut rest = value.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or_else(malformed)?;
    let mut fields = Vec::new();
    if rest.is_empty() {
        return Ok(fields);
    }
    loop {
        let field = match rest.split_first() {
            None | Some((b',', _)) => None,
            Some((b'"', tail)) => {
                let end = closing_quote(tail, b'"').ok_or_else(malformed)?;
                let (quoted, after) = tail.split_at(end);
                rest = after.get(1..).unwrap_or_default();
                Some(unescape(quoted, true))
            }
            Some(_) => {
                let len = rest.iter().position(|c| *c == b',').unwrap_or(rest.len());
                let (plain, after) = rest.split_at(len);
                rest = after;
                Some(Cow::Borrowed(plain))
            }
        };
        fields.push(field);
        match rest.split_first() {
            None => return Ok(fields),
            Some((b',', tail)) => rest = tail,
            Some(_) => return Err(malformed()),
        }
    }
}

/// A tuple of texts: the text of a record does not tell the types of its fields.
pub(super) fn text_record<'py>(py: Python<'py>, value: &[u8], encoding: Encoding) -> PyResult<Object<'py>> {
    let fields = fields(py, value)?;
    let tuple = object::tuple(py, fields.len(), |index| match fields.get(index) {
        Some(Some(field)) => encoding.load(py, field),
        _ => Ok(py.None().into_bound(py)),
    })?;
    Ok(tuple.into_any())
}

/// A tuple of values of the types that the record names.
pub(super) fn record<'py>(py: Python<'py>, value: &[u8], elements: &Elements) -> PyResult<Object<'py>> {
    let malformed = || data_error(py, "malformed binary record");
    let mut reader = Reader { rest: value };
    let count = reader.u32().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count <= value.len() / 8).ok_or_else(malformed)?;
    let tuple: Bound<'py, PyTuple> = object::tuple(py, count, |_| {
        let (Some(oid), Some(value)) = (reader.u32(), reader.value()) else { return Err(malformed()) };
        match value {
            Some(value) => elements.of(py, oid)?.load(py, value),
            None => Ok(py.None().into_bound(py)),
        }
    })?;
    Ok(tuple.into_any())
}

// --- ranges ---------------------------------------------------------------------------------------------------------

/// Whether a bound belongs to the range, as the two characters that `Range` takes.
fn bounds<'py>(py: Python<'py>, lower: bool, upper: bool) -> &'py Bound<'py, PyString> {
    match (lower, upper) {
        (true, false) => intern!(py, "[)"),
        (true, true) => intern!(py, "[]"),
        (false, false) => intern!(py, "()"),
        (false, true) => intern!(py, "(]"),
    }
}

fn empty_range(py: Python<'_>) -> PyResult<Object<'_>> {
    let class = Own::get(py)?.range.bind(py);
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item(intern!(py, "empty"), true)?;
    class.call((), Some(&kwargs))
}

fn make_range<'py>(
    py: Python<'py>,
    lower: &Object<'py>,
    upper: &Object<'py>,
    inclusive: (bool, bool),
) -> PyResult<Object<'py>> {
    let class = Own::get(py)?.range.bind(py);
    object::call3(class, lower, upper, bounds(py, inclusive.0, inclusive.1).as_any())
}

/// One bound: quoted, plain up to one of these characters, or missing; and what follows it.
fn read_bound<'v>(text: &'v [u8], ends: &[u8]) -> Option<(Field<'v>, &'v [u8])> {
    if let Some(tail) = text.strip_prefix(b"\"") {
        let end = closing_quote(tail, b'"')?;
        let (quoted, after) = tail.split_at(end);
        return Some((Some(unescape(quoted, true)), after.get(1..)?));
    }
    let len = text.iter().position(|c| ends.contains(c))?;
    let (plain, after) = text.split_at(len);
    Some(((len > 0).then_some(Cow::Borrowed(plain)), after))
}

/// A range in front of a text, and what follows it.
fn read_range<'py, 'v>(py: Python<'py>, text: &'v [u8], bound: &Loader) -> PyResult<(Object<'py>, &'v [u8])> {
    if let Some(rest) = text.strip_prefix(b"empty") {
        return Ok((empty_range(py)?, rest));
    }
    let malformed = || data_error(py, format!("failed to parse range: {}", shown(py, text)));
    let (open, rest) = text.split_first().ok_or_else(malformed)?;
    let (lower, rest) = read_bound(rest, b",").ok_or_else(malformed)?;
    let rest = rest.strip_prefix(b",").ok_or_else(malformed)?;
    let (upper, rest) = read_bound(rest, b")]").ok_or_else(malformed)?;
    let (close, rest) = rest.split_first().ok_or_else(malformed)?;
    if !matches!((open, close), (b'[' | b'(', b']' | b')')) {
        return Err(malformed());
    }
    let load = |bound_text: Field<'_>| match bound_text {
        Some(text) => bound.load(py, &text),
        None => Ok(py.None().into_bound(py)),
    };
    let range = make_range(py, &load(lower)?, &load(upper)?, (*open == b'[', *close == b']'))?;
    Ok((range, rest))
}

/// A `Range`.
pub(super) fn text_range<'py>(py: Python<'py>, value: &[u8], bound: &Loader) -> PyResult<Object<'py>> {
    let (range, rest) = read_range(py, value, bound)?;
    if !rest.is_empty() {
        return Err(data_error(py, format!("failed to parse range: {}", shown(py, value))));
    }
    Ok(range)
}

const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const NO_LOWER: u8 = 0x08;
const NO_UPPER: u8 = 0x10;

/// A `Range`.
pub(super) fn range<'py>(py: Python<'py>, value: &[u8], bound: &Loader) -> PyResult<Object<'py>> {
    let malformed = || data_error(py, "malformed binary range");
    let (flags, rest) = value.split_first().ok_or_else(malformed)?;
    if flags & EMPTY != 0 {
        return empty_range(py);
    }
    let mut reader = Reader { rest };
    let mut load = |missing: u8| match flags & missing {
        0 => match reader.value() {
            Some(Some(value)) => bound.load(py, value),
            _ => Err(malformed()),
        },
        _ => Ok(py.None().into_bound(py)),
    };
    let (lower, upper) = (load(NO_LOWER)?, load(NO_UPPER)?);
    make_range(py, &lower, &upper, (flags & LOWER_INCLUSIVE != 0, flags & UPPER_INCLUSIVE != 0))
}

/// A `Multirange`.
pub(super) fn text_multirange<'py>(py: Python<'py>, value: &[u8], bound: &Loader) -> PyResult<Object<'py>> {
    let malformed = || data_error(py, format!("malformed multirange: {}", shown(py, value)));
    let mut rest = value.strip_prefix(b"{").ok_or_else(malformed)?;
    let ranges = PyList::empty(py);
    if rest != b"}" {
        loop {
            let (range, after) = read_range(py, rest, bound)?;
            object::append(&ranges, &range)?;
            rest = match after {
                [b',', tail @ ..] => tail,
                b"}" => break,
                _ => return Err(malformed()),
            };
        }
    }
    object::call1(Own::get(py)?.multirange.bind(py), ranges.as_any())
}

/// A `Multirange`.
pub(super) fn multirange<'py>(py: Python<'py>, value: &[u8], bound: &Loader) -> PyResult<Object<'py>> {
    let malformed = || data_error(py, "malformed binary multirange");
    let mut reader = Reader { rest: value };
    let count = reader.u32().ok_or_else(malformed)?;
    let ranges = PyList::empty(py);
    for _ in 0..count {
        match reader.value() {
            Some(Some(value)) => object::append(&ranges, &range(py, value, bound)?)?,
            _ => return Err(malformed()),
        }
    }
    if !reader.rest.is_empty() {
        return Err(data_error(py, "unexpected trailing data in multirange"));
    }
    object::call1(Own::get(py)?.multirange.bind(py), ranges.as_any())
}
