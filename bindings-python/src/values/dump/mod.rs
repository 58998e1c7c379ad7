//! Dumpers: parameters from objects.

use leakpool::exchange::{Format, Param};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::context::AdaptContext;
use super::errors::programming_error;

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
    list: Vec<(u32, Format, Option<std::ops::Range<usize>>)>,
}

impl Params {
    /// As the exchange wants them.
    pub(crate) fn params(&self) -> Vec<Param<'_>> {
        let one = |(oid, format, at): &(u32, Format, Option<std::ops::Range<usize>>)| Param {
            oid: *oid,
            format: *format,
            value: at.clone().and_then(|at| self.bytes.get(at)),
        };
        self.list.iter().map(one).collect()
    }
}

/// Dumps one object as for the placeholder `%s`.
///
/// # Errors
/// `ProgrammingError` for a type that cannot be adapted, `DataError` for a value that the type cannot have.
pub(crate) fn dump(py: Python<'_>, object: &Bound<'_, PyAny>, _context: &AdaptContext<'_>) -> PyResult<Dumped> {
    if object.is_none() {
        return Ok(Dumped { oid: 0, format: Format::Text, value: None });
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Dumped { oid: 0, format: Format::Text, value: Some(text.to_str()?.as_bytes().to_vec()) });
    }
    let class = object.get_type().qualname()?;
    Err(programming_error(py, format!("cannot adapt type '{class}' using placeholder '%s' (format: AUTO)")))
}

/// Dumps the parameters of a statement. `formats` has one letter for each, as in the placeholders: `s` (whatever suits
/// the type), `t` (text), `b` (binary); `None` = all `s`.
///
/// # Errors
/// As for [`dump`], naming the parameter.
pub(crate) fn dump_all(
    py: Python<'_>,
    parameters: &Bound<'_, PyAny>,
    _formats: Option<&[u8]>,
    context: &AdaptContext<'_>,
) -> PyResult<Params> {
    let mut all = Params::default();
    for parameter in parameters.try_iter()? {
        let Dumped { oid, format, value } = dump(py, &parameter?, context)?;
        let at = value.map(|value| {
            let from = all.bytes.len();
            all.bytes.extend_from_slice(&value);
            from..all.bytes.len()
        });
        all.list.push((oid, format, at));
    }
    Ok(all)
}
