//! Numbers outside the range that a parameter declares.

use ribflow::stages::registry;
use serde_json::{Map, Value, json};

/// The problems of `with`, as `path: message`.
fn problems(kind: &str, with: Value) -> Vec<String> {
    let registry = registry();
    let kind = registry.kinds().get(kind).unwrap();
    let ordered = |it: &ribflow::workflow::kind::ParameterProblem| {
        format!("{}: {}", it.path.join("."), it.message)
    };
    match kind.parse(&with) {
        Ok(parameters) => parameters.check(&[]).iter().map(ordered).collect(),
        Err(problems) => problems.iter().map(ordered).collect(),
    }
}

#[test]
fn numbers_out_of_range_are_refused_at_their_place() {
    let one = |kind: &str, with: Value, line: &str| {
        let found = problems(kind, with);
        assert!(
            found.iter().any(|it| it == line),
            "no {line:?} in {found:?}"
        );
    };
    one(
        "finetune",
        json!({ "momentum": 1.0 }),
        "momentum: `momentum` must be at least 0 and below 1, not 1.0",
    );
    one(
        "pretrain",
        json!({ "arch": "resnet18", "clip": 0.0 }),
        "clip: `clip` must be above 0, not 0.0",
    );
    one(
        "ot",
        json!({ "interval": { "repeats": 19, "share": 1.0 } }),
        "interval.repeats: `repeats` must be at least 20, not 19",
    );
    one(
        "ot",
        json!({ "interval": { "share": 1.0 } }),
        "interval.share: `share` must be above 0 and below 1, not 1.0",
    );
    one(
        "ot",
        json!({ "distance": "wasserstein", "power": 3 }),
        "power: `power` must be at least 1 and at most 2, not 3",
    );
    one(
        "dataset",
        json!({ "builtin": "mini-rib", "domain": "rich", "subset": { "count": 0 } }),
        "subset.count: `count` must be at least 1, not 0",
    );
}

/// A value just outside each bound of `schema`.
fn outside(schema: &Value) -> Vec<Value> {
    let whole = schema["type"] == "integer" || schema["type"][0] == "integer";
    let number = |value: f64| match whole {
        true => json!(value as i64),
        false => json!(value),
    };
    let step = if whole { 1.0 } else { 0.5 };
    let bound = |key: &str, step: f64| Some(number(schema[key].as_f64()? + step));
    let values = [
        bound("minimum", -step),
        bound("maximum", step),
        bound("exclusiveMinimum", 0.0),
        bound("exclusiveMaximum", 0.0),
    ];
    values.into_iter().flatten().collect()
}

#[test]
fn every_declared_bound_is_enforced() {
    let required = json!({
        "pretrain": { "arch": "resnet18" },
        "corrupt": { "corruption": "fog", "severity": 3 },
    });
    let mut bounds = 0;
    for (name, kind) in &registry().kinds().0 {
        let schema = kind.schema();
        let none = Map::new();
        for (field, property) in schema["properties"].as_object().unwrap_or(&none) {
            for value in outside(property) {
                let mut with = required[name].as_object().cloned().unwrap_or_default();
                with.insert(field.clone(), value.clone());
                let found = problems(name, Value::Object(with));
                let start = format!("{field}: ");
                assert!(
                    found.iter().any(|it| it.starts_with(&start)),
                    "{name}: {field} = {value} is accepted: {found:?}"
                );
                bounds += 1;
            }
        }
    }
    assert!(bounds >= 40, "{bounds}");
}
