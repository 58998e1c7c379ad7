//! What is shown of a pool at one moment: checkouts, sites, why something was taken back or ran dry. Plain data.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leakpool as core;
use pyo3::prelude::*;

/// One frame of a stack.
#[pyclass(frozen, get_all, module = "leakpool._leakpool")]
pub(crate) struct Frame {
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    kind: &'static str,
    text: String,
}

#[pymethods]
impl Frame {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<Frame {}>", self.text)
    }
}

fn kind_name(kind: core::FrameKind) -> &'static str {
    match kind {
        core::FrameKind::User => "user",
        core::FrameKind::Dependency => "dependency",
        core::FrameKind::Library => "library",
        core::FrameKind::Runtime => "runtime",
        core::FrameKind::Unknown => "unknown",
    }
}

impl Frame {
    fn new(frame: &core::Frame) -> Frame {
        Frame {
            function: frame.function.clone(),
            file: frame.file.clone(),
            line: frame.line,
            kind: kind_name(frame.kind),
            text: frame.to_string(),
        }
    }
}

/// Where checkouts were acquired, and the record of that line.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Site(Arc<core::Site>);

impl Site {
    pub(crate) fn new(site: Arc<core::Site>) -> Site {
        Site(site)
    }
}

#[pymethods]
impl Site {
    /// `process (/srv/app/orders.py:42)`.
    #[getter]
    fn culprit(&self) -> String {
        self.0.resolve().culprit.to_string()
    }

    #[getter]
    fn file(&self) -> Option<String> {
        self.0.resolve().culprit.file.clone()
    }

    #[getter]
    fn line(&self) -> Option<u32> {
        self.0.resolve().culprit.line
    }

    #[getter]
    fn function(&self) -> Option<String> {
        self.0.resolve().culprit.function.clone()
    }

    /// Every captured frame, innermost first.
    #[getter]
    fn stack(&self) -> Vec<Frame> {
        self.0.resolve().frames.iter().map(Frame::new).collect()
    }

    #[getter]
    fn acquired(&self) -> u64 {
        self.0.acquired()
    }

    #[getter]
    fn leaked(&self) -> u64 {
        self.0.leaked()
    }

    #[getter]
    fn recovered(&self) -> u64 {
        self.0.recovered()
    }

    #[getter]
    fn force_released(&self) -> u64 {
        self.0.force_released()
    }

    fn __str__(&self) -> String {
        self.culprit()
    }

    fn __repr__(&self) -> String {
        format!("<Site {}>", self.culprit())
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn transaction_name(status: core::TransactionStatus) -> &'static str {
    match status {
        core::TransactionStatus::Idle => "idle",
        core::TransactionStatus::InTransaction => "in_transaction",
        core::TransactionStatus::Failed => "failed",
    }
}

/// A live checkout at one moment.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct CheckoutInfo(core::CheckoutInfo);

impl CheckoutInfo {
    pub(crate) fn new(info: core::CheckoutInfo) -> CheckoutInfo {
        CheckoutInfo(info)
    }

    pub(crate) fn core_id(&self) -> core::CheckoutId {
        self.0.id
    }

    pub(crate) fn all(infos: Vec<core::CheckoutInfo>) -> Vec<CheckoutInfo> {
        infos.into_iter().map(CheckoutInfo).collect()
    }
}

#[pymethods]
impl CheckoutInfo {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id.to_u64()
    }

    #[getter]
    fn pool(&self) -> &str {
        &self.0.pool
    }

    #[getter]
    fn site(&self) -> Site {
        Site(self.0.site.clone())
    }

    #[getter]
    fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    #[getter]
    fn owner(&self) -> Option<&str> {
        self.0.owner.as_deref()
    }

    #[getter]
    fn held(&self) -> f64 {
        seconds(self.0.held)
    }

    #[getter]
    fn idle_for(&self) -> Option<f64> {
        self.0.idle_for.map(seconds)
    }

    #[getter]
    fn executing_for(&self) -> Option<f64> {
        self.0.executing_for.map(seconds)
    }

