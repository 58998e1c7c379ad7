//! The hosts, each with its spelling of the option names.

/// Whose spelling of the option names is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `snake_case`, as in Rust and C. Bare numbers for durations are not accepted: say which unit.
    Core,
    /// Node: camelCase; durations in milliseconds, but for names that end in `Seconds`.
    Node,
    /// Python: psycopg_pool's names; durations in seconds.
    Python,
}
