//! Metrics from JSON: a map from names to numbers, or to maps with a number and what is needed to
//! interpret it.
//!
//! ```json
//! { "accuracy": { "value": 93.1, "unit": "percent", "n": 500, "direction": "higher", "chance": 10 },
//!   "loss": { "train": 0.21, "test": 0.35 } }
//! ```
//!
//! A map without `value` groups metrics: `loss.train`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::OutputFile;
use crate::stages::task::TaskError;
use crate::store::artifact::{Better, Metric, Metrics};
use crate::workflow::fields::is_label;

/// Metrics from withheld data may be shared, so a file of metrics must be too small to hold that
/// data.
const MOST_BYTES: u64 = 64 << 10;
/// The maximum depth of groups.
const DEEPEST: usize = 8;

const FIELDS: [&str; 6] = ["value", "unit", "n", "direction", "chance", "interval"];

pub(super) fn read(file: &OutputFile) -> Result<Metrics, TaskError> {
    let text = file.text(MOST_BYTES)?;
    parse(&text).map_err(|wrong| file.wrong(wrong))
}

/// The metrics of a file of JSON.
///
/// # Errors
/// What is wrong, with its line or name.
pub fn parse(text: &str) -> Result<Metrics, String> {
    let tree: Node = serde_json::from_str(text).map_err(|error| {
        let hint = match has_no_number(text) {
            true => "\nhint: JSON has neither NaN nor Infinity: leave the metric out, or fail",
            false => "",
        };
        format!("{error}{hint}")
    })?;
    let Node::Map(entries) = tree else {
        return Err("expected a map from names to numbers".to_string());
    };
    let mut metrics = Metrics::default();
    add(&mut metrics, "", entries, 0)?;
    match metrics.values.is_empty() {
        true => Err("there are no metrics".to_string()),
        false => Ok(metrics),
    }
}

fn has_no_number(text: &str) -> bool {
    ["NaN", "Infinity"].iter().any(|word| text.contains(word))
}

/// JSON in which a map names nothing twice.
enum Node {
    Map(BTreeMap<String, Node>),
    Leaf(Value),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a number, or a map")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Node, M::Error> {
        let mut entries = BTreeMap::new();
        while let Some((name, node)) = map.next_entry::<String, Node>()? {
            if entries.contains_key(&name) {
                return Err(M::Error::custom(format_args!("`{name}` is there twice")));
            }
            entries.insert(name, node);
        }
        Ok(Node::Map(entries))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Leaf(text.into()))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Leaf(flag.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::Leaf(Value::Array(items)))
    }
}

/// Adds the metrics of a group. Returns what is wrong, with the field.
fn add(
    metrics: &mut Metrics,
    group: &str,
    entries: BTreeMap<String, Node>,
    depth: usize,
) -> Result<(), String> {
    for (name, node) in entries {
        if !is_label(&name) {
            return Err(format!(
                "{} is not a valid name of a metric: use letters, digits, `_`, `.`, `+` and `-`",
                Value::from(name)
            ));
        }
        let name = match group {
            "" => name,
            group => format!("{group}.{name}"),
        };
        let metric = match node {
            Node::Leaf(value) => Metric::new(number(&name, &value)?, ""),
            Node::Map(fields) if fields.contains_key("value") => metric(&name, fields)?,
            Node::Map(_) if depth == DEEPEST => return Err(format!("`{name}` is nested too deep")),
            Node::Map(inner) => {
                add(metrics, &name, inner, depth + 1)?;
                continue;
            }
        };
        if metrics.values.insert(name.clone(), metric).is_some() {
            return Err(format!("`{name}` is there twice"));
        }
    }
    Ok(())
}

