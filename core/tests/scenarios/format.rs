//! The format: every file conforms to schema.json, and schema, README and this runner know the same steps.

use std::sync::LazyLock;

use jsonschema::Validator;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::script::{Scenario, ServerKind};
use crate::{UNSUPPORTED, directory, scenarios};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(directory().join("schema.json")).expect("schema.json can be read");
    serde_json::from_str(&text).expect("schema.json is JSON")
});

static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).expect("schema.json is a schema"));

/// Fails with everything in a scenario that the schema forbids.
pub fn conforms(scenario: &Value) -> Result<(), Failed> {
    // The schema says what a step is by its name; the first message is about the step as a whole.
    let errors: Vec<String> =
        VALIDATOR.iter_errors(scenario).map(|e| format!("{}: {e}", e.instance_path)).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n").into()) }
}

/// The names of all steps, as the schema has them.
fn steps() -> Result<Vec<String>, Failed> {
    let steps = SCHEMA.pointer("/$defs").and_then(Value::as_object).ok_or("the schema has no $defs")?;
    let name = |step: &Value| step.pointer("/properties/do/const").and_then(Value::as_str).map(str::to_owned);
    Ok(steps.values().filter_map(name).collect())
}

/// What is tested of the format itself; none of it needs a server.
pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("format::every_step_is_documented_and_used", || {
            let readme = std::fs::read_to_string(directory().join("README.md"))?;
            let all = scenarios();
            for step in steps()? {
                if !readme.contains(&format!("`{step}`")) {
                    return Err(format!("README.md does not say what the step {step} is").into());
                }
                if !all.iter().any(|(_, text)| text.contains(&format!("\"do\": \"{step}\""))) {
                    return Err(format!("no scenario has the step {step}").into());
                }
            }
            Ok(())
        }),
        Trial::test("format::this_runner_knows_every_step", || {
            for step in steps()? {
                // A step without fields is refused for the first field that it lacks, never for its name.
                let scenario = json!({"description": "", "steps": [{"do": step}]});
                let scenario: Scenario = serde_json::from_value(scenario)?;
                let unknown = scenario.steps().err().is_some_and(|e| e.contains("unknown variant"));
                if unknown != UNSUPPORTED.iter().any(|(name, _)| *name == step) {
                    return Err(format!("is the step {step} supported or is it not?").into());
                }
            }
            Ok(())
        }),
        Trial::test("format::what_is_misspelt_is_refused", || {
            for steps in [
                json!([{"do": "aquire", "as": "a"}]),
                json!([{"do": "acquire"}]),
                json!([{"do": "acquire", "as": "a", "exspect": {}}]),
                json!([{"do": "advance", "ms": "1"}]),
                json!([{"do": "expect_status", "fields": {"in_uze": 1}}]),
                json!([{"do": "expect_event", "kind": "leek"}]),
            ] {
                let scenario = json!({"description": "wrong", "steps": steps});
                if conforms(&scenario).is_ok() {
                    return Err(format!("the schema has nothing against {scenario}").into());
                }
            }
            let typed: Scenario =
                serde_json::from_value(json!({"description": "", "server": "silent", "steps": []}))?;
            if typed.server != ServerKind::Silent {
                return Err("the server is not read".into());
            }
            Ok(())
        }),
    ]
}
