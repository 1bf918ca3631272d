//! The JSON Schema of workflow files, for editors: the language itself, and the `with:` of each
//! kind from its type. A reference is allowed wherever a kind takes a value.

use serde_json::{Map, Value, json};

use super::kind::Kinds;

/// The schema of a workflow that may use `kinds`.
pub fn schema(kinds: &Kinds) -> Value {
    let mut definitions = language(kinds);
    for kind in kinds.0.values() {
        add_kind(kind.name(), kind.schema(), &mut definitions);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ribflow workflow",
        "type": "object",
        "required": ["ribflow", "name", "stages"],
        "additionalProperties": false,
        "properties": {
            "ribflow": { "const": 1, "description": "The version of the language." },
            "name": { "type": "string", "pattern": LABEL, "description": "Results are written to out/<name>." },
            "description": { "type": "string" },
            "params": { "$ref": "#/$defs/params" },
            "axes": { "$ref": "#/$defs/axes" },
            "stages": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": IDENTIFIER },
                "additionalProperties": { "$ref": "#/$defs/stage" },
            },
            "profiles": {
                "type": ["object", "null"],
                "propertyNames": { "pattern": LABEL },
                "additionalProperties": { "$ref": "#/$defs/profile" },
            },
            "determinism": { "enum": ["default", "strict"] },
            "runner": {
                "type": "array",
                "items": { "type": "string" },
                "description": "For the `with` of all commands that have none: words in front of the shell.",
            },
        },
        "$defs": definitions,
    })
}

const LABEL: &str = "^[A-Za-z0-9_][A-Za-z0-9_.+-]*$";
const IDENTIFIER: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

fn language(kinds: &Kinds) -> Map<String, Value> {
    let definitions = json!({
        "reference": { "type": "string", "pattern": r"\$\{" },
        "selector": { "type": "string", "description": "stage, stage[axis=value], stage[*], stage.output" },
        "condition": { "type": ["string", "boolean"] },
        "params": { "type": ["object", "null"], "propertyNames": { "pattern": IDENTIFIER } },
        "axes": {
            "type": ["object", "null"],
            "propertyNames": { "pattern": IDENTIFIER },
            "additionalProperties": {
                "anyOf": [
                    { "$ref": "#/$defs/axis_values" },
                    {
                        "type": "object",
                        "description": "Repeats of one experiment: results are averaged over them.",
                        "additionalProperties": false,
                        "required": ["repeats"],
                        "properties": { "repeats": { "$ref": "#/$defs/axis_values" } },
                    },
                ],
            },
        },
        "axis_values": {
            "anyOf": [
                { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/axis_value" } },
                { "$ref": "#/$defs/reference" },
            ],
        },
        "axis_value": {
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": { "type": ["string", "number", "boolean"] },
                        "label": { "type": ["string", "number", "boolean"] },
                    },
                },
            ],
        },
        "needs": {
            "type": ["object", "null"],
            "propertyNames": { "pattern": LABEL },
            "additionalProperties": {
                "anyOf": [
                    { "$ref": "#/$defs/selector" },
                    { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/selector" } },
                ],
            },
        },
        "resources": resources(),
        "use": { "anyOf": uses(kinds) },
        "case": {
            "type": "object",
            "required": ["when"],
            "additionalProperties": false,
            "properties": {
                "when": { "$ref": "#/$defs/condition" },
                "use": { "$ref": "#/$defs/use" },
                "with": { "type": ["object", "null"] },
                "needs": { "$ref": "#/$defs/needs" },
                "resources": { "$ref": "#/$defs/resources" },
            },
            "allOf": kinds.0.keys().map(|name| when_used(name, json!({ "$ref": with_name(name) }))).collect::<Vec<_>>(),
        },
        "stage": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "description": { "type": "string" },
                "each": { "type": ["array", "null"], "items": { "type": "string" }, "uniqueItems": true },
                "use": { "$ref": "#/$defs/use" },
                "with": { "type": ["object", "null"] },
                "needs": { "$ref": "#/$defs/needs" },
                "cases": { "type": ["array", "null"], "items": { "$ref": "#/$defs/case" } },
                "skip": { "$ref": "#/$defs/condition" },
                "resources": { "$ref": "#/$defs/resources" },
            },
            "anyOf": [{ "required": ["use"] }, { "required": ["cases"] }],
            "allOf": kinds.0.keys().map(|name| when_used(name, json!({ "$ref": with_name(name) }))).collect::<Vec<_>>(),
        },
        "profile": {
            "type": ["object", "null"],
            "additionalProperties": false,
            "properties": {
                "params": { "$ref": "#/$defs/params" },
                "axes": { "$ref": "#/$defs/axes" },
                "goals": { "type": "array", "items": { "$ref": "#/$defs/selector" } },
            },
        },
    });
    match definitions {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    }
}

