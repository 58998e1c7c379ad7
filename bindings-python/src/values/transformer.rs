//! Values as Python code sees them: for COPY, whose rows the Python layer builds and takes apart, and for whoever wants
//! to know what a value becomes.

use leakpool::exchange::Format;
use parking_lot::Mutex;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use super::context::{AdaptContext, Snapshot};
use super::dump::{Dumper, Want, dump_as, write_typed};
use super::errors::data_error;
use super::load::{Loader, Loaders, Maker};
use super::oids;

/// Converts values in the session's encoding, time zone and styles, as they were when it was made.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Transformer {
    session: Snapshot,
    /// What `set_types` said: the types and, once rows have come, their loaders. Locked for an instant, and never while
    /// Python runs.
    types: Mutex<Types>,
}

#[derive(Default, Clone)]
struct Types {
    oids: Option<std::sync::Arc<[u32]>>,
    loaders: [Option<std::sync::Arc<Loaders>>; 2],
}

impl Transformer {
    fn loaders(&self, py: Python<'_>, format: Format, columns: usize) -> PyResult<std::sync::Arc<Loaders>> {
        let index = usize::from(format == Format::Binary);
        let Types { oids, loaders } = self.types.lock().clone();
        if let Some(loaders) = loaders.get(index).cloned().flatten()
            && (oids.is_some() || loaders.len() == columns)
        {
            return Ok(loaders);
        }
        // Without types, texts and bytes.
        let unknown = vec![0; columns];
        let types = oids.as_deref().unwrap_or(&unknown);
        let made =
            std::sync::Arc::new(Loaders::of_types(py, types, format, &AdaptContext::new(&self.session))?);
        if let Some(place) = self.types.lock().loaders.get_mut(index) {
            *place = Some(std::sync::Arc::clone(&made));
        }
        Ok(made)
    }
}

fn format_of(code: i64) -> PyResult<Format> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        _ => Err(PyValueError::new_err(format!("format must be 0 (text) or 1 (binary), not {code}"))),
    }
}

/// What COPY in text format writes for these characters.
const ESCAPES: [(u8, u8); 7] =
    [(0x08, b'b'), (b'\t', b't'), (b'\n', b'n'), (0x0B, b'v'), (0x0C, b'f'), (b'\r', b'r'), (b'\\', b'\\')];

#[pymethods]
impl Transformer {
    /// With these parameters of a session (`TimeZone`, `client_encoding`, `DateStyle`, `IntervalStyle`).
    #[new]
    #[pyo3(signature = (parameters=None))]
    fn new(parameters: Option<std::collections::HashMap<String, String>>) -> Transformer {
        let parameters = parameters.unwrap_or_default();
        let session = Snapshot::new(|name| parameters.get(name).map(|value| value.as_str().into()));
        Transformer { session, types: Mutex::default() }
    }

