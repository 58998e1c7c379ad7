//! The statements that exchanges keep prepared on one connection, and what waits to be closed.
//!
//! Lock protocol: a connection's [`Statements`] are locked while a request is put together *and queued*, so that
//! the order of requests on the wire is the order of decisions here: a Close never overtakes a Bind of the same
//! name. Inside it only the queue's lock is taken; nothing is woken.
//!
//! Names are never used twice, so closing one that was never made, or was closed before, is harmless: whenever it is
//! not known what the server has (an asker went away in mid-answer), the name is closed with the next request.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::values::{Column, Format, Formats, Param};
use parking_lot::Mutex;

/// The most statements that are kept prepared on one connection. The longest unused goes first.
pub(crate) const MOST_KEPT: usize = 256;
/// Longer texts are not worth their memory: they are parsed each time.
const LONGEST_KEPT: usize = 16 * 1024;

/// What is to be closed on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Statement(Arc<str>),
    Portal(Arc<str>),
}

/// What the server told of a prepared statement.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    /// `None`: it returns no rows.
    text: Option<Arc<[Column]>>,
    /// The same columns in binary, so that no query has to make them anew.
    binary: Option<Arc<[Column]>>,
}

fn in_formats(columns: &[Column], formats: Formats<'_>) -> Arc<[Column]> {
    let of = |(i, column): (usize, &Column)| Column { format: formats.of(i), ..column.clone() };
    columns.iter().enumerate().map(of).collect()
}

impl Description {
    /// From the RowDescription of a statement, whose formats mean nothing.
    pub(crate) fn new(columns: Option<&[Column]>) -> Description {
        let all = |format| columns.map(|c| in_formats(c, Formats::All(format)));
        Description { text: all(Format::Text), binary: all(Format::Binary) }
    }

    pub(crate) fn columns(&self, formats: Formats<'_>) -> Option<Arc<[Column]>> {
        match formats {
            Formats::All(Format::Text) => self.text.clone(),
            Formats::All(Format::Binary) => self.binary.clone(),
            Formats::PerColumn(_) => self.text.as_deref().map(|columns| in_formats(columns, formats)),
        }
    }
}

#[derive(Debug)]
struct Kept {
    sql: Box<str>,
    oids: Box<[u32]>,
    name: Arc<str>,
    last_use: u64,
    /// `None` while the request that prepares it is on its way.
    description: Option<Description>,
}

/// How a statement is to be sent.
#[derive(Debug)]
pub(crate) enum Choice {
    /// It is there.
    Known { key: u64, name: Arc<str>, description: Description },
    /// Parse it under this name; it is kept once it is described.
    Prepare { key: u64, name: Arc<str> },
    /// Parse it without a name.
    Unnamed,
}

#[derive(Debug, Default)]
pub(crate) struct Statements {
    kept: HashMap<u64, Kept>,
    hasher: RandomState,
    names: u64,
    /// What no other connection's names have.
    own: Option<Box<str>>,
    uses: u64,
    to_close: Vec<Named>,
}

impl Statements {
    pub(crate) fn choose(&mut self, sql: &str, params: &[Param<'_>]) -> Choice {
        if sql.len() > LONGEST_KEPT {
            return Choice::Unnamed;
        }
        let oids = || params.iter().map(|p| p.oid);
        let key = self.hasher.hash_one((sql, oids().collect::<Vec<u32>>()));
        self.uses += 1;
        if let Some(kept) = self.kept.get_mut(&key)
            && *kept.sql == *sql
            && kept.oids.iter().copied().eq(oids())
        {
            kept.last_use = self.uses;
            return match &kept.description {
                Some(description) => {
                    Choice::Known { key, name: kept.name.clone(), description: description.clone() }
                }
                // Another task's request is just preparing it.
                None => Choice::Unnamed,
            };
        }
        if self.kept.len() >= MOST_KEPT {
            let oldest =
                self.kept.iter().filter(|(_, k)| k.description.is_some()).min_by_key(|(_, k)| k.last_use);
            match oldest.map(|(key, _)| *key) {
                Some(key) => self.forget(key),
                None => return Choice::Unnamed,
            }
        }
        let name = self.name("lp_");
        let kept = Kept {
            sql: sql.into(),
            oids: oids().collect(),
            name: name.clone(),
            last_use: self.uses,
            description: None,
        };
        // One whose hash is the same gives way.
        if let Some(other) = self.kept.insert(key, kept) {
            self.to_close.push(Named::Statement(other.name));
        }
        Choice::Prepare { key, name }
    }

    /// A name that was never used on this connection, nor can be by tokio-postgres (`s0`, `p0`), nor by any other
    /// connection: 128 random bits of it are this one's. Should a pooler have gone unseen, a name may be unknown to its
    /// server session, but is never another caller's.
    pub(crate) fn name(&mut self, prefix: &str) -> Arc<str> {
        self.names += 1;
        let own = self.own.get_or_insert_with(|| {
            let (one, other) = (RandomState::new(), RandomState::new());
            format!("{:016x}{:016x}", one.hash_one(0_u8), other.hash_one(1_u8)).into()
        });
        format!("{prefix}{own}_{}", self.names).into()
    }

    fn described(&mut self, key: u64, name: &str, description: Description) -> bool {
        match self.kept.get_mut(&key).filter(|kept| *kept.name == *name) {
            Some(kept) => {
                kept.description = Some(description);
                true
            }
            None => false,
        }
    }

    fn forget(&mut self, key: u64) {
        if let Some(kept) = self.kept.remove(&key) {
            self.to_close.push(Named::Statement(kept.name));
        }
    }

    fn forget_named(&mut self, key: u64, name: &str) {
        if self.kept.get(&key).is_some_and(|kept| *kept.name == *name) {
            self.forget(key);
        }
    }

    /// The server has dropped all prepared statements (`DEALLOCATE ALL`, `DISCARD ALL`).
    pub(crate) fn forget_all(&mut self) {
        let names = self.kept.drain().map(|(_, kept)| Named::Statement(kept.name));
        self.to_close.extend(names);
    }

    pub(crate) fn close_later(&mut self, named: Named) {
        self.to_close.push(named);
    }

    /// What the next request closes.
    pub(crate) fn take_closes(&mut self) -> Vec<Named> {
        std::mem::take(&mut self.to_close)
    }
}

/// What a request promised to the statements. Dropped before the server has confirmed it, it takes that back.
pub(crate) struct Ticket {
    statements: Arc<Mutex<Statements>>,
    /// Closes that are not confirmed, the next one last.
    closes: Vec<Named>,
    preparing: Option<(u64, Arc<str>)>,
    /// The kept statement that it uses.
    using: Option<(u64, Arc<str>)>,
}

impl Ticket {
    pub(crate) fn new(statements: Arc<Mutex<Statements>>, mut closes: Vec<Named>, choice: &Choice) -> Ticket {
        closes.reverse();
        let (preparing, using) = match choice {
            Choice::Known { key, name, .. } => (None, Some((*key, name.clone()))),
            Choice::Prepare { key, name } => (Some((*key, name.clone())), None),
            Choice::Unnamed => (None, None),
        };
        Ticket { statements, closes, preparing, using }
    }

