//! Runs one scenario: the pool, who holds what, what was told; and what has to be true at the end of every one.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakpool::{
    CheckoutId, CheckoutInfo, Connection, Error, Event, EventKind, Events, ManualClock, Names as Casing,
    OptionKind, OptionSpec, OptionValue, Pool,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::facts::Names;
use crate::matching::matches;
use crate::script::{Facts, Scenario, Step};
use crate::server::Server;

/// The longest that anything may take that is awaited. Generous: nothing is judged by it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a scenario has in hand.
pub struct Runner {
    pub pool: Pool,
    pub clock: ManualClock,
    pub server: Server,
    pub names: Names,
    /// The pool's name, as the server shows it.
    pub pool_name: String,
    pub held: HashMap<String, Arc<Connection>>,
    /// Of every name that ever held: its last checkout and its server process.
    pub known: HashMap<String, (CheckoutId, u32)>,
    pub jobs: HashMap<String, Job>,
    /// What was opened on connections (a COPY, an unread result): open until the end.
    pub kept: Vec<Box<dyn Any + Send>>,
    events: Events,
    pub log: Vec<Told>,
}

/// An event and whether a step has expected it.
pub struct Told {
    pub event: Event,
    pub matched: bool,
}

/// Something that runs while the next steps do.
pub enum Job {
    Acquire { name: String, acquire: JoinHandle<Result<Connection, Error>> },
    Query { on: String, query: JoinHandle<Result<Facts, Error>> },
    Close(JoinHandle<Result<Vec<CheckoutInfo>, Error>>),
}

impl Job {
    pub fn is_finished(&self) -> bool {
        match self {
            Job::Acquire { acquire, .. } => acquire.is_finished(),
            Job::Query { query, .. } => query.is_finished(),
            Job::Close(close) => close.is_finished(),
        }
    }

    /// Drops what runs, and waits until it is dropped.
    pub async fn abandon(self) {
        match self {
            Job::Acquire { acquire, .. } => abandon(acquire).await,
            Job::Query { query, .. } => abandon(query).await,
            Job::Close(close) => abandon(close).await,
        }
    }
}

async fn abandon<T>(task: JoinHandle<T>) {
    task.abort();
    drop(task.await);
}

/// An option's value: durations are in milliseconds.
pub fn option(name: &str, value: &Value) -> Result<OptionValue, String> {
    let spec = OptionSpec::named(Casing::Core, name).map_err(|e| e.to_string())?;
    Ok(match (value, spec.kind) {
        (Value::Bool(flag), _) => OptionValue::Bool(*flag),
        (Value::String(text), _) => OptionValue::Text(text.clone()),
        (Value::Number(n), OptionKind::Duration) => OptionValue::Millis(n.as_f64().unwrap_or(f64::NAN)),
        (Value::Number(n), _) => match n.as_i64() {
            Some(n) => OptionValue::Integer(n),
            None => OptionValue::Number(n.as_f64().unwrap_or(f64::NAN)),
        },
        (other, _) => return Err(format!("option {name} cannot be {other}")),
    })
}

/// Checks an outcome; one about which nothing is expected has to be a success.
pub fn check(expect: &Facts, seen: &Facts) -> Result<(), String> {
    let mut expect = expect.clone();
    expect.entry("error").or_insert(Value::Null);
    matches(&expect, seen).map_err(|e| match seen.get("message") {
        Some(message) => format!("{e} (it said: {message})"),
        None => e,
    })
}

/// The outcome of something that ends by itself.
pub async fn ends<T>(what: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(LIMIT, what).await.map_err(|_| "it did not come to an end".to_owned())
}

impl Runner {
    /// Runs a scenario from the pool's building to its closing.
    pub async fn run(scenario: &Scenario) -> Result<(), String> {
        let steps = scenario.steps()?;
        let mut runner = Runner::new(scenario).await?;
        let mut outcome = Ok(());
        for (i, (text, step)) in steps.into_iter().enumerate() {
            if let Err(e) = runner.step(step).await {
                let told: Vec<String> = runner.told_and_not_expected();
                outcome = Err(format!(
                    "step {} {text}\n  {e}\n  events that no step has expected: {}\n  {}",
                    i + 1,
                    told.join(", "),
                    runner.pool.status()
                ));
                break;
            }
        }
        let end = runner.end().await.map_err(|e| format!("at the end: {e}"));
        for sql in &scenario.cleanup {
            let sql = runner.fill_in(sql)?;
            runner.server.sql(&sql).await.map_err(|e| format!("cleanup {sql}: {e}"))?;
        }
        runner.server.clean_up().await?;
        outcome.and(end)
    }

