//! Writes numbers, texts, bytes, JSON, UUIDs and network addresses.

use leakpool::exchange::Format;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};

use crate::values::encoding::Encoding;
use crate::values::errors::data_error;
use crate::values::json::dumps;
use crate::values::object;
use crate::values::oids;

/// What `str()` makes of it.
pub(super) fn text(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    out.extend_from_slice(object.str()?.to_str()?.as_bytes());
    Ok(())
}

/// Refuses a text with NUL bytes, which the server's texts cannot have.
pub(super) fn no_nul(py: Python<'_>, text: &[u8]) -> PyResult<()> {
    match text.contains(&0) {
        true => Err(data_error(py, "PostgreSQL text fields cannot contain NUL (0x00) bytes")),
        false => Ok(()),
    }
}

/// `t` and `f`, or one byte.
pub(super) fn boolean(value: bool, format: Format, out: &mut Vec<u8>) -> u32 {
    out.push(match format {
        Format::Text if value => b't',
        Format::Text => b'f',
        Format::Binary => value.into(),
    });
    oids::BOOL
}

/// An `int`, in the smallest type that it fits.
pub(super) fn int(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<(u32, Format)> {
    let oid = match object::as_i64(object)? {
        Some(value) => {
            let oid = int_oid(value);
            match (oid, format) {
                (_, Format::Text) => out.extend_from_slice(value.to_string().as_bytes()),
                (oids::INT2, _) => out.extend(value.to_be_bytes().iter().skip(6)),
                (oids::INT4, _) => out.extend(value.to_be_bytes().iter().skip(4)),
                _ => out.extend_from_slice(&value.to_be_bytes()),
            }
            oid
        }
        None => {
            match format {
                Format::Text => whole_text(object, out)?,
                Format::Binary => whole_numeric(object, out)?,
            }
            oids::NUMERIC
        }
    };
    Ok((oid, format))
}

/// The smallest type of a whole number.
pub(super) fn int_oid(value: i64) -> u32 {
    if i16::try_from(value).is_ok() {
        oids::INT2
    } else if i32::try_from(value).is_ok() {
        oids::INT4
    } else {
        oids::INT8
    }
}

/// A whole number, as this type.
pub(super) fn int_of(
    object: &Bound<'_, PyAny>,
    oid: u32,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    if format == Format::Text {
        whole_text(object, out)?;
        return Ok(oid);
    }
    if oid == oids::NUMERIC {
        whole_numeric(object, out)?;
        return Ok(oid);
    }
    let value = object::as_i64(object)?;
    let fits = |range: std::ops::RangeInclusive<i64>| value.filter(|value| range.contains(value));
    let written = match oid {
        oids::INT2 => fits(i16::MIN.into()..=i16::MAX.into())
            .map(|value| out.extend(value.to_be_bytes().iter().skip(6))),
        oids::INT4 => fits(i32::MIN.into()..=i32::MAX.into())
            .map(|value| out.extend(value.to_be_bytes().iter().skip(4))),
        oids::OID => fits(0..=u32::MAX.into()).map(|value| out.extend(value.to_be_bytes().iter().skip(4))),
        _ => value.map(|value| out.extend_from_slice(&value.to_be_bytes())),
    };
    let name = oids::builtin(oid).map_or("?", |one| one.name);
    written
        .ok_or_else(|| data_error(object.py(), format!("integer out of range for type {name}: {object}")))?;
    Ok(oid)
}

/// `str(int(object))`: the class may have a `__str__` of its own, as an `IntEnum` has.
fn whole_text(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    if let Some(value) = object::as_i64(object)? {
        out.extend_from_slice(value.to_string().as_bytes());
        return Ok(());
    }
    let digits = whole_digits(object)?;
    if is_negative(object)? {
        out.push(b'-');
    }
    for (index, digit) in digits.iter().enumerate() {
        let text = if index == 0 { digit.to_string() } else { format!("{digit:04}") };
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

fn is_negative(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object.lt(0)
}

/// The most base-10,000 digits that a numeric has before its point.
const MAX_DIGITS: usize = 32_768;

/// The base-10,000 digits of a whole number without its sign, the highest first. By way of its hexadecimal digits:
/// Python limits how long a number it shows in decimal.
fn whole_digits(object: &Bound<'_, PyAny>) -> PyResult<Vec<u16>> {
    let py = object.py();
    let hex = py.import("builtins")?.call_method1("format", (object.call_method0("__abs__")?, "x"))?;
    let hex = hex.cast::<PyString>()?.to_str()?.as_bytes();
    // Two digits at a time, the lowest first.
    const BASE: u64 = 100_000_000;
    let mut pairs: Vec<u64> = Vec::with_capacity(hex.len() / 6 + 1);
    // The first piece may be shorter, so that the others have 8 digits.
    let (head, rest) = hex.split_at(hex.len() % 8);
    for piece in std::iter::once(head).chain(rest.chunks(8)).filter(|piece| !piece.is_empty()) {
        let mut carry = 0u64;
        for digit in piece {
            carry = carry << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0));
        }
        for pair in &mut pairs {
            let value = (*pair << 32) + carry;
            *pair = value % BASE;
            carry = value / BASE;
        }
        while carry > 0 {
            pairs.push(carry % BASE);
            carry /= BASE;
        }
        if pairs.len() * 2 > MAX_DIGITS + 2 {
            return Err(too_large(py));
        }
    }
    let mut digits: Vec<u16> = Vec::with_capacity(pairs.len() * 2);
    for pair in pairs.iter().rev() {
        // Both are less than 10,000.
        digits.push(u16::try_from(pair / 10_000).unwrap_or(0));
        digits.push(u16::try_from(pair % 10_000).unwrap_or(0));
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros.min(digits.len().saturating_sub(1)));
    if digits.len() > MAX_DIGITS {
        return Err(too_large(py));
    }
    Ok(digits)
}

fn too_large(py: Python<'_>) -> PyErr {
    data_error(
        py,
        format!(
            "integer too large for PostgreSQL numeric binary format (maximum {MAX_DIGITS} base-10000 digits)"
        ),
    )
}

/// Count, weight, sign and scale of a binary numeric.
fn numeric_head(count: usize, weight: i64, negative: bool, scale: usize, out: &mut Vec<u8>) {
    // The callers have checked that these fit.
    out.extend_from_slice(&u16::try_from(count).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&i16::try_from(weight).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&(if negative { 0x4000u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&u16::try_from(scale).unwrap_or(0).to_be_bytes());
}

fn whole_numeric(object: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> PyResult<()> {
    let digits = whole_digits(object)?;
    // Less than MAX_DIGITS, so it fits.
    let weight = i64::try_from(digits.len()).unwrap_or(0) - 1;
    numeric_head(digits.len(), weight, is_negative(object)?, 0, out);
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
    Ok(())
}

/// A floating point number.
pub(super) fn float(object: &Bound<'_, PyAny>, oid: u32, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let value: f64 = object.extract()?;
    if format == Format::Text {
        // Of a subclass too, the number itself: its own `str()` may say something else.
        text(pyo3::types::PyFloat::new(object.py(), value).as_any(), out)?;
        return Ok(oid);
    }
    if oid != oids::FLOAT4 {
        out.extend_from_slice(&value.to_be_bytes());
        return Ok(oid);
    }
    #[expect(clippy::cast_possible_truncation, reason = "that is what the caller asks for")]
    let small = value as f32;
    if small.is_infinite() && value.is_finite() {
        return Err(data_error(object.py(), format!("float too large for type float4: {object}")));
    }
    out.extend_from_slice(&small.to_be_bytes());
    Ok(oid)
}

/// A `Decimal`.
pub(super) fn decimal(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let nan: bool = object.call_method0("is_nan")?.is_truthy()?;
    match format {
        Format::Text if nan => out.extend_from_slice(b"NaN"),
        Format::Text => text(object, out)?,
        Format::Binary => decimal_numeric(object, nan, out)?,
    }
    Ok(oids::NUMERIC)
}

/// As the server would read its text.
fn decimal_numeric(object: &Bound<'_, PyAny>, nan: bool, out: &mut Vec<u8>) -> PyResult<()> {
    let py = object.py();
    if nan {
        out.extend_from_slice(&[0, 0, 0, 0, 0xC0, 0, 0, 0]);
        return Ok(());
    }
    let (sign, digits, exponent): (u8, Vec<u8>, Bound<'_, PyAny>) =
        object.call_method0("as_tuple")?.extract()?;
    let Ok(exponent) = exponent.extract::<i64>() else {
        out.extend_from_slice(&[0, 0, 0, 0, if sign == 0 { 0xD0 } else { 0xF0 }, 0, 0, 0]);
        return Ok(());
    };
    let scale = usize::try_from(-exponent).unwrap_or(0);
    if scale > 0x3FFF {
        return Err(data_error(
            py,
            "decimal too precise for PostgreSQL numeric binary format (maximum 16383 digits after the decimal point)",
        ));
    }
    let significant = digits.len() - digits.iter().rev().take_while(|digit| **digit == 0).count();
    if significant == 0 {
        numeric_head(0, 0, false, scale, out);
        return Ok(());
    }
    // Where the first digit stands, as a power of ten, and the power of 10,000 that it belongs to.
    let first = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(exponent) - 1;
    let weight = first.div_euclid(4);
    if weight >= 0x8000 {
        return Err(data_error(
            py,
            format!(
                "decimal too large for PostgreSQL numeric binary format (maximum {MAX_DIGITS} base-10000 digits)"
            ),
        ));
    }
    let before = 3 - first.rem_euclid(4);
    let padded = std::iter::repeat_n(0u8, usize::try_from(before).unwrap_or(0))
        .chain(digits.into_iter().take(significant));
    let padded: Vec<u8> = padded.collect();
    numeric_head(padded.len().div_ceil(4), weight, sign != 0, scale, out);
    for four in padded.chunks(4) {
        let mut digit = 0u16;
        for index in 0..4 {
            digit = digit * 10 + u16::from(four.get(index).copied().unwrap_or(0));
        }
        out.extend_from_slice(&digit.to_be_bytes());
    }
    Ok(())
}

/// `bytes`, `bytearray`, or another buffer.
pub(super) fn bytes(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let mut write = |bytes: &[u8]| match format {
        Format::Binary => out.extend_from_slice(bytes),
        Format::Text => {
            out.extend_from_slice(b"\\x");
            for byte in bytes {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend([byte >> 4, byte & 15].iter().filter_map(|nibble| HEX.get(usize::from(*nibble))));
            }
        }
    };
    if let Ok(bytes) = object.cast::<PyBytes>() {
        write(bytes.as_bytes());
    } else if let Ok(array) = object.cast::<PyByteArray>() {
        write(&array.to_vec());
    } else {
        let py = object.py();
        let copy = py.get_type::<PyBytes>().call1((object,)).map_err(|e| {
            match e.is_instance_of::<PyTypeError>(py) {
                true => data_error(py, format!("a bytes-like object is required: {}", e.value(py))),
                false => e,
            }
        })?;
        write(copy.cast::<PyBytes>()?.as_bytes());
    }
    Ok(oids::BYTEA)
}

/// A `UUID`.
pub(super) fn uuid(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    let number: u128 = object.getattr("int")?.extract()?;
    match format {
        Format::Text => out.extend_from_slice(format!("{number:032x}").as_bytes()),
        Format::Binary => out.extend_from_slice(&number.to_be_bytes()),
    }
    Ok(oids::UUID)
}

/// Family, mask, kind, length and bytes of an address.
fn packed(
    address: &Bound<'_, PyAny>,
    mask: &Bound<'_, PyAny>,
    network: bool,
    out: &mut Vec<u8>,
) -> PyResult<()> {
    let packed = address.getattr("packed")?;
    let packed = packed.cast::<PyBytes>()?.as_bytes();
    let length =
        u8::try_from(packed.len()).map_err(|_| PyOverflowError::new_err("an address that is too long"))?;
    out.extend_from_slice(&[if length == 4 { 2 } else { 3 }, mask.extract()?, network.into(), length]);
    out.extend_from_slice(packed);
    Ok(())
}

/// An address, or an interface.
pub(super) fn address(
    object: &Bound<'_, PyAny>,
    interface: bool,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    match format {
        Format::Text => text(object, out)?,
        Format::Binary if interface => {
            packed(object, &object.getattr("network")?.getattr("prefixlen")?, false, out)?
        }
        Format::Binary => packed(object, &object.getattr("max_prefixlen")?, false, out)?,
    }
    Ok(oids::INET)
}

/// A network.
pub(super) fn network(object: &Bound<'_, PyAny>, format: Format, out: &mut Vec<u8>) -> PyResult<u32> {
    match format {
        Format::Text => text(object, out)?,
        Format::Binary => {
            packed(&object.getattr("network_address")?, &object.getattr("prefixlen")?, true, out)?
        }
    }
    Ok(oids::CIDR)
}

/// A `Json` or `Jsonb`.
pub(super) fn json(
    object: &Bound<'_, PyAny>,
    oid: u32,
    encoding: Encoding,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    let function = object.getattr("dumps")?;
    let function = if function.is_none() { dumps(object.py())?.into_bound(object.py()) } else { function };
    write_json(&function, &object.getattr("obj")?, oid, encoding, format, out)
}

/// Whatever JSON can say, a `dict` above all.
pub(super) fn plain_json(
    object: &Bound<'_, PyAny>,
    oid: u32,
    encoding: Encoding,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    let function = dumps(object.py())?.into_bound(object.py());
    write_json(&function, object, oid, encoding, format, out)
}

fn write_json(
    function: &Bound<'_, PyAny>,
    object: &Bound<'_, PyAny>,
    oid: u32,
    encoding: Encoding,
    format: Format,
    out: &mut Vec<u8>,
) -> PyResult<u32> {
    if (oid, format) == (oids::JSONB, Format::Binary) {
        out.push(1);
    }
    let json = function.call1((object,))?;
    match json.cast::<PyBytes>() {
        Ok(bytes) => out.extend_from_slice(bytes.as_bytes()),
        Err(_) => encoding.dump(&json, out)?,
    }
    Ok(oid)
}