    /// A CloseComplete came.
    pub(crate) fn closed(&mut self) {
        self.closes.pop();
    }

    /// It is prepared and described.
    pub(crate) fn described(&mut self, description: &Description) {
        let Some((key, name)) = self.preparing.take() else { return };
        let mut statements = self.statements.lock();
        if !statements.described(key, &name, description.clone()) {
            statements.close_later(Named::Statement(name));
        }
    }

    /// True if it relies on what was prepared before.
    pub(crate) fn uses_kept(&self) -> bool {
        self.using.is_some()
    }

    /// What it relied on is not valid any more.
    pub(crate) fn stale(&mut self) {
        if let Some((key, name)) = self.using.take() {
            self.statements.lock().forget_named(key, &name);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.closes.is_empty() && self.preparing.is_none() {
            return;
        }
        let mut statements = self.statements.lock();
        statements.to_close.append(&mut self.closes);
        if let Some((key, name)) = self.preparing.take() {
            statements.forget_named(key, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(statements: &mut Statements, sql: &str, oids: &[u32]) -> (u64, Arc<str>) {
        let params: Vec<Param<'_>> = oids.iter().map(|oid| Param { oid: *oid, ..Param::NULL }).collect();
        match statements.choose(sql, &params) {
            Choice::Prepare { key, name } => (key, name),
            other @ (Choice::Known { .. } | Choice::Unnamed) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_statement_is_known_once_it_is_described_and_by_its_oids() {
        let mut statements = Statements::default();
        let (key, name) = prepare(&mut statements, "SELECT $1", &[23]);
        assert!(matches!(
            statements.choose("SELECT $1", &[Param { oid: 23, ..Param::NULL }]),
            Choice::Unnamed
        ));
        assert!(statements.described(key, &name, Description::new(None)));
        let again = statements.choose("SELECT $1", &[Param { oid: 23, ..Param::NULL }]);
        assert!(matches!(again, Choice::Known { name: known, .. } if known == name));
        let (_, other) = prepare(&mut statements, "SELECT $1", &[25]);
        assert_ne!(other, name);
        assert!(matches!(statements.choose(&"x".repeat(LONGEST_KEPT + 1), &[]), Choice::Unnamed));
    }

    #[test]
    fn the_longest_unused_gives_way_and_is_closed() {
        let mut statements = Statements::default();
        let mut names = Vec::new();
        for i in 0..MOST_KEPT {
            let (key, name) = prepare(&mut statements, &format!("SELECT {i}"), &[]);
            statements.described(key, &name, Description::new(None));
            names.push(name);
        }
        assert!(matches!(statements.choose("SELECT 0", &[]), Choice::Known { .. }));
        prepare(&mut statements, "one more", &[]);
        assert_eq!(statements.take_closes(), [Named::Statement(names[1].clone())]);
        assert_eq!(statements.kept.len(), MOST_KEPT);
        assert!(matches!(statements.choose("SELECT 0", &[]), Choice::Known { .. }));
    }

    #[test]
    fn one_that_was_dropped_while_it_was_prepared_is_closed() {
        let mut statements = Statements::default();
        let (key, name) = prepare(&mut statements, "SELECT 1", &[]);
        statements.forget_all();
        assert!(!statements.described(key, &name, Description::new(None)));
        assert_eq!(statements.take_closes(), [Named::Statement(name)]);
    }
}
