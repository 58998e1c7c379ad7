//! The steps that expect something.

use std::time::{Duration, Instant};

use leakpool::EventKind;
use serde_json::{Value, json};

use crate::facts;
use crate::matching::matches;
use crate::places;
use crate::runner::{LIMIT, Runner};
use crate::script::{Facts, Step};

fn kind(name: &str) -> Result<EventKind, String> {
    let found = EventKind::ALL.iter().copied().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("there is no event {name}"))
}

impl Runner {
    /// Waits until it is as the step expects it, or fails with what is seen.
    pub async fn expect(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::ServerSessionGone { of } => {
                let pid = self.pid(&of)?;
                let started = Instant::now();
                while self.server.has_session(&self.pool_name, Some(pid)).await? {
                    if started.elapsed() > LIMIT {
                        return Err(format!("the server still has session {pid}"));
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(())
            }
            Step::ServerSessionWaits { of, event } => self.server.waits(self.pid(&of)?, &event).await,
            Step::ExpectPending { background } => {
                self.settle().await?;
                match self.jobs.get(&background) {
                    Some(job) if job.is_finished() => Err(format!("{background} has come to an end")),
                    Some(_) => Ok(()),
                    None => Err(format!("nothing runs as {background}")),
                }
            }
            Step::ExpectEvent { kind: name, of, fields } => {
                let kind = kind(&name)?;
                self.eventually(|r| r.look_for(kind, of.as_deref(), &fields)).await
            }
            Step::ExpectNoEvent { kinds, of } => {
                let kinds = kinds.iter().map(|name| kind(name)).collect::<Result<Vec<_>, _>>()?;
                let of = of.map(|name| self.id(&name)).transpose()?;
                self.settle().await?;
                let unexpected = self.log.iter().find(|told| {
                    let about = told.event.data.checkout();
                    !told.matched && kinds.contains(&told.event.kind()) && (of.is_none() || of == about)
                });
                match unexpected {
                    None => Ok(()),
                    Some(told) => {
                        let seen = Value::Object(self.names.event(&told.event));
                        Err(format!("it came: {} {seen}", told.event.kind().name()))
                    }
                }
            }
            Step::ExpectStatus { fields } => {
                self.eventually(|r| matches(&fields, &facts::status(&r.pool.status()))).await
            }
            Step::ExpectMetrics { fields } => {
                self.eventually(|r| matches(&fields, &facts::metrics(&r.pool.metrics()))).await
            }
            Step::ExpectCheckout { of, fields } => {
                self.eventually(|r| matches(&fields, &r.names.checkout(&r.checkout(&of)?))).await
            }
            Step::ExpectHolders { names } => {
                self.eventually(|r| {
                    let seen: Vec<String> = r.pool.checkouts().iter().map(|c| r.names.of(c.id)).collect();
                    if seen == names { Ok(()) } else { Err(format!("expected {names:?}, seen {seen:?}")) }
                })
                .await
            }
            Step::ExpectSession { of, same_as, other_than } => {
                let seen = self.pid(&of)?;
                if let Some(other) = same_as
                    && self.pid(&other)? != seen
                {
                    return Err(format!("{of} and {other} have different sessions"));
                }
                match other_than {
                    Some(other) if self.pid(&other)? == seen => {
                        Err(format!("{of} has the session of {other}"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Step::ExpectReport { contains, lacks, places } => {
                let lines = self.lines(&places)?;
                self.eventually(|r| {
                    let report = r.pool.report();
                    let missing = contains.iter().chain(&lines).find(|part| !report.contains(part.as_str()));
                    let too_much = lacks.iter().find(|part| report.contains(part.as_str()));
                    match (missing, too_much) {
                        (Some(part), _) => Err(format!("the report lacks {part:?}:\n{report}")),
                        (_, Some(part)) => Err(format!("the report has {part:?}:\n{report}")),
                        (None, None) => Ok(()),
                    }
                })
                .await
            }
            step => Err(format!("this step neither does nor expects anything: {step:?}")),
        }
    }

    /// `file:line` of places that have acquired.
    fn lines(&self, places: &[String]) -> Result<Vec<String>, String> {
        let file = std::path::Path::new(places::FILE).file_name().and_then(|name| name.to_str());
        let line = |place: &String| {
            let found = self.names.places.iter().find(|(_, name)| *name == place);
            let (line, _) = found.ok_or_else(|| format!("{place} has not acquired yet"))?;
            Ok(format!("{}:{line}", file.unwrap_or(places::FILE)))
        };
        places.iter().map(line).collect()
    }

    /// The first event that fits and that no step has expected yet. About one checkout, events are expected in the
    /// order in which they came.
    fn look_for(&mut self, kind: EventKind, of: Option<&str>, fields: &Facts) -> Result<(), String> {
        self.listen();
        let of = of.map(|name| self.id(name)).transpose()?;
        let last =
            of.and_then(|id| self.log.iter().rposition(|t| t.matched && t.event.data.checkout() == Some(id)));
        let mut nearly = Vec::new();
        for (i, told) in self.log.iter_mut().enumerate() {
            let about = told.event.data.checkout();
            if told.matched || told.event.kind() != kind || (of.is_some() && about != of) {
                continue;
            }
            let seen = self.names.event(&told.event);
            match matches(fields, &seen) {
                Ok(()) if last.is_none_or(|last| last < i) => {
                    told.matched = true;
                    return Ok(());
                }
                Ok(()) => nearly.push("it came before what was expected before it".to_owned()),
                Err(e) => nearly.push(e),
            }
        }
        Err(match nearly.is_empty() {
            true => "it never came".to_owned(),
            false => format!("it came otherwise: {}", json!(nearly)),
        })
    }
}
