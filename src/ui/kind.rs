//! The description of a stage kind: its inputs, its parameters under `with:`, its outputs.

use serde_json::{Map, Value, json};

use crate::contract::port::{OutputSpec, PortType};
use crate::workflow::kind::{Comparison, Gathers, InputSpec, Kind, OnlyWith};
use crate::workflow::ranges;

/// The width of a line in characters.
const WIDTH: usize = 96;

/// The description as text.
pub fn page(kind: &dyn Kind) -> String {
    let usual = kind.usual();
    let mut page = wrapped(
        &format!("{} (version {}): ", kind.name(), kind.version()),
        &sentence(kind.summary()),
        4,
    );
    let (inputs, conditional) = inputs(kind);
    let mut needs: Vec<Line> = inputs.iter().map(input_line).collect();
    needs.extend(conditional.iter().map(conditional_input_line));
    if let Some(accepts) = usual.open_inputs() {
        let types: Vec<&str> = accepts.iter().copied().map(port_name).collect();
        let what = match types.as_slice() {
            [] => "any number of inputs of any kind".to_string(),
            types => format!("any number of inputs, each {}", types.join(" or ")),
        };
        needs.push(Line::new("any name", what));
    }
    let (outputs, conditional) = outputs(kind);
    let mut gives: Vec<Line> = outputs.iter().map(output_line).collect();
    gives.extend(conditional.iter().map(conditional_output_line));
    page.push_str(&section("needs", &needs));
    page.push_str(&section("with", &fields(&kind.schema())));
    page.push_str(&section("gives", &gives));
    let same = match kind.comparison() {
        Comparison::BitEqual => "the same bytes".to_string(),
        Comparison::MetricsWithin(most) => format!("every metric within {most} of the other's"),
    };
    page.push_str(&format!(
        "\nResults of two labs agree if they have {same}.\n"
    ));
    page
}

/// One line for the list of kinds.
pub fn line(kind: &dyn Kind) -> String {
    let name = format!("  {:<12}", kind.name());
    wrapped(&name, &sentence(kind.summary()), name.len())
}

/// The description as JSON.
pub fn json(kind: &dyn Kind) -> Value {
    let usual = kind.usual();
    let input = |input: &InputSpec| {
        json!({
            "name": input.name,
            "accepts": input.accepts,
            "required": input.required,
            "many": input.many,
        })
    };
    let output = |output: &OutputSpec| json!({ "name": output.name, "gives": output.gives });
    let (needs, conditional) = inputs(kind);
    let mut needs: Vec<Value> = needs.iter().map(input).collect();
    needs.extend(conditional.iter().map(|it| {
        let mut line = input(&it.spec);
        line["with"] = json!(it.with);
        line
    }));
    let (gives, conditional) = outputs(kind);
    let mut gives: Vec<Value> = gives.iter().map(output).collect();
    gives.extend(conditional.iter().map(|it| {
        let mut line = output(&it.spec);
        line["with"] = json!(it.with);
        line
    }));
    json!({
        "name": kind.name(),
        "version": kind.version(),
        "summary": sentence(kind.summary()),
        "needs": needs,
        "open_needs": usual.open_inputs().is_some(),
        "gives": gives,
        "with": kind.schema(),
    })
}

/// The inputs with the default parameters, and the further ones with others.
fn inputs(kind: &dyn Kind) -> (Vec<InputSpec>, Vec<OnlyWith<InputSpec>>) {
    let usual = kind.usual().inputs();
    let mut further = kind.conditional_inputs();
    further.retain(|it| usual.iter().all(|input| input.name != it.spec.name));
    (usual, further)
}

/// The outputs with the default parameters, and the further ones with others.
fn outputs(kind: &dyn Kind) -> (Vec<OutputSpec>, Vec<OnlyWith<OutputSpec>>) {
    let usual = kind.usual().outputs();
    let mut further = kind.conditional_outputs();
    further.retain(|it| usual.iter().all(|output| output.name != it.spec.name));
    (usual, further)
}

/// A name and its description.
struct Line {
    name: String,
    words: String,
    /// Whether the line is nested below another one.
    deeper: bool,
}

impl Line {
    fn new(name: &str, words: impl Into<String>) -> Self {
        Self {
            name: name.to_string(),
            words: words.into(),
            deeper: false,
        }
    }
}

fn section(title: &str, lines: &[Line]) -> String {
    let mut text = format!("\n{title}:");
    if lines.is_empty() {
        text.push_str(" nothing\n");
        return text;
    }
    text.push('\n');
    let length = |line: &Line| line.name.chars().count() + if line.deeper { 2 } else { 0 };
    let column = lines.iter().map(length).max().unwrap_or(0) + 4;
    for line in lines {
        let indent = if line.deeper { 4 } else { 2 };
        let head = format!("{:indent$}{}", "", line.name);
        text.push_str(&wrapped(&format!("{head:<column$}"), &line.words, column));
    }
    text
}

fn input_line(input: &InputSpec) -> Line {
    let types: Vec<&str> = input.accepts.iter().copied().map(port_name).collect();
    let mut words = match types.as_slice() {
        [] => "anything".to_string(),
        types => types.join(" or "),
    };
    if input.many {
        words = format!("any number of them, each {words}");
    }
    if let (true, Gathers::Only(_)) = (input.many, &input.gathers) {
        words.push_str("; gathers the axes that have a role under `with`");
    }
    if !input.required {
        words.push_str(" (optional)");
    }
    Line::new(&input.name, words)
}

