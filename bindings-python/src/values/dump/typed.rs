//! Writes binary values of a type that another caller named: the elements of a binary array, the bounds of a range whose
//! class says its type, and what COPY was told to expect. The server casts nothing there.

use leakpool::exchange::Format;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::kinds::{Kind, kind_of};
use super::{Dumper, Want, scalar, time};
use crate::values::errors::{data_error, programming_error};
use crate::values::load::Zone;
use crate::values::oids;

/// An element of a binary array whose elements are of this type; 0 = texts.
pub(super) fn write_element(
    dumper: &Dumper<'_>,
    item: &Bound<'_, PyAny>,
    element: u32,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    match (element, kind_of(item)?) {
        // Whole numbers are all of the largest one's size.
        (
            oids::INT2 | oids::INT4 | oids::INT8 | oids::OID | oids::NUMERIC,
            Some(Kind::Int | Kind::IntOf(_) | Kind::IntNumeric),
        ) => scalar::int_of(item, element, Format::Binary, out).map(drop),
        _ => {
            let (written, _) = dumper.write(item, Want::Binary, out)?;
            // Texts and what is sent as texts; otherwise the server would take the one's bytes for the other.
            if written != element && !(matches!(written, 0 | oids::TEXT) && matches!(element, 0 | oids::TEXT))
            {
                return Err(data_error(
                    item.py(),
                    match element {
                        oids::TIMETZ => "cannot calculate the offset of tzinfo 'None' without a date",
                        _ => {
                            "cannot dump lists of mixed types: some of its times have a time zone, others have none"
                        }
                    },
                ));
            }
            Ok(())
        }
    }
}

/// A bound of a range of this type.
pub(super) fn write_bound(
    dumper: &Dumper<'_>,
    item: &Bound<'_, PyAny>,
    bound: u32,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    write_typed(dumper, item, bound, Format::Binary, out)
}

/// A value that is not `None`, as this type.
///
/// # Errors
/// `ProgrammingError` for a type that has no dumper, `DataError` for a value that the type cannot have.
pub(crate) fn write_typed(
    dumper: &Dumper<'_>,
    item: &Bound<'_, PyAny>,
    oid: u32,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    let py = item.py();
    let known = oids::builtin(oid).is_some() || oids::element_of(oid).is_some();
    if !known {
        let format = if format == Format::Text { "TEXT" } else { "BINARY" };
        return Err(programming_error(
            py,
            format!("cannot find a dumper for unknown type with oid {oid} format {format}"),
        ));
    }
    if format == Format::Text {
        // The server reads it as the type that it knows.
        return dumper.write(item, Want::Text, out).map(drop);
    }
    let kind = kind_of(item)?;
    let wrong = || {
        let class = item.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        let name = oids::builtin(oid).or_else(|| oids::element_of(oid)).map_or("?", |one| one.name);
        let array = if oids::builtin(oid).is_none() { "[]" } else { "" };
        data_error(py, format!("cannot dump {class} as {name}{array} in binary format"))
    };
    match (oid, kind) {
        (
            oids::INT2 | oids::INT4 | oids::INT8 | oids::OID,
            Some(Kind::Int | Kind::IntOf(_) | Kind::IntNumeric | Kind::Bool),
        ) => {
            scalar::int_of(item, oid, Format::Binary, out)?;
        }
        (oids::NUMERIC, Some(Kind::Decimal)) => {
            scalar::decimal(item, Format::Binary, out)?;
        }
        (oids::NUMERIC, Some(Kind::Int | Kind::IntOf(_) | Kind::IntNumeric)) => {
            scalar::int_of(item, oid, Format::Binary, out)?;
        }
        (
            oids::FLOAT4 | oids::FLOAT8,
            Some(Kind::Float | Kind::FloatOf(_) | Kind::Int | Kind::IntOf(_) | Kind::Decimal),
        ) => {
            scalar::float(item, oid, Format::Binary, out)?;
        }
        (oids::TEXT | oids::VARCHAR | oids::NAME | oids::BPCHAR | oids::CHAR, Some(Kind::Str)) => {
            dumper.encoding.dump(item, out)?;
        }
        (oids::BOOL, Some(Kind::Bool | Kind::NumpyBool)) => {
            scalar::boolean(item.is_truthy()?, Format::Binary, out);
        }
        (oids::JSON, Some(Kind::Json | Kind::Jsonb)) | (oids::JSONB, Some(Kind::Json | Kind::Jsonb)) => {
            scalar::json(item, oid, dumper.encoding, Format::Binary, out)?;
        }
        (
            oids::JSON | oids::JSONB,
            Some(Kind::Dict | Kind::List | Kind::Str | Kind::Int | Kind::Float | Kind::Bool),
        ) => {
            scalar::plain_json(item, oid, dumper.encoding, Format::Binary, out)?;
        }
        (oids::TIMESTAMP, Some(Kind::Datetime)) => {
            let plain = pyo3::types::PyDict::new(py);
            plain.set_item("tzinfo", py.None())?;
            let naive = item.call_method("replace", (), Some(&plain))?;
            time::datetime(&naive, Format::Binary, out)?;
        }
        (oids::TIMESTAMPTZ, Some(Kind::Datetime)) => {
            let aware = if item.getattr("tzinfo")?.is_none() {
                let zone = pyo3::types::PyDict::new(py);
                zone.set_item("tzinfo", Zone::of(py, dumper.context)?.tzinfo(py))?;
                item.call_method("replace", (), Some(&zone))?
            } else {
                item.clone()
            };
            time::datetime(&aware, Format::Binary, out)?;
        }
        (oids::BYTEA, Some(Kind::Bytes | Kind::Binary))
        | (oids::DATE, Some(Kind::Date))
        | (oids::TIME | oids::TIMETZ, Some(Kind::Time))
        | (oids::INTERVAL, Some(Kind::Timedelta))
        | (oids::UUID, Some(Kind::Uuid))
        | (oids::INET, Some(Kind::Address | Kind::Interface))
        | (oids::CIDR, Some(Kind::Network)) => {
            let (written, _) = dumper.write(item, Want::Binary, out)?;
            // A `time` with a zone is no `time`, and the other way round.
            if written != oid {
                return Err(wrong());
            }
        }
        (_, Some(Kind::Range | Kind::RangeOf(..))) => {
            let bound = oids::range_subtype(oid).ok_or_else(wrong)?;
            dumper.binary_range(item, out, &mut |item, out| write_bound(dumper, item, bound, out))?;
        }
        (_, Some(Kind::Multirange | Kind::MultirangeOf(..))) => {
            let bound = oids::multirange_subtype(oid).ok_or_else(wrong)?;
            dumper.binary_multirange(item, out, &mut |item, out| write_bound(dumper, item, bound, out))?;
        }
        (_, Some(Kind::List)) => {
            let element = oids::element_of(oid).ok_or_else(wrong)?.oid;
            let list = item.cast::<PyList>()?;
            dumper.write_array(list, element, out, &mut |item, out| {
                write_typed(dumper, item, element, Format::Binary, out)
            })?;
        }
        _ => return Err(wrong()),
    }
    Ok(())
}
