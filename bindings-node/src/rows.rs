//! What a query has brought, on its way to JavaScript: read from the wire on the way in; on the way out described in few
//! values (`Delivered` of `native.d.ts`), while the rows stay here until JavaScript has them packed.

mod pack;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use leakpool::Result;
use leakpool::exchange::{Answers, Block, Column, Ending, Notice, Tag};
use napi::bindgen_prelude::*;
use napi::{Env, JsString};

use self::pack::{Mismatch, Rows, Text};

/// Results of one query: all of them, or a part, if there is much.
#[derive(Default)]
pub(crate) struct Delivered {
    /// The first one goes on with the last one of the part before.
    continues: bool,
    results: Vec<One>,
}

struct One {
    ended: Ended,
    /// `None` for a command that returns none.
    rows: Option<Rows>,
}

/// How a result ended.
enum Ended {
    /// Not yet.
    Open,
    /// Without a tag: the text was empty.
    Empty,
    Complete(Tag),
}

/// So much is worth a part of its own when nothing more is there yet: JavaScript decodes it while more is on its way.
const SOME: usize = 32 * 1024;
/// So much is not exceeded however fast it comes: JavaScript has other things to do in between.
const MUCH: usize = 256 * 1024;

#[derive(Default)]
struct Collected {
    delivered: Delivered,
    /// The rows of the result that is not over.
    rows: Option<Rows>,
    /// They go on with those of the part before.
    continues: bool,
    /// Bytes of rows.
    size: usize,
}

impl Collected {
    fn add(&mut self, block: Block, noticed: &mut impl FnMut(Notice)) {
        match block {
            Block::Columns(columns) => self.rows = Some(Rows::new(columns)),
            Block::Rows(block) => {
                self.size += block.messages().len();
                if let Some(rows) = self.rows.as_mut() {
                    rows.push(block);
                }
            }
            Block::End(Ending::Complete(tag)) => self.end(Ended::Complete(tag)),
            Block::End(Ending::Suspended | Ending::EmptyQuery) => self.end(Ended::Empty),
            Block::Notice(notice) => noticed(notice),
        }
    }

    fn end(&mut self, ended: Ended) {
        self.delivered.continues |= std::mem::take(&mut self.continues);
        let rows = self.rows.take();
        self.delivered.results.push(One { ended, rows });
    }

    /// What is there so far.
    fn part(&mut self) -> Delivered {
        self.size = 0;
        if let Some(rows) = self.rows.take() {
            let more = Rows::new(rows.columns().clone());
            self.rows = Some(rows);
            self.end(Ended::Open);
            self.rows = Some(more);
            self.continues = true;
        }
        std::mem::take(&mut self.delivered)
    }
}

/// Reads an answer to its end. `noticed` is told of each notice on the way; `part` gets what is there when it is much.
pub(crate) async fn read(
    mut answers: Answers,
    mut noticed: impl FnMut(Notice),
    mut part: impl FnMut(Delivered),
) -> Result<Delivered> {
    let mut all = Collected::default();
    loop {
        let next = poll_fn(|cx| {
            if all.size >= MUCH {
                part(all.part());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let next = pin!(answers.next_block()).poll(cx);
            if next.is_pending() && all.size >= SOME {
                part(all.part());
            }
            next
        });
        match next.await {
            Some(block) => all.add(block?, &mut noticed),
            None => return Ok(all.delivered),
        }
    }
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
    /// Puts an answer in and describes it: its place; 1 if its first result goes on with the last one of the part
    /// before; then for each result its tag (null: it is not over) and the number of its columns' list (-1 = no columns).
    pub(crate) fn put<'env>(&self, env: &'env Env, delivered: Delivered) -> napi::Result<Array<'env>> {
        let mut answers = self.answers.borrow_mut();
        let mut described = env.create_array(2 + 2 * delivered.results.len() as u32)?;
        described.set(0, answers.len() as u32)?;
        described.set(1, u32::from(delivered.continues))?;
        for (n, one) in delivered.results.iter().enumerate() {
            let at = 2 + 2 * n as u32;
            match &one.ended {
                Ended::Open => described.set(at, Null)?,
                Ended::Empty => described.set(at, "")?,
                Ended::Complete(tag) => described.set(at, tag.as_str())?,
            }
            let shape = one.rows.as_ref().map(|rows| self.shapes.borrow_mut().number(rows.columns()));
            described.set(at + 1, shape.map_or(-1, i64::from))?;
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
        let one = answers.get_mut(answer as usize).and_then(|answer| answer.results.get_mut(result as usize));
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
