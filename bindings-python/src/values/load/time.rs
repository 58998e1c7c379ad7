//! Loaders of dates and times, in text as `DateStyle` writes them, and in binary.

use std::sync::Arc;

use pyo3::exceptions::{PyNotImplementedError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::scalar::{fixed, shown};
use super::zone::{Maker, Zone};
use crate::values::civil::{DAY, FIRST_DAY, Fields};
use crate::values::classes::{Classes, name};
use crate::values::context::AdaptContext;
use crate::values::errors::{data_error, interface_error};
use crate::values::object::{self, Object};

/// The order of a date's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DateOrder {
    /// 1997-12-17
    Ymd,
    /// 17-12-1997
    Dmy,
    /// 12-17-1997
    Mdy,
}

/// The order of a timestamp's pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampOrder {
    /// The date in this order, the time.
    Numbers(DateOrder),
    /// Wed Dec 17 07:37:16 1997
    MonthDay,
    /// Wed 17 Dec 07:37:16 1997
    DayMonth,
}

/// The `DateStyle`, ISO if there is none.
fn date_style(context: &AdaptContext<'_>) -> Arc<str> {
    context.parameter("DateStyle").unwrap_or_else(|| "ISO, DMY".into())
}

impl DateOrder {
    pub(super) fn of(py: Python<'_>, context: &AdaptContext<'_>) -> PyResult<DateOrder> {
        let style = date_style(context);
        match style.as_bytes().first() {
            Some(b'I') => Ok(DateOrder::Ymd),
            Some(b'G') => Ok(DateOrder::Dmy),
            Some(b'S' | b'P') if style.ends_with("DMY") => Ok(DateOrder::Dmy),
            Some(b'S' | b'P') => Ok(DateOrder::Mdy),
            _ => Err(interface_error(py, format!("unexpected DateStyle: {style}"))),
        }
    }
}

impl StampOrder {
    pub(super) fn of(py: Python<'_>, context: &AdaptContext<'_>) -> PyResult<StampOrder> {
        let order = DateOrder::of(py, context)?;
        Ok(match (date_style(context).starts_with('P'), order) {
            (false, order) => StampOrder::Numbers(order),
            (true, DateOrder::Dmy) => StampOrder::DayMonth,
            (true, _) => StampOrder::MonthDay,
        })
    }
}

/// The `DateStyle` if it is none in which a `timestamptz` can be read: other styles name the zone by an abbreviation.
pub(super) fn foreign_style(context: &AdaptContext<'_>) -> Option<Arc<str>> {
    let style = date_style(context);
    (!style.starts_with('I')).then_some(style)
}

/// The error for such a value.
pub(super) fn timestamptz_in(py: Python<'_>, value: &[u8], style: &str) -> PyErr {
    let value = shown(py, value);
    PyNotImplementedError::new_err(format!("can't parse timestamptz with DateStyle '{style}': {value}"))
}

fn make_date<'py>(py: Python<'py>, fields: &Fields) -> PyResult<Object<'py>> {
    let [a, b, c, d, ..] = fields.state();
    object::call1(Classes::get(py)?.date.bind(py), &object::bytes(py, &[a, b, c, d])?)
}

fn make_time<'py>(py: Python<'py>, fields: &Fields, zone: Option<&Object<'py>>) -> PyResult<Object<'py>> {
    let [_, _, _, _, rest @ ..] = fields.state();
    let class = Classes::get(py)?.time.bind(py);
    let state = object::bytes(py, &rest)?;
    match zone {
        Some(zone) => object::call2(class, &state, zone),
        None => object::call1(class, &state),
    }
}

