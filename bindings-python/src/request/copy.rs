//! COPY in and out.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use leakpool::exchange::{self, Format};
use leakpool::{Connection, Error, ErrorCode, Result};
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView};
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::{OrRaise, gone};
use crate::event_loop::aio::{Operation, finish};
use crate::pool::connection::NativeConnection;
use crate::pool::shared::{LiveCheckout, Request};
use crate::request::query::{How, Sql, drive, operation, sendable};

/// A copy and the request that it is. Taken by whoever works on it; one that fails, or is given up, is dropped.
struct Open<T>(T, Request);

type Shared<T> = Arc<Mutex<Option<Open<T>>>>;

fn take<T>(shared: &Shared<T>) -> Result<Open<T>> {
    shared.lock().take().ok_or_else(|| {
        Error::new(
            ErrorCode::InvalidArgument,
            "this COPY is over, or being worked on by another caller right now",
        )
    })
}

fn put_back<T: Send>(shared: &Shared<T>, open: Open<T>) {
    let held = Arc::clone(&open.1);
    held.put_back(shared, open);
}

fn codes(formats: &[Format]) -> Vec<i16> {
    formats.iter().map(|format| format.code()).collect()
}

/// The bytes of whatever has some.
fn bytes_of(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = data.cast::<PyByteArray>() {
        return Ok(bytes.to_vec());
    }
    match PyMemoryView::from(data) {
        Ok(view) => Ok(view.call_method0(intern!(py, "tobytes"))?.cast::<PyBytes>()?.as_bytes().to_vec()),
        Err(_) => {
            let class = data.get_type().fully_qualified_name()?;
            Err(PyTypeError::new_err(format!("COPY data must be bytes-like, not {class}")))
        }
    }
}

/// An open `COPY ... FROM STDIN`.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct NativeCopyIn {
    connection: Py<NativeConnection>,
    format: Format,
    columns: Vec<Format>,
    copy: Shared<exchange::CopyIn>,
}

async fn begin_in(request: Request, sql: &str, how: &How) -> Result<Open<exchange::CopyIn>> {
    let copy = {
        let connection = request.connection().ok_or_else(gone)?;
        sendable(connection, sql)?;
        how.exchange(connection).copy_in(sql).await?
    };
    Ok(Open(copy, request))
}

async fn send(copy: &Shared<exchange::CopyIn>, data: &[u8]) -> Result<()> {
    let mut open = take(copy)?;
    open.0.send(data).await?;
    put_back(copy, open);
    Ok(())
}

async fn finish_in(copy: &Shared<exchange::CopyIn>) -> Result<String> {
    let Open(copy, _request) = take(copy)?;
    copy.finish().await.map(|tag| tag.as_str().to_owned())
}

async fn fail_in(copy: &Shared<exchange::CopyIn>, reason: &str) -> Result<()> {
    let Open(copy, _request) = take(copy)?;
    copy.fail(reason).await
}

impl NativeCopyIn {
    fn new(
        connection: Py<NativeConnection>,
        held: &LiveCheckout,
        open: Open<exchange::CopyIn>,
    ) -> NativeCopyIn {
        let (format, columns) = (open.0.format(), open.0.column_formats().to_vec());
        let copy = Arc::new(Mutex::new(Some(open)));
        held.opened(&copy);
        NativeCopyIn { connection, format, columns, copy }
    }
}

#[pymethods]
impl NativeCopyIn {
    #[getter]
    fn format(&self) -> i16 {
        self.format.code()
    }

    #[getter]
    fn column_formats(&self) -> Vec<i16> {
        codes(&self.columns)
    }

    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = bytes_of(py, data)?;
        drive(py, &self.connection.get().held(py)?, send(&self.copy, &data))?.or_raise(py)
    }

    fn send_async(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let (data, copy) = (bytes_of(py, data)?, self.copy.clone());
        Ok(operation(self.connection.bind(py), &self.connection.get().held(py)?, async move {
            finish(send(&copy, &data).await, |py, ()| Ok(py.None()))
        }))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        drive(py, &self.connection.get().held(py)?, finish_in(&self.copy))?.or_raise(py)
    }

    fn finish_async(&self, py: Python<'_>) -> PyResult<Operation> {
        let copy = self.copy.clone();
        Ok(operation(self.connection.bind(py), &self.connection.get().held(py)?, async move {
            finish(finish_in(&copy).await, |py, tag| Ok(tag.into_pyobject(py)?.into_any().unbind()))
        }))
    }

    fn fail(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        drive(py, &self.connection.get().held(py)?, fail_in(&self.copy, reason))?.or_raise(py)
    }

    fn fail_async(&self, py: Python<'_>, reason: String) -> PyResult<Operation> {
        let copy = self.copy.clone();
        Ok(operation(self.connection.bind(py), &self.connection.get().held(py)?, async move {
            finish(fail_in(&copy, &reason).await, |py, ()| Ok(py.None()))
        }))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}

/// The data of a `COPY ... TO STDOUT`.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct NativeCopyOut {
    connection: Py<NativeConnection>,
    format: Format,
    columns: Vec<Format>,
    copy: Shared<exchange::CopyOut>,
    ended: Arc<Mutex<Ended>>,
}

