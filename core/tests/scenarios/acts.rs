//! The steps that do something.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leakpool::{AcquireOptions, Connection, Error, Settings};
use tokio_postgres::types::ToSql;

use crate::facts;
use crate::places;
use crate::runner::{Job, Runner, check, ends, option};
use crate::script::{Facts, Step};
use crate::server::answer;

async fn query(connection: Arc<Connection>, sql: String) -> Result<Facts, Error> {
    match connection.simple_query(&sql).await {
        Ok(messages) => Ok(answer(&messages)),
        Err(e) => Err(connection.error(e)),
    }
}

impl Runner {
    /// Does what a step says; steps that expect something come back.
    pub async fn act(&mut self, step: Step) -> Result<Option<Step>, String> {
        match step {
            Step::Acquire { name, place, label, expected_ms, timeout_ms, background, expect } => {
                let mut options = AcquireOptions::new();
                if let Some(label) = label {
                    options = options.label(label);
                }
                if let Some(ms) = expected_ms {
                    options = options.expected_duration(Duration::from_millis(ms));
                }
                if let Some(ms) = timeout_ms {
                    options = options.timeout(Duration::from_millis(ms));
                }
                let acquiring = places::acquire(&place, &self.pool, options);
                let (line, acquiring) = acquiring.ok_or_else(|| format!("there is no place {place}"))?;
                self.names.places.insert(line, place);
                match background {
                    Some(job) => {
                        let acquire = tokio::spawn(acquiring);
                        self.jobs.insert(job, Job::Acquire { name, acquire });
                    }
                    None => {
                        let outcome = ends(acquiring).await?;
                        self.acquired(name, outcome, &expect)?;
                    }
                }
            }
            Step::TryAcquire { name, expect } => {
                let outcome = self.pool.try_acquire();
                self.acquired(name, outcome, &expect)?;
            }
            Step::Release { name } => drop(self.take(&name).await?),
            Step::ReleaseBroken { name } => self.take(&name).await?.release_broken(),
            Step::Forget { name } => std::mem::forget(self.take(&name).await?),
            Step::Query { on, sql, background, expect } => {
                let query = query(self.connection(&on)?, self.fill_in(&sql)?);
                match background {
                    Some(job) => {
                        let query = tokio::spawn(query);
                        self.jobs.insert(job, Job::Query { on, query });
                    }
                    None => {
                        let outcome = ends(query).await?;
                        self.answered(&on, outcome, &expect).await?;
                    }
                }
            }
            Step::CopyInOpen { on, sql } => {
                let connection = self.connection(&on)?;
                let sql = self.fill_in(&sql)?;
                let sink = ends(connection.copy_in::<_, Bytes>(&sql)).await?.map_err(|e| e.to_string())?;
                self.kept.push(Box::new(Box::pin(sink)));
            }
            Step::ReadNothing { on, sql } => {
                let connection = self.connection(&on)?;
                let sql = self.fill_in(&sql)?;
                let nothing: [&(dyn ToSql + Sync); 0] = [];
                let rows = ends(connection.query_raw(&sql, nothing)).await?.map_err(|e| e.to_string())?;
                self.kept.push(Box::new(Box::pin(rows)));
                // Now the last byte has moved: what the client still reads makes room for more.
                self.server.waits(self.pid(&on)?, "ClientWrite").await?;
            }
            Step::Cancel { on, expect } => {
                let outcome = self.connection(&on)?.cancel();
                self.done(outcome, &expect)?;
            }
            Step::Collect { name } => self.take(&name).await?.abandon(),
            Step::Prove { name, expect } => {
                let outcome = self.pool.prove_leaked(self.id(&name)?);
                self.done(outcome, &expect)?;
            }
            Step::OwnerEnded { name, expect } => {
                let outcome = self.pool.owner_ended(self.id(&name)?);
                self.done(outcome, &expect)?;
            }
            Step::ForceRelease { name, expect } => {
                let outcome = self.pool.force_release(self.id(&name)?);
                self.done(outcome, &expect)?;
            }
            Step::Advance { ms } => self.clock.advance(Duration::from_millis(ms)),
            Step::Await { background, expect } => self.await_job(&background, &expect).await?,
            Step::CancelAcquire { background } => match self.jobs.remove(&background) {
                Some(job) => job.abandon().await,
                None => return Err(format!("nothing runs as {background}")),
            },
            Step::Reconfigure { options, expect } => {
                let leak = (*self.pool.policy()).clone();
                let mut settings = Settings { leak, ..Default::default() };
                let mut outcome = Ok(());
                for (name, value) in &options {
                    let value = option(name, value)?;
                    outcome = outcome.and_then(|()| settings.set_running(leakpool::Names::Core, name, value));
                }
                let outcome = outcome.and_then(|()| self.pool.reconfigure(settings.leak));
                self.done(outcome, &expect)?;
            }
            Step::Resize { max_size, expect } => {
                let outcome = self.pool.resize(max_size);
                self.done(outcome, &expect)?;
            }
            Step::Close { within_ms, background, expect } => {
                let pool = self.pool.clone();
                let close = async move {
                    match within_ms {
                        Some(ms) => pool.close_within(Duration::from_millis(ms)).await,
                        None => pool.close().await,
                    }
                };
                match background {
                    Some(job) => {
                        self.jobs.insert(job, Job::Close(tokio::spawn(close)));
                    }
                    None => {
                        let outcome = ends(close).await?.map(|held| self.names.closed(&held));
                        self.finished(outcome, &expect)?;
                    }
                }
            }
            Step::SqlAdmin { sql, expect } => {
                let sql = self.fill_in(&sql)?;
                let seen = ends(self.server.sql(&sql)).await?.map_err(|e| e.to_string())?;
                check(&expect, &seen)?;
            }
            step => return Ok(Some(step)),
        }
        Ok(None)
    }

