//! Resolved values: the results of references, and how conditions compare them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

/// A value after references are resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// `None`: absent.
    pub value: Option<Value>,
    /// Unset environment variables. `value` then holds `${env.X}` in their place, so that the rest
    /// can still be deserialised and checked.
    pub missing: Vec<String>,
}

impl Resolved {
    pub fn of(value: impl Into<Value>) -> Self {
        Self {
            value: Some(value.into()),
            missing: Vec::new(),
        }
    }

    /// Whether it is neither absent, nor null, nor dependent on an unset variable.
    pub fn present(&self) -> Option<&Value> {
        let usable = self.missing.is_empty();
        self.value
            .as_ref()
            .filter(|value| usable && !value.is_null())
    }
}

/// An axis with its values in the order of the file.
#[derive(Debug)]
pub struct AxisValues {
    pub name: String,
    pub values: Vec<AxisPoint>,
    pub index: HashMap<String, u32>,
    /// Indices sorted by id.
    pub by_id: Vec<u32>,
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct AxisPoint {
    pub id: String,
    /// The id with its type.
    pub typed: Value,
    pub label: Option<String>,
    pub fields: BTreeMap<String, Resolved>,
    /// Written as a map.
    pub is_map: bool,
}

impl AxisValues {
    /// `values` have different ids.
    pub fn new(name: &str, values: Vec<AxisPoint>) -> Self {
        let ids = values.iter().map(|value| value.id.clone());
        let index = ids.zip(0..).collect();
        let mut by_id: Vec<u32> = (0..values.len() as u32).collect();
        by_id.sort_by_key(|at| values[*at as usize].id.as_str());
        Self {
            name: name.to_string(),
            values,
            index,
            by_id,
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| value.id.as_str())
    }
}

impl AxisPoint {
    /// The value of `axis.field.field` at this axis value.
    pub fn field(&self, names: &[String]) -> Resolved {
        let Some((first, deeper)) = names.split_first() else {
            return Resolved::of(self.typed.clone());
        };
        match first.as_str() {
            "id" if deeper.is_empty() => Resolved::of(self.typed.clone()),
            "label" if deeper.is_empty() => Resolved {
                value: self.label.clone().map(Value::from),
                missing: Vec::new(),
            },
            _ => descend(self.fields.get(first).cloned().unwrap_or_default(), deeper),
        }
    }
}

/// The part of `resolved` under `names`; absent if there is none.
pub fn descend(resolved: Resolved, names: &[String]) -> Resolved {
    let mut value = resolved.value;
    for name in names {
        value = match value {
            Some(Value::Object(mut fields)) => fields.remove(name),
            _ => None,
        };
    }
    Resolved {
        value,
        missing: resolved.missing,
    }
}

/// A scalar as a label: the text of an axis value's id.
pub fn label_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One side of a comparison.
pub enum Compared<'a> {
    /// Equals nothing.
    Absent,
    /// A value of an axis, compared by id.
    Id(&'a str),
    Plain(Value),
}

impl Compared<'_> {
    pub fn equals(&self, other: &Compared) -> bool {
        match (self, other) {
            (Compared::Absent, _) | (_, Compared::Absent) => false,
            (Compared::Id(a), Compared::Id(b)) => a == b,
            (Compared::Id(id), Compared::Plain(value))
            | (Compared::Plain(value), Compared::Id(id)) => label_of(value).as_deref() == Some(*id),
            (Compared::Plain(a), Compared::Plain(b)) => equal_values(a, b),
        }
    }
}

/// Compares numbers by value (`1` equals `1.0`), everything else by content.
fn equal_values(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// The weight of a value for the budget: characters and parts.
pub fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(text) => 1 + text.len(),
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| 1 + name.len() + weight(value))
            .sum(),
    }
}