async fn begin_out(request: Request, sql: &str, how: &How) -> Result<Open<exchange::CopyOut>> {
    let copy = {
        let connection = request.connection().ok_or_else(gone)?;
        sendable(connection, sql)?;
        how.exchange(connection).copy_out(sql).await?
    };
    Ok(Open(copy, request))
}

/// How a COPY out has ended: its tag, or an error that came behind pieces that were to be read first.
#[derive(Default)]
struct Ended {
    tag: Option<String>,
    error: Option<Error>,
}

/// The next piece and those that have come with it, at most `size`; none at the end, and after it.
async fn fetch(copy: &Shared<exchange::CopyOut>, ended: &Mutex<Ended>, size: usize) -> Result<Vec<Bytes>> {
    {
        let mut ended = ended.lock();
        if let Some(error) = ended.error.take() {
            return Err(error);
        }
        if ended.tag.is_some() {
            return Ok(Vec::new());
        }
    }
    let mut open = take(copy)?;
    let mut pieces: Vec<Bytes> = open.0.next().await.transpose()?.into_iter().collect();
    while !pieces.is_empty() && pieces.len() < size {
        match open.0.next().now_or_never() {
            Some(Some(Ok(piece))) => pieces.push(piece),
            Some(Some(Err(error))) => {
                ended.lock().error = Some(error);
                return Ok(pieces);
            }
            // The end is told when it is asked for.
            Some(None) | None => break,
        }
    }
    if pieces.is_empty() {
        ended.lock().tag = Some(open.0.tag().map_or_else(String::new, |tag| tag.as_str().to_owned()));
    } else {
        put_back(copy, open);
    }
    Ok(pieces)
}

fn listed(py: Python<'_>, pieces: Vec<Bytes>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, pieces.iter().map(|piece| PyBytes::new(py, piece)))
}

impl NativeCopyOut {
    fn new(
        connection: Py<NativeConnection>,
        held: &LiveCheckout,
        open: Open<exchange::CopyOut>,
    ) -> NativeCopyOut {
        let (format, columns) = (open.0.format(), open.0.column_formats().to_vec());
        let copy = Arc::new(Mutex::new(Some(open)));
        held.opened(&copy);
        NativeCopyOut { connection, format, columns, copy, ended: Arc::default() }
    }
}

#[pymethods]
impl NativeCopyOut {
    #[getter]
    fn format(&self) -> i16 {
        self.format.code()
    }

    #[getter]
    fn column_formats(&self) -> Vec<i16> {
        codes(&self.columns)
    }

    #[getter]
    fn tag(&self) -> Option<String> {
        self.ended.lock().tag.clone()
    }

    fn fetch<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyList>> {
        let held = self.connection.get().held(py)?;
        let pieces = drive(py, &held, fetch(&self.copy, &self.ended, size))?.or_raise(py)?;
        listed(py, pieces)
    }

    fn fetch_async(&self, py: Python<'_>, size: usize) -> PyResult<Operation> {
        let (copy, ended) = (self.copy.clone(), self.ended.clone());
        Ok(operation(self.connection.bind(py), &self.connection.get().held(py)?, async move {
            finish(fetch(&copy, &ended, size).await, |py, pieces| Ok(listed(py, pieces)?.into_any().unbind()))
        }))
    }

    /// Throws the rest away: the statement is cancelled.
    fn close(&self) {
        let open = self.copy.lock().take();
        if let Some(open) = open {
            // Nothing left to cancel is no error.
            let _ = open.1.connection().map(Connection::cancel);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}

fn how(first: Option<String>) -> How {
    How { first, cached: false, binary: false }
}

#[pymethods]
impl NativeConnection {
    #[pyo3(signature = (sql, *, first=None))]
    fn copy_in(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        first: Option<String>,
    ) -> PyResult<NativeCopyIn> {
        let held = slf.get().held(py)?;
        let how = how(first);
        let open = drive(py, &held, begin_in(Request::on(held.clone()), &sql.0, &how))?.or_raise(py)?;
        Ok(NativeCopyIn::new(slf.clone().unbind(), &held, open))
    }

    #[pyo3(signature = (sql, *, first=None))]
    fn copy_in_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        first: Option<String>,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let (how, later, me) = (how(first), held.clone(), slf.clone().unbind());
        Ok(operation(slf, &held, async move {
            let open = begin_in(Request::on(later.clone()), &sql.0, &how).await;
            finish(open, move |py, open| Ok(Py::new(py, NativeCopyIn::new(me, &later, open))?.into_any()))
        }))
    }

    #[pyo3(signature = (sql, *, first=None))]
    fn copy_out(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        first: Option<String>,
    ) -> PyResult<NativeCopyOut> {
        let held = slf.get().held(py)?;
        let how = how(first);
        let open = drive(py, &held, begin_out(Request::on(held.clone()), &sql.0, &how))?.or_raise(py)?;
        Ok(NativeCopyOut::new(slf.clone().unbind(), &held, open))
    }

    #[pyo3(signature = (sql, *, first=None))]
    fn copy_out_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        first: Option<String>,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let (how, later, me) = (how(first), held.clone(), slf.clone().unbind());
        Ok(operation(slf, &held, async move {
            let open = begin_out(Request::on(later.clone()), &sql.0, &how).await;
            finish(open, move |py, open| Ok(Py::new(py, NativeCopyOut::new(me, &later, open))?.into_any()))
        }))
    }
}
