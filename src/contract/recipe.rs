//! The recipe of a node: everything that its result depends on. One traversal serves hashing,
//! explaining and comparing, so that the three can't diverge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::{Digest, hash_string, hash_value};

/// Everything that determines a node's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    pub kind: String,
    pub version: u32,
    /// Canonical parameters: defaults applied, values equal to their default omitted.
    pub with: Value,
    /// By input name, including sources.
    pub inputs: BTreeMap<String, Vec<RecipeInput>>,
    /// The device class, under `determinism: strict` only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
}

/// One member of an input: the content of one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipeInput {
    /// The ids of the gathered axes; a node's other ids are not in the key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub axes: BTreeMap<String, String>,
    pub digest: Digest,
}

/// Receives the parts of a recipe in their fixed order.
pub trait Visitor {
    /// `path` names the part (`with.epochs`, `inputs.data[0]`); parts come in a fixed order.
    fn part(&mut self, path: &str, value: &Value);
}

impl Recipe {
    /// Passes every part to `visitor`.
    pub fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.part("kind", &Value::from(self.kind.as_str()));
        visitor.part("version", &Value::from(self.version));
        if let Some(device) = &self.device {
            visitor.part("device", &Value::from(device.as_str()));
        }
        if let Value::Object(fields) = &self.with {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            for name in names {
                visitor.part(&format!("with.{name}"), &fields[name]);
            }
        }
        for (name, members) in &self.inputs {
            visitor.part(&format!("inputs.{name}"), &Value::from(members.len()));
            for (index, member) in members.iter().enumerate() {
                let value = serde_json::json!({ "axes": member.axes, "digest": member.digest });
                visitor.part(&format!("inputs.{name}[{index}]"), &value);
            }
        }
    }

    /// The recipe key.
    pub fn key(&self) -> Digest {
        // Setting up a derive-key context costs as much as a key itself.
        static READY: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("ribflow 2026 recipe key v1"));
        let mut visitor = HashParts(Vec::with_capacity(1024));
        self.visit(&mut visitor);
        let mut hasher = READY.clone();
        hasher.update(&visitor.0);
        Digest::finish(&hasher)
    }

    /// The recipe with another version of its kind.
    pub fn of_version(&self, version: u32) -> Recipe {
        Recipe {
            version,
            ..self.clone()
        }
    }

    /// The parts as text, by path.
    pub fn explain(&self) -> BTreeMap<String, Value> {
        let mut visitor = CollectParts(BTreeMap::new());
        self.visit(&mut visitor);
        visitor.0
    }

    /// The parts that differ from `older`, by path: (before, now). Of a map under `with:`, the
    /// entries that differ.
    pub fn diff(&self, older: &Recipe) -> Vec<Change> {
        let (before, now) = (older.explain(), self.explain());
        let paths: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        let mut changes = Vec::new();
        for path in paths {
            compare(path, before.get(path), now.get(path), &mut changes);
        }
        changes
    }
}

fn compare(path: &str, before: Option<&Value>, now: Option<&Value>, changes: &mut Vec<Change>) {
    if before == now {
        return;
    }
    if let (Some(Value::Object(before)), Some(Value::Object(now))) = (before, now)
        && path.starts_with("with.")
    {
        let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        for name in names {
            let path = format!("{path}.{name}");
            compare(&path, before.get(name), now.get(name), changes);
        }
        return;
    }
    changes.push(Change {
        path: path.to_string(),
        before: before.cloned(),
        now: now.cloned(),
    });
}

/// A part in which two recipes differ; `None`: absent, so at its default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub path: String,
    pub before: Option<Value>,
    pub now: Option<Value>,
}

/// The bytes that are hashed.
struct HashParts(Vec<u8>);

impl Visitor for HashParts {
    fn part(&mut self, path: &str, value: &Value) {
        hash_string(&mut self.0, path);
        hash_value(&mut self.0, value);
    }
}

struct CollectParts(BTreeMap<String, Value>);

impl Visitor for CollectParts {
    fn part(&mut self, path: &str, value: &Value) {
        self.0.insert(path.to_string(), value.clone());
    }
}
