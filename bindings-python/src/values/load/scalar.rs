//! Loaders of numbers, texts, bytes, JSON, UUIDs and network addresses.

use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::values::classes::{Addresses, Classes, Uuid, name};
use crate::values::encoding::Encoding;
use crate::values::errors::data_error;
use crate::values::object::{self, Object};

/// A value that must have exactly this size.
#[inline]
pub(super) fn fixed<const N: usize>(py: Python<'_>, value: &[u8]) -> PyResult<[u8; N]> {
    value
        .try_into()
        .map_err(|_| data_error(py, format!("a binary value of {} bytes instead of {N}", value.len())))
}

/// As Python shows a text, for messages.
pub(super) fn shown(py: Python<'_>, value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    match pyo3::types::PyString::new(py, &text).repr() {
        Ok(shown) => shown.to_string(),
        Err(_) => format!("'{text}'"),
    }
}

/// What `int()` makes of it.
#[inline]
pub(super) fn text_int<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // 18 digits cannot overflow.
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return long_int(py, value);
    }
    let mut number = 0i64;
    for digit in digits {
        number = number * 10 + i64::from(digit - b'0');
    }
    object::int(py, if negative { -number } else { number })
}

#[cold]
fn long_int<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    if let Some(number) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
        return object::int(py, number);
    }
    let text = object::utf8(py, value)?;
    object::call1(Classes::get(py)?.int.bind(py), &text)
}

/// What `float()` makes of it.
#[inline]
pub(super) fn text_float<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    match std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) {
        Some(number) => object::float(py, number),
        None => Err(data_error(py, format!("could not convert string to float: {}", shown(py, value)))),
    }
}

/// A `Decimal`.
pub(super) fn text_numeric<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let text = object::utf8(py, value)?;
    object::call1(Classes::get(py)?.decimal.bind(py), &text)
}

/// A `Decimal` from base-10,000 digits: by way of its text, which gives it the exponent that the server shows.
pub(super) fn numeric<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let mut words = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (Some(count), Some(weight), Some(sign), Some(scale)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(data_error(py, "a binary numeric that is too short"));
    };
    let negative = match sign {
        0x0000 => false,
        0x4000 => true,
        0xC000 => return text_numeric(py, b"NaN"),
        0xD000 => return text_numeric(py, b"Infinity"),
        0xF000 => return text_numeric(py, b"-Infinity"),
        _ => return Err(data_error(py, format!("bad value for numeric sign: 0x{sign:X}"))),
    };
    let digits: Vec<u16> = words.take(usize::from(count)).collect();
    let weight = i32::from(weight.cast_signed());
    let mut text = Vec::with_capacity(digits.len() * 4 + usize::from(scale) + 8);
    if negative {
        text.push(b'-');
    }
    let digit = |place: i32| {
        usize::try_from(weight - place).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let begin = text.len();
    for place in (0..=weight).rev() {
        push_four(&mut text, digit(place));
    }
    let zeros =
        text[begin..].iter().take_while(|c| **c == b'0').count().min((text.len() - begin).saturating_sub(1));
    text.drain(begin..begin + zeros);
    if text.len() == begin {
        text.push(b'0');
    }
    if scale > 0 {
        text.push(b'.');
        let point = text.len();
        let mut place = -1;
        while text.len() - point < usize::from(scale) {
            push_four(&mut text, digit(place));
            place -= 1;
        }
        text.truncate(point + usize::from(scale));
    }
    text_numeric(py, &text)
}

fn push_four(text: &mut Vec<u8>, digit: u16) {
    for power in [1000, 100, 10, 1] {
        // Each is one decimal digit, so it fits.
        text.push(b'0' + u8::try_from(digit / power % 10).unwrap_or(0));
    }
}

/// `bytes` from `bytea_output`'s `hex` or `escape`.
pub(super) fn text_bytea<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let bad = || data_error(py, "malformed bytea");
    let mut out = Vec::with_capacity(value.len() / 2);
    if let Some(hex) = value.strip_prefix(b"\\x") {
        for pair in hex.chunks(2) {
            let &[high, low] = pair else { return Err(bad()) };
            out.push(nibble(high).zip(nibble(low)).map(|(high, low)| high << 4 | low).ok_or_else(bad)?);
        }
        return object::bytes(py, &out);
    }
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (b'\\', _) => return Err(bad()),
            (byte, tail) => {
                out.push(*byte);
                tail
            }
        };
    }
    object::bytes(py, &out)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// What the JSON function makes of the text.
