//! Dumpers: parameters from objects, with the OIDs and formats that psycopg 3 chooses. Here is which kind of object has
//! which, and what the connection calls; `kinds` tells kinds by class; `scalar`, `time`, `nested`, `ranges` write the values;
//! `typed` writes for a type that another caller named (COPY).

mod kinds;
mod nested;
mod ranges;
mod scalar;
mod time;
mod typed;

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use leakpool::exchange::{Format, Param};
use pyo3::prelude::*;

use self::kinds::{Kind, kind_of};
use super::context::AdaptContext;
use super::encoding::Encoding;
use super::errors::{data_error, programming_error};
use super::oids;

pub(crate) use self::typed::write_typed;

/// The format that a placeholder asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// `%s`: what suits the type.
    Auto,
    /// `%t`
    Text,
    /// `%b`
    Binary,
}

impl Want {
    /// By the placeholder's letter.
    pub(crate) fn of(letter: u8) -> Option<Want> {
        match letter {
            b's' => Some(Want::Auto),
            b't' => Some(Want::Text),
            b'b' => Some(Want::Binary),
            _ => None,
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            Want::Auto => "using placeholder '%s' (format: AUTO)",
            Want::Text => "using placeholder '%t' (format: TEXT)",
            Want::Binary => "using placeholder '%b' (format: BINARY)",
        }
    }
}

/// A session as dumpers see it.
pub(crate) struct Dumper<'a> {
    /// The encoding of its texts.
    encoding: Encoding,
    context: &'a AdaptContext<'a>,
    /// How many lists, tuples and ranges the value that is written lies in.
    depth: Cell<usize>,
}

/// Lists may lie in each other this deep. The server allows arrays 6 dimensions; far deeper, they contain themselves.
const DEPTH: usize = 100;

/// As many levels does a tuple or a range count for: each of them may double the escapes of what lies in it.
const COMPOSITE: usize = 10;

/// So many levels, until it is dropped.
struct Level<'a>(&'a Cell<usize>, usize);

impl Drop for Level<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(self.1));
    }
}

/// A type and a format.
type Typed = (u32, Format);

