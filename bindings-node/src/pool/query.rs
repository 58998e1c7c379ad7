//! One query: from the call of JavaScript to its answer.

use leakpool::exchange::{Notice, Param, Query};
use leakpool::{Connection, Result};

use super::params::Value;
use crate::rows::{self, Delivered};

/// What JavaScript asks for. Owns everything: the call has returned by the time it is answered.
pub(crate) struct Asked {
    pub(crate) text: String,
    /// `None` = by the simple protocol, any number of statements.
    pub(crate) params: Option<Vec<Value>>,
    /// Keep it prepared.
    pub(crate) cached: bool,
}

/// Asks and reads the answer: what it returns is the rest of it after `part`.
pub(crate) async fn run(
    connection: &Connection,
    asked: Asked,
    noticed: impl FnMut(Notice),
    part: impl FnMut(Delivered),
) -> Result<Delivered> {
    let exchange = connection.exchange();
    let answers = match &asked.params {
        None => exchange.simple(&asked.text)?,
        Some(values) => {
            let params: Vec<Param<'_>> = values.iter().map(Value::as_param).collect();
            exchange.extended(&Query::new(&asked.text).params(&params).cached(asked.cached)).await?
        }
    };
    rows::read(answers, noticed, part).await
}
