//! The model of a scenario file: what tests/scenarios/README.md says, as types. Unknown steps and fields are errors.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Facts that are expected, a subset of those that are seen.
pub type Facts = Map<String, Value>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    #[serde(rename = "description")]
    _description: String,
    #[serde(default)]
    pub server: ServerKind,
    /// Options by their core names; durations in ms.
    #[serde(default)]
    pub pool: Facts,
    steps: Vec<Map<String, Value>>,
    /// Run through the extra connection at the end, whatever happened.
    #[serde(default)]
    pub cleanup: Vec<String>,
}

/// Where the pool of a scenario connects to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    #[default]
    Default,
    /// As a role of its own, which may have one session.
    Limited,
    /// A port where nobody listens.
    Refused,
    /// A port where somebody listens, but never answers.
    Silent,
}

impl Scenario {
    /// The names of the steps, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.get("do").and_then(Value::as_str).unwrap_or("?"))
    }

    /// Each step with its text, as failures show it.
    pub fn steps(&self) -> Result<Vec<(String, Step)>, String> {
        let parse = |(i, step): (usize, &Map<String, Value>)| {
            let text = Value::Object(step.clone()).to_string();
            let mut step = step.clone();
            step.remove("note");
            match serde_json::from_value(Value::Object(step)) {
                Ok(step) => Ok((text, step)),
                Err(e) => Err(format!("step {} {text}: {e}", i + 1)),
            }
        };
        self.steps.iter().enumerate().map(parse).collect()
    }
}

fn elsewhere() -> String {
    "elsewhere".into()
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    Acquire {
        #[serde(rename = "as")]
        name: String,
        #[serde(rename = "in", default = "elsewhere")]
        place: String,
        label: Option<String>,
        expected_ms: Option<u64>,
        timeout_ms: Option<u64>,
        background: Option<String>,
        #[serde(default)]
        expect: Facts,
    },
    TryAcquire {
        #[serde(rename = "as")]
        name: String,
        #[serde(default)]
        expect: Facts,
    },
    Release {
        name: String,
    },
    ReleaseBroken {
        name: String,
    },
    Forget {
        name: String,
    },
    Query {
        on: String,
        sql: String,
        background: Option<String>,
        #[serde(default)]
        expect: Facts,
    },
    CopyInOpen {
        on: String,
        sql: String,
    },
    ReadNothing {
        on: String,
        sql: String,
    },
    Cancel {
        on: String,
        #[serde(default)]
        expect: Facts,
    },
    Collect {
        name: String,
    },
    Prove {
        name: String,
        #[serde(default)]
        expect: Facts,
    },
    OwnerEnded {
        name: String,
        #[serde(default)]
        expect: Facts,
    },
    ForceRelease {
        name: String,
        #[serde(default)]
        expect: Facts,
    },
    Advance {
        ms: u64,
    },
    Await {
        background: String,
        #[serde(default)]
        expect: Facts,
    },
    CancelAcquire {
        background: String,
    },
    Reconfigure {
        options: Facts,
        #[serde(default)]
        expect: Facts,
    },
    Resize {
        max_size: usize,
        #[serde(default)]
        expect: Facts,
    },
    Close {
        within_ms: Option<u64>,
        background: Option<String>,
        #[serde(default)]
        expect: Facts,
    },
    SqlAdmin {
        sql: String,
        #[serde(default)]
        expect: Facts,
    },
    ServerSessionGone {
        of: String,
    },
    ServerSessionWaits {
        of: String,
        event: String,
    },
    ExpectPending {
        background: String,
    },
    ExpectEvent {
        kind: String,
        of: Option<String>,
        #[serde(default)]
        fields: Facts,
    },
    ExpectNoEvent {
        kinds: Vec<String>,
        of: Option<String>,
    },
    ExpectStatus {
        fields: Facts,
    },
    ExpectMetrics {
        fields: Facts,
    },
    ExpectCheckout {
        of: String,
        fields: Facts,
    },
    ExpectHolders {
        names: Vec<String>,
    },
    ExpectSession {
        of: String,
        same_as: Option<String>,
        other_than: Option<String>,
    },
    ExpectReport {
        #[serde(default)]
        contains: Vec<String>,
        #[serde(default)]
        lacks: Vec<String>,
        #[serde(default)]
        places: Vec<String>,
    },
}
