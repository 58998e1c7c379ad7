//! What a test is told at its end about connections that were not given back.

use std::error::Error as StdError;
use std::fmt;

use crate::detect::event::CheckoutInfo;

/// What [`Pool::assert_no_leaks`](crate::Pool::assert_no_leaks) found.
#[derive(Clone)]
#[non_exhaustive]
pub struct UnreleasedCheckouts {
    /// The checkouts that have not ended, longest held first.
    pub checkouts: Vec<CheckoutInfo>,
    report: String,
}

impl UnreleasedCheckouts {
    pub(crate) fn new(report: String, checkouts: Vec<CheckoutInfo>) -> UnreleasedCheckouts {
        UnreleasedCheckouts { checkouts, report }
    }
}

impl fmt::Display for UnreleasedCheckouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not released: {}\n{}", self.checkouts.len(), self.report)
    }
}

impl fmt::Debug for UnreleasedCheckouts {
    /// The same as `Display`, so that `unwrap` in a test shows the report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for UnreleasedCheckouts {}
