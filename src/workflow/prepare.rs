//! The typed parameters of nodes. Nodes with the same values of the axes that `with:` and
//! `resources:` depend on share them, so that a kind parses each distinct block once.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::expand::{Expansion, PointState};
use super::graph::Resources;
use super::kind::{InputSpec, ParameterProblem, Parameters};
use super::resources;
use super::stages::{Field, Variant};
use super::values::{AxisPoint, weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::diag::{Place, Problems};
use crate::yaml::{Content, Tree};

/// What a node does, according to its kind.
pub struct Prepared {
    pub with: Arc<Value>,
    pub parameters: Arc<dyn Parameters>,
    pub inputs: Vec<InputSpec>,
    pub open_inputs: Option<&'static [PortType]>,
    pub outputs: Vec<OutputSpec>,
    pub resources: Resources,
    pub missing_env: Vec<String>,
}

/// The blocks prepared so far.
pub struct Preparations {
    /// The remaining budget for the weight of all blocks.
    budget: usize,
    /// By stage, variant, and the values of the axes that the variant depends on.
    made: HashMap<(usize, u32, Vec<u32>), Option<Arc<Prepared>>>,
}

impl Preparations {
    pub fn new(budget: usize) -> Self {
        Self {
            budget,
            made: HashMap::new(),
        }
    }

    /// The block of a kept point; `None` if a problem with it was reported.
    pub fn get(
        &mut self,
        expansion: &Expansion,
        stage: usize,
        point: u32,
        problems: &mut Problems,
    ) -> Option<Arc<Prepared>> {
        let PointState::Kept(number) = expansion.states[point as usize] else {
            return None;
        };
        let variant = expansion.variant(stage, point)?;
        let coordinates = expansion.coordinates(stage, point);
        let depends: Vec<u32> = variant
            .slots
            .iter()
            .map(|slot| coordinates[*slot])
            .collect();
        let key = (stage, number, depends);
        if let Some(made) = self.made.get(&key) {
            return made.clone();
        }
        let values: Vec<&AxisPoint> = expansion
            .axes(stage)
            .iter()
            .zip(&coordinates)
            .map(|(axis, at)| &axis.values[*at as usize])
            .collect();
        let mut maker = Preparer {
            id: &|| expansion.id(point),
            variant,
            values: &values,
            budget: &mut self.budget,
            problems,
        };
        let made = maker.make().map(Arc::new);
        self.made.insert(key, made.clone());
        made
    }
}

struct Preparer<'m, 'a> {
    id: &'m dyn Fn() -> String,
    variant: &'m Variant<'a>,
    values: &'m [&'m AxisPoint],
    budget: &'m mut usize,
    problems: &'m mut Problems,
}

/// `with:` after references.
struct With {
    fields: serde_json::Map<String, Value>,
    /// Names of fields that depend on an unset variable.
    waiting: Vec<String>,
    missing: Vec<String>,
}

impl Preparer<'_, '_> {
    fn make(&mut self) -> Option<Prepared> {
        let with = self.with();
        let resources = self.resources();
        let (with, (resources, missing)) = (with?, resources?);
        let mut missing_env = with.missing.clone();
        missing_env.extend(missing);
        missing_env.sort();
        missing_env.dedup();
        let (value, parameters) = self.parse(with)?;
        Some(Prepared {
            with: Arc::new(value),
            inputs: parameters.inputs(),
            open_inputs: parameters.open_inputs(),
            outputs: parameters.outputs(),
            parameters,
            resources,
            missing_env,
        })
    }

    fn with(&mut self) -> Option<With> {
        let mut with = With {
            fields: serde_json::Map::new(),
            waiting: Vec::new(),
            missing: Vec::new(),
        };
        let mut sound = true;
        for field in &self.variant.with {
            match field.value.eval(self.values) {
                Ok(resolved) => {
                    let name = &field.entry.key;
                    if !resolved.missing.is_empty() {
                        with.waiting.push(name.clone());
                        with.missing.extend(resolved.missing);
                    }
                    if let Some(value) = resolved.value {
                        with.fields.insert(name.clone(), value);
                    }
                }
                Err(error) => {
                    sound = false;
                    let found =
                        self.problems
                            .node_error(self.id, error.place, error.code, error.message);
                    found.maybe_hint(error.hint);
                }
            }
        }
        sound &= self.pay(&with);
        sound.then_some(with)
    }

    fn pay(&mut self, with: &With) -> bool {
        let cost: usize = with.fields.values().map(weight).sum();
        if cost > *self.budget {
            let place = self.variant.with_place;
            let message = "the resolved parameters of this workflow are too large together";
            self.problems.shared_error(place, "too-large", message);
            return false;
        }
        *self.budget -= cost;
        true
    }

