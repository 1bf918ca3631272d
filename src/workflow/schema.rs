//! The JSON Schema of workflow files, for editors.

use serde_json::{Value, json};

use super::kind::Kinds;

/// The schema of a workflow that may use `kinds`.
pub fn schema(kinds: &Kinds) -> Value {
    let names: Vec<&String> = kinds.0.keys().collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": { "stages": { "additionalProperties": { "properties": { "use": { "enum": names } } } } },
    })
}
