//! Rows while they come: the server waits for the reader.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_core::Stream;
use leakpool::exchange::{self, Answers, Ending, Item, Notice, RawRow, Tag};
use leakpool::{Connection, Error, ErrorCode, Result};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{PyTraverseError, PyVisit};

use crate::errors::{OrRaise, gone};
use crate::event_loop::aio::{Operation, finish};
use crate::pool::connection::NativeConnection;
use crate::pool::shared::{LiveCheckout, Request};
use crate::request::query::{How, Sql, drive, operation, sendable};
use crate::request::result::{Column, loaders, row_count};
use crate::values::{AdaptContext, Loaders, Params, dump_all};

/// What waits to be read.
struct Reading {
    answers: Answers,
    /// Met before anybody asked for it.
    ahead: Option<RawRow>,
    over: bool,
    tag: Option<Tag>,
    notices: Vec<Notice>,
    request: Request,
}

type Shared = Arc<Mutex<Option<Reading>>>;

/// Rows while they come.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct NativeStream {
    connection: Py<NativeConnection>,
    columns: Option<Arc<[exchange::Column]>>,
    loaders: Option<Loaders>,
    /// Taken by whoever reads.
    reading: Shared,
    tag: Arc<Mutex<Option<Tag>>>,
}

/// Sends the request and reads until the columns are known.
async fn open(
    request: Request,
    sql: &str,
    params: Option<&Params>,
    how: &How,
) -> Result<(Reading, Option<Arc<[exchange::Column]>>)> {
    let answers = {
        let connection = request.connection().ok_or_else(gone)?;
        sendable(connection, sql)?;
        match params {
            Some(params) => how.exchange(connection).extended(&how.query(sql, &params.params())).await?,
            None => how.exchange(connection).simple(sql)?,
        }
    };
    let mut reading = Reading { answers, ahead: None, over: false, tag: None, notices: Vec::new(), request };
    loop {
        match reading.answers.next().await.transpose()? {
            Some(Item::Columns(columns)) => return Ok((reading, Some(columns))),
            Some(Item::Row(row)) => {
                reading.ahead = Some(row);
                return Ok((reading, None));
            }
            Some(Item::Notice(notice)) => reading.notices.push(notice),
            Some(Item::End(ending)) => reading.ended(ending),
            None => {
                reading.over = true;
                return Ok((reading, None));
            }
        }
    }
}

impl Reading {
    fn ended(&mut self, ending: Ending) {
        if let Ending::Complete(tag) = ending {
            self.tag = Some(tag);
        }
    }

    /// At least one row, and those that have come, at most `size`; none at the end.
    async fn read(&mut self, size: usize) -> Result<Vec<RawRow>> {
        let mut rows: Vec<RawRow> = self.ahead.take().into_iter().collect();
        while rows.len() < size && !self.over {
            let wait = rows.is_empty();
            let item = poll_fn(|cx| match Pin::new(&mut self.answers).poll_next(cx) {
                Poll::Ready(item) => Poll::Ready(Some(item)),
                Poll::Pending if wait => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            });
            match item.await {
                None => break,
                Some(None) => self.over = true,
                Some(Some(item)) => match item? {
                    Item::Row(row) => rows.push(row),
                    Item::Notice(notice) => self.notices.push(notice),
                    Item::End(ending) => self.ended(ending),
                    Item::Columns(_) => {
                        return Err(Error::new(
                            ErrorCode::Unsupported,
                            "several results cannot be streamed: stream one statement",
                        ));
                    }
                },
            }
        }
        Ok(rows)
    }
}

fn busy() -> Error {
    Error::new(ErrorCode::InvalidArgument, "this stream is being read by another caller right now")
}

/// Reads, and puts the stream back unless it failed.
async fn fetch(shared: &Shared, size: usize) -> Result<(Vec<RawRow>, Option<Tag>, Vec<Notice>)> {
    let taken = shared.lock().take();
    let Some(mut reading) = taken else { return Err(busy()) };
    let rows = reading.read(size).await?;
    let told = (rows, reading.tag.clone(), std::mem::take(&mut reading.notices));
    let held = Arc::clone(&reading.request);
    held.put_back(shared, reading);
    Ok(told)
}