/// A `timezone` of so many seconds east.
fn fixed_zone(py: Python<'_>, seconds: i32) -> PyResult<Object<'_>> {
    static KNOWN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let known = KNOWN.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(zone) = known.get_item(seconds)? {
        return Ok(zone);
    }
    let classes = Classes::get(py)?;
    let zone = classes.timezone.bind(py).call1((classes.timedelta.bind(py).call1((0, seconds))?,))?;
    known.set_item(seconds, &zone)?;
    Ok(zone)
}

/// What Python itself says about fields that make no `datetime`.
fn refusal(py: Python<'_>, fields: &Fields) -> String {
    let Ok(classes) = Classes::get(py) else { return "(unknown)".into() };
    let all =
        (fields.year, fields.month, fields.day, fields.hour, fields.minute, fields.second, fields.micro);
    match classes.datetime.bind(py).call1(all) {
        Err(e) if e.is_instance_of::<PyValueError>(py) => e.value(py).to_string(),
        _ => "(unknown)".into(),
    }
}

// --- reading text ---------------------------------------------------------------------------------------------------

/// A number of exactly the digits given.
#[inline]
pub(super) fn digits<T: From<u8> + std::ops::Mul<Output = T> + std::ops::Add<Output = T>>(
    text: &[u8],
) -> Option<T> {
    let mut number = T::from(0);
    for digit in text {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * T::from(10) + T::from(digit - b'0');
    }
    Some(number)
}

#[inline]
fn two(text: &[u8; 2]) -> Option<u8> {
    digits(text)
}

/// A date of ten characters.
#[inline]
fn read_date(text: &[u8; 10], order: DateOrder, fields: &mut Fields) -> Option<()> {
    let (year, month, day) = match (order, text) {
        (DateOrder::Ymd, [a, b, c, d, _, e, f, _, g, h]) => ([a, b, c, d], [e, f], [g, h]),
        (DateOrder::Dmy, [g, h, _, e, f, _, a, b, c, d]) => ([a, b, c, d], [e, f], [g, h]),
        (DateOrder::Mdy, [e, f, _, g, h, _, a, b, c, d]) => ([a, b, c, d], [e, f], [g, h]),
    };
    fields.year = digits(&year.map(|c| *c))?;
    fields.month = two(&month.map(|c| *c))?;
    fields.day = two(&day.map(|c| *c))?;
    Some(())
}

/// `HH:MM:SS[.ffffff]` in front; gives what follows.
#[inline]
pub(super) fn read_time<'v>(text: &'v [u8], fields: &mut Fields) -> Option<&'v [u8]> {
    let (&[a, b, _, c, d, _, e, f], rest) = text.split_first_chunk::<8>()?;
    fields.hour = two(&[a, b])?;
    fields.minute = two(&[c, d])?;
    fields.second = two(&[e, f])?;
    let Some(rest) = rest.strip_prefix(b".") else { return Some(rest) };
    let len = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let (fraction, rest) = rest.split_at_checked(len)?;
    if len == 0 || len > 6 {
        return None;
    }
    fields.micro = digits::<u32>(fraction)?;
    for _ in len..6 {
        fields.micro *= 10;
    }
    Some(rest)
}

/// `±HH[:MM[:SS]]`, to its end, in seconds east.
#[inline]
fn read_offset(text: &[u8]) -> Option<i32> {
    let (sign, rest) = text.split_first()?;
    let mut seconds = 0;
    let mut unit = 3600;
    for part in rest.split(|c| *c == b':') {
        seconds += i32::from(two(part.try_into().ok()?)?) * unit;
        unit /= 60;
    }
    match (sign, rest.len()) {
        (b'+', 2..=8) => Some(seconds),
        (b'-', 2..=8) => Some(-seconds),
        _ => None,
    }
}

// --- dates ----------------------------------------------------------------------------------------------------------

/// A `date`.
pub(super) fn text_date<'py>(py: Python<'py>, value: &[u8], order: DateOrder) -> PyResult<Object<'py>> {
    let mut fields = Fields::default();
    let read = <&[u8; 10]>::try_from(value).ok().and_then(|text| read_date(text, order, &mut fields));
    if read.is_some() && fields.is_date() {
        return make_date(py, &fields);
    }
    let text = String::from_utf8_lossy(value);
    let long = text.split_ascii_whitespace().next().is_some_and(|word| word.len() > 10);
    Err(data_error(
        py,
        if text == "infinity" || long && text != "-infinity" {
            format!("date too large (after year 10K): {}", shown(py, value))
        } else if text == "-infinity" || text.contains("BC") {
            format!("date too small (before year 1): {}", shown(py, value))
        } else {
            format!("can't parse date {}: {}", shown(py, value), refusal(py, &fields))
        },
    ))
}

