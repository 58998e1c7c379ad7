//! Loaders: objects from what the server sends. `scalar`, `time`, `interval` and `nested` have one function for each kind of type and
//! format; here is which type has which, and the rows.

mod interval;
mod nested;
mod scalar;
mod time;
mod zone;

use std::sync::Arc;

use leakpool::exchange::{Column, Format, RawRow};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use self::interval::Intervals;
use self::nested::Elements;
use self::time::{DateOrder, StampOrder};
pub(crate) use self::zone::{Maker, Zone};
use super::context::AdaptContext;
use super::encoding::Encoding;
use super::object::{self, Object};
use super::oids;

/// How values of one type are loaded in one format. With `Text` in front, the variant's format is text where there is
/// also one for binary.
pub(crate) enum Loader {
    /// A text: text types, and in text format all types that have nothing better.
    Text(Encoding),
    /// Binary, of types that have nothing better.
    Bytes,
    TextInt,
    Int2,
    Int4,
    Int8,
    Oid,
    TextFloat,
    Float4,
    Float8,
    TextBool,
    Bool,
    TextNumeric,
    Numeric,
    TextBytea,
    TextJson(Encoding, Py<PyAny>),
    Json(Encoding, Py<PyAny>),
    Jsonb(Encoding, Py<PyAny>),
    TextUuid,
    Uuid,
    TextInet,
    Inet,
    TextCidr,
    Cidr,
    TextDate(DateOrder),
    Date,
    TextTime,
    Time,
    TextTimetz,
    Timetz,
    TextTimestamp(StampOrder),
    Timestamp,
    /// With `DateStyle` if that is not ISO.
    TextTimestamptz(Zone, Option<Arc<str>>),
    Timestamptz(Zone),
    TextInterval(Intervals),
    Interval,
    TextArray(Box<Loader>, u8),
    Array(Box<Elements>),
    TextRecord(Encoding),
    Record(Box<Elements>),
    TextRange(Box<Loader>),
    Range(Box<Loader>),
    TextMultirange(Box<Loader>),
    Multirange(Box<Loader>),
}

impl Loader {
    /// The loader of a type in a format, in the session as it is now.
    ///
    /// # Errors
    /// `NotSupportedError`, `InterfaceError` if the session has an encoding or a style that cannot be read.
    pub(crate) fn new(
        py: Python<'_>,
        oid: u32,
        format: Format,
        context: &AdaptContext<'_>,
    ) -> PyResult<Loader> {
        match format {
            Format::Text => Loader::of_text(py, oid, context),
            Format::Binary => Loader::of_binary(py, oid, context),
        }
    }

    fn of_text(py: Python<'_>, oid: u32, context: &AdaptContext<'_>) -> PyResult<Loader> {
        let encoding = || Encoding::of(py, context);
        let inner = |oid| Loader::of_text(py, oid, context).map(Box::new);
        Ok(match oid {
            oids::TEXT | oids::VARCHAR => Loader::Text(encoding()?),
            oids::INT2 | oids::INT4 | oids::INT8 | oids::OID => Loader::TextInt,
            oids::FLOAT4 | oids::FLOAT8 => Loader::TextFloat,
            oids::BOOL => Loader::TextBool,
            oids::NUMERIC => Loader::TextNumeric,
            oids::BYTEA => Loader::TextBytea,
            oids::JSON | oids::JSONB => Loader::TextJson(encoding()?, context.json_loads(py)?),
            oids::UUID => Loader::TextUuid,
            oids::INET => Loader::TextInet,
            oids::CIDR => Loader::TextCidr,
            oids::DATE => Loader::TextDate(DateOrder::of(py, context)?),
            oids::TIME => Loader::TextTime,
            oids::TIMETZ => Loader::TextTimetz,
            oids::TIMESTAMP => Loader::TextTimestamp(StampOrder::of(py, context)?),
            oids::TIMESTAMPTZ => {
                Loader::TextTimestamptz(Zone::of(py, context)?, time::foreign_style(context))
            }
            oids::INTERVAL => Loader::TextInterval(Intervals::of(context)),
            oids::RECORD => Loader::TextRecord(encoding()?),
            _ => {
                if let Some(subtype) = oids::range_subtype(oid) {
                    Loader::TextRange(inner(subtype)?)
                } else if let Some(subtype) = oids::multirange_subtype(oid) {
                    Loader::TextMultirange(inner(subtype)?)
                } else if let Some(element) = oids::element_of(oid) {
                    Loader::TextArray(inner(element.oid)?, element.delimiter)
                } else {
                    Loader::Text(encoding()?)
                }
            }
        })
    }

