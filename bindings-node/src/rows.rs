//! What a query has brought, on its way to JavaScript: read from the wire on the way in; on the way out described in few
//! values (`Delivered` of `native.d.ts`), while the rows stay here until JavaScript has them packed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use leakpool::Result;
use leakpool::exchange::{Answers, Block, Column, Ending, Notice, Tag};
use napi::bindgen_prelude::*;
use napi::{Env, JsString};

use crate::pack::{Mismatch, Rows, Text};

/// All results of one query.
pub(crate) struct Delivered(Vec<One>);

struct One {
    tag: Option<Tag>,
    /// `None` for a command that returns none.
    rows: Option<Rows>,
}

/// Reads an answer to its end. `noticed` is told of each notice on the way.
pub(crate) async fn read(mut answers: Answers, mut noticed: impl FnMut(Notice)) -> Result<Delivered> {
    let mut all = Vec::with_capacity(1);
    let mut rows: Option<Rows> = None;
    while let Some(block) = answers.next_block().await {
        match block? {
            Block::Columns(columns) => rows = Some(Rows::new(columns)),
            Block::Rows(block) => {
                if let Some(rows) = rows.as_mut() {
                    rows.push(block);
                }
            }
            Block::End(Ending::Complete(tag)) => all.push(One { tag: Some(tag), rows: rows.take() }),
            Block::End(Ending::Suspended | Ending::EmptyQuery) => {
                all.push(One { tag: None, rows: rows.take() })
            }
            Block::Notice(notice) => noticed(notice),
        }
    }
    Ok(Delivered(all))
}

/// The most shapes that are known by a number.
const SHAPES: usize = 1024;

/// Numbers for lists of columns, so that JavaScript prepares for each list once. A number is never given to another
/// list; after many lists all are forgotten, and those that come again get new ones.
#[derive(Default)]
struct Shapes {
    known: HashMap<Arc<[Column]>, u32>,
    next: u32,
}

impl Shapes {
    fn number(&mut self, columns: &Arc<[Column]>) -> u32 {
        if let Some(number) = self.known.get(columns) {
            return *number;
        }
        if self.known.len() >= SHAPES {
            self.known.clear();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.known.insert(columns.clone(), number);
        number
    }
}

/// What one batch brings to a thread of JavaScript. It is there while the batch is handed over, and what nobody has
/// taken by then is gone with it.
#[derive(Default)]
pub(crate) struct Batch {
    shapes: RefCell<Shapes>,
    answers: RefCell<Vec<Delivered>>,
}

impl Batch {
    /// Puts an answer in and describes it: its place, then for each result its tag and the number of its columns' list
    /// (-1 = no columns).
    pub(crate) fn put<'env>(&self, env: &'env Env, delivered: Delivered) -> napi::Result<Array<'env>> {
        let mut answers = self.answers.borrow_mut();
        let mut described = env.create_array(1 + 2 * delivered.0.len() as u32)?;
        described.set(0, answers.len() as u32)?;
        for (n, one) in delivered.0.iter().enumerate() {
            let tag = one.tag.as_ref().map_or("", Tag::as_str);
            let shape = one.rows.as_ref().map(|rows| self.shapes.borrow_mut().number(rows.columns()));
            described.set(1 + 2 * n as u32, tag)?;
            described.set(2 + 2 * n as u32, shape.map_or(-1, i64::from))?;
        }
        answers.push(delivered);
        Ok(described)
    }

    /// Forgets what is left.
    pub(crate) fn clear(&self) {
        self.answers.borrow_mut().clear();
    }

    fn with<T>(
        &self,
        answer: u32,
        result: u32,
        f: impl FnOnce(&mut Rows) -> napi::Result<T>,
    ) -> napi::Result<T> {
        let mut answers = self.answers.borrow_mut();
        let one = answers.get_mut(answer as usize).and_then(|answer| answer.0.get_mut(result as usize));
        let rows = one.and_then(|one| one.rows.as_mut());
        f(rows.ok_or_else(|| {
            Error::from_reason(format!("answer {answer} has no rows in result {result} any more"))
        })?)
    }

    /// The columns of a result.
    pub(crate) fn columns<'env>(
        &self,
        env: &'env Env,
        answer: u32,
        result: u32,
    ) -> napi::Result<Array<'env>> {
        self.with(answer, result, |rows| fields(env, rows.columns()))
    }

    /// Packs the next rows of a result. See [`crate::pack`].
    pub(crate) fn pack<'env>(
        &self,
        env: &'env Env,
        (answer, result): (u32, u32),
        kinds: &[u8],
        ints: &mut [i32],
        doubles: &mut [f64],
    ) -> napi::Result<JsString<'env>> {
        let text = self.with(answer, result, |rows| {
            rows.pack(kinds, ints, doubles).map_err(|e| match e {
                Mismatch::Kinds => Error::from_reason("the kinds do not fit the columns"),
                Mismatch::Room => Error::from_reason("the arrays are too short for a row"),
            })
        })?;
        match text {
            Text::Narrow(text) => env.create_string_latin1(text),
            Text::Wide(text) => env.create_string_utf16(text),
        }
    }
}

fn fields<'env>(env: &'env Env, columns: &[Column]) -> napi::Result<Array<'env>> {
    let mut fields = env.create_array(columns.len() as u32)?;
    for (n, column) in columns.iter().enumerate() {
        let mut field = Object::new(env)?;
        field.set("name", &*column.name)?;
        field.set("tableID", column.table_oid)?;
        field.set("columnID", column.column_id)?;
        field.set("dataTypeID", column.type_oid)?;
        field.set("dataTypeSize", column.type_size)?;
        field.set("dataTypeModifier", column.type_modifier)?;
        field.set("format", if column.format.code() == 0 { "text" } else { "binary" })?;
        fields.set(n as u32, field)?;
    }
    Ok(fields)
}