/// A `date` of so many days from 2000-01-01.
pub(super) fn date(py: Python<'_>, days: i32) -> PyResult<Object<'_>> {
    let days = i64::from(days);
    match Fields::from_days(days) {
        Some(fields) => make_date(py, &fields),
        None if days < FIRST_DAY => Err(data_error(py, "date too small (before year 1)")),
        None => Err(data_error(py, "date too large (after year 10K)")),
    }
}

// --- times ----------------------------------------------------------------------------------------------------------

/// What Python itself says about fields that make no `time`.
fn time_refusal(py: Python<'_>, fields: &Fields) -> String {
    refusal(py, &Fields { year: 2000, month: 1, day: 1, ..*fields })
}

/// A `time`.
pub(super) fn text_time<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let mut fields = Fields::default();
    if read_time(value, &mut fields).is_none() {
        return Err(data_error(py, format!("can't parse time {}", shown(py, value))));
    }
    if !fields.is_time() {
        return Err(data_error(
            py,
            format!("can't parse time {}: {}", shown(py, value), time_refusal(py, &fields)),
        ));
    }
    make_time(py, &fields, None)
}

/// A `time` with a `timezone`.
pub(super) fn text_timetz<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let mut fields = Fields::default();
    let Some(offset) = read_time(value, &mut fields).and_then(read_offset) else {
        return Err(data_error(py, format!("can't parse timetz {}", shown(py, value))));
    };
    if !fields.is_time() {
        return Err(data_error(
            py,
            format!("can't parse timetz {}: {}", shown(py, value), time_refusal(py, &fields)),
        ));
    }
    make_time(py, &fields, Some(&fixed_zone(py, offset)?))
}

/// A `time` of so many microseconds after midnight.
pub(super) fn time<'py>(py: Python<'py>, micros: i64, zone: Option<&Object<'py>>) -> PyResult<Object<'py>> {
    if !(0..DAY).contains(&micros) {
        return Err(data_error(
            py,
            format!("time not supported by Python: hour={}", micros.div_euclid(3_600_000_000)),
        ));
    }
    let mut fields = Fields::default();
    fields.set_time(micros);
    make_time(py, &fields, zone)
}

/// Microseconds after midnight, and seconds *west*.
pub(super) fn timetz<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = fixed(py, value)?;
    let west = i32::from_be_bytes([i, j, k, l]);
    let zone = fixed_zone(py, west.saturating_neg())?;
    time(py, i64::from_be_bytes([a, b, c, d, e, f, g, h]), Some(&zone))
}

// --- timestamps -----------------------------------------------------------------------------------------------------

fn timestamp_error(py: Python<'_>, value: &[u8], postgres_style: bool, fields: Option<&Fields>) -> PyErr {
    let text = String::from_utf8_lossy(value);
    let mut words = text.split_ascii_whitespace();
    let overflow = match postgres_style {
        false => words.next().is_some_and(|date| date.len() > 10),
        true => words.next_back().is_some_and(|year| year.len() > 4),
    };
    data_error(
        py,
        if text == "-infinity" || text.ends_with("BC") {
            format!("timestamp too small (before year 1): {}", shown(py, value))
        } else if text == "infinity" || overflow {
            format!("timestamp too large (after year 10K): {}", shown(py, value))
        } else {
            let why = fields.map_or_else(|| "(unknown)".into(), |fields| refusal(py, fields));
            format!("can't parse timestamp {}: {why}", shown(py, value))
        },
    )
}

/// A date in this order, a character, a time; gives what follows.
#[inline]
fn read_stamp<'v>(text: &'v [u8], order: DateOrder, fields: &mut Fields) -> Option<&'v [u8]> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    read_date(date, order, fields)?;
    let (_, rest) = rest.split_first()?;
    read_time(rest, fields)
}

/// `Wed Dec 17 07:37:16.123 1997`, or with day and month the other way round.
fn read_postgres_stamp(text: &[u8], day_first: bool, fields: &mut Fields) -> Option<()> {
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let mut words = text.split(|c| *c == b' ');
    let (_, a, b) = (words.next()?, words.next()?, words.next()?);
    let (day, month) = if day_first { (a, b) } else { (b, a) };
    fields.day = two(day.try_into().ok()?)?;
    let index = MONTHS.iter().position(|name| *name == month)?;
    fields.month = u8::try_from(index + 1).ok()?;
    let rest = read_time(words.next()?, fields)?;
    let year: &[u8; 4] = words.next()?.try_into().ok()?;
    fields.year = digits(year)?;
    (rest.is_empty() && words.next().is_none()).then_some(())
}