    /// The object for a value of this type; `format` is 0 (text) or 1 (binary).
    fn load<'py>(
        &self,
        py: Python<'py>,
        oid: u32,
        format: i64,
        value: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(value) = value else { return Ok(py.None().into_bound(py)) };
        Loader::new(py, oid, format_of(format)?, &AdaptContext::new(&self.session))?.load(py, value)
    }

    /// Type, format and value of a parameter, as for a placeholder `%s`, `%t` or `%b`.
    #[pyo3(signature = (object, want="s"))]
    fn dump<'py>(
        &self,
        py: Python<'py>,
        object: &Bound<'py, PyAny>,
        want: &str,
    ) -> PyResult<(u32, i16, Option<Bound<'py, PyBytes>>)> {
        let want = match want.as_bytes() {
            [letter] => Want::of(*letter),
            _ => None,
        };
        let want = want.ok_or_else(|| PyValueError::new_err("want must be 's', 't' or 'b'"))?;
        let dumped = dump_as(py, object, want, &AdaptContext::new(&self.session))?;
        Ok((dumped.oid, dumped.format.code(), dumped.value.map(|value| PyBytes::new(py, &value))))
    }

    /// What the columns of the rows are: OIDs, or names of built-in types (`int4`, `timestamptz[]`).
    fn set_types(&self, types: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut all = Vec::new();
        for one in types.try_iter()? {
            let one = one?;
            all.push(match one.extract::<u32>() {
                Ok(oid) => oid,
                Err(_) => {
                    let name: String = one.extract().map_err(|_| {
                        PyTypeError::new_err(format!("a type must be an OID or a name, not {one}"))
                    })?;
                    oids::named(&name).ok_or_else(|| {
                        pyo3::exceptions::PyKeyError::new_err(format!(
                            "couldn't find the type '{name}' in the types registry"
                        ))
                    })?
                }
            });
        }
        let before = std::mem::replace(
            &mut *self.types.lock(),
            Types { oids: Some(all.into()), loaders: [None, None] },
        );
        drop(before);
        Ok(())
    }

    /// One row for COPY in, without signature and trailer.
    fn format_row<'py>(
        &self,
        py: Python<'py>,
        row: &Bound<'py, PyAny>,
        format: i64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let format = format_of(format)?;
        let context = AdaptContext::new(&self.session);
        let dumper = Dumper::new(py, &context)?;
        let types = self.types.lock().oids.clone();
        let count = row.len()?;
        if let Some(types) = types.as_deref()
            && types.len() != count
        {
            return Err(data_error(py, format!("expected {} values in row, got {count}", types.len())));
        }
        let mut out = Vec::new();
        if format == Format::Binary {
            let count = i16::try_from(count)
                .map_err(|_| data_error(py, format!("a row of {count} values; 32767 are possible")))?;
            out.extend_from_slice(&count.to_be_bytes());
        }
        let mut value = Vec::new();
        for (index, item) in row.try_iter()?.enumerate() {
            let item = item?;
            if index > 0 && format == Format::Text {
                out.push(b'\t');
            }
            if item.is_none() {
                out.extend_from_slice(if format == Format::Text { b"\\N" } else { b"\xFF\xFF\xFF\xFF" });
                continue;
            }
            value.clear();
            match types.as_deref().and_then(|types| types.get(index)) {
                Some(oid) => write_typed(&dumper, &item, *oid, format, &mut value)?,
                None => {
                    let want = if format == Format::Text { Want::Text } else { Want::Binary };
                    dumper.write(&item, want, &mut value)?;
                }
            }
            if format == Format::Binary {
                let len =
                    i32::try_from(value.len()).map_err(|_| data_error(py, "a value of more than 2 GiB"))?;
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(&value);
                continue;
            }
            for c in &value {
                match ESCAPES.iter().find(|(plain, _)| plain == c) {
                    Some((_, letter)) => out.extend_from_slice(&[b'\\', *letter]),
                    None => out.push(*c),
                }
            }
        }
        if format == Format::Text {
            out.push(b'\n');
        }
        Ok(PyBytes::new(py, &out))
    }

    /// One row of COPY out, without signature; in text with its end of line.
    fn parse_row<'py>(&self, py: Python<'py>, row: &[u8], format: i64) -> PyResult<Bound<'py, PyTuple>> {
        match format_of(format)? {
            Format::Text => self.parse_text_row(py, row),
            Format::Binary => self.parse_binary_row(py, row),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.types.try_lock() {
            Some(types) => types.loaders.iter().flatten().try_for_each(|loaders| loaders.traverse(&visit)),
            None => Ok(()),
        }
    }
}

impl Transformer {
    fn parse_text_row<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        let row = row
            .strip_suffix(b"\n")
            .ok_or_else(|| data_error(py, "bad copy data: field delimiter not found"))?;
        let fields: Vec<Option<Vec<u8>>> =
            row.split(|c| *c == b'\t').map(|field| (field != b"\\N").then(|| unescape(field))).collect();
        let loaders = self.loaders(py, Format::Text, fields.len())?;
        check_count(py, fields.len(), loaders.len())?;
        loaders.values(&mut Maker::new(py), fields.iter().map(Option::as_deref))
    }

    fn parse_binary_row<'py>(&self, py: Python<'py>, row: &[u8]) -> PyResult<Bound<'py, PyTuple>> {
        let bad = |what: &str| data_error(py, format!("bad copy data: {what}"));
        let (count, mut rest) = row.split_first_chunk::<2>().ok_or_else(|| bad("fields number truncated"))?;
        let count =
            usize::try_from(i16::from_be_bytes(*count)).map_err(|_| bad("a negative number of fields"))?;
        let mut fields: Vec<Option<&[u8]>> = Vec::with_capacity(count);
        for _ in 0..count {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(|| bad("field length truncated"))?;
            rest = tail;
            fields.push(match usize::try_from(i32::from_be_bytes(*len)) {
                Ok(len) => {
                    let (field, tail) =
                        rest.split_at_checked(len).ok_or_else(|| bad("length exceeding data"))?;
                    rest = tail;
                    Some(field)
                }
                Err(_) => None,
            });
        }
        let loaders = self.loaders(py, Format::Binary, count)?;
        check_count(py, count, loaders.len())?;
        loaders.values(&mut Maker::new(py), fields.into_iter())
    }
}

fn check_count(py: Python<'_>, values: usize, types: usize) -> PyResult<()> {
    match values == types {
        true => Ok(()),
        false => Err(super::errors::programming_error(
            py,
            format!("cannot load sequence of {values} items: {types} loaders registered"),
        )),
    }
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(c) = rest.next() {
        if *c != b'\\' {
            out.push(*c);
            continue;
        }
        let Some(letter) = rest.next() else {
            out.push(*c);
            break;
        };
        match ESCAPES.iter().find(|(_, one)| one == letter) {
            Some((plain, _)) => out.push(*plain),
            None => out.extend_from_slice(&[*c, *letter]),
        }
    }
    out
}
