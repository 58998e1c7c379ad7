//! Results: kept as they came, decoded when rows are asked for.

use std::sync::Arc;

use leakpool::exchange::{self, Notice, Tag};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::{OrRaise, fields_dict, gone};
use crate::pool::shared::LiveCheckout;
use crate::request::collect::Gathered;
use crate::values::{AdaptContext, Decoded, Loaders};

/// One column of a result.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Column(exchange::Column);

impl Column {
    pub(crate) fn new(column: exchange::Column) -> Column {
        Column(column)
    }

    pub(crate) fn all(columns: &[exchange::Column]) -> Vec<Column> {
        columns.iter().cloned().map(Column).collect()
    }
}

#[pymethods]
impl Column {
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn type_oid(&self) -> u32 {
        self.0.type_oid
    }

    #[getter]
    fn type_size(&self) -> i16 {
        self.0.type_size
    }

    #[getter]
    fn type_modifier(&self) -> i32 {
        self.0.type_modifier
    }

    #[getter]
    fn table_oid(&self) -> u32 {
        self.0.table_oid
    }

    #[getter]
    fn column_id(&self) -> i16 {
        self.0.column_id
    }

    #[getter]
    fn format(&self) -> i16 {
        self.0.format.code()
    }

    fn __repr__(&self) -> String {
        format!("<Column {:?} of type {}>", &*self.0.name, self.0.type_oid)
    }
}

/// How the columns of one result are loaded, in the session as it is now.
pub(crate) fn loaders(
    py: Python<'_>,
    held: &LiveCheckout,
    columns: Option<&[exchange::Column]>,
) -> PyResult<Option<Loaders>> {
    match columns {
        None => Ok(None),
        Some(columns) => {
            let connection = held.connection().ok_or_else(gone).or_raise(py)?;
            Loaders::new(py, columns, &AdaptContext::new(connection)).map(Some)
        }
    }
}

/// One result of a request. It outlives its connection.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct NativeResult {
    columns: Option<Arc<[exchange::Column]>>,
    /// None for a command that returns no rows.
    rows: Option<Decoded>,
    tag: Option<Tag>,
    notices: Vec<Notice>,
}

impl NativeResult {
    /// Of what was gathered, in the session as it is now.
    pub(crate) fn new(py: Python<'_>, held: &LiveCheckout, gathered: Gathered) -> PyResult<NativeResult> {
        let tag = gathered.tag().cloned();
        let Gathered { columns, rows, decoding, notices, .. } = gathered;
        let rows = match &columns {
            None => None,
            Some(columns) => {
                let connection = held.connection().ok_or_else(gone).or_raise(py)?;
                Some(decoding.end(py, rows, columns, &AdaptContext::new(connection))?)
            }
        };
        Ok(NativeResult { columns, rows, tag, notices })
    }

    fn count(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.rows().len())
    }
}

/// The number in a tag, -1 where it has none.
pub(crate) fn row_count(tag: Option<&Tag>) -> i64 {
    tag.and_then(Tag::rows).and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
}

#[pymethods]
impl NativeResult {
    #[getter]
    fn columns(&self) -> Option<Vec<Column>> {
        self.columns.as_deref().map(Column::all)
    }

    #[getter]
    fn tag(&self) -> Option<&str> {
        self.tag.as_ref().map(Tag::as_str)
    }

    #[getter]
    fn rowcount(&self) -> i64 {
        row_count(self.tag.as_ref())
    }

    #[getter]
    fn nrows(&self) -> usize {
        self.count()
    }

    #[getter]
    fn nfields(&self) -> usize {
        self.columns.as_ref().map_or(0, |columns| columns.len())
    }

    #[getter]
    fn notices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let dicts: PyResult<Vec<Bound<'py, PyDict>>> =
            self.notices.iter().map(|notice| fields_dict(py, notice)).collect();
        PyList::new(py, dicts?)
    }

    #[pyo3(signature = (start=0, stop=None))]
    fn rows<'py>(&self, py: Python<'py>, start: usize, stop: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        match &self.rows {
            Some(rows) => rows.list(py, start, stop.unwrap_or(usize::MAX)),
            None => Ok(PyList::empty(py)),
        }
    }

    fn row<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.rows.as_ref().map_or(Ok(None), |rows| rows.one(py, index))
    }

    fn raw<'py>(&self, py: Python<'py>, row: usize, column: usize) -> Option<Bound<'py, PyBytes>> {
        let mut values = self.rows.as_ref()?.rows().get(row)?;
        values.nth(column).flatten().map(|value| PyBytes::new(py, value))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.rows.as_ref().map_or(Ok(()), |rows| rows.traverse(&visit))
    }

    fn __repr__(&self) -> String {
        let tag = self.tag.as_ref().map_or("no tag", Tag::as_str);
        format!("<NativeResult {tag}, {} rows of {} columns>", self.count(), self.nfields())
    }
}