    #[getter]
    fn activity(&self) -> &'static str {
        self.0.activity.name()
    }

    #[getter]
    fn transaction(&self) -> &'static str {
        transaction_name(self.0.transaction)
    }

    #[getter]
    fn verdict(&self) -> &'static str {
        self.0.verdict.name()
    }

    #[getter]
    fn suspicion(&self) -> Option<&'static str> {
        match self.0.verdict {
            core::Verdict::Suspected(suspicion) => Some(suspicion.name()),
            core::Verdict::Healthy
            | core::Verdict::Busy
            | core::Verdict::Expected
            | core::Verdict::Proven => None,
        }
    }

    #[getter]
    fn reported(&self) -> bool {
        self.0.reported
    }

    #[getter]
    fn owner_ended(&self) -> bool {
        self.0.owner_ended
    }

    #[getter]
    fn listening(&self) -> bool {
        self.0.listening
    }

    #[getter]
    fn expected(&self) -> Option<f64> {
        self.0.expected.map(seconds)
    }

    #[getter]
    fn last_sql(&self) -> Option<&str> {
        self.0.last_sql.as_ref().map(|sql| &*sql.text)
    }

    #[getter]
    fn last_sql_age(&self) -> Option<f64> {
        self.0.last_sql.as_ref().map(|sql| seconds(sql.age))
    }

    #[getter]
    fn backend_pid(&self) -> Option<u32> {
        self.0.backend_pid
    }

    /// What a log line about its leak says.
    fn __str__(&self) -> String {
        core::leak_text(&self.0)
    }

    fn __repr__(&self) -> String {
        format!(
            "<CheckoutInfo {} of pool {:?}: {}, held for {:.1} s, acquired at {}>",
            self.0.id,
            &*self.0.pool,
            self.0.verdict.name(),
            self.held(),
            self.0.site.place()
        )
    }
}

/// Why a checkout was taken away, when, and where it came from.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Revocation(core::Revocation);

impl Revocation {
    pub(crate) fn new(revocation: core::Revocation) -> Revocation {
        Revocation(revocation)
    }
}

#[pymethods]
impl Revocation {
    #[getter]
    fn checkout(&self) -> u64 {
        self.0.checkout.to_u64()
    }

    #[getter]
    fn pool(&self) -> &str {
        &self.0.pool
    }

    #[getter]
    fn at(&self) -> SystemTime {
        self.0.at
    }

    #[getter]
    fn reason(&self) -> &'static str {
        self.0.reason.name()
    }

    #[getter]
    fn site(&self) -> Site {
        Site(self.0.site.clone())
    }

    #[getter]
    fn held(&self) -> f64 {
        seconds(self.0.held)
    }

    #[getter]
    fn idle_for(&self) -> Option<f64> {
        self.0.idle_for.map(seconds)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Revocation: {}>", self.0)
    }
}

/// An acquire that ran into its time-out: why, and who holds the connections.
#[pyclass(frozen, module = "leakpool._leakpool")]
pub(crate) struct Exhausted(core::Exhausted);

impl Exhausted {
    pub(crate) fn new(exhausted: core::Exhausted) -> Exhausted {
        Exhausted(exhausted)
    }
}

#[pymethods]
impl Exhausted {
    #[getter]
    fn diagnosis(&self) -> &'static str {
        self.0.diagnosis.name()
    }

    #[getter]
    fn phase(&self) -> &'static str {
        self.0.phase.name()
    }

    #[getter]
    fn waited(&self) -> f64 {
        seconds(self.0.waited)
    }

    #[getter]
    fn max_size(&self) -> usize {
        self.0.max_size
    }

    #[getter]
    fn waiting(&self) -> usize {
        self.0.waiting
    }

    #[getter]
    fn ending(&self) -> usize {
        self.0.ending
    }

    #[getter]
    fn holders(&self) -> Vec<CheckoutInfo> {
        CheckoutInfo::all(self.0.holders.clone())
    }

    #[getter]
    fn last_error(&self) -> Option<&str> {
        self.0.last_error.as_deref()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Exhausted: {}>", self.0.diagnosis.name())
    }
}