    /// Deserialises `with`. The reference to an unset variable stands in as a text; a field that
    /// does not accept a text is omitted instead, so that everything else is still checked.
    fn parse(&mut self, with: With) -> Option<(Value, Arc<dyn Parameters>)> {
        let kind = &self.variant.kind;
        let mut value = Value::Object(with.fields);
        let found = match kind.parse(&value) {
            Ok(parameters) => return Some((value, Arc::from(parameters))),
            Err(found) => found,
        };
        if with.waiting.is_empty() {
            found.into_iter().for_each(|problem| self.report(problem));
            return None;
        }
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, _| !with.waiting.contains(name));
        }
        if let Ok(parameters) = kind.parse(&value) {
            return Some((value, Arc::from(parameters)));
        }
        let names = with.missing.join(", ");
        let first = self
            .variant
            .with
            .iter()
            .find(|field| with.waiting.contains(&field.entry.key));
        let place = first.map_or(self.variant.with_place, |field| field.entry.value.place);
        let message = format!(
            "`{}` can't be checked while {names} is not set",
            kind.name()
        );
        let found = self
            .problems
            .node_error(self.id, place, "unset-variable", message);
        found.hint("set the variable, or give a default: `${env.NAME?…}`");
        None
    }

    fn resources(&mut self) -> Option<(Resources, Vec<String>)> {
        let mut resources = Resources::default();
        let mut missing = Vec::new();
        let mut sound = true;
        for field in &self.variant.resources {
            let place = field.entry.value.place;
            let (code, message, hint) = match field.value.eval(self.values) {
                Ok(resolved) if !resolved.missing.is_empty() => {
                    missing.extend(resolved.missing);
                    continue;
                }
                Ok(resolved) => {
                    let value = resolved.value.unwrap_or_default();
                    match resources::set(&mut resources, &field.entry.key, &value) {
                        Ok(()) => continue,
                        Err(message) => ("bad-value", message, None),
                    }
                }
                Err(error) => (error.code, error.message, error.hint),
            };
            sound = false;
            self.problems
                .node_error(self.id, place, code, message)
                .maybe_hint(hint);
        }
        sound.then_some((resources, missing))
    }

    fn report(&mut self, problem: ParameterProblem) {
        report_parameter(self.problems, self.variant, self.id, problem);
    }
}

/// Reports a problem that a kind found, at the place of the parameter or input.
pub fn report_parameter(
    problems: &mut Problems,
    variant: &Variant,
    id: &dyn Fn() -> String,
    problem: ParameterProblem,
) {
    let place = match &problem.input {
        Some(input) => {
            let need = variant.needs.iter().find(|need| need.name == *input);
            need.map_or(variant.needs_place, |need| need.place)
        }
        None => place_in_with(variant, &problem.path, problem.at_name),
    };
    // If it applies to every node of the stage, the message names no node.
    let found = if variant.slots.is_empty() && problem.input.is_none() {
        problems.error(place, problem.code, problem.message)
    } else {
        problems.node_error(id, place, problem.code, problem.message)
    };
    found.maybe_hint(problem.hint);
}

/// The place of `path` in the `with:` block, or of its nearest parent.
fn place_in_with(variant: &Variant, path: &[String], at_name: bool) -> Place {
    let Some((first, deeper)) = path.split_first() else {
        return variant.with_place;
    };
    let field = variant.with.iter().find(|field| field.entry.key == *first);
    let Some(Field { entry, .. }) = field else {
        return variant.with_place;
    };
    if deeper.is_empty() {
        return pointer(&entry.value, entry.key_place, at_name);
    }
    let mut name = entry.key_place;
    let mut tree = &entry.value;
    for (depth, step) in deeper.iter().enumerate() {
        let last = depth + 1 == deeper.len();
        let next = match &tree.content {
            Content::Map(entries) => {
                let inner = entries.iter().find(|entry| entry.key == *step);
                inner.map(|entry| (entry.key_place, &entry.value))
            }
            Content::List(items) => {
                let item = step.parse().ok().and_then(|index: usize| items.get(index));
                item.map(|item| (item.place, item))
            }
            _ => None,
        };
        let Some((place, inner)) = next else { break };
        if last {
            return pointer(inner, place, at_name);
        }
        (name, tree) = (place, inner);
    }
    pointer(tree, name, at_name)
}

/// The place of the value, unless it does not fit on one line.
fn pointer(value: &Tree, name: Place, at_name: bool) -> Place {
    let block = matches!(
        value.content,
        Content::Map(_) | Content::List(_) | Content::Null
    );
    if at_name || block { name } else { value.place }
}
