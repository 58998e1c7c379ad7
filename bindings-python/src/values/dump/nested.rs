//! Writes values that are made of values: lists and tuples.

use leakpool::exchange::Format;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::kinds::{Kind, kind_of};
use super::{COMPOSITE, DEPTH, Dumper, Typed, Want, typed};
use crate::values::errors::data_error;
use crate::values::object;
use crate::values::oids;

/// Writes one piece.
pub(super) type Write<'a> = &'a mut dyn FnMut(&Bound<'_, PyAny>, &mut Vec<u8>) -> PyResult<()>;

impl Dumper<'_> {
    // --- lists --------------------------------------------------------------------------------------------------

    /// The element that speaks for all of a list: of one class, or at least of one type on the server. The last one; of
    /// whole numbers, the one that needs the largest type. `None` if there is none that is not `None`.
    fn representative<'py>(
        &self,
        list: &Bound<'py, PyList>,
        want: Want,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut found = Representative::default();
        found.look_at(list, 0)?;
        let Representative { mut classes, largest } = found;
        let Some((_, last)) = classes.pop() else { return Ok(None) };
        if !classes.is_empty() {
            let py = list.py();
            let oid = self.type_of(&last, want)?;
            for (_, other) in &classes {
                if self.type_of(other, want)? != oid {
                    let mut names: Vec<String> = Vec::new();
                    for (class, _) in classes.iter().chain([&(last.get_type().into_any(), last.clone())]) {
                        names.push(class.getattr("__name__")?.to_string());
                    }
                    names.sort();
                    return Err(data_error(
                        py,
                        format!("cannot dump lists of mixed types; got: {}", names.join(", ")),
                    ));
                }
            }
        }
        match kind_of(&last)? {
            Some(Kind::Int) if last.is_exact_instance_of::<pyo3::types::PyInt>() => {
                Ok(largest.or(Some(last)))
            }
            _ => Ok(Some(last)),
        }
    }

    /// A list as the text of an array. Of unknown type if its elements are, or if it has none.
    pub(super) fn text_list(
        &self,
        object: &Bound<'_, PyAny>,
        want: Want,
        out: &mut Vec<u8>,
    ) -> PyResult<Typed> {
        let list = object.cast::<PyList>()?;
        let (oid, delimiter) = match self.representative(list, want)? {
            Some(item) => {
                self.kind(&item, want)?;
                match self.type_of(&item, Want::Text)? {
                    0 => (0, b','),
                    element => oids::builtin(element)
                        .map_or((oids::TEXT_ARRAY, b','), |one| (one.array, one.delimiter)),
                }
            }
            None => (0, b','),
        };
        let zoned = oids::element_of(oid).is_some_and(|one| one.oid == oids::TIMETZ);
        self.text_level(list, delimiter, zoned, out)?;
        Ok((oid, Format::Text))
    }

    fn text_level(
        &self,
        list: &Bound<'_, PyList>,
        delimiter: u8,
        zoned: bool,
        out: &mut Vec<u8>,
    ) -> PyResult<()> {
        let _level = self.enter(list.py(), 1)?;
        out.push(b'{');
        for (index, item) in list.iter().enumerate() {
            if index > 0 {
                out.push(delimiter);
            }
            if item.is_none() {
                out.extend_from_slice(b"NULL");
            } else if let Ok(inner) = item.cast::<PyList>() {
                self.text_level(inner, delimiter, zoned, out)?;
            } else {
                let from = out.len();
                let (element, _) = self.write(&item, Want::Text, out)?;
                if zoned && element == oids::TIME {
                    return Err(data_error(
                        item.py(),
                        "cannot calculate the offset of tzinfo 'None' without a date",
                    ));
                }
                quote(
                    out,
                    from,
                    |value| {
                        value.is_empty()
                            || value.eq_ignore_ascii_case(b"null")
                            || value.iter().any(|c| *c == delimiter || b"\"{}\\".contains(c) || is_space(*c))
                    },
                    Escape::Backslash,
                );
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// A list as a binary array, all of whose elements are of one type.
    pub(super) fn binary_list(&self, object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<Typed> {
        let list = object.cast::<PyList>()?;
        let Some(item) = self.representative(list, Want::Binary)? else {
            return self.text_list(object, Want::Text, out);
        };
        let element = self.type_of(&item, Want::Binary)?;
        let info = oids::builtin(element);
        // An array must say what its elements are, and unknown is no type.
        let known = if element == 0 { oids::TEXT } else { element };
        self.write_array(list, known, out, &mut |item, out| typed::write_element(self, item, element, out))?;
        Ok((info.map_or(oids::TEXT_ARRAY, |one| one.array), Format::Binary))
    }

    /// A binary array whose elements this function writes.
    pub(super) fn write_array(
        &self,
        list: &Bound<'_, PyList>,
        element: u32,
        out: &mut Vec<u8>,
        write: Write<'_>,
    ) -> PyResult<()> {
        let py = list.py();
        let mut lengths = Vec::new();
        let mut level = list.clone();
        while !list.is_empty() {
            check_depth(list.as_any(), lengths.len())?;
            if level.is_empty() {
                return Err(data_error(py, "lists cannot contain empty lists"));
            }
            lengths.push(level.len());
            let first = level.get_item(0)?;
            match first.cast_into::<PyList>() {
                Ok(inner) => level = inner,
                Err(_) => break,
            }
        }
        out.extend_from_slice(&length(py, lengths.len())?);
        let nulls = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&element.to_be_bytes());
        for len in &lengths {
            out.extend_from_slice(&length(py, *len)?);
            out.extend_from_slice(&1i32.to_be_bytes());
        }
        if !lengths.is_empty() && binary_level(list, &lengths, out, write)? {
            // Without this place there would be no array.
            if let Some(flag) = out.get_mut(nulls + 3) {
                *flag = 1;
            }
        }
        Ok(())
    }

    // --- tuples -------------------------------------------------------------------------------------------------

    /// A tuple as the text of a composite value, of unknown type.
    pub(super) fn tuple(&self, object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<Typed> {
        let tuple = object.cast::<PyTuple>()?;
        let _level = self.enter(object.py(), COMPOSITE)?;
        out.push(b'(');
        for (index, item) in tuple.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if item.is_none() {
                continue;
            }
            let from = out.len();
            self.write(&item, Want::Text, out)?;
            let special = |value: &[u8]| {
                value.is_empty() || value.iter().any(|c| b"\",\\()".contains(c) || is_space(*c))
            };
            quote(out, from, special, Escape::Double);
        }
        out.push(b')');
        Ok((0, Format::Text))
    }
}

/// What a list was searched for.
#[derive(Default)]
struct Representative<'py> {
    /// The classes in the order in which they were met, each with its last object.
    classes: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    /// The `int` that needs the most room.
    largest: Option<Bound<'py, PyAny>>,
}

impl<'py> Representative<'py> {
    fn look_at(&mut self, list: &Bound<'py, PyList>, depth: usize) -> PyResult<()> {
        check_depth(list.as_any(), depth)?;
        for item in list.iter() {
            if item.is_none() {
                continue;
            }
            if let Ok(inner) = item.cast::<PyList>() {
                self.look_at(inner, depth + 1)?;
                continue;
            }
            if item.is_exact_instance_of::<pyo3::types::PyInt>() && needs_more(&item, self.largest.as_ref())?
            {
                self.largest = Some(item.clone());
            }
            let class = item.get_type().into_any();
            match self.classes.iter_mut().find(|(one, _)| one.is(&class)) {
                Some((_, last)) => *last = item,
                None => self.classes.push((class, item)),
            }
        }
        Ok(())
    }
}

/// True if the first needs a larger type than the second. What does not fit 64 bits needs the largest.
fn needs_more(item: &Bound<'_, PyAny>, than: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
    // A negative number needs as much as its complement.
    let size = |item: &Bound<'_, PyAny>| {
        Ok::<_, PyErr>(
            object::as_i64(item)?.map_or(u64::MAX, |value| (value ^ (value >> 63)).cast_unsigned()),
        )
    };
    match than {
        Some(than) => Ok(size(item)? > size(than)?),
        None => Ok(true),
    }
}