impl NativeStream {
    fn new(
        connection: &Bound<'_, NativeConnection>,
        held: &LiveCheckout,
        (mut reading, columns): (Reading, Option<Arc<[exchange::Column]>>),
    ) -> PyResult<NativeStream> {
        let py = connection.py();
        connection.get().keep_notices(std::mem::take(&mut reading.notices));
        let tag = reading.tag.clone();
        let loaders = loaders(py, held, columns.as_deref())?;
        let reading = Arc::new(Mutex::new(Some(reading)));
        held.opened(&reading);
        Ok(NativeStream {
            connection: connection.clone().unbind(),
            loaders,
            columns,
            reading,
            tag: Arc::new(Mutex::new(tag)),
        })
    }

    fn fetched<'py>(
        &self,
        py: Python<'py>,
        (rows, tag, notices): (Vec<RawRow>, Option<Tag>, Vec<Notice>),
    ) -> PyResult<Bound<'py, PyList>> {
        *self.tag.lock() = tag;
        self.connection.get().keep_notices(notices);
        match &self.loaders {
            Some(loaders) => loaders.rows(py, &rows),
            None => Ok(PyList::empty(py)),
        }
    }
}

#[pymethods]
impl NativeStream {
    #[getter]
    fn columns(&self) -> Option<Vec<Column>> {
        self.columns.as_deref().map(Column::all)
    }

    #[getter]
    fn tag(&self) -> Option<String> {
        self.tag.lock().as_ref().map(|tag| tag.as_str().to_owned())
    }

    #[getter]
    fn rowcount(&self) -> i64 {
        row_count(self.tag.lock().as_ref())
    }

    fn fetch<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyList>> {
        let held = self.connection.get().held(py)?;
        let told = drive(py, &held, fetch(&self.reading, size.max(1)))?;
        self.fetched(py, told.or_raise(py)?)
    }

    fn fetch_async(slf: &Bound<'_, Self>, size: usize) -> PyResult<Operation> {
        let this = slf.get();
        let held = this.connection.get().held(slf.py())?;
        let (reading, me) = (this.reading.clone(), slf.clone().unbind());
        Ok(operation(this.connection.bind(slf.py()), &held, async move {
            let told = fetch(&reading, size.max(1)).await;
            finish(told, move |py, told| Ok(me.get().fetched(py, told)?.into_any().unbind()))
        }))
    }

    /// Throws the rest away: the statement is cancelled.
    fn close(&self) {
        let reading = self.reading.lock().take();
        if let Some(reading) = reading.filter(|reading| !reading.over) {
            // Nothing left to cancel is no error.
            let _ = reading.request.connection().map(Connection::cancel);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)?;
        self.loaders.as_ref().map_or(Ok(()), |loaders| loaders.traverse(&visit))
    }
}

fn parameters(
    py: Python<'_>,
    held: &LiveCheckout,
    params: Option<&Bound<'_, PyAny>>,
    binary: bool,
) -> PyResult<Option<Params>> {
    match (params, held.connection()) {
        (Some(params), Some(connection)) => dump_all(py, params, &AdaptContext::new(connection)).map(Some),
        (None, _) if binary => Ok(Some(Params::default())),
        (_, _) => Ok(None),
    }
}

#[pymethods]
impl NativeConnection {
    #[pyo3(signature = (sql, params=None, *, first=None, cached=true, binary=false))]
    #[allow(clippy::too_many_arguments)]
    fn stream(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        params: Option<&Bound<'_, PyAny>>,
        first: Option<String>,
        cached: bool,
        binary: bool,
    ) -> PyResult<NativeStream> {
        let held = slf.get().held(py)?;
        let params = parameters(py, &held, params, binary)?;
        let how = How { first, cached, binary };
        let work = open(Request::on(held.clone()), &sql.0, params.as_ref(), &how);
        let opened = drive(py, &held, work)?.or_raise(py)?;
        NativeStream::new(slf, &held, opened)
    }

    #[pyo3(signature = (sql, params=None, *, first=None, cached=true, binary=false))]
    #[allow(clippy::too_many_arguments)]
    fn stream_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        params: Option<&Bound<'_, PyAny>>,
        first: Option<String>,
        cached: bool,
        binary: bool,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let params = parameters(py, &held, params, binary)?;
        let how = How { first, cached, binary };
        let (later, me) = (held.clone(), slf.clone().unbind());
        Ok(operation(slf, &held, async move {
            let opened = open(Request::on(later.clone()), &sql.0, params.as_ref(), &how).await;
            finish(opened, move |py, opened| {
                Ok(Py::new(py, NativeStream::new(me.bind(py), &later, opened)?)?.into_any())
            })
        }))
    }
}