pub(super) fn json<'py>(
    py: Python<'py>,
    value: &[u8],
    encoding: Encoding,
    loads: &Py<PyAny>,
) -> PyResult<Object<'py>> {
    object::call1(loads.bind(py), &encoding.load(py, value)?)
}

/// Binary `jsonb`: a version, and the text.
pub(super) fn jsonb<'py>(
    py: Python<'py>,
    value: &[u8],
    encoding: Encoding,
    loads: &Py<PyAny>,
) -> PyResult<Object<'py>> {
    match value {
        [1, text @ ..] => json(py, text, encoding, loads),
        [version, ..] => Err(data_error(py, format!("unknown jsonb binary format: {version}"))),
        [] => Err(data_error(py, "a binary jsonb without a version")),
    }
}

/// A `UUID` from its 36 characters.
pub(super) fn text_uuid<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let mut number = 0u128;
    let mut digits = 0;
    for byte in value.iter().filter(|byte| **byte != b'-') {
        let digit = nibble(*byte)
            .ok_or_else(|| data_error(py, format!("badly formed uuid: {}", shown(py, value))))?;
        number = number << 4 | u128::from(digit);
        digits += 1;
    }
    if digits != 32 {
        return Err(data_error(py, format!("badly formed uuid: {}", shown(py, value))));
    }
    make_uuid(py, number)
}

/// A `UUID` from its 16 bytes.
pub(super) fn uuid<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    make_uuid(py, u128::from_be_bytes(fixed(py, value)?))
}

/// As `UUID.__init__` does, which is written in Python and slow: it sets these two slots.
fn make_uuid(py: Python<'_>, number: u128) -> PyResult<Object<'_>> {
    let classes = Classes::get(py)?;
    let Uuid { uuid, unknown } = Uuid::get(py)?;
    let object = object::call1(classes.object_new.bind(py), uuid.bind(py))?;
    let number: Bound<'_, PyInt> = number.into_pyobject(py)?;
    object::set_plainly(&object, name::int(py), number.as_any())?;
    object::set_plainly(&object, name::is_safe(py), unknown.bind(py))?;
    Ok(object)
}

/// An address, or an interface if it has a mask.
pub(super) fn text_inet<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let classes = Addresses::get(py)?;
    let class = match (value.contains(&b'/'), value.contains(&b':')) {
        (true, _) => &classes.interface,
        (false, false) => &classes.v4_address,
        (false, true) => &classes.v6_address,
    };
    object::call1(class.bind(py), &object::utf8(py, value)?)
}

/// A network.
pub(super) fn text_cidr<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    object::call1(Addresses::get(py)?.network.bind(py), &object::utf8(py, value)?)
}

/// Family, prefix and packed address of a binary `inet` or `cidr`.
fn packed<'v>(py: Python<'_>, value: &'v [u8]) -> PyResult<(u8, &'v [u8])> {
    match value {
        [2, prefix, _, 4, packed @ ..] if packed.len() == 4 => Ok((*prefix, packed)),
        [3, prefix, _, 16, packed @ ..] if packed.len() == 16 => Ok((*prefix, packed)),
        _ => Err(data_error(py, "malformed binary network address")),
    }
}

/// An address, or an interface if its mask is shorter than it.
pub(super) fn inet<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let classes = Addresses::get(py)?;
    let (prefix, packed) = packed(py, value)?;
    let address = object::bytes(py, packed)?;
    let class = match (packed.len(), prefix) {
        (4, 32) => &classes.v4_address,
        (16, 128) => &classes.v6_address,
        (4, _) => &classes.v4_interface,
        _ => &classes.v6_interface,
    };
    if usize::from(prefix) == packed.len() * 8 {
        return object::call1(class.bind(py), &address);
    }
    let pair = (address, prefix).into_pyobject(py)?.into_any();
    object::call1(class.bind(py), &pair)
}

/// A network.
pub(super) fn cidr<'py>(py: Python<'py>, value: &[u8]) -> PyResult<Object<'py>> {
    let classes = Addresses::get(py)?;
    let (prefix, packed) = packed(py, value)?;
    let class = if packed.len() == 4 { &classes.v4_network } else { &classes.v6_network };
    let pair = (object::bytes(py, packed)?, prefix).into_pyobject(py)?.into_any();
    object::call1(class.bind(py), &pair)
}
