//! Loaders of intervals, in text as the `IntervalStyle` `postgres` writes them, and in binary.

use std::sync::Arc;

use pyo3::exceptions::{PyNotImplementedError, PyOverflowError};
use pyo3::prelude::*;

use super::scalar::{fixed, shown};
use super::time::{digits, read_time};
use crate::values::civil::{DAY, Fields};
use crate::values::classes::Classes;
use crate::values::context::AdaptContext;
use crate::values::errors::data_error;
use crate::values::object::{self, Object};

/// The session's `IntervalStyle`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intervals {
    Postgres,
    /// Another one, which cannot be read.
    Other(Arc<str>),
}

impl Intervals {
    pub(super) fn of(context: &AdaptContext<'_>) -> Intervals {
        match context.parameter("IntervalStyle") {
            Some(style) if &*style == "postgres" => Intervals::Postgres,
            Some(style) => Intervals::Other(style),
            None => Intervals::Other("unknown".into()),
        }
    }
}

/// `1 year 2 mons -3 days -04:05:06.789`, whose years are 365 days and whose months are 30.
fn read_interval(text: &[u8]) -> Option<(i64, i64)> {
    let mut days = 0i64;
    let mut micros = 0i64;
    let mut words = text.split(|c| *c == b' ');
    while let Some(word) = words.next() {
        let (negative, plain) = match word {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if let Some(colon) = plain.iter().position(|c| *c == b':') {
            let (hours, rest) = plain.split_at(colon);
            let mut fields = Fields::default();
            // The hours may be many; what follows them has the form of a time of day.
            let [_, m1, m2, _, tail @ ..] = rest else { return None };
            let mut time = vec![b'0', b'0', b':', *m1, *m2, b':'];
            time.extend_from_slice(tail);
            if hours.is_empty() || hours.len() > 12 || !read_time(&time, &mut fields)?.is_empty() {
                return None;
            }
            let seconds =
                digits::<i64>(hours)? * 3600 + i64::from(fields.minute) * 60 + i64::from(fields.second);
            micros = seconds.checked_mul(1_000_000)?.checked_add(fields.micro.into())?;
            micros = if negative { -micros } else { micros };
            return words.next().is_none().then_some((days, micros));
        }
        if plain.is_empty() || plain.len() > 12 {
            return None;
        }
        let number = digits::<i64>(plain)? * if negative { -1 } else { 1 };
        days += number
            * match words.next()? {
                b"year" | b"years" => 365,
                b"mon" | b"mons" => 30,
                b"day" | b"days" => 1,
                _ => return None,
            };
    }
    Some((days, micros))
}

fn make_timedelta(py: Python<'_>, days: i64, micros: i64) -> PyResult<Object<'_>> {
    let days = days + micros.div_euclid(DAY);
    let micros = micros.rem_euclid(DAY);
    let (seconds, micros) = (object::int(py, micros / 1_000_000)?, object::int(py, micros % 1_000_000)?);
    object::call3(Classes::get(py)?.timedelta.bind(py), &object::int(py, days)?, &seconds, &micros)
}

/// A `timedelta`.
pub(super) fn text_interval<'py>(py: Python<'py>, value: &[u8], style: &Intervals) -> PyResult<Object<'py>> {
    if let Intervals::Other(style) = style {
        let text = shown(py, value);
        return Err(PyNotImplementedError::new_err(format!(
            "can't parse interval with IntervalStyle '{style}': {text}"
        )));
    }
    let Some((days, micros)) = read_interval(value) else {
        return Err(data_error(py, format!("can't parse interval {}", shown(py, value))));
    };
    make_timedelta(py, days, micros).map_err(|e| match e.is_instance_of::<PyOverflowError>(py) {
        true => data_error(py, format!("can't parse interval {}: {}", shown(py, value), e.value(py))),
        false => e,
    })
}

/// Microseconds, days and months.
pub(super) fn interval<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = fixed(py, value)?;
    let micros = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let days = i64::from(i32::from_be_bytes([i, j, k, l]));
    let months = i64::from(i32::from_be_bytes([m, n, o, p]));
    // Towards zero, so that years and months have the same sign.
    let days = days + months / 12 * 365 + months % 12 * 30;
    make_timedelta(py, days, micros).map_err(|e| match e.is_instance_of::<PyOverflowError>(py) {
        true => data_error(py, format!("can't parse interval: {}", e.value(py))),
        false => e,
    })
}