    /// The handle of `name`, which holds it no more. Queries that it still waits for are abandoned.
    async fn take(&mut self, name: &str) -> Result<Connection, String> {
        let running: Vec<String> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job, Job::Query { on, .. } if on == name))
            .map(|(job, _)| job.clone())
            .collect();
        for job in running {
            if let Some(job) = self.jobs.remove(&job) {
                job.abandon().await;
            }
        }
        let connection = self.held.remove(name).ok_or_else(|| format!("{name} holds no connection"))?;
        Arc::try_unwrap(connection).map_err(|_| format!("the connection of {name} is still in use"))
    }

    fn acquired(
        &mut self,
        name: String,
        outcome: Result<Connection, Error>,
        expect: &Facts,
    ) -> Result<(), String> {
        let connection = match outcome {
            Ok(connection) => connection,
            Err(e) => return check(expect, &self.names.failure(&e)),
        };
        self.names.checkouts.insert(connection.id(), name.clone());
        self.known.insert(name.clone(), (connection.id(), connection.backend_pid().unwrap_or(0)));
        let before = self.held.insert(name.clone(), Arc::new(connection));
        match before {
            Some(_) => Err(format!("{name} holds a connection already: give this one another name")),
            None => check(expect, &facts::success(0, None)),
        }
    }

    async fn answered(
        &mut self,
        on: &str,
        outcome: Result<Facts, Error>,
        expect: &Facts,
    ) -> Result<(), String> {
        let failed = outcome.is_err();
        self.finished(outcome, expect)?;
        if failed {
            // An error reaches its caller before the session is ready again, and time must not pass in between.
            self.eventually(|r| match r.checkout(on) {
                Ok(c) if c.executing_for.is_some() => Err("the session is not ready again".to_owned()),
                Ok(_) | Err(_) => Ok(()),
            })
            .await?;
        }
        Ok(())
    }

    async fn await_job(&mut self, background: &str, expect: &Facts) -> Result<(), String> {
        let job = self.jobs.remove(background).ok_or_else(|| format!("nothing runs as {background}"))?;
        match job {
            Job::Acquire { name, acquire } => {
                let outcome = ends(acquire).await?.map_err(|e| e.to_string())?;
                self.acquired(name, outcome, expect)
            }
            Job::Query { on, query } => {
                let outcome = ends(query).await?.map_err(|e| e.to_string())?;
                self.answered(&on, outcome, expect).await
            }
            Job::Close(close) => {
                let outcome = ends(close).await?.map_err(|e| e.to_string())?;
                let outcome = outcome.map(|held| self.names.closed(&held));
                self.finished(outcome, expect)
            }
        }
    }

    fn finished(&self, outcome: Result<Facts, Error>, expect: &Facts) -> Result<(), String> {
        let seen = outcome.unwrap_or_else(|e| self.names.failure(&e));
        check(expect, &seen)
    }

    fn done<T>(&self, outcome: Result<T, Error>, expect: &Facts) -> Result<(), String> {
        self.finished(outcome.map(|_| facts::success(0, None)), expect)
    }
}
