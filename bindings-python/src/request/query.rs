//! Requests on a connection: one statement or a text of several, many at once, a description. Each blocks the calling
//! thread or is awaited; what is asked of the server is written once for both.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use leakpool::exchange::{Answers, Exchange, Format, Formats, Notice, Query, StatementDescription, Tag};
use leakpool::{Connection, Error, ErrorCode, Result, TransactionStatus};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::errors::{OrRaise, gone, named};
use crate::event_loop::aio::{Operation, finish};
use crate::event_loop::waiting::{Waited, interruptible};
use crate::pool::connection::NativeConnection;
use crate::pool::shared::{GiveUp, LiveCheckout, Request};
use crate::request::collect::{Gathered, collect};
use crate::request::result::{Column, NativeResult};
use crate::values::{AdaptContext, Params, dump_all};

/// How many statements of one call are under way at once.
const WINDOW: usize = 100;

/// An SQL text as Python gives it: str or bytes.
pub(crate) struct Sql(pub(crate) String);

impl<'a, 'py> FromPyObject<'a, 'py> for Sql {
    type Error = PyErr;

    fn extract(sql: Borrowed<'a, 'py, PyAny>) -> PyResult<Sql> {
        let py = sql.py();
        let wrong = |e: &dyn std::fmt::Display| {
            named(py, "ProgrammingError", &format!("the SQL text cannot be sent: {e}"))
        };
        if let Ok(text) = sql.cast::<PyString>() {
            // Surrogates: Python's own error, of which the layer above makes one that PEP 249 knows, too.
            return Ok(Sql(text.to_str()?.to_owned()));
        }
        if let Ok(bytes) = sql.cast::<PyBytes>() {
            return Ok(Sql(std::str::from_utf8(bytes.as_bytes()).map_err(|e| wrong(&e))?.to_owned()));
        }
        let class = sql.get_type().fully_qualified_name()?;
        Err(pyo3::exceptions::PyTypeError::new_err(format!("the SQL text must be str or bytes, not {class}")))
    }
}

/// How a statement is to be run.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) first: Option<String>,
    pub(crate) cached: bool,
    pub(crate) binary: bool,
}

impl How {
    pub(crate) fn exchange<'a>(&'a self, connection: &'a Connection) -> Exchange<'a> {
        match &self.first {
            Some(first) => connection.exchange().after(first),
            None => connection.exchange(),
        }
    }

    pub(crate) fn query<'a>(&self, sql: &'a str, params: &'a [leakpool::exchange::Param<'a>]) -> Query<'a> {
        let format = if self.binary { Format::Binary } else { Format::Text };
        Query::new(sql).params(params).formats(Formats::All(format)).cached(self.cached)
    }
}

/// SQL texts are sent in UTF-8: after `SET client_encoding`, the server would take what is not ASCII for something else.
///
/// # Errors
/// `Unsupported` for such a text.
pub(crate) fn sendable(connection: &Connection, sql: &str) -> Result<()> {
    if sql.is_ascii() {
        return Ok(());
    }
    match connection.parameter("client_encoding") {
        Some(encoding) if !matches!(&*encoding, "UTF8" | "SQL_ASCII") => Err(Error::new(
            ErrorCode::Unsupported,
            format!(
                "with client_encoding {encoding}, the SQL text must be ASCII: pass other characters as parameters"
            ),
        )),
        _ => Ok(()),
    }
}

/// What came of a request: its results, and notices that belong to none of them.
type Told<T> = (Result<T>, Vec<Notice>);

/// One statement with parameters, or a text without.
async fn run(held: &LiveCheckout, sql: &str, params: Option<&Params>, how: &How) -> Told<Vec<Gathered>> {
    let Some(connection) = held.connection() else { return (Err(gone()), Vec::new()) };
    if let Err(e) = sendable(connection, sql) {
        return (Err(e), Vec::new());
    }
    let exchange = how.exchange(connection);
    let answers = match params {
        None => exchange.simple(sql),
        Some(params) => exchange.extended(&how.query(sql, &params.params())).await,
    };
    match answers {
        Err(e) => (Err(e), Vec::new()),
        Ok(mut answers) => collect(connection, &mut answers).await,
    }
}

/// One statement with many sets of parameters: all or none of them, as one transaction, if none is open.
async fn run_many(
    held: &LiveCheckout,
    sql: &str,
    sets: &[Params],
    how: &How,
    returning: bool,
) -> Told<(Vec<Gathered>, i64)> {
    let mut notices = Vec::new();
    let Some(connection) = held.connection() else { return (Err(gone()), notices) };
    if let Err(e) = sendable(connection, sql) {
        return (Err(e), notices);
    }
    let own =
        how.first.is_none() && connection.transaction_status() == TransactionStatus::Idle && sets.len() > 1;
    let begin = if own { Some("BEGIN".to_owned()) } else { how.first.clone() };
    let first = How { first: begin, ..how.clone() };
    let later = How { first: None, ..how.clone() };
    let outcome = pipelined(connection, sql, sets, (&first, &later), returning, &mut notices).await;
    if !own {
        return (outcome, notices);
    }
    let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = match connection.exchange().simple(end) {
        Ok(mut answers) => Answers::collect(&mut answers).await,
        Err(e) => Err(e),
    };
    (outcome.and_then(|outcome| ended.map(|_| outcome)), notices)
}