/// A naive `datetime`.
pub(super) fn text_timestamp<'py>(
    maker: &mut Maker<'py>,
    value: &[u8],
    order: StampOrder,
) -> PyResult<Object<'py>> {
    let py = maker.py;
    let mut fields = Fields::default();
    let read = match order {
        StampOrder::Numbers(order) => {
            read_stamp(value, order, &mut fields).filter(|rest| rest.is_empty()).map(|_| ())
        }
        StampOrder::MonthDay => read_postgres_stamp(value, false, &mut fields),
        StampOrder::DayMonth => read_postgres_stamp(value, true, &mut fields),
    };
    let postgres_style = !matches!(order, StampOrder::Numbers(_));
    match read {
        Some(()) if fields.is_date() && fields.is_time() => maker.datetime(&fields, None),
        Some(()) => Err(timestamp_error(py, value, postgres_style, Some(&fields))),
        None => Err(timestamp_error(py, value, postgres_style, None)),
    }
}

/// A naive `datetime` so many microseconds from 2000-01-01.
pub(super) fn timestamp<'py>(maker: &mut Maker<'py>, micros: i64) -> PyResult<Object<'py>> {
    match Fields::from_micros(micros) {
        Some(fields) => maker.datetime(&fields, None),
        None => Err(out_of_calendar(maker.py, micros)),
    }
}

fn out_of_calendar(py: Python<'_>, micros: i64) -> PyErr {
    data_error(
        py,
        if micros <= 0 {
            "timestamp too small (before year 1)"
        } else {
            "timestamp too large (after year 10K)"
        },
    )
}

/// A `datetime` in the session's zone. What is outside of the calendar there, but not where the server wrote it, stays
/// as it was written, in a `timezone` of that offset.
#[inline]
pub(super) fn text_timestamptz<'py>(
    maker: &mut Maker<'py>,
    value: &[u8],
    zone: &Zone,
) -> PyResult<Object<'py>> {
    let py = maker.py;
    let mut fields = Fields::default();
    let Some(offset) = read_stamp(value, DateOrder::Ymd, &mut fields).and_then(read_offset) else {
        return Err(timestamp_error(py, value, false, None));
    };
    if !(fields.is_date() && fields.is_time()) {
        return Err(timestamp_error(py, value, false, Some(&fields)));
    }
    if let (Zone::Utc(utc), 0) = (zone, offset) {
        return maker.datetime(&fields, Some(utc));
    }
    match zone.at(maker, fields.micros() - i64::from(offset) * 1_000_000)? {
        Some(shifted) => Ok(shifted),
        None => maker.datetime(&fields, Some(&fixed_zone(py, offset)?.unbind())),
    }
}

/// A `datetime` in the session's zone, so many microseconds from 2000-01-01 00:00:00 UTC. What is outside of the
/// calendar in UTC, but not there, is shifted by the zone's offset at that end of the calendar.
pub(super) fn timestamptz<'py>(maker: &mut Maker<'py>, micros: i64, zone: &Zone) -> PyResult<Object<'py>> {
    let py = maker.py;
    if let Some(found) = zone.at(maker, micros)? {
        return Ok(found);
    }
    let edge = Classes::get(py)?.datetime.bind(py).getattr(if micros < 0 {
        intern!(py, "min")
    } else {
        intern!(py, "max")
    })?;
    let offset = zone.tzinfo(py).call_method1(name::utcoffset(py), (edge,))?;
    if offset.is_none() || !offset.is_truthy()? {
        return Err(out_of_calendar(py, micros));
    }
    let days: i64 = offset.getattr(name::days(py))?.extract()?;
    let seconds: i64 = offset.getattr(name::seconds(py))?.extract()?;
    let shifted = micros.checked_add((days * 86_400 + seconds) * 1_000_000);
    match (shifted.and_then(Fields::from_micros), zone) {
        (Some(fields), Zone::Utc(tzinfo) | Zone::Other(tzinfo, _)) => maker.datetime(&fields, Some(tzinfo)),
        (None, _) => Err(out_of_calendar(py, micros)),
    }
}
