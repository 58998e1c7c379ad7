//! Writes dates, times and intervals. In text as `str()` shows them, which the server reads under any `DateStyle`.

use leakpool::exchange::Format;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::scalar::text;
use crate::values::classes::{Classes, name};
use crate::values::errors::data_error;
use crate::values::object;
use crate::values::oids;

/// `date.toordinal()` of 2000-01-01.
const EPOCH: i64 = 730_120;

fn number(object: &Bound<'_, PyAny>, attribute: &Bound<'_, pyo3::types::PyString>) -> PyResult<i64> {
    Ok(object::as_i64(&object.getattr(attribute)?)?.unwrap_or(0))
}

/// A `date`.
pub(super) fn date(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    match format {
        Format::Text => text(object, out)?,
        Format::Binary => {
            let ordinal = object::as_i64(&object.call_method0(name::toordinal(object.py()))?)?.unwrap_or(0);
            out.extend((ordinal - EPOCH).to_be_bytes().iter().skip(4));
        }
    }
    Ok(oids::DATE)
}

/// A `time`, which is `timetz` if it has a zone.
pub(super) fn time(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let py = object.py();
    let zone = object.getattr(name::tzinfo(py))?;
    let oid = if zone.is_none() { oids::TIME } else { oids::TIMETZ };
    let offset = if zone.is_none() { None } else { Some(object.call_method0(name::utcoffset(py))?) };
    if offset.as_ref().is_some_and(|offset| offset.is_none()) {
        return Err(data_error(py, format!("cannot calculate the offset of tzinfo '{zone}' without a date")));
    }
    if format == Format::Text {
        text(object, out)?;
        return Ok(oid);
    }
    let minutes = number(object, name::hour(py))? * 60 + number(object, name::minute(py))?;
    let seconds = minutes * 60 + number(object, name::second(py))?;
    let micros = seconds * 1_000_000 + number(object, name::microsecond(py))?;
    out.extend_from_slice(&micros.to_be_bytes());
    if let Some(offset) = offset {
        let east = number(&offset, name::days(py))? * 86_400 + number(&offset, name::seconds(py))?;
        out.extend((-east).to_be_bytes().iter().skip(4));
    }
    Ok(oid)
}

/// A `datetime`: `timestamptz` if it has a zone, else `timestamp`.
pub(super) fn datetime(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let aware = !object.getattr(name::tzinfo(object.py()))?.is_none();
    match format {
        Format::Text => text(object, out)?,
        Format::Binary => out.extend_from_slice(&micros(object, aware)?.to_be_bytes()),
    }
    Ok(if aware { oids::TIMESTAMPTZ } else { oids::TIMESTAMP })
}

/// Microseconds from 2000-01-01 00:00:00, in UTC if it is aware.
pub(super) fn micros(object: &Bound<'_, PyAny>, aware: bool) -> PyResult<i64> {
    static EPOCHS: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();
    let py = object.py();
    let [naive_epoch, aware_epoch] = EPOCHS.get_or_try_init(py, || {
        let classes = Classes::get(py)?;
        let datetime = classes.datetime.bind(py);
        let nothing = (2000, 1, 1);
        PyResult::Ok([
            datetime.call1(nothing)?.unbind(),
            datetime.call1((2000, 1, 1, 0, 0, 0, 0, &classes.utc))?.unbind(),
        ])
    })?;
    let epoch = if aware { aware_epoch } else { naive_epoch };
    let since = object.sub(epoch).map_err(|e| match e.is_instance_of::<PyTypeError>(py) {
        // Its zone does not tell an offset.
        true => data_error(py, e.value(py).to_string()),
        false => e,
    })?;
    timedelta_micros(&since)
}

fn timedelta_micros(delta: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = delta.py();
    let seconds = number(delta, name::days(py))? * 86_400 + number(delta, name::seconds(py))?;
    Ok(seconds * 1_000_000 + number(delta, name::microseconds(py))?)
}

/// A `timedelta`. With `signed`, each part has its sign: otherwise that style reads "-1 day 1 sec" as -1 sec.
pub(super) fn timedelta(
    object: &Bound<'_, PyAny>,
    format: Format,
    signed: bool,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    let py = object.py();
    let days = number(object, name::days(py))?;
    let seconds = number(object, name::seconds(py))?;
    let micros = number(object, name::microseconds(py))?;
    match format {
        Format::Binary => {
            out.extend_from_slice(&(seconds * 1_000_000 + micros).to_be_bytes());
            // Python's days fit: they are at most 999,999,999.
            out.extend(days.to_be_bytes().iter().skip(4));
            out.extend_from_slice(&[0; 4]);
        }
        Format::Text if signed => {
            out.extend_from_slice(
                format!("{days:+} day {seconds:+} second {micros:+} microsecond").as_bytes(),
            );
        }
        Format::Text => {
            let from = out.len();
            text(object, out)?;
            // "1 day, 0:00:01": the comma is read, but nobody promises it.
            let shown = out.split_off(from);
            out.extend(shown.into_iter().filter(|c| *c != b','));
        }
    }
    Ok(oids::INTERVAL)
}