    async fn new(scenario: &Scenario) -> Result<Runner, String> {
        let server = Server::for_scenario(scenario.server).await?;
        let clock = ManualClock::new();
        let pool_name = format!("scenario-{}", server.unique);
        let mut builder = server.target(Pool::builder())?.clock(clock.clone()).name(pool_name.clone());
        for (name, value) in &scenario.pool {
            builder = builder.set(name, option(name, value)?);
        }
        let pool = builder.build().map_err(|e| e.to_string())?;
        let events = pool.events(EventKind::ALL);
        Ok(Runner {
            pool,
            clock,
            server,
            names: Names::default(),
            pool_name,
            held: HashMap::new(),
            known: HashMap::new(),
            jobs: HashMap::new(),
            kept: Vec::new(),
            events,
            log: Vec::new(),
        })
    }

    /// Takes over what was told since the last look.
    pub fn listen(&mut self) {
        while let Some(event) = self.events.try_recv() {
            self.log.push(Told { event, matched: false });
        }
    }

    fn told_and_not_expected(&mut self) -> Vec<String> {
        self.listen();
        let about = |event: &Event| match event.data.checkout() {
            Some(id) => format!("{} of {}", event.kind().name(), self.names.of(id)),
            None => event.kind().name().to_owned(),
        };
        self.log.iter().filter(|told| !told.matched).map(|told| about(&told.event)).collect()
    }

    /// Looks until it is as it should be. The error is what was seen last.
    pub async fn eventually<T>(
        &mut self,
        mut look: impl FnMut(&mut Runner) -> Result<T, String>,
    ) -> Result<T, String> {
        let started = Instant::now();
        loop {
            match look(self) {
                Ok(seen) => return Ok(seen),
                Err(e) if started.elapsed() > LIMIT => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Makes sure that the sweeper has judged every checkout at the time that the clock shows, and that all it told
    /// was received. A new policy, even the same, has every checkout looked at; two rounds, since the first that is
    /// seen to end may have begun before.
    pub async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            if self.pool.is_closed() || self.pool.status().in_use == 0 {
                break;
            }
            let rounds = self.pool.metrics().sweep_time.count;
            self.pool.reconfigure((*self.pool.policy()).clone()).map_err(|e| e.to_string())?;
            self.eventually(|r| {
                if r.pool.metrics().sweep_time.count > rounds || r.pool.status().in_use == 0 {
                    Ok(())
                } else {
                    Err("the sweeper does not look at the checkouts".into())
                }
            })
            .await?;
        }
        if !self.pool.flush_events(LIMIT) {
            return Err("events are queued and not told".into());
        }
        self.listen();
        Ok(())
    }

    /// `{unique}` and `{pid:name}` in SQL.
    pub fn fill_in(&self, sql: &str) -> Result<String, String> {
        let mut sql = sql.replace("{unique}", &self.server.unique);
        for (name, (_, pid)) in &self.known {
            sql = sql.replace(&format!("{{pid:{name}}}"), &pid.to_string());
        }
        match sql.find("{pid:") {
            Some(at) => Err(format!("nobody of this name has held a connection: {}", &sql[at..])),
            None => Ok(sql),
        }
    }

    pub fn id(&self, name: &str) -> Result<CheckoutId, String> {
        self.known.get(name).map(|(id, _)| *id).ok_or_else(|| format!("{name} has not acquired yet"))
    }

    pub fn pid(&self, name: &str) -> Result<u32, String> {
        self.known.get(name).map(|(_, pid)| *pid).ok_or_else(|| format!("{name} has not acquired yet"))
    }

    pub fn connection(&self, name: &str) -> Result<Arc<Connection>, String> {
        self.held.get(name).cloned().ok_or_else(|| format!("{name} holds no connection"))
    }

    pub fn checkout(&self, name: &str) -> Result<CheckoutInfo, String> {
        let id = self.id(name)?;
        let found = self.pool.checkouts().into_iter().find(|c| c.id == id);
        found.ok_or_else(|| format!("the checkout of {name} is not live"))
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match self.act(step).await? {
            None => Ok(()),
            Some(expectation) => self.expect(expectation).await,
        }
    }

    /// Gives everything back, closes the pool and checks what is true of every pool that was closed.
    async fn end(&mut self) -> Result<(), String> {
        for (_, job) in std::mem::take(&mut self.jobs) {
            job.abandon().await;
        }
        self.held.clear();
        self.kept.clear();
        if !self.pool.is_closed() {
            ends(self.pool.close_within(Duration::ZERO)).await?.map_err(|e| e.to_string())?;
        }
        let metrics = self.pool.metrics();
        let books = metrics.books;
        if books.active() != 0 || books.acquired != books.released + books.force_released + books.lost {
            return Err(format!("the books do not balance: {books:?}"));
        }
        if metrics.status.leaked_now != 0 || metrics.events_dropped != 0 {
            return Err(format!("flagged or dropped after the end: {metrics:?}"));
        }
        let started = Instant::now();
        while self.server.has_session(&self.pool_name, None).await? {
            if started.elapsed() > LIMIT {
                return Err("the server still has sessions of the pool".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}