fn check_depth(list: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    match depth > DEPTH {
        true => Err(data_error(list.py(), "cannot dump a recursive list")),
        false => Ok(()),
    }
}

fn binary_level(
    list: &Bound<'_, PyList>,
    lengths: &[usize],
    out: &mut Vec<u8>,
    write: Write<'_>,
) -> PyResult<bool> {
    let py = list.py();
    let Some((len, inner)) = lengths.split_first() else { return Ok(false) };
    if list.len() != *len {
        return Err(data_error(py, "nested lists have inconsistent lengths"));
    }
    let mut nulls = false;
    for item in list.iter() {
        if !inner.is_empty() {
            let Ok(item) = item.cast_into::<PyList>() else {
                return Err(data_error(py, "nested lists have inconsistent depths"));
            };
            nulls |= binary_level(&item, inner, out, write)?;
        } else if item.is_none() {
            out.extend_from_slice(&[0xFF; 4]);
            nulls = true;
        } else {
            with_length(py, out, |out| write(&item, out))?;
        }
    }
    Ok(nulls)
}

/// A length in the protocol's four bytes.
pub(super) fn length(py: Python<'_>, len: usize) -> PyResult<[u8; 4]> {
    let len = i32::try_from(len).map_err(|_| data_error(py, "a value of more than 2 GiB"))?;
    Ok(len.to_be_bytes())
}

/// Writes a piece with its length in front.
pub(super) fn with_length(
    py: Python<'_>,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> PyResult<()>,
) -> PyResult<()> {
    let place = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let len = length(py, out.len() - place - 4)?;
    if let Some(head) = out.get_mut(place..place + 4) {
        head.copy_from_slice(&len);
    }
    Ok(())
}

/// White space as the server sees it.
pub(super) fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C)
}

/// How quotes and backslashes are written within quotes.
#[derive(Clone, Copy)]
pub(super) enum Escape {
    Backslash,
    Double,
}

/// Puts what was written from here on into quotes, if it needs them.
pub(super) fn quote(out: &mut Vec<u8>, from: usize, special: impl Fn(&[u8]) -> bool, escape: Escape) {
    if !special(out.get(from..).unwrap_or_default()) {
        return;
    }
    let value = out.split_off(from);
    out.push(b'"');
    for c in value {
        if c == b'"' || c == b'\\' {
            out.push(match escape {
                Escape::Backslash => b'\\',
                Escape::Double => c,
            });
        }
        out.push(c);
    }
    out.push(b'"');
}
