//! A pool as JavaScript has it: members (one for each session that was ever lent, for as long as JavaScript has an
//! object for it), acquire, release, submit.

use std::cell::RefCell;
use std::rc::Rc;

use leakpool::{AcquireOptions, Connection, ErrorCode, Pool, Session};
use napi::bindgen_prelude::*;
use napi_derive::napi;

use crate::error;
use crate::event_loop::{EventLoop, Finished, JsEventLoop, Outcome};
use crate::options::{self, Given};
use crate::params;
use crate::query::{self, Asked};

/// A session that JavaScript has an object for.
struct Member {
    session: Session,
    /// While it is lent.
    connection: Option<Rc<Connection>>,
}

#[derive(Default)]
struct Members {
    list: Vec<Option<Member>>,
    free: Vec<u32>,
    /// The member of each slot of the core's registry, as far as it has one.
    by_slot: Vec<u32>,
}

pub(crate) struct PoolState {
    pool: Pool,
    home: Rc<EventLoop>,
    members: RefCell<Members>,
}

/// A connection on its way to JavaScript.
pub(crate) struct Lent {
    pool: Rc<PoolState>,
    connection: Connection,
}

impl Lent {
    /// Its member's number. From here on JavaScript releases it.
    pub(crate) fn hand_out(self, env: Env) -> u32 {
        let Lent { pool, connection } = self;
        pool.lend(env, connection)
    }
}

impl PoolState {
    fn lend(&self, env: Env, connection: Connection) -> u32 {
        self.home.hold(env);
        self.members.borrow_mut().put(connection)
    }

    fn connection(&self, member: u32) -> Option<Rc<Connection>> {
        self.members.borrow().list.get(member as usize)?.as_ref()?.connection.clone()
    }
}

impl Members {
    fn put(&mut self, connection: Connection) -> u32 {
        // The lower bits of an id are the slot (CheckoutId::to_u64).
        let slot = (connection.id().to_u64() & 0xff_ffff) as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, u32::MAX);
        }
        let number = self.by_slot[slot];
        if let Some(Some(member)) = self.list.get_mut(number as usize)
            && member.session.is_of(&connection)
        {
            member.connection = Some(Rc::new(connection));
            return number;
        }
        let member = Member { session: connection.session(), connection: Some(Rc::new(connection)) };
        let number = match self.free.pop() {
            Some(number) => {
                self.list[number as usize] = Some(member);
                number
            }
            None => {
                self.list.push(Some(member));
                self.list.len() as u32 - 1
            }
        };
        self.by_slot[slot] = number;
        number
    }
}

/// One pool. See `native.d.ts`.
#[napi(js_name = "NativePool")]
pub struct JsPool(Rc<PoolState>);

#[napi]
impl JsPool {
    /// Makes a pool. `options` are pairs of Node's names and values.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        home: &JsEventLoop,
        dsn: String,
        fields: Vec<(String, String)>,
        options: Vec<(String, Given)>,
    ) -> Result<JsPool> {
        let home = home.0.clone();
        let make = || {
            let settings = options::settings(options)?;
            let target = options::target(&dsn, &fields)?;
            Pool::builder()
                .connect_config(target)
                .policy(settings.leak)
                .options(settings.pool)
                .runtime(home.runtime().handle().clone())
                .build()
        };
        let pool = make().map_err(|e| error::thrown(env, &e))?;
        Ok(JsPool(Rc::new(PoolState { pool, home, members: RefCell::default() })))
    }

    /// An idle connection: its member's number, or -1.
    #[napi(catch_unwind)]
    pub fn try_acquire(&self, env: Env) -> i32 {
        match self.0.pool.try_acquire_from(&[], AcquireOptions::new()) {
            Ok(connection) => self.0.lend(env, connection) as i32,
            Err(_) => -1,
        }
    }

    /// A connection, later: the ticket is settled with its member's number.
    #[napi(catch_unwind)]
    pub fn acquire(&self, env: Env, ticket: u32) {
        let state = self.0.clone();
        let future = state.pool.acquire_from(&[], AcquireOptions::new());
        state.home.hold(env);
        let home = state.home.clone();
        home.spawn(async move {
            let outcome = future.await;
            let home = state.home.clone();
            let outcome = outcome.map(|connection| Outcome::Acquired(Lent { pool: state, connection }));
            home.finish(Finished { ticket, held: true, outcome });
        });
    }

    /// Gives a connection back, or ends its session.
    #[napi(catch_unwind)]
    pub fn release(&self, env: Env, member: u32, broken: bool) -> Result<()> {
        let connection = match self.0.members.borrow_mut().list.get_mut(member as usize) {
            Some(Some(member)) => member.connection.take(),
            Some(None) | None => None,
        };
        let Some(connection) = connection else { return Ok(()) };
        self.0.home.let_go(env);
        match Rc::try_unwrap(connection) {
            Ok(connection) => connection.release_checked(broken).map_err(|e| error::thrown(env, &e)),
            // A query still runs: the connection goes back when that is answered.
            Err(_) => Ok(()),
        }
    }

    /// Runs a query: the ticket is settled with its results.
    #[napi(catch_unwind)]
    pub fn submit(&self, member: u32, ticket: u32, text: String, params: Option<Array<'_>>) -> Result<()> {
        let asked = Asked { text, params: params.as_ref().map(params::read).transpose()? };
        let home = self.0.home.clone();
        let Some(connection) = self.0.connection(member) else {
            let gone = leakpool::Error::new(ErrorCode::AlreadyReleased, "the connection was released before");
            home.finish(Finished { ticket, held: false, outcome: Err(gone) });
            return Ok(());
        };
        let spawner = home.clone();
        spawner.spawn(async move {
            let outcome = query::run(connection, asked).await.map(Outcome::Answered);
            home.finish(Finished { ticket, held: false, outcome });
        });
        Ok(())
    }
}
