//! Whether what is seen is what is expected.

use serde_json::Value;

use crate::script::Facts;

/// `Err` names each expected fact that was not seen, and what was seen in its place.
pub fn matches(expected: &Facts, seen: &Facts) -> Result<(), String> {
    let differences: Vec<String> = expected
        .iter()
        .filter_map(|(name, expected)| match seen.get(name) {
            None => Some(format!("{name}: expected {expected}, but there is no such fact")),
            Some(seen) if same(expected, seen) => None,
            Some(seen) => Some(format!("{name}: expected {expected}, seen {seen}")),
        })
        .collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
}

/// A value, or one of `{"at_least": n}`, `{"at_most": n}`, `{"contains": text}`.
fn same(expected: &Value, seen: &Value) -> bool {
    match (expected, seen) {
        (Value::Object(condition), seen) => condition.iter().all(|(name, bound)| match name.as_str() {
            "at_least" => seen.as_f64().zip(bound.as_f64()).is_some_and(|(seen, bound)| seen >= bound),
            "at_most" => seen.as_f64().zip(bound.as_f64()).is_some_and(|(seen, bound)| seen <= bound),
            "contains" => seen.as_str().zip(bound.as_str()).is_some_and(|(seen, part)| seen.contains(part)),
            _ => false,
        }),
        (Value::Number(expected), Value::Number(seen)) => expected.as_f64() == seen.as_f64(),
        (Value::Array(expected), Value::Array(seen)) => {
            expected.len() == seen.len() && expected.iter().zip(seen).all(|(e, s)| same(e, s))
        }
        (expected, seen) => expected == seen,
    }
}
