//! `leakpool_result`: the answer to a statement, in memory of its own.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use leakpool::Result;
use leakpool::exchange::{Answer, Column, Format};

use crate::boundary::{Out, borrowed, c_text, free, get, invalid, plain};
use crate::enums::leakpool_format;
use crate::error::{guard, leakpool_error, leakpool_status};

/// The answer to one statement: rows, columns, and the command tag.
///
/// Yours: free it with leakpool_result_free(). It is a copy: it lives on after its checkout and its pool, does not
/// change, and may be read from several threads at once. All that is borrowed from it lives until it is freed.
#[derive(Debug)]
pub struct leakpool_result {
    columns: Vec<ResultColumn>,
    rows: usize,
    /// All values, each with a NUL behind it, so that a text is a text of C's.
    data: Vec<u8>,
    /// Row by row: where each value starts, and its length.
    cells: Vec<Option<(usize, usize)>>,
    tag: CString,
    affected: u64,
    notices: Vec<CString>,
    next: Option<Box<leakpool_result>>,
}

#[derive(Debug)]
struct ResultColumn {
    name: CString,
    column: Column,
}

/// One column of a result. The name is borrowed from the result.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_column {
    /// Its name.
    pub name: *const c_char,
    /// The OID of its type.
    pub type_oid: u32,
    /// The OID of the table that it comes from; 0 if it is computed.
    pub table_oid: u32,
    /// The type's modifier (pg_attribute.atttypmod); -1 = none.
    pub type_modifier: i32,
    /// The size of its type in bytes (pg_type.typlen); negative = variable.
    pub type_size: i32,
    /// Its number in that table, from 1; 0 if it is computed.
    pub table_column: i32,
    /// How its values come: a leakpool_format.
    pub format: i32,
}

/// One value of a result, borrowed from it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct leakpool_value {
    /// The value, with a NUL behind it that does not count; NULL for SQL's NULL.
    pub data: *const c_void,
    /// Its length in bytes.
    pub length: usize,
    /// 1 for SQL's NULL, otherwise 0.
    pub is_null: i32,
    /// A leakpool_format.
    pub format: i32,
}

fn number(format: Format) -> i32 {
    match format {
        Format::Text => leakpool_format::LEAKPOOL_TEXT as i32,
        Format::Binary => leakpool_format::LEAKPOOL_BINARY as i32,
    }
}

pub(crate) fn column_for_c(name: &CString, column: &Column) -> leakpool_column {
    leakpool_column {
        name: name.as_ptr(),
        type_oid: column.type_oid,
        table_oid: column.table_oid,
        type_modifier: column.type_modifier,
        type_size: column.type_size.into(),
        table_column: column.column_id.into(),
        format: number(column.format),
    }
}

impl leakpool_result {
    pub(crate) fn new(answer: Answer) -> Result<leakpool_result> {
        let columns = answer.columns.as_deref().unwrap_or_default();
        let mut result = leakpool_result {
            columns: columns
                .iter()
                .map(|column| ResultColumn { name: c_text(&column.name), column: column.clone() })
                .collect(),
            rows: answer.rows.len(),
            data: Vec::new(),
            cells: Vec::with_capacity(answer.rows.len().saturating_mul(columns.len())),
            tag: answer.tag().map(|tag| c_text(tag.as_str())).unwrap_or_default(),
            affected: answer.row_count().unwrap_or(0),
            notices: answer.notices.iter().map(|notice| c_text(&notice.to_string())).collect(),
            next: None,
        };
        for row in &answer.rows {
            for value in row {
                result.cells.push(value.map(|value| {
                    let start = result.data.len();
                    result.data.extend_from_slice(value);
                    result.data.push(0);
                    (start, value.len())
                }));
            }
        }
        Ok(result)
    }

    /// The results of a script, each with the next.
    pub(crate) fn chain(answers: Vec<Answer>) -> Result<leakpool_result> {
        let mut next = None;
        for answer in answers.into_iter().rev() {
            let mut result = leakpool_result::new(answer)?;
            result.next = next;
            next = Some(Box::new(result));
        }
        next.map(|first| *first).ok_or_else(|| invalid("sql", "gave no result"))
    }

    pub(crate) fn affected(&self) -> u64 {
        self.affected
    }

    /// `None` if there is no such row or column; `Some(None)` for NULL.
    fn cell(&self, row: usize, column: usize) -> Option<Option<(*const u8, usize)>> {
        if row >= self.rows || column >= self.columns.len() {
            return None;
        }
        let cell = self.cells.get(row * self.columns.len() + column)?;
        Some(cell.and_then(|(start, length)| Some((self.data.get(start..)?.as_ptr(), length))))
    }
}

impl Drop for leakpool_result {
    fn drop(&mut self) {
        // One after the other: a script may have more results than the stack has room for.
        let mut next = self.next.take();
        while let Some(mut result) = next {
            next = result.next.take();
        }
    }
}

/// # Safety
/// `result` is NULL or lives for the call.
unsafe fn of<'a>(result: *const leakpool_result) -> Option<&'a leakpool_result> {
    // SAFETY: the caller's promise.
    unsafe { result.as_ref() }
}

