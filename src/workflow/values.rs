//! Resolved values: the results of references, and how conditions compare them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::expression::literal;
use super::ids::{Id, label_of, number_key, same_number};

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
    /// Its values repeat one experiment.
    pub repeats: bool,
    /// By id, and by number.
    index: HashMap<String, u32>,
    numbers: HashMap<String, u32>,
    /// Indices sorted by id.
    pub by_id: Vec<u32>,
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct AxisPoint {
    /// What enters keys and records.
    pub id: String,
    /// As the file writes it.
    pub written: String,
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
        let (mut index, mut numbers) = (HashMap::new(), HashMap::new());
        for (at, value) in (0_u32..).zip(&values) {
            index.insert(value.id.clone(), at);
            index.insert(value.written.clone(), at);
            if let Value::Number(number) = &value.typed {
                numbers.insert(number_key(number), at);
            }
        }
        let mut by_id: Vec<u32> = (0..values.len() as u32).collect();
        by_id.sort_by_key(|at| values[*at as usize].id.as_str());
        Self {
            name: name.to_string(),
            values,
            repeats: false,
            index,
            numbers,
            by_id,
        }
    }

    /// The ids, as the file writes them.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|value| value.written.as_str())
    }

    /// The place of the value that a word of a selector means.
    pub fn find(&self, word: &str) -> Option<u32> {
        let written = self.index.get(word).copied();
        written.or_else(|| self.find_number(&literal(word)))
    }

    /// The place of `value`.
    pub fn find_value(&self, value: &Value) -> Option<u32> {
        let number = self.find_number(value);
        number.or_else(|| self.index.get(&label_of(value)?).copied())
    }

    fn find_number(&self, value: &Value) -> Option<u32> {
        let Value::Number(number) = value else {
            return None;
        };
        self.numbers.get(&number_key(number)).copied()
    }
}

impl AxisPoint {
    pub fn id(&self) -> Id<'_> {
        Id {
            text: &self.id,
            written: &self.written,
            typed: &self.typed,
        }
    }

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

/// One side of a comparison.
pub enum Compared<'a> {
    /// Equals nothing.
    Absent,
    /// A value of an axis.
    Id(Id<'a>),
    Plain(Value),
}

impl Compared<'_> {
    pub fn equals(&self, other: &Compared) -> bool {
        match (self, other) {
            (Compared::Absent, _) | (_, Compared::Absent) => false,
            (Compared::Id(a), Compared::Id(b)) => a.is_same(b),
            (Compared::Id(id), Compared::Plain(value))
            | (Compared::Plain(value), Compared::Id(id)) => id.is(value),
            (Compared::Plain(a), Compared::Plain(b)) => equal_values(a, b),
        }
    }
}

/// Compares numbers by value (`1` equals `1.0`), everything else by content.
fn equal_values(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
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