async fn one(
    connection: &Connection,
    sql: &str,
    params: &Params,
    how: &How,
) -> Result<(Vec<Gathered>, Vec<Notice>)> {
    let mut answers = how.exchange(connection).extended(&how.query(sql, &params.params())).await?;
    let (gathered, notices) = collect(connection, &mut answers).await;
    Ok((gathered?, notices))
}

async fn pipelined(
    connection: &Connection,
    sql: &str,
    sets: &[Params],
    (first, later): (&How, &How),
    returning: bool,
    notices: &mut Vec<Notice>,
) -> Result<(Vec<Gathered>, i64)> {
    let mut waiting = sets.iter().enumerate().map(|(n, params)| {
        let how = if n == 0 { first } else { later };
        one(connection, sql, params, how)
    });
    let mut under_way = FuturesOrdered::new();
    let (mut results, mut rows) = (Vec::new(), -1_i64);
    under_way.extend(waiting.by_ref().take(WINDOW));
    while let Some(told) = under_way.next().await {
        let (answers, more) = told?;
        notices.extend(more);
        for answer in answers {
            if let Some(n) = answer.tag().and_then(Tag::rows) {
                rows = rows.max(0).saturating_add_unsigned(n);
            }
            if !returning {
                results.clear();
            }
            results.push(answer);
        }
        under_way.extend(waiting.next());
    }
    Ok((results, rows))
}

/// What is made of results on the thread of Python's that asked.
fn results(
    py: Python<'_>,
    connection: &NativeConnection,
    held: &LiveCheckout,
    answers: Vec<Gathered>,
) -> PyResult<Vec<NativeResult>> {
    let made = answers.into_iter().map(|answer| {
        connection.keep_notices(answer.notices.iter().cloned());
        NativeResult::new(py, held, answer)
    });
    made.collect()
}

fn dumped(py: Python<'_>, held: &LiveCheckout, params: &Bound<'_, PyAny>) -> PyResult<Params> {
    match held.connection() {
        Some(connection) => dump_all(py, params, &AdaptContext::new(connection)),
        None => Err(crate::errors::raised(py, &gone())),
    }
}

/// The parameters of one statement; none and no binary result = the simple protocol.
fn parameters(
    py: Python<'_>,
    held: &LiveCheckout,
    params: Option<&Bound<'_, PyAny>>,
    binary: bool,
) -> PyResult<Option<Params>> {
    match params {
        Some(params) => dumped(py, held, params).map(Some),
        None if binary => Ok(Some(Params::default())),
        None => Ok(None),
    }
}

fn sets(py: Python<'_>, held: &LiveCheckout, params: &Bound<'_, PyAny>) -> PyResult<Vec<Params>> {
    params.try_iter()?.map(|one| dumped(py, held, &one?)).collect()
}

/// Waits on the calling thread. If a signal handler raises, what runs is cancelled on the server, and its answer waited
/// for, a while, so that the connection is as it seems.
pub(crate) fn drive<F>(py: Python<'_>, held: &Arc<LiveCheckout>, work: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let connection = held.connection().ok_or_else(gone).or_raise(py)?;
    let cancel = || drop(connection.cancel());
    let outcome = interruptible(py, Some(&cancel), |give_up| connection.drive(work, give_up));
    match outcome {
        Waited::Done(output) => Ok(output),
        Waited::Raised(e) => Err(e),
        Waited::GivenUp(e) => {
            held.abandon();
            Err(e)
        }
    }
}

/// The same for a wait by which nothing runs on the server: there is nothing to cancel.
pub(crate) fn drive_alone<F>(py: Python<'_>, held: &Arc<LiveCheckout>, work: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let connection = held.connection().ok_or_else(gone).or_raise(py)?;
    match interruptible(py, None, |give_up| connection.drive(work, give_up)) {
        Waited::Done(output) => Ok(output),
        Waited::Raised(e) | Waited::GivenUp(e) => Err(e),
    }
}

/// An operation on a connection, which is cancelled on the server if it is given up.
pub(crate) fn operation<F>(
    connection: &Bound<'_, NativeConnection>,
    held: &Arc<LiveCheckout>,
    work: F,
) -> Operation
where
    F: Future<Output = crate::event_loop::aio::Finish> + Send + 'static,
{
    Operation::new(Some(connection.clone().into_any().unbind()), work).or(GiveUp::on(held))
}