fn metric(name: &str, fields: BTreeMap<String, Node>) -> Result<Metric, String> {
    let mut metric = Metric::new(0.0, "");
    for (field, node) in fields {
        let path = format!("{name}.{field}");
        let Node::Leaf(value) = node else {
            return Err(format!("`{path}` is a map"));
        };
        match field.as_str() {
            "value" => metric.value = number(&path, &value)?,
            "chance" => metric.chance = Some(number(&path, &value)?),
            "n" => {
                let count = value.as_u64();
                metric.n = Some(count.ok_or_else(|| format!("`{path}` is not a count"))?);
            }
            "unit" => {
                let unit = value.as_str().filter(|unit| is_unit(unit));
                let unit =
                    unit.ok_or_else(|| format!("`{path}` is not a unit, such as `percent`"))?;
                metric.unit = unit.to_string();
            }
            "direction" => {
                metric.better = Some(match value.as_str() {
                    Some("higher") => Better::Higher,
                    Some("lower") => Better::Lower,
                    _ => return Err(format!("`{path}` is neither `higher` nor `lower`")),
                });
            }
            "interval" => {
                let bounds: Option<[f64; 2]> = serde_json::from_value(value).ok();
                let bounds = bounds.filter(|[low, high]| low <= high);
                let wrong = || format!("`{path}` is not a pair of a lower and an upper bound");
                metric.interval = Some(bounds.ok_or_else(wrong)?);
            }
            _ => {
                let known = FIELDS.map(|field| format!("`{field}`")).join(", ");
                return Err(format!(
                    "`{path}` is not a field of a metric: those are {known}"
                ));
            }
        }
    }
    Ok(metric)
}

fn number(path: &str, value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| {
        let what = match value {
            Value::String(_) => "a text",
            Value::Bool(_) => "true or false",
            Value::Null => "null",
            _ => "a list",
        };
        format!("`{path}` is {what}, not a number")
    })
}

fn is_unit(text: &str) -> bool {
    const LONGEST: usize = 32;
    text.len() <= LONGEST
        && text
            .chars()
            .all(|it| it.is_alphanumeric() || " %/*^.-".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Metrics, String> {
        let Node::Map(entries) = serde_json::from_str(text).map_err(|error| error.to_string())?
        else {
            return Err("no map".to_string());
        };
        let mut metrics = Metrics::default();
        add(&mut metrics, "", entries, 0).map(|()| metrics)
    }

    #[test]
    fn numbers_maps_and_groups_are_metrics() {
        let text = r#"{ "a": 1, "b": { "value": 93.5, "unit": "percent", "n": 500,
            "direction": "lower", "chance": 10, "interval": [90, 95.5] },
            "loss": { "train": 0.25, "test": { "value": -1e-3 } } }"#;
        let metrics = parsed(text).unwrap();
        let names: Vec<&String> = metrics.values.keys().collect();
        assert_eq!(names, ["a", "b", "loss.test", "loss.train"]);
        let whole = Metric {
            n: Some(500),
            better: Some(Better::Lower),
            chance: Some(10.0),
            interval: Some([90.0, 95.5]),
            ..Metric::new(93.5, "percent")
        };
        assert_eq!(metrics.values["b"], whole);
        assert_eq!(metrics.values["loss.test"].value, -1e-3);
    }

    #[test]
    fn what_is_no_metric_is_named_with_its_field() {
        for (text, words) in [
            (r#"{"a": "1"}"#, "`a` is a text, not a number"),
            (r#"{"a": [1]}"#, "`a` is a list, not a number"),
            (
                r#"{"a": {"value": 1, "units": "s"}}"#,
                "`a.units` is not a field",
            ),
            (r#"{"a": {"value": 1, "n": -1}}"#, "`a.n` is not a count"),
            (
                r#"{"a": {"b": {"value": true}}}"#,
                "`a.b.value` is true or false",
            ),
            (
                r#"{"a": {"value": 1, "direction": "up"}}"#,
                "neither `higher` nor `lower`",
            ),
            (r#"{"a": 1, "a": 2}"#, "`a` is there twice"),
            (r#"{"a.b": 1, "a": {"b": 2}}"#, "`a.b` is there twice"),
            (r#"{"macro avg": 1}"#, "\"macro avg\" is not a valid name"),
            (r#"{"a": NaN}"#, "line 1 column 7"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