impl<'a> Dumper<'a> {
    /// For the session as it is now.
    ///
    /// # Errors
    /// `NotSupportedError` for an encoding that Python does not have.
    pub(crate) fn new(py: Python<'_>, context: &'a AdaptContext<'a>) -> PyResult<Dumper<'a>> {
        Ok(Dumper { encoding: Encoding::of(py, context)?, context, depth: Cell::new(0) })
    }

    /// True if intervals are written and read with a sign for each of their parts.
    fn signed_intervals(&self) -> bool {
        self.context.parameter("IntervalStyle").is_some_and(|style: Arc<str>| &*style == "sql_standard")
    }

    /// Goes so many levels deeper.
    fn enter(&self, py: Python<'_>, levels: usize) -> PyResult<Level<'_>> {
        if self.depth.get() + levels > DEPTH {
            return Err(data_error(
                py,
                match levels {
                    1 => "cannot dump a recursive list".to_owned(),
                    _ => format!(
                        "cannot dump tuples or ranges that are nested more than {} deep",
                        DEPTH / COMPOSITE
                    ),
                },
            ));
        }
        self.depth.set(self.depth.get() + levels);
        Ok(Level(&self.depth, levels))
    }

    fn kind(&self, object: &Bound<'_, PyAny>, want: Want) -> PyResult<Kind> {
        match kind_of(object)? {
            Some(kind) if kind != Kind::Null => Ok(kind),
            _ => Err(self.refuse(object, want)),
        }
    }

    fn refuse(&self, object: &Bound<'_, PyAny>, want: Want) -> PyErr {
        let py = object.py();
        let class = object.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        programming_error(py, format!("cannot adapt type '{class}' {}", want.refusal()))
    }

    /// Appends an object that is not `None`, and tells its type and format.
    ///
    /// # Errors
    /// `ProgrammingError` for a type that cannot be adapted, `DataError` for a value that the type cannot have.
    pub(crate) fn write(&self, object: &Bound<'_, PyAny>, want: Want, out: &mut Vec<u8>) -> PyResult<Typed> {
        self.write_kind(self.kind(object, want)?, object, want, out)
    }

    /// The type that an object would be sent as.
    fn type_of(&self, object: &Bound<'_, PyAny>, want: Want) -> PyResult<u32> {
        Ok(match self.kind(object, want)? {
            Kind::Str if want == Want::Binary => oids::TEXT,
            Kind::Str | Kind::Tuple | Kind::List | Kind::Enum => 0,
            Kind::Json => oids::JSON,
            Kind::Jsonb | Kind::Dict => oids::JSONB,
            Kind::Bytes | Kind::Binary => oids::BYTEA,
            Kind::RangeOf(oid, _) | Kind::MultirangeOf(oid, _) => oid,
            Kind::Range => self.range_type(object, want)?.0,
            Kind::Multirange => self.multirange_type(object, want)?.0,
            // The others are small, and some depend on the value.
            kind => self.write_kind(kind, object, want, &mut Vec::new())?.0,
        })
    }

    fn write_kind(
        &self,
        kind: Kind,
        object: &Bound<'_, PyAny>,
        want: Want,
        out: &mut Vec<u8>,
    ) -> PyResult<Typed> {
        // Those that go in binary unless text is asked for.
        let binary = want != Want::Text;
        let format = if binary { Format::Binary } else { Format::Text };
        // Those that go as text unless binary is asked for.
        let rather_text = if want == Want::Binary { Format::Binary } else { Format::Text };
        let oid = match kind {
            Kind::Null => return Err(self.refuse(object, want)),
            Kind::Str => return self.string(object, want, out),
            Kind::Int => return scalar::int(object, format, out),
            Kind::Float => scalar::float(object, oids::FLOAT8, format, out)?,
            Kind::Bool => scalar::boolean(object.is_truthy()?, format, out),
            Kind::NumpyBool => scalar::boolean(object.is_truthy()?, format, out),
            Kind::IntOf(oid) => scalar::int_of(object, oid, format, out)?,
            Kind::IntNumeric if want == Want::Binary => return scalar::int(object, Format::Binary, out),
            Kind::IntNumeric => {
                return Ok((scalar::int_of(object, oids::NUMERIC, Format::Text, out)?, Format::Text));
            }
            Kind::FloatOf(oid) => scalar::float(object, oid, format, out)?,
            Kind::Decimal => return Ok((scalar::decimal(object, rather_text, out)?, rather_text)),
            Kind::Bytes => scalar::bytes(object, format, out)?,
            Kind::Binary => scalar::bytes(&object.getattr("obj")?, format, out)?,
            Kind::Date => time::date(object, format, out)?,
            Kind::Time => time::time(object, format, out)?,
            Kind::Datetime => time::datetime(object, format, out)?,
            Kind::Timedelta => time::timedelta(object, format, self.signed_intervals(), out)?,
            Kind::Uuid => scalar::uuid(object, format, out)?,
            Kind::Address => scalar::address(object, false, format, out)?,
            Kind::Interface => scalar::address(object, true, format, out)?,
            Kind::Network => scalar::network(object, format, out)?,
            Kind::Enum => {
                self.encoding.dump(&object.getattr("name")?, out)?;
                return Ok((0, rather_text));
            }
            Kind::Json => {
                return Ok((scalar::json(object, oids::JSON, self.encoding, rather_text, out)?, rather_text));
            }
            Kind::Jsonb => {
                return Ok((
                    scalar::json(object, oids::JSONB, self.encoding, rather_text, out)?,
                    rather_text,
                ));
            }
            Kind::Dict => {
                return Ok((
                    scalar::plain_json(object, oids::JSONB, self.encoding, rather_text, out)?,
                    rather_text,
                ));
            }
            Kind::List if want == Want::Binary => return self.binary_list(object, out),
            Kind::List => return self.text_list(object, want, out),
            Kind::Tuple if want == Want::Binary => return Err(self.refuse(object, want)),
            Kind::Tuple => return self.tuple(object, out),
            Kind::Range => return self.range(object, want, out),
            Kind::Multirange => return self.multirange(object, want, out),
            Kind::RangeOf(oid, bound) => return self.typed_range(object, oid, bound, format, out),
            Kind::MultirangeOf(oid, bound) => return self.typed_multirange(object, oid, bound, format, out),
        };
        Ok((oid, format))
    }

    /// A `str`: of unknown type, so that the server takes it for whatever it needs; in binary, `text`.
    fn string(&self, object: &Bound<'_, PyAny>, want: Want, out: &mut Vec<u8>) -> PyResult<Typed> {
        let from = out.len();
        self.encoding.dump(object, out)?;
        if want == Want::Binary {
            return Ok((oids::TEXT, Format::Binary));
        }
        scalar::no_nul(object.py(), out.get(from..).unwrap_or_default())?;
        Ok((0, Format::Text))
    }
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dumped {
    /// The OID of its type; 0 = unknown.
    pub(crate) oid: u32,
    /// How its value is given.
    pub(crate) format: Format,
    /// The value; `None` = NULL.
    pub(crate) value: Option<Vec<u8>>,
}

/// The parameters of one statement, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Params {
    bytes: Vec<u8>,
    /// For each: OID, format, and where its value lies in `bytes`.
    list: Vec<(u32, Format, Option<Range<usize>>)>,
}

impl Params {
    /// As the exchange wants them.
    pub(crate) fn params(&self) -> Vec<Param<'_>> {
        let one = |(oid, format, at): &(u32, Format, Option<Range<usize>>)| Param {
            oid: *oid,
            format: *format,
            value: at.clone().and_then(|at| self.bytes.get(at)),
        };
        self.list.iter().map(one).collect()
    }
}

/// A parameter whose placeholder asked for a format: `%t` or `%b`.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Formatted {
    value: Py<PyAny>,
    want: Want,
}

