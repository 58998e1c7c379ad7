//! Writes ranges and multiranges.

use leakpool::exchange::Format;
use pyo3::prelude::*;

use super::kinds::{Kind, kind_of};
use super::nested::{Escape, Write, is_space, length, quote, with_length};
use super::{COMPOSITE, Dumper, Typed, Want, typed};
use crate::values::oids;

impl Dumper<'_> {
    /// A `Range`: its bounds tell its type. Whole numbers do not, as the server casts no `int4range` to another.
    pub(super) fn range(&self, object: &Bound<'_, PyAny>, want: Want, out: &mut Vec<u8>) -> PyResult<Typed> {
        let (oid, format) = self.range_type(object, want)?;
        match format {
            Format::Text => self.text_range(object, out)?,
            Format::Binary => self.binary_range(object, out, &mut |bound, out| {
                self.write(bound, Want::Binary, out).map(drop)
            })?,
        }
        Ok((oid, format))
    }

    /// The type and format of a `Range`.
    pub(super) fn range_type(&self, object: &Bound<'_, PyAny>, want: Want) -> PyResult<Typed> {
        self.type_by_bound(object, bound_of(object)?, want, "Range", |(range, _, _)| *range)
    }

    /// A `Multirange`: as a range.
    pub(super) fn multirange(
        &self,
        object: &Bound<'_, PyAny>,
        want: Want,
        out: &mut Vec<u8>,
    ) -> PyResult<Typed> {
        let (oid, format) = self.multirange_type(object, want)?;
        match format {
            Format::Text => self.text_multirange(object, out)?,
            Format::Binary => {
                self.binary_multirange(object, out, &mut |bound, out| {
                    self.write(bound, Want::Binary, out).map(drop)
                })?;
            }
        }
        Ok((oid, format))
    }

    /// The type and format of a `Multirange`.
    pub(super) fn multirange_type(&self, object: &Bound<'_, PyAny>, want: Want) -> PyResult<Typed> {
        let mut bound = None;
        for range in object.try_iter()? {
            bound = bound_of(&range?)?;
            if bound.is_some() {
                break;
            }
        }
        self.type_by_bound(object, bound, want, "Multirange", |(_, multirange, _)| *multirange)
    }

    /// The type and format of a range whose class says nothing.
    fn type_by_bound(
        &self,
        object: &Bound<'_, PyAny>,
        bound: Option<Bound<'_, PyAny>>,
        want: Want,
        base: &str,
        which: fn(&(u32, u32, u32)) -> u32,
    ) -> PyResult<Typed> {
        let rather_text = if want == Want::Binary { Format::Binary } else { Format::Text };
        // A subclass of the user's: nobody knows what it is.
        let Some(bound) = bound.filter(|_| object.get_type().qualname().is_ok_and(|name| name == base))
        else {
            return Ok((0, rather_text));
        };
        if bound.is_exact_instance_of::<pyo3::types::PyInt>() {
            return Ok((0, Format::Text));
        }
        let subtype = match kind_of(&bound)? {
            // There are no ranges of these.
            Some(Kind::Range | Kind::Multirange) => 0,
            _ => {
                self.kind(&bound, if want == Want::Auto { Want::Text } else { want })?;
                self.type_of(&bound, want)?
            }
        };
        let oid = oids::RANGES.iter().find(|(_, _, one)| *one == subtype).map_or(0, which);
        Ok((oid, rather_text))
    }

    /// A range whose class says its type.
    pub(super) fn typed_range(
        &self,
        object: &Bound<'_, PyAny>,
        oid: u32,
        bound: u32,
        format: Format,
        out: &mut Vec<u8>,
    ) -> PyResult<Typed> {
        match format {
            Format::Text => self.text_range(object, out)?,
            Format::Binary => {
                self.binary_range(object, out, &mut |item, out| typed::write_bound(self, item, bound, out))?
            }
        }
        Ok((oid, format))
    }

    /// A multirange whose class says its type.
    pub(super) fn typed_multirange(
        &self,
        object: &Bound<'_, PyAny>,
        oid: u32,
        bound: u32,
        format: Format,
        out: &mut Vec<u8>,
    ) -> PyResult<Typed> {
        match format {
            Format::Text => self.text_multirange(object, out)?,
            Format::Binary => self.binary_multirange(object, out, &mut |item, out| {
                typed::write_bound(self, item, bound, out)
            })?,
        }
        Ok((oid, format))
    }

    fn text_multirange(&self, object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
        out.push(b'{');
        for (index, range) in object.try_iter()?.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.text_range(&range?, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn text_range(&self, object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
        let _level = self.enter(object.py(), COMPOSITE)?;
        if object.getattr("isempty")?.is_truthy()? {
            out.extend_from_slice(b"empty");
            return Ok(());
        }
        out.push(if object.getattr("lower_inc")?.is_truthy()? { b'[' } else { b'(' });
        for (name, after) in [("lower", b','), ("upper", b' ')] {
            let bound = object.getattr(name)?;
            if !bound.is_none() {
                let from = out.len();
                self.write(&bound, Want::Text, out)?;
                let special = |value: &[u8]| {
                    value.is_empty() || value.iter().any(|c| b"\",\\()[]".contains(c) || is_space(*c))
                };
                quote(out, from, special, Escape::Double);
            }
            out.push(if after == b',' {
                after
            } else if object.getattr("upper_inc")?.is_truthy()? {
                b']'
            } else {
                b')'
            });
        }
        Ok(())
    }

    /// A binary range whose bounds this function writes.
    pub(super) fn binary_range(
        &self,
        object: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        write: Write<'_>,
    ) -> PyResult<()> {
        let _level = self.enter(object.py(), COMPOSITE)?;
        if object.getattr("isempty")?.is_truthy()? {
            out.push(1);
            return Ok(());
        }
        let mut flags = 0u8;
        let place = out.len();
        out.push(0);
        for (name, inclusive, inclusive_flag, missing_flag) in
            [("lower", "lower_inc", 2, 8), ("upper", "upper_inc", 4, 16)]
        {
            let bound = object.getattr(name)?;
            if object.getattr(inclusive)?.is_truthy()? {
                flags |= inclusive_flag;
            }
            if bound.is_none() {
                flags |= missing_flag;
            } else {
                with_length(object.py(), out, |out| write(&bound, out))?;
            }
        }
        if let Some(first) = out.get_mut(place) {
            *first = flags;
        }
        Ok(())
    }

    /// A binary multirange whose bounds this function writes.
    pub(super) fn binary_multirange(
        &self,
        object: &Bound<'_, PyAny>,
        out: &mut Vec<u8>,
        write: Write<'_>,
    ) -> PyResult<()> {
        out.extend_from_slice(&length(object.py(), object.len()?)?);
        for range in object.try_iter()? {
            let range = range?;
            with_length(object.py(), out, |out| self.binary_range(&range, out, write))?;
        }
        Ok(())
    }
}

/// The first of the bounds that a range has.
fn bound_of<'py>(range: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let lower = range.getattr("lower")?;
    let bound = if lower.is_none() { range.getattr("upper")? } else { lower };
    Ok(Some(bound).filter(|bound| !bound.is_none()))
}
