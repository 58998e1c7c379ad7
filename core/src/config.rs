//! What can be set: the pool's options, the leak policy, their defaults (written once, here) and their rules.
//!
//! Durations of zero mean "off" where off makes sense. Nothing here connects or reads a clock.

mod build;
mod connect_config;
mod dsn;
pub(crate) mod duration;
mod enum_names;
mod enums;
mod names;
mod options;
mod parameters;
mod passfile;
mod policy;
mod pool_options;
mod scope;
mod validate;

pub use connect_config::{
    ChangingPassword, ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs,
};
pub use connect_config::{ConnectConfig, Endpoint, Host, Keepalive, RootCertificates, Secret};
pub use duration::{duration_from_millis, duration_from_secs};
pub use enums::{ForceReleaseWhen, Reset, SqlText, StackCapture, StatementCache};
pub use names::Names;
pub use options::{OPTIONS, OptionKind, OptionSpec, OptionValue, Settings};
pub use policy::LeakPolicy;
pub use pool_options::PoolOptions;

pub(crate) use enum_names::nearest;
pub(crate) use validate::{check_name, named};
