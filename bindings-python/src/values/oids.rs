//! The OIDs of built-in types.

/// `text`.
pub(crate) const TEXT: u32 = 25;
