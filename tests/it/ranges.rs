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
        "interval.repeats: `repeats` must be at least 20 and at most 10000, not 19",
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

/// Integers without a maximum: seeds, and numbers of which only as many count as there are images or
/// points.
const UNBOUNDED: [&str; 8] = [
    "seed",
    "samples",
    "min_class",
    "limit",
    "count",
    "batch",
    "fisher_samples",
    "classes",
];

/// The integer fields without a maximum at or below `schema`, as `kind: field`.
fn endless(kind: &str, name: &str, schema: &Value, found: &mut Vec<String>) {
    let is_integer = schema["type"] == "integer" || schema["type"][0] == "integer";
    if is_integer && schema["maximum"].is_null() && !UNBOUNDED.contains(&name) {
        found.push(format!("{kind}: {name}"));
    }
    match schema {
        Value::Object(fields) => {
            for (key, inner) in fields {
                endless(kind, key, inner, found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|inner| endless(kind, name, inner, found)),
        _ => {}
    }
}

/// An integer that sizes memory or a loop has a maximum: a slip of the keyboard is reported, and no
/// worker runs out of memory or time.
#[test]
fn every_integer_that_sizes_something_has_a_maximum() {
    let mut found = Vec::new();
    for (name, kind) in &registry().kinds().0 {
        endless(name, "", &kind.schema(), &mut found);
    }
    assert!(found.is_empty(), "{found:?}");
    for (kind, with, line) in [
        (
            "ot",
            json!({ "distance": "sliced", "projections": u64::MAX }),
            "projections: `projections` must be at least 1 and at most 100000, not 18446744073709551615",
        ),
        (
            "ot",
            json!({ "distance": "s_otdd", "moments": 1_000_000_000_000u64 }),
            "moments: `moments` must be at least 0 and at most 100, not 1000000000000",
        ),
        (
            "ot",
            json!({ "interval": { "repeats": 1_000_000_000_000u64 } }),
            "interval.repeats: `repeats` must be at least 20 and at most 10000, not 1000000000000",
        ),
        (
            "finetune",
            json!({ "epochs": u64::MAX }),
            "epochs: `epochs` must be at least 1 and at most 1000000, not 18446744073709551615",
        ),
        (
            "finetune",
            json!({ "method": "prompt", "pad": 1u64 << 63 }),
            "pad: `pad` must be at least 1 and at most 512, not 9223372036854775808",
        ),
    ] {
        assert_eq!(problems(kind, with), [line]);
    }
}
