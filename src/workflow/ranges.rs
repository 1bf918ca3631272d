//! Checks numbers against the ranges that their parameters declare, as the JSON Schema of a kind
//! states them (`#[schemars(range(min = 1))]`).

use serde_json::{Map, Value};

use super::kind::ParameterProblem;

/// The numbers in `with` outside their range. `with` has the types that `schema` declares.
pub fn problems(schema: &Value, with: &Value) -> Vec<ParameterProblem> {
    let checker = Checker {
        definitions: schema.get("$defs").and_then(Value::as_object),
    };
    let mut problems = Vec::new();
    checker.check(schema, with, &mut Vec::new(), &mut problems);
    problems
}

struct Checker<'a> {
    /// The target of each `#/$defs/NAME`.
    definitions: Option<&'a Map<String, Value>>,
}

impl Checker<'_> {
    fn check(
        &self,
        schema: &Value,
        value: &Value,
        path: &mut Vec<String>,
        problems: &mut Vec<ParameterProblem>,
    ) {
        match value {
            Value::Number(number) => {
                let range = number.as_f64().and_then(|it| broken(schema, it));
                problems.extend(range.map(|range| problem(schema, path, &range, value)));
            }
            Value::Object(fields) => {
                let declared = schema.get("properties").and_then(Value::as_object);
                for (name, property) in declared.into_iter().flatten() {
                    if let Some(field) = fields.get(name) {
                        self.below(name.clone(), property, field, path, problems);
                    }
                }
            }
            Value::Array(items) => {
                for (item, index) in items.iter().zip(0..) {
                    if let Some(declared) = schema.get("items") {
                        self.below(format!("{index}"), declared, item, path, problems);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => return,
        }
        self.check_parts(schema, value, path, problems);
    }

    fn below(
        &self,
        step: String,
        schema: &Value,
        value: &Value,
        path: &mut Vec<String>,
        problems: &mut Vec<ParameterProblem>,
    ) {
        path.push(step);
        self.check(schema, value, path, problems);
        path.pop();
    }

    /// The schemas that `schema` refers to or is composed of.
    fn check_parts(
        &self,
        schema: &Value,
        value: &Value,
        path: &mut Vec<String>,
        problems: &mut Vec<ParameterProblem>,
    ) {
        let name = schema.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|target| target.strip_prefix("#/$defs/"));
        let definition = self.definitions.zip(name);
        if let Some(definition) = definition.and_then(|(all, name)| all.get(name)) {
            self.check(definition, value, path, problems);
        }
        for part in list(schema, "allOf") {
            self.check(part, value, path, problems);
        }
        for alternatives in ["anyOf", "oneOf"].map(|key| list(schema, key)) {
            let mut fewest: Option<Vec<ParameterProblem>> = None;
            for alternative in alternatives.iter().filter(|it| !is_null(it)) {
                let mut found = Vec::new();
                self.check(alternative, value, path, &mut found);
                if fewest.as_ref().is_none_or(|few| found.len() < few.len()) {
                    fewest = Some(found);
                }
            }
            problems.extend(fewest.into_iter().flatten());
        }
    }
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    let found = schema.get(key).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The range of `schema`, if `value` is outside.
fn broken(schema: &Value, value: f64) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let fits = bound("minimum").is_none_or(|least| value >= least)
        && bound("maximum").is_none_or(|most| value <= most)
        && bound("exclusiveMinimum").is_none_or(|least| value > least)
        && bound("exclusiveMaximum").is_none_or(|most| value < most);
    if fits { None } else { described(schema) }
}

/// The range that `schema` declares, in words; `None` without one.
pub fn described(schema: &Value) -> Option<String> {
    let bound = |key: &str, word: &str| Some(format!("{word} {}", schema.get(key)?.as_f64()?));
    let least = bound("minimum", "at least").or_else(|| bound("exclusiveMinimum", "above"));
    let most = bound("maximum", "at most").or_else(|| bound("exclusiveMaximum", "below"));
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} and {most}")),
        (least, most) => least.or(most),
    }
}

fn problem(schema: &Value, path: &[String], range: &str, value: &Value) -> ParameterProblem {
    let name = path.last().map(String::as_str).unwrap_or_default();
    let message = format!("`{name}` must be {range}, not {value}");
    let problem = ParameterProblem {
        path: path.to_vec(),
        ..ParameterProblem::value(name, message)
    };
    let description = schema.get("description").and_then(Value::as_str);
    match description.map(first_sentence) {
        Some(sentence) => problem.hint(format!("`{name}`: {sentence}")),
        None => problem,
    }
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_string()
}
