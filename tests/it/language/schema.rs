//! The JSON Schema accepts the real files, and tells the mistakes that an editor can tell.

use serde_json::{Value, json};

use ribflow::workflow::schema;

use super::{file, kinds::test_kinds};

/// The part of JSON Schema that the schema uses.
struct Validator {
    root: Value,
}

impl Validator {
    fn accepts(&self, schema: &Value, value: &Value) -> bool {
        let Some(fields) = schema.as_object() else {
            return *schema == json!(true);
        };
        fields
            .iter()
            .all(|(name, rule)| self.keyword(fields, name, rule, value))
    }

    fn keyword(
        &self,
        schema: &serde_json::Map<String, Value>,
        name: &str,
        rule: &Value,
        value: &Value,
    ) -> bool {
        let list = || rule.as_array().unwrap();
        let members = value.as_object();
        match name {
            "$ref" => {
                let path = rule.as_str().unwrap().trim_start_matches('#');
                self.accepts(self.root.pointer(path).expect(path), value)
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_type(one, value)),
                one => is_type(one, value),
            },
            "const" => rule == value,
            "enum" => list().contains(value),
            "anyOf" => list().iter().any(|one| self.accepts(one, value)),
            "oneOf" => list().iter().filter(|one| self.accepts(one, value)).count() == 1,
            "allOf" => list().iter().all(|one| self.accepts(one, value)),
            "if" => !self.accepts(rule, value) || self.accepts(&schema["then"], value),
            "required" => members.is_none_or(|members| {
                list()
                    .iter()
                    .all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "properties" => members.is_none_or(|members| {
                let rules = rule.as_object().unwrap();
                rules.iter().all(|(name, rule)| {
                    members
                        .get(name)
                        .is_none_or(|value| self.accepts(rule, value))
                })
            }),
            "additionalProperties" => members.is_none_or(|members| {
                let known = schema.get("properties").and_then(Value::as_object);
                members
                    .iter()
                    .filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)))
                    .all(|(_, value)| self.accepts(rule, value))
            }),
            "propertyNames" => members
                .is_none_or(|members| members.keys().all(|name| self.accepts(rule, &json!(name)))),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| self.accepts(rule, item))),
            "pattern" => value
                .as_str()
                .is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "minProperties" => {
                members.is_none_or(|members| members.len() as u64 >= rule.as_u64().unwrap())
            }
            "uniqueItems" | "then" | "title" | "description" | "default" | "format" | "$schema"
            | "$defs" => true,
            other => panic!("the validator does not know `{other}`"),
        }
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type `{other}`"),
    }
}

/// The three patterns of the schema.
fn matches(pattern: &str, text: &str) -> bool {
    let word = |more: &str| {
        let mut letters = text.chars();
        let first = letters.next().unwrap_or('-');
        (first.is_ascii_alphanumeric() || first == '_')
            && letters.all(|one| one.is_ascii_alphanumeric() || one == '_' || more.contains(one))
    };
    match pattern {
        r"\$\{" => text.contains("${"),
        "^[A-Za-z0-9_][A-Za-z0-9_.+-]*$" => word(".+-"),
        "^[A-Za-z_][A-Za-z0-9_]*$" => {
            word("") && !text.starts_with(|one: char| one.is_ascii_digit())
        }
        other => panic!("no pattern `{other}`"),
    }
}

fn accepts(yaml: &str) -> bool {
    let root = schema(&test_kinds());
    let value: Value = serde_yaml::from_str(yaml).unwrap();
    let validator = Validator { root };
    validator.accepts(&validator.root, &value)
}

#[test]
fn the_real_files_follow_the_schema() {
    for entry in std::fs::read_dir(file("language")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(accepts(&text), "{}", path.display());
        }
    }
}

#[test]
fn the_schema_tells_mistakes() {
    let stage = |rest: &str| format!("ribflow: 1\nname: x\nstages:\n  a: {{ {rest} }}\n");
    assert!(accepts(&stage("use: evaluate, with: { batch: 3 }")));
    assert!(accepts(&stage(
        "use: evaluate, with: { batch: \"${params.batch}\" }"
    )));
    assert!(accepts(&stage(
        "use: average, with: { weights: [0.5, \"${params.w}\"] }"
    )));
    assert!(accepts(&stage("use: ot, with: { distance: otdd }")));
    let wrong = [
        "use: evaluate, with: { batch: many }",
        "use: evaluate, with: { batsh: 3 }",
        "use: evaluat",
        "with: {}",
        "use: evaluate, whit: {}",
        "use: ot, with: { distance: far }",
        "use: evaluate, needs: { data: [] }",
        "use: evaluate, resources: { cpus: 0 }",
        "use: report, cases: [{ with: {} }]",
        "use: report, cases: [{ when: x, use: ot, with: { distance: 3 } }]",
    ];
    for rest in wrong {
        assert!(!accepts(&stage(rest)), "{rest}");
    }
    assert!(!accepts(
        "ribflow: 2\nname: x\nstages: { a: { use: report } }\n"
    ));
    assert!(!accepts("ribflow: 1\nstages: { a: { use: report } }\n"));
    assert!(!accepts(
        "ribflow: 1\nname: x\naxes: { a: [{ label: b }] }\nstages: { a: { use: report } }\n"
    ));
}