fn conditional_input_line(input: &OnlyWith<InputSpec>) -> Line {
    let Line { name, words, .. } = input_line(&input.spec);
    Line::new(&name, format!("{words}, with {}", input.with))
}

fn conditional_output_line(output: &OnlyWith<OutputSpec>) -> Line {
    let Line { name, words, .. } = output_line(&output.spec);
    Line::new(&name, format!("{words}, with {}", output.with))
}

fn output_line(output: &OutputSpec) -> Line {
    Line::new(&output.name, port_name(output.gives))
}

fn port_name(port: PortType) -> &'static str {
    match port {
        PortType::Dataset => "a dataset",
        PortType::Model => "a model",
        PortType::Arrays => "named arrays",
        PortType::Metrics => "metrics",
        PortType::Table => "a table",
        PortType::Files => "files",
    }
}

/// The fields of a `with:` block: type, default, description, and what the words of a choice mean.
fn fields(schema: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let none = Map::new();
    for (name, field) in schema["properties"].as_object().unwrap_or(&none) {
        let needed = required.contains(&name.as_str());
        lines.push(Line::new(name, field_words(field, needed, schema)));
        for (word, meaning) in meanings(target(field, schema), schema) {
            lines.push(Line {
                deeper: true,
                ..Line::new(&word, meaning)
            });
        }
    }
    lines
}

fn field_words(field: &Value, required: bool, schema: &Value) -> String {
    let mut words = type_name(field, schema);
    if let Some(range) = range(target(field, schema)) {
        words.push_str(&format!(", {range}"));
    }
    match &field["default"] {
        _ if required => words.push_str(", required"),
        Value::Null => {}
        Value::Array(values) if values.is_empty() => {}
        default => words.push_str(&format!(" [{}]", shown(default))),
    }
    let description = field["description"]
        .as_str()
        .or(target(field, schema)["description"].as_str());
    if let Some(description) = description {
        words.push_str(". ");
        words.push_str(&description.replace('\n', " "));
    }
    words
}

/// The range of a number. The schema of every unsigned integer says "at least 0", which is left out.
fn range(schema: &Value) -> Option<String> {
    let whole = schema["type"] == "integer" || schema["type"][0] == "integer";
    let unsigned = whole && schema["minimum"] == 0;
    let bounded = !(unsigned && schema["maximum"].is_null());
    bounded.then(|| ranges::described(schema)).flatten()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The schema that a field refers to, without `null` as an alternative.
fn target<'a>(field: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = field["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return &schema["$defs"][name];
    }
    let alternatives = field["anyOf"].as_array().into_iter().flatten();
    let mut inner = alternatives.filter(|inner| inner["type"] != "null");
    match inner.next() {
        Some(inner) => target(inner, schema),
        None => field,
    }
}

fn type_name(field: &Value, schema: &Value) -> String {
    let of = target(field, schema);
    let words = match &of["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        one => one.as_str(),
    };
    match words {
        Some("integer") => "whole number".to_string(),
        Some("boolean") => "true or false".to_string(),
        Some("array") => format!("list of: {}", type_name(&of["items"], schema)),
        Some("object") if !of["properties"].is_object() => "map".to_string(),
        Some("object") => {
            let names = of["properties"].as_object().map(Map::keys);
            let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
            format!("{{ {} }}", names.join(", "))
        }
        Some("string") if of["enum"].is_array() => "one of these".to_string(),
        Some("string") => "text".to_string(),
        Some(other) => other.to_string(),
        None if of["oneOf"].is_array() => "one of these".to_string(),
        None if of["anyOf"].is_array() => {
            let ways = of["anyOf"].as_array().into_iter().flatten();
            let ways: Vec<String> = ways.map(|way| type_name(way, schema)).collect();
            ways.join(", or ")
        }
        None => "anything".to_string(),
    }
}

/// The values of a choice, with their meanings.
fn meanings(of: &Value, schema: &Value) -> Vec<(String, String)> {
    let words = |of: &Value| -> Vec<(String, String)> {
        let words = of["enum"].as_array().into_iter().flatten();
        words
            .filter_map(Value::as_str)
            .map(|word| (word.to_string(), String::new()))
            .collect()
    };
    let alternatives = of["oneOf"].as_array().into_iter().flatten();
    let mut found: Vec<(String, String)> = alternatives
        .flat_map(|inner| match inner["const"].as_str() {
            Some(word) => {
                let meaning = inner["description"].as_str().unwrap_or_default();
                vec![(word.to_string(), meaning.replace('\n', " "))]
            }
            None => words(inner),
        })
        .collect();
    found.extend(words(of));
    let ways = of["anyOf"].as_array().into_iter().flatten();
    found.extend(ways.flat_map(|way| meanings(target(way, schema), schema)));
    found
}

fn sentence(summary: &str) -> String {
    format!("{}.", summary.trim_end_matches('.'))
}

/// `head` and `words`, broken at spaces; further lines begin at `indent`.
fn wrapped(head: &str, words: &str, indent: usize) -> String {
    let mut text = head.to_string();
    let mut length = head.chars().count();
    let mut first = true;
    for word in words.split_whitespace() {
        let long = word.chars().count();
        if !first && length + 1 + long > WIDTH {
            text.push_str(&format!("\n{:indent$}", ""));
            length = indent;
        } else if !first {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += long;
        first = false;
    }
    let mut text = text.trim_end().to_string();
    text.push('\n');
    text
}