#[pymethods]
impl NativeConnection {
    #[pyo3(signature = (sql, params=None, *, first=None, cached=true, binary=false))]
    #[allow(clippy::too_many_arguments)]
    fn query(
        &self,
        py: Python<'_>,
        sql: Sql,
        params: Option<&Bound<'_, PyAny>>,
        first: Option<String>,
        cached: bool,
        binary: bool,
    ) -> PyResult<Vec<NativeResult>> {
        let request = self.request(py)?;
        let params = parameters(py, &request, params, binary)?;
        let how = How { first, cached, binary };
        let (answers, notices) = drive(py, &request, run(&request, &sql.0, params.as_ref(), &how))?;
        self.keep_notices(notices);
        results(py, self, &request, answers.or_raise(py)?)
    }

    #[pyo3(signature = (sql, params=None, *, first=None, cached=true, binary=false))]
    #[allow(clippy::too_many_arguments)]
    fn query_async(
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
        let (request, me) = (held.clone(), slf.clone().unbind());
        Ok(operation(slf, &held, async move {
            let request = Request::on(request);
            let (answers, notices) = run(&request, &sql.0, params.as_ref(), &how).await;
            finish(Ok(()), move |py, ()| {
                let me = me.get();
                me.keep_notices(notices);
                let results = results(py, me, &request, answers.or_raise(py)?)?;
                Ok(PyList::new(py, results)?.into_any().unbind())
            })
        }))
    }

    #[pyo3(signature = (sql, params, *, first=None, cached=true, binary=false, returning=false))]
    #[allow(clippy::too_many_arguments)]
    fn query_many(
        &self,
        py: Python<'_>,
        sql: Sql,
        params: &Bound<'_, PyAny>,
        first: Option<String>,
        cached: bool,
        binary: bool,
        returning: bool,
    ) -> PyResult<(Vec<NativeResult>, i64)> {
        let request = self.request(py)?;
        let sets = sets(py, &request, params)?;
        let how = How { first, cached, binary };
        let (outcome, notices) = drive(py, &request, run_many(&request, &sql.0, &sets, &how, returning))?;
        self.keep_notices(notices);
        let (answers, rows) = outcome.or_raise(py)?;
        Ok((results(py, self, &request, answers)?, rows))
    }

    #[pyo3(signature = (sql, params, *, first=None, cached=true, binary=false, returning=false))]
    #[allow(clippy::too_many_arguments)]
    fn query_many_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        params: &Bound<'_, PyAny>,
        first: Option<String>,
        cached: bool,
        binary: bool,
        returning: bool,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let sets = sets(py, &held, params)?;
        let how = How { first, cached, binary };
        let (request, me) = (held.clone(), slf.clone().unbind());
        Ok(operation(slf, &held, async move {
            let request = Request::on(request);
            let (outcome, notices) = run_many(&request, &sql.0, &sets, &how, returning).await;
            finish(Ok(()), move |py, ()| {
                let me = me.get();
                me.keep_notices(notices);
                let (answers, rows) = outcome.or_raise(py)?;
                let results = results(py, me, &request, answers)?;
                Ok((results, rows).into_pyobject(py)?.into_any().unbind())
            })
        }))
    }

    #[pyo3(signature = (sql, oids=None))]
    fn describe(
        &self,
        py: Python<'_>,
        sql: Sql,
        oids: Option<Vec<u32>>,
    ) -> PyResult<(Vec<u32>, Option<Vec<Column>>)> {
        let request = self.request(py)?;
        let connection = request.connection().ok_or_else(gone).or_raise(py)?;
        let described =
            drive(py, &request, connection.exchange().describe(&sql.0, &oids.unwrap_or_default()))?;
        Ok(description(described.or_raise(py)?))
    }

    #[pyo3(signature = (sql, oids=None))]
    fn describe_async(
        slf: &Bound<'_, Self>,
        py: Python<'_>,
        sql: Sql,
        oids: Option<Vec<u32>>,
    ) -> PyResult<Operation> {
        let held = slf.get().held(py)?;
        let request = held.clone();
        Ok(operation(slf, &held, async move {
            let request = Request::on(request);
            let described = match request.connection() {
                Some(connection) => connection.exchange().describe(&sql.0, &oids.unwrap_or_default()).await,
                None => Err(gone()),
            };
            finish(described, |py, told| Ok(description(told).into_pyobject(py)?.into_any().unbind()))
        }))
    }
}

fn description(told: StatementDescription) -> (Vec<u32>, Option<Vec<Column>>) {
    let columns = told.columns.map(|columns| columns.iter().cloned().map(Column::new).collect());
    (told.parameters.to_vec(), columns)
}