    fn of_binary(py: Python<'_>, oid: u32, context: &AdaptContext<'_>) -> PyResult<Loader> {
        let encoding = || Encoding::of(py, context);
        let inner = |oid| Loader::of_binary(py, oid, context).map(Box::new);
        Ok(match oid {
            oids::TEXT | oids::VARCHAR | oids::BPCHAR | oids::NAME | oids::CHAR => Loader::Text(encoding()?),
            oids::INT2 => Loader::Int2,
            oids::INT4 => Loader::Int4,
            oids::INT8 => Loader::Int8,
            oids::OID => Loader::Oid,
            oids::FLOAT4 => Loader::Float4,
            oids::FLOAT8 => Loader::Float8,
            oids::BOOL => Loader::Bool,
            oids::NUMERIC => Loader::Numeric,
            oids::JSON => Loader::Json(encoding()?, context.json_loads(py)?),
            oids::JSONB => Loader::Jsonb(encoding()?, context.json_loads(py)?),
            oids::UUID => Loader::Uuid,
            oids::INET => Loader::Inet,
            oids::CIDR => Loader::Cidr,
            oids::DATE => Loader::Date,
            oids::TIME => Loader::Time,
            oids::TIMETZ => Loader::Timetz,
            oids::TIMESTAMP => Loader::Timestamp,
            oids::TIMESTAMPTZ => Loader::Timestamptz(Zone::of(py, context)?),
            oids::INTERVAL => Loader::Interval,
            oids::RECORD => Loader::Record(Elements::new(context)),
            _ => {
                if let Some(subtype) = oids::range_subtype(oid) {
                    Loader::Range(inner(subtype)?)
                } else if let Some(subtype) = oids::multirange_subtype(oid) {
                    Loader::Multirange(inner(subtype)?)
                } else if oids::element_of(oid).is_some() {
                    Loader::Array(Elements::new(context))
                } else {
                    Loader::Bytes
                }
            }
        })
    }

    /// The object for a value.
    ///
    /// # Errors
    /// `DataError` for what Python's types cannot hold.
    #[inline]
    pub(crate) fn load<'py>(&self, py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
        self.load_with(&mut Maker::new(py), value)
    }

    /// The same, one of many.
    #[inline]
    pub(crate) fn load_with<'py>(&self, maker: &mut Maker<'py>, value: &[u8]) -> PyResult<Object<'py>> {
        let py = maker.py;
        match self {
            Loader::Text(encoding) => encoding.load(py, value),
            Loader::TextInt => scalar::text_int(py, value),
            Loader::TextFloat => scalar::text_float(py, value),
            Loader::TextBool => object::boolean(py, value == b"t"),
            Loader::TextTimestamptz(zone, None) => time::text_timestamptz(maker, value, zone),
            Loader::Int4 => object::int(py, i32::from_be_bytes(scalar::fixed(py, value)?).into()),
            Loader::Int8 => object::int(py, i64::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::Float8 => object::float(py, f64::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::Timestamptz(zone) => {
                time::timestamptz(maker, i64::from_be_bytes(scalar::fixed(py, value)?), zone)
            }
            _ => self.load_rare(maker, value),
        }
    }

    fn load_rare<'py>(&self, maker: &mut Maker<'py>, value: &[u8]) -> PyResult<Object<'py>> {
        let py = maker.py;
        match self {
            Loader::Text(encoding) => encoding.load(py, value),
            Loader::Bytes => object::bytes(py, value),
            Loader::TextInt => scalar::text_int(py, value),
            Loader::Int2 => object::int(py, i16::from_be_bytes(scalar::fixed(py, value)?).into()),
            Loader::Int4 => object::int(py, i32::from_be_bytes(scalar::fixed(py, value)?).into()),
            Loader::Int8 => object::int(py, i64::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::Oid => object::int(py, u32::from_be_bytes(scalar::fixed(py, value)?).into()),
            Loader::TextFloat => scalar::text_float(py, value),
            Loader::Float4 => object::float(py, f32::from_be_bytes(scalar::fixed(py, value)?).into()),
            Loader::Float8 => object::float(py, f64::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::TextBool => object::boolean(py, value == b"t"),
            Loader::Bool => object::boolean(py, value != b"\0"),
            Loader::TextNumeric => scalar::text_numeric(py, value),
            Loader::Numeric => scalar::numeric(py, value),
            Loader::TextBytea => scalar::text_bytea(py, value),
            Loader::TextJson(encoding, loads) | Loader::Json(encoding, loads) => {
                scalar::json(py, value, *encoding, loads)
            }
            Loader::Jsonb(encoding, loads) => scalar::jsonb(py, value, *encoding, loads),
            Loader::TextUuid => scalar::text_uuid(py, value),
            Loader::Uuid => scalar::uuid(py, value),
            Loader::TextInet => scalar::text_inet(py, value),
            Loader::Inet => scalar::inet(py, value),
            Loader::TextCidr => scalar::text_cidr(py, value),
            Loader::Cidr => scalar::cidr(py, value),
            Loader::TextDate(order) => time::text_date(py, value, *order),
            Loader::Date => time::date(py, i32::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::TextTime => time::text_time(py, value),
            Loader::Time => time::time(py, i64::from_be_bytes(scalar::fixed(py, value)?), None),
            Loader::TextTimetz => time::text_timetz(py, value),
            Loader::Timetz => time::timetz(py, value),
            Loader::TextTimestamp(order) => time::text_timestamp(maker, value, *order),
            Loader::Timestamp => time::timestamp(maker, i64::from_be_bytes(scalar::fixed(py, value)?)),
            Loader::TextTimestamptz(zone, None) => time::text_timestamptz(maker, value, zone),
            Loader::TextTimestamptz(_, Some(style)) => Err(time::timestamptz_in(py, value, style)),
            Loader::Timestamptz(zone) => {
                time::timestamptz(maker, i64::from_be_bytes(scalar::fixed(py, value)?), zone)
            }
            Loader::TextInterval(style) => interval::text_interval(py, value, style),
            Loader::Interval => interval::interval(py, value),
            Loader::TextArray(element, delimiter) => nested::text_array(py, value, element, *delimiter),
            Loader::Array(elements) => nested::array(py, value, elements),
            Loader::TextRecord(encoding) => nested::text_record(py, value, *encoding),
            Loader::Record(elements) => nested::record(py, value, elements),
            Loader::TextRange(bound) => nested::text_range(py, value, bound),
            Loader::Range(bound) => nested::range(py, value, bound),
            Loader::TextMultirange(bound) => nested::text_multirange(py, value, bound),
            Loader::Multirange(bound) => nested::multirange(py, value, bound),
        }
    }

    /// Tells the garbage collector what is held.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Loader::TextJson(_, loads) | Loader::Json(_, loads) | Loader::Jsonb(_, loads) => {
                visit.call(loads)
            }
            Loader::TextTimestamptz(zone, _) | Loader::Timestamptz(zone) => zone.traverse(visit),
            Loader::TextArray(inner, _)
            | Loader::TextRange(inner)
            | Loader::Range(inner)
            | Loader::TextMultirange(inner)
            | Loader::Multirange(inner) => inner.traverse(visit),
            Loader::Array(elements) | Loader::Record(elements) => elements.traverse(visit),
            _ => Ok(()),
        }
    }
}

