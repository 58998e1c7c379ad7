//! Collecting the answer to a request: rows in the pieces in which they came, decoded while the next ones are on their
//! way.

use std::sync::Arc;

use leakpool::exchange::{Answers, Block, Column, Ending, Notice, Tag};
use leakpool::{Connection, Result};

use crate::event_loop::waiting::attached;
use crate::values::{AdaptContext, Decoding, Rows};

/// One result.
pub(crate) struct Gathered {
    pub(crate) columns: Option<Arc<[Column]>>,
    pub(crate) rows: Rows,
    pub(crate) decoding: Decoding,
    pub(crate) ending: Ending,
    pub(crate) notices: Vec<Notice>,
}

impl Gathered {
    /// Its tag, if its command was completed.
    pub(crate) fn tag(&self) -> Option<&Tag> {
        match &self.ending {
            Ending::Complete(tag) => Some(tag),
            Ending::Suspended | Ending::EmptyQuery => None,
        }
    }
}

/// All results, or the error; and the notices that came without a result.
pub(crate) async fn collect(
    connection: &Connection,
    answers: &mut Answers,
) -> (Result<Vec<Gathered>>, Vec<Notice>) {
    let mut all: Vec<Gathered> = Vec::new();
    let mut columns: Option<Arc<[Column]>> = None;
    let mut rows = Rows::default();
    let mut decoding = Decoding::default();
    let mut notices = Vec::new();
    while let Some(block) = answers.next_block().await {
        match block {
            Err(e) => return (Err(e), notices),
            Ok(Block::Columns(told)) => columns = Some(told),
            Ok(Block::Rows(block)) => {
                rows.push(block);
                if let Some(columns) = &columns {
                    decoding.go_on(&rows, columns, &AdaptContext::new(connection), |work| {
                        // At the interpreter's end nobody will ask for them.
                        let _ = attached(work);
                    });
                }
            }
            Ok(Block::Notice(notice)) => notices.push(notice),
            Ok(Block::End(ending)) => all.push(Gathered {
                columns: columns.take(),
                rows: std::mem::take(&mut rows),
                decoding: std::mem::take(&mut decoding),
                ending,
                notices: std::mem::take(&mut notices),
            }),
        }
    }
    if let Some(last) = all.last_mut() {
        last.notices.append(&mut notices);
    }
    (Ok(all), notices)
}
