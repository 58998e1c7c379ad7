//! A PostgreSQL connection pool that finds connection leaks, names the line of code that leaks and takes the
//! connection back safely.
//!
//! [`Pool`] is the pool: [`Pool::acquire`] hands out a [`Connection`], which returns when it is dropped. [`LeakDetector`]
//! is the same detection over another library's pool. What they find out leaves as [`Event`]s
//! ([`Pool::subscribe`]), log lines (`tracing`, target `leakpool`), [`Metrics`], and a report for people
//! ([`Pool::report`]).
//!
//! Every error is an [`Error`] with an [`ErrorCode`] and a sentence that helps; what lies behind it can be asked for
//! by its type: [`Exhausted`] for an acquire that timed out, [`Revocation`] for a connection that was taken back.
//!
//! Where things are decided is drawn in `ARCHITECTURE.md`.

mod alert;
pub mod clock;
pub mod config;
mod detect;
pub mod error;
pub mod host;
pub mod monitor;
mod net;
mod parking;
pub mod pool;
mod process;
mod session;
mod watch;

pub use alert::{Events, Subscription, UnreleasedCheckouts};
pub use clock::{Clock, ManualClock, Nanos, SystemClock};
pub use config::{
    ChangingPassword, ChannelBinding, ConnectConfig, Endpoint, ForceReleaseWhen, Host, Keepalive, LeakPolicy,
    LoadBalanceHosts, Names, OPTIONS, OptionKind, OptionSpec, OptionValue, PoolOptions, Reset,
    RootCertificates, Secret, Settings, SqlText, SslMode, SslNegotiation, StackCapture, StatementCache,
    TargetSessionAttrs, duration_from_millis, duration_from_secs,
};
pub use detect::event::*;
pub use detect::facts::{Activity, TransactionStatus};
pub use detect::id::CheckoutId;
pub use detect::site::{Frame, FrameKind, HostFrame, ResolvedSite, Site, SiteId};
pub use detect::site_table::SiteTable;
pub use detect::sql::fingerprint;
pub use detect::stats::{BUCKET_BOUNDS, Books, HistogramSnapshot};
pub use detect::verdict::{RevokeReason, Suspicion, Verdict};
pub use error::{Error, ErrorCode, Result};
pub use monitor::openmetrics::encode as openmetrics;
pub use monitor::{Metrics, PoolStatus, leak_text};
pub use net::error::FORCE_RELEASED;
pub use pool::{AcquireOptions, CancelHandle, Connection, OwnedTransaction, Pool, PoolBuilder, Session};
pub use session::exchange;
pub use session::notifications::Notifications;
pub use watch::{CheckOut, LeakDetector, Touch};

/// The README's examples are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