/// How the columns of one result are loaded. Made when the result arrives, used for its rows whenever they are asked
/// for.
pub(crate) struct Loaders {
    columns: Box<[Loader]>,
}

impl Loaders {
    /// For these columns, in the session as it is now.
    ///
    /// # Errors
    /// As for [`Loader::new`].
    pub(crate) fn new(py: Python<'_>, columns: &[Column], context: &AdaptContext<'_>) -> PyResult<Loaders> {
        let loader = |column: &Column| Loader::new(py, column.type_oid, column.format, context);
        Ok(Loaders { columns: columns.iter().map(loader).collect::<PyResult<_>>()? })
    }

    /// For types that somebody names, all in one format (COPY).
    ///
    /// # Errors
    /// As for [`Loader::new`].
    pub(crate) fn of_types(
        py: Python<'_>,
        types: &[u32],
        format: Format,
        context: &AdaptContext<'_>,
    ) -> PyResult<Loaders> {
        let loader = |oid: &u32| Loader::new(py, *oid, format, context);
        Ok(Loaders { columns: types.iter().map(loader).collect::<PyResult<_>>()? })
    }

    /// How many columns there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// A tuple of values that come in order; those that do not come are `None`.
    ///
    /// # Errors
    /// What the first value that cannot be loaded gives.
    #[inline]
    pub(crate) fn values<'py, 'v>(
        &self,
        maker: &mut Maker<'py>,
        mut values: impl Iterator<Item = Option<&'v [u8]>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let py = maker.py;
        let mut loaders = self.columns.iter();
        object::tuple(py, self.columns.len(), |_| match (values.next().flatten(), loaders.next()) {
            (Some(value), Some(loader)) => loader.load_with(maker, value),
            _ => Ok(py.None().into_bound(py)),
        })
    }

    /// A list of rows, as tuples.
    ///
    /// # Errors
    /// As for [`values`](Loaders::values).
    pub(crate) fn rows<'py>(&self, py: Python<'py>, rows: &[RawRow]) -> PyResult<Bound<'py, PyList>> {
        let mut maker = Maker::new(py);
        let mut rest = rows.iter();
        object::list(py, rows.len(), |_| match rest.next() {
            Some(row) => self.values(&mut maker, row.iter()).map(Bound::into_any),
            None => Ok(py.None().into_bound(py)),
        })
    }

    /// Tells the garbage collector what is held.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.columns.iter().try_for_each(|loader| loader.traverse(visit))
    }
}
