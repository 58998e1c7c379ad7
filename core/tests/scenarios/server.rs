//! What a scenario needs of the server besides the pool: an extra connection, a role of its own, ports that lead
//! nowhere, and names that nobody else uses.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use leakpool::{ConnectConfig, PoolBuilder, Secret};
use serde_json::Value;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::facts;
use crate::runner::LIMIT;
use crate::script::{Facts, ServerKind};

/// The extra connection and what was made for one scenario.
pub struct Server {
    admin: Client,
    /// A word that no other run of any scenario on this server uses.
    pub unique: String,
    kind: ServerKind,
    /// Keeps the silent port open.
    _silent: Option<TcpListener>,
    port: u16,
}

/// The test server's URL.
fn url() -> Result<String, String> {
    std::env::var("DATABASE_URL").map_err(|_| {
        "DATABASE_URL is not set: run `make test`, or run this under tests/with-postgres CMD".to_owned()
    })
}

impl Server {
    pub async fn for_scenario(kind: ServerKind) -> Result<Server, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (admin, connection) = tokio_postgres::connect(&url()?, NoTls)
            .await
            .map_err(|e| format!("the test server cannot be reached: {e}"))?;
        tokio::spawn(connection);
        let unique = format!("s{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let _silent = (kind == ServerKind::Silent).then_some(listener);
        let server = Server { admin, unique, kind, _silent, port };
        if kind == ServerKind::Limited {
            let role = &server.unique;
            let sql = format!("CREATE ROLE {role} LOGIN PASSWORD '{role}' CONNECTION LIMIT 1");
            server.sql(&sql).await.map_err(|e| format!("{sql}: {e}"))?;
        }
        Ok(server)
    }

    /// Where the scenario's pool connects to.
    pub fn target(&self, builder: PoolBuilder) -> Result<PoolBuilder, String> {
        let url = url()?;
        Ok(match self.kind {
            ServerKind::Default => builder.dsn(&url),
            ServerKind::Limited => {
                let mut config = ConnectConfig::parse(&url).map_err(|e| e.to_string())?;
                config.user = self.unique.clone();
                config.password = Some(Secret::new(self.unique.clone()));
                builder.connect_config(config)
            }
            ServerKind::Refused | ServerKind::Silent => {
                builder.dsn(&format!("host=127.0.0.1 port={} user=nobody sslmode=disable", self.port))
            }
        })
    }

    /// Runs SQL through the extra connection.
    pub async fn sql(&self, sql: &str) -> Result<Facts, tokio_postgres::Error> {
        Ok(answer(&self.admin.simple_query(sql).await?))
    }

    /// True if the server has a session with this pid that was made by this pool.
    pub async fn has_session(&self, pool: &str, pid: Option<u32>) -> Result<bool, String> {
        let which = pid.map_or_else(String::new, |pid| format!(" AND pid = {pid}"));
        let sql = format!("SELECT 1 FROM pg_stat_activity WHERE application_name = '{pool}'{which}");
        let found = self.admin.simple_query(&sql).await.map_err(|e| e.to_string())?;
        Ok(found.iter().any(|m| matches!(m, SimpleQueryMessage::Row(_))))
    }

    /// Waits until the server's process waits for this (PostgreSQL manual, "Wait Events").
    pub async fn waits(&self, pid: u32, event: &str) -> Result<(), String> {
        let sql = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}");
        let started = Instant::now();
        loop {
            let seen = self.sql(&sql).await.map_err(|e| e.to_string())?;
            match seen.get("value").and_then(Value::as_str) {
                Some(seen) if seen == event => return Ok(()),
                seen if started.elapsed() > LIMIT => {
                    return Err(format!("the server's process waits for {seen:?}, not for {event}"));
                }
                Some(_) | None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// Removes what was made for the scenario.
    pub async fn clean_up(&self) -> Result<(), String> {
        if self.kind == ServerKind::Limited {
            self.sql(&format!("DROP ROLE {}", self.unique)).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// How many rows came, and the first value of the first one.
pub fn answer(messages: &[SimpleQueryMessage]) -> Facts {
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let first = rows.next();
    let value = first.and_then(|row| row.get(0)).map(str::to_owned);
    facts::success(usize::from(first.is_some()) + rows.count(), value)
}