#[pymethods]
impl Formatted {
    #[new]
    fn new(value: Py<PyAny>, format: &str) -> PyResult<Formatted> {
        let want = match format.as_bytes() {
            [letter] => Want::of(*letter),
            _ => None,
        };
        let error = || {
            pyo3::exceptions::PyValueError::new_err(format!("format must be 's', 't' or 'b', not '{format}'"))
        };
        Ok(Formatted { value, want: want.ok_or_else(error)? })
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.value)
    }
}

/// Dumps one object in the format that is wanted.
///
/// # Errors
/// `ProgrammingError` for a type that cannot be adapted, `DataError` for a value that the type cannot have.
pub(crate) fn dump_as(
    py: Python<'_>,
    object: &Bound<'_, PyAny>,
    want: Want,
    context: &AdaptContext<'_>,
) -> PyResult<Dumped> {
    if object.is_none() {
        return Ok(Dumped { oid: 0, format: Format::Text, value: None });
    }
    let mut value = Vec::new();
    let (oid, format) = Dumper::new(py, context)?.write(object, want, &mut value)?;
    Ok(Dumped { oid, format, value: Some(value) })
}

/// Dumps the parameters of a statement. Those that are [`Formatted`] in the format that they say, the others as for
/// `%s`.
///
/// # Errors
/// As for [`dump_as`], with a note that names the parameter (from Python 3.11 on).
pub(crate) fn dump_all(
    py: Python<'_>,
    parameters: &Bound<'_, PyAny>,
    context: &AdaptContext<'_>,
) -> PyResult<Params> {
    let dumper = Dumper::new(py, context)?;
    let mut all = Params::default();
    for (index, parameter) in parameters.try_iter()?.enumerate() {
        let parameter = parameter?;
        let (object, want) = match parameter.cast::<Formatted>() {
            Ok(formatted) => (formatted.get().value.bind(py).clone(), formatted.get().want),
            Err(_) => (parameter, Want::Auto),
        };
        if object.is_none() {
            all.list.push((0, Format::Text, None));
            continue;
        }
        let from = all.bytes.len();
        let (oid, format) = dumper.write(&object, want, &mut all.bytes).map_err(|e| noted(py, e, index))?;
        all.list.push((oid, format, Some(from..all.bytes.len())));
    }
    Ok(all)
}

/// The same error, which now tells the number of the parameter, in a note where Python has them.
fn noted(py: Python<'_>, e: PyErr, index: usize) -> PyErr {
    let note = format!("parameter ${}", index + 1);
    // Before Python 3.11 there are no notes: the error stays as it is.
    let _ = e.value(py).call_method1("add_note", (note,));
    e
}