fn resources() -> Value {
    let amount = json!({ "type": ["integer", "string", "null"] });
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "cpus": { "type": ["integer", "string", "null"], "minimum": 1 },
            "mem": with_words(&amount, "Such as 8GiB."),
            "gpus": { "type": ["integer", "string", "null"], "minimum": 0 },
            "gpu_mem": with_words(&amount, "Such as 8GiB."),
            "time": with_words(&amount, "Such as 30m or 2h."),
            "retries": { "type": ["integer", "string", "null"], "minimum": 0 },
            "timeout": with_words(&amount, "Such as 30m or 2h."),
            "grace": with_words(&amount, "Such as 30s or 2m."),
            "dedicated": { "type": ["boolean", "string", "null"] },
        },
    })
}

fn with_words(schema: &Value, description: &str) -> Value {
    let mut schema = schema.clone();
    schema["description"] = description.into();
    schema
}

fn uses(kinds: &Kinds) -> Vec<Value> {
    let kinds = kinds.0.values();
    let uses = kinds.map(|kind| json!({ "const": kind.name(), "description": kind.summary() }));
    uses.collect()
}

fn with_name(kind: &str) -> String {
    format!("#/$defs/with.{kind}")
}

/// The schema of `with:` if `use:` names `kind`.
fn when_used(kind: &str, with: Value) -> Value {
    json!({
        "if": { "properties": { "use": { "const": kind } }, "required": ["use"] },
        "then": { "properties": { "with": with } },
    })
}

/// Adds `with.<kind>` and the definitions it refers to.
///
/// A stage may leave required parameters to its cases, so nothing is required at the top of the
/// block: `validate` reports missing parameters.
fn add_kind(kind: &str, mut schema: Value, definitions: &mut Map<String, Value>) {
    let inner = schema
        .as_object_mut()
        .and_then(|fields| fields.remove("$defs"));
    if let Some(Value::Object(inner)) = inner {
        for (name, mut definition) in inner {
            open(&mut definition, kind);
            definitions.insert(format!("{kind}.{name}"), definition);
        }
    }
    open(&mut schema, kind);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
        fields.remove("required");
        fields.insert("type".to_string(), json!(["object", "null"]));
    }
    definitions.insert(format!("with.{kind}"), schema);
}

/// Allows a reference wherever `schema` takes a value, and redirects its `$ref`s to the definitions
/// of `kind`.
fn open(schema: &mut Value, kind: &str) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    for (name, value) in fields.iter_mut() {
        match (name.as_str(), value) {
            ("$ref", Value::String(target)) => {
                if let Some(local) = target.strip_prefix("#/$defs/") {
                    *target = format!("#/$defs/{kind}.{local}");
                }
            }
            ("properties" | "patternProperties", Value::Object(inner)) => {
                inner
                    .values_mut()
                    .for_each(|schema| open_value(schema, kind));
            }
            ("items" | "additionalProperties", inner) => open_value(inner, kind),
            ("prefixItems", Value::Array(inner)) => {
                inner.iter_mut().for_each(|schema| open_value(schema, kind));
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(inner)) => {
                inner.iter_mut().for_each(|schema| open(schema, kind));
            }
            _ => {}
        }
    }
}

/// `schema`, or a reference. Descriptions and defaults stay at the top, where editors look for
/// them.
fn open_value(schema: &mut Value, kind: &str) {
    open(schema, kind);
    let Some(fields) = schema.as_object_mut() else {
        // `true` and `false`: accept anything or nothing.
        return;
    };
    let mut opened = Map::new();
    for name in ["title", "description", "default"] {
        if let Some(value) = fields.remove(name) {
            opened.insert(name.to_string(), value);
        }
    }
    let value = std::mem::take(schema);
    opened.insert(
        "anyOf".to_string(),
        json!([value, { "$ref": "#/$defs/reference" }]),
    );
    *schema = Value::Object(opened);
}
