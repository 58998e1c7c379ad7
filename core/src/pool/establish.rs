//! Making one connection: transport, observer, start-up, task.

use std::sync::Arc;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::connect::{self, Establish, Transport};
use super::control::{Control, Lease};
use super::driver::{Driver, WireConnection};
use super::manager::Conn;
use super::shared::Shared;
use super::stream::Stream;
use super::wheel::Wheel;
use super::wire::Observed;
use crate::clock::{Nanos, nanos};
use crate::error::Result;

/// Hands the stream through: it is encrypted already, or is not going to be.
struct PassThrough;

impl TlsConnect<Observed<Stream>> for PassThrough {
    type Stream = Observed<Stream>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Observed<Stream>, std::convert::Infallible>>;

    fn connect(self, stream: Observed<Stream>) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

struct Making {
    shared: Arc<Shared>,
    slot: Arc<Lease>,
    expires_at: Nanos,
}

/// A session whose task runs.
struct Session {
    client: Client,
    task: tokio::task::JoinHandle<()>,
    control: Arc<Control>,
}

impl Establish for Making {
    type Session = Session;

    async fn establish(
        &self,
        transport: Transport,
        config: &tokio_postgres::Config,
    ) -> Result<Session, tokio_postgres::Error> {
        let Transport { stream, socket, peer, channel_binding } = transport;
        let control =
            Control::new(&self.shared, self.slot.clone(), peer, stream.socket(), socket, self.expires_at);
        let observed = Observed::new(stream, control.clone(), channel_binding);
        let (client, connection): (Client, WireConnection) =
            config.connect_raw(observed, PassThrough).await?;
        // Only now: an attempt that fails never has a task, and a close does not wait for it.
        control.task_began(&self.shared);
        let task = self
            .shared
            .runtime
            .spawn(Wheel::begin(Driver::new(connection, control.clone()), control.clone()));
        Ok(Session { client, task, control })
    }

    async fn query_value(&self, session: &mut Session, sql: &str) -> Result<String, tokio_postgres::Error> {
        let answer = session.client.simple_query(sql).await?;
        let value = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(value.unwrap_or_default())
    }
}

/// Makes a connection and its task. Runs on the pool's runtime.
pub(crate) async fn establish(shared: &Arc<Shared>) -> Result<Conn> {
    let now = shared.detector.now();
    let lifetime = nanos(shared.options().max_lifetime);
    let expires_at = if lifetime == 0 { Nanos::MAX } else { now.saturating_add(lifetime - jitter(lifetime)) };
    let making = Making { shared: shared.clone(), slot: Lease::claim(&shared.detector)?, expires_at };
    let Session { client, task, control } = connect::connect(&shared.target, &making).await?;
    Ok(Conn { client: Some(Box::new(ClientWrapper::new(client, task))), control })
}

/// Up to a tenth of the lifetime, so that connections made together do not all end together.
fn jitter(lifetime: Nanos) -> Nanos {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(lifetime) % (lifetime / 10).max(1)
}