/// How many rows there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_rows(result: *const leakpool_result) -> usize {
    // SAFETY: as the header says.
    plain(|| unsafe { of(result) }.map_or(0, |result| result.rows))
}

/// How many columns there are; 0 for NULL, and for a command that returns no rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_columns(result: *const leakpool_result) -> usize {
    // SAFETY: as the header says.
    plain(|| unsafe { of(result) }.map_or(0, |result| result.columns.len()))
}

/// Everything about one column; LEAKPOOL_INVALID_ARGUMENT if there is no such column.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_column(
    result: *const leakpool_result,
    column: usize,
    description: *mut leakpool_column,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let result = unsafe { get("result", result) }?;
        let Some(found) = result.columns.get(column) else {
            let rule = format!("({column}) is out of range: the result has {} columns", result.columns.len());
            return Err(invalid("column", &rule));
        };
        let value = column_for_c(&found.name, &found.column);
        // SAFETY: as the header says.
        unsafe { Out::new("description", description, value) }.map(drop)
    })
}

/// The name of one column; NULL if there is no such column. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_column_name(
    result: *const leakpool_result,
    column: usize,
) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(result) }.and_then(|result| result.columns.get(column)).map(|c| &c.name)))
}

/// The OID of the type of one column; 0 if there is no such column.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_column_oid(result: *const leakpool_result, column: usize) -> u32 {
    // SAFETY: as the header says.
    let found = || unsafe { of(result) }.and_then(|result| result.columns.get(column));
    plain(|| found().map_or(0, |found| found.column.type_oid))
}

/// One value. Rows and columns count from 0; LEAKPOOL_INVALID_ARGUMENT if there is no such row or column.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_value(
    result: *const leakpool_result,
    row: usize,
    column: usize,
    value: *mut leakpool_value,
    error: *mut *mut leakpool_error,
) -> leakpool_status {
    guard!(error, {
        // SAFETY: as the header says.
        let result = unsafe { get("result", result) }?;
        let Some(cell) = result.cell(row, column) else {
            let (rows, columns) = (result.rows, result.columns.len());
            let rule =
                format!("({row}, {column}) is out of range: the result has {rows} rows, {columns} columns");
            return Err(invalid("row, column", &rule));
        };
        let format = result.columns.get(column).map_or(0, |column| number(column.column.format));
        let (data, length) = cell.unwrap_or((ptr::null(), 0));
        let found = leakpool_value { data: data.cast(), length, is_null: cell.is_none().into(), format };
        // SAFETY: as the header says.
        unsafe { Out::new("value", value, found) }.map(drop)
    })
}

/// One value, with a NUL behind it; NULL for SQL's NULL, and if there is no such row or column (tell them apart with
/// leakpool_result_value()). In text format, it is a text. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_text(
    result: *const leakpool_result,
    row: usize,
    column: usize,
) -> *const c_char {
    // SAFETY: as the header says.
    let cell = || unsafe { of(result) }?.cell(row, column)?;
    plain(|| cell().map_or(ptr::null(), |(data, _)| data.cast()))
}

/// 1 if the value is SQL's NULL; also if there is no such row or column.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_is_null(
    result: *const leakpool_result,
    row: usize,
    column: usize,
) -> i32 {
    // SAFETY: as the header says.
    let cell = || unsafe { of(result) }?.cell(row, column)?;
    plain(|| cell().is_none().into())
}

/// The length of a value in bytes; 0 for SQL's NULL, and if there is no such row or column.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_length(
    result: *const leakpool_result,
    row: usize,
    column: usize,
) -> usize {
    // SAFETY: as the header says.
    let cell = || unsafe { of(result) }?.cell(row, column)?;
    plain(|| cell().map_or(0, |(_, length)| length))
}

/// The command tag as psql shows it, "INSERT 0 5"; empty for an empty statement; NULL for NULL. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_tag(result: *const leakpool_result) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(result) }.map(|result| &result.tag)))
}

/// How many rows were affected or returned; 0 where the tag has no number, as for DDL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_affected(result: *const leakpool_result) -> u64 {
    // SAFETY: as the header says.
    plain(|| unsafe { of(result) }.map_or(0, leakpool_result::affected))
}

/// One of the notices and warnings that came with the result, counted from 0; NULL after the last one. Borrowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_notice(
    result: *const leakpool_result,
    index: usize,
) -> *const c_char {
    // SAFETY: as the header says.
    plain(|| borrowed(unsafe { of(result) }.and_then(|result| result.notices.get(index))))
}

/// After leakpool_script(): the result of the next statement; NULL after the last one. Borrowed: it is freed together
/// with the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_next(result: *const leakpool_result) -> *const leakpool_result {
    // SAFETY: as the header says.
    let next = || unsafe { of(result) }?.next.as_deref();
    plain(|| next().map_or(ptr::null(), ptr::from_ref))
}

/// Frees a result and all that was borrowed from it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakpool_result_free(result: *mut leakpool_result) {
    // SAFETY: as the header says.
    unsafe { free(result) };
}
