//! Checks the inputs of a node against its kind: names, port types, one or many, roles of gathered
//! axes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expand::{Expansion, Selection};
use super::join::Join;
use super::kind::{BoundInput, Gathers, InputSpec};
use super::prepare::{Prepared, report_parameter};
use super::stages::{Need, Variant};
use crate::contract::port::PortType;
use crate::diag::{Place, Problems, listed, suggest};

/// An input of a node; members are numbers of points.
pub struct PointInput {
    pub name: String,
    pub many: bool,
    pub members: Vec<PointMember>,
}

pub struct PointMember {
    pub point: u32,
    pub port: String,
    pub axes: BTreeMap<String, String>,
}

/// Checks the inputs of kept points.
pub struct Checker<'c, 'e, 'a> {
    pub expansion: &'c Expansion<'e, 'a>,
    /// By point.
    pub prepared: &'c [Option<Arc<Prepared>>],
    pub problems: &'c mut Problems,
}

impl Checker<'_, '_, '_> {
    /// The inputs of `point`, sorted by name; `None` if a problem was reported.
    pub fn inputs(&mut self, stage: usize, point: u32) -> Option<Vec<PointInput>> {
        let expansion = self.expansion;
        let variant = expansion.variant(stage, point)?;
        let prepared = self.prepared[point as usize].clone()?;
        let mut sound = self.names(variant, &prepared);
        let mut given = Vec::with_capacity(variant.needs.len());
        for (index, need) in variant.needs.iter().enumerate() {
            let spec = prepared.inputs.iter().find(|spec| spec.name == need.name);
            if spec.is_none() && prepared.open_inputs.is_none() {
                continue;
            }
            let of_need = |selection: &&Selection| selection.need as usize == index;
            let selections = expansion.selections(point).iter().filter(of_need);
            let selections: Vec<&Selection> = selections.collect();
            let accepts = match (spec, prepared.open_inputs) {
                (Some(spec), _) => spec.accepts.as_slice(),
                (None, open) => open.unwrap_or_default(),
            };
            match self.input(point, variant, need, (spec, accepts), &selections) {
                Some(input) => given.push(input),
                None => sound = false,
            }
        }
        if !sound {
            return None;
        }
        given.sort_by(|a, b| a.name.cmp(&b.name));
        self.roles(point, variant, &prepared, &given)
            .then_some(given)
    }

    /// Checks that every required input is present, and that there are no others.
    fn names(&mut self, variant: &Variant, prepared: &Prepared) -> bool {
        let kind = variant.kind.name();
        let mut sound = true;
        for spec in prepared.inputs.iter().filter(|spec| spec.required) {
            if !variant.needs.iter().any(|need| need.name == spec.name) {
                sound = false;
                let place = variant.needs_place;
                let message = format!("`{kind}` needs an input `{}`", spec.name);
                self.once(place, "missing-input", message, Some(input_hint(spec)));
            }
        }
        if prepared.open_inputs.is_some() {
            return sound;
        }
        for need in &variant.needs {
            if !prepared.inputs.iter().any(|spec| spec.name == need.name) {
                sound = false;
                let known = || prepared.inputs.iter().map(|spec| spec.name.as_str());
                let conditional = variant.kind.conditional_inputs().into_iter();
                let mut conditional = conditional.filter(|it| it.spec.name == need.name);
                let hint = match conditional.next() {
                    Some(input) => format!("`{}` is an input only with {}", need.name, input.with),
                    None => suggest(&need.name, "inputs", known()),
                };
                let message = format!("`{kind}` has no input `{}`", need.name);
                self.once(need.place, "unknown-input", message, Some(hint));
            }
        }
        sound
    }

    /// Reports a problem that all nodes of a stage share, once.
    fn once(&mut self, place: Place, code: &'static str, message: String, hint: Option<String>) {
        self.problems
            .shared_error(place, code, message)
            .maybe_hint(hint);
    }

    fn input(
        &mut self,
        point: u32,
        variant: &Variant,
        need: &Need,
        (spec, accepts): (Option<&InputSpec>, &[PortType]),
        selections: &[&Selection],
    ) -> Option<PointInput> {
        let kind = variant.kind.name();
        let mut sound = need.joins.iter().all(Option::is_some);
        let mut members = Vec::new();
        for selection in selections {
            let Some(join) = need.joins[selection.join as usize].as_ref() else {
                continue;
            };
            if let Some(spec) = spec {
                sound &= self.gathered(kind, join, spec, selection);
            }
            sound &= self.members(point, (need, accepts), selection, &mut members);
        }
        let many = match spec {
            Some(spec) => spec.many,
            None => need.list || selections.iter().any(|one| !one.gathers.is_empty()),
        };
        if !many && sound && members.len() != 1 {
            let message = format!(
                "`{kind}` takes one `{}`, and this gives {}",
                need.name,
                members.len()
            );
            let expansion = self.expansion;
            let id = || expansion.id(point);
            let found = self
                .problems
                .node_error(&id, need.place, "one-or-many", message);
            found.hint("pin every axis to one value");
            sound = false;
        }
        sound.then(|| PointInput {
            name: need.name.clone(),
            many,
            members,
        })
    }

    /// Checks that each gathered axis has a role.
    fn gathered(
        &mut self,
        kind: &str,
        join: &Join,
        spec: &InputSpec,
        selection: &Selection,
    ) -> bool {
        let axes = self.expansion.axes(join.stage);
        let names = selection
            .gathers
            .iter()
            .map(|slot| axes[*slot].name.as_str());
        let without: Vec<&str> = match &spec.gathers {
            Gathers::Any => return true,
            Gathers::None => names.collect(),
            Gathers::Only(roles) => names
                .filter(|name| !roles.iter().any(|role| role == name))
                .collect(),
        };
        if without.is_empty() {
            return true;
        }
        let input = &spec.name;
        let (code, message, hint) = if spec.many {
            (
                "axis-without-role",
                format!(
                    "input `{input}` of `{kind}` has no role for the gathered axis {}",
                    listed(without.iter().copied())
                ),
                format!(
                    "pin it, or give it a role under `with:`; `{kind}` would otherwise mix its values"
                ),
            )
        } else {
            (
                "one-or-many",
                format!(
                    "`{kind}` takes one `{input}`, and this gathers {}",
                    listed(without.iter().copied())
                ),
                "pin the axis to one value".to_string(),
            )
        };
        self.once(join.place, code, message, Some(hint));
        false
    }

    fn members(
        &mut self,
        point: u32,
        (need, accepts): (&Need, &[PortType]),
        selection: &Selection,
        members: &mut Vec<PointMember>,
    ) -> bool {
        let expansion = self.expansion;
        let Some(join) = need.joins[selection.join as usize].as_ref() else {
            return false;
        };
        let axes = expansion.axes(join.stage);
        let mut sound = true;
        for member in expansion.members(selection) {
            let Some(upstream) = &self.prepared[member as usize] else {
                // Reported for that node.
                sound = false;
                continue;
            };
            let output = match &join.port {
                None => upstream.outputs.first(),
                Some((name, _)) => upstream.outputs.iter().find(|output| output.name == *name),
            };
            let Some(output) = output else {
                self.no_output(join, member, &upstream.clone());
                return false;
            };
            let accepted = |gives| accepts.is_empty() || accepts.contains(&gives);
            if !accepted(output.gives) {
                let message = format!(
                    "input `{}` takes {}, and `{}` is {}",
                    need.name,
                    port_words(accepts),
                    written(join, expansion),
                    port_words(&[output.gives])
                );
                let other = upstream.outputs.iter().find(|one| accepted(one.gives));
                let other = other.map(|one| (&expansion.heads[join.stage].name, one));
                let hint = other.map(|(stage, one)| {
                    let gives = port_words(&[one.gives]);
                    format!("`{stage}.{}` is {gives}", one.name)
                });
                let id = || expansion.id(point);
                self.problems
                    .node_error(&id, join.place, "wrong-port-type", message)
                    .maybe_hint(hint);
                sound = false;
                continue;
            }
            let coordinates = if selection.gathers.is_empty() {
                Vec::new()
            } else {
                expansion.coordinates(join.stage, member)
            };
            let ids = selection.gathers.iter().map(|slot| {
                let axis = &axes[*slot];
                let id = &axis.values[coordinates[*slot] as usize].id;
                (axis.name.clone(), id.clone())
            });
            members.push(PointMember {
                point: member,
                port: output.name.clone(),
                axes: ids.collect(),
            });
        }
        sound
    }

    fn no_output(&mut self, join: &Join, member: u32, upstream: &Prepared) {
        let expansion = self.expansion;
        let stage = &expansion.heads[join.stage].name;
        let known = || upstream.outputs.iter().map(|output| output.name.as_str());
        let Some((name, place)) = &join.port else {
            let message = format!("stage `{stage}` has no outputs");
            self.once(join.place, "unknown-port", message, None);
            return;
        };
        let message = format!("stage `{stage}` has no output `{name}`");
        let variant = expansion.variant(join.stage, member);
        let conditional = variant.map(|variant| variant.kind.conditional_outputs());
        let mut conditional = conditional.into_iter().flatten();
        let hint = match conditional.find(|it| it.spec.name == *name) {
            Some(output) => format!("`{name}` is an output only with {}", output.with),
            None => suggest(name, "outputs", known()),
        };
        self.once(*place, "unknown-port", message, Some(hint));
    }

    /// The kind's own checks across parameters and inputs.
    fn roles(
        &mut self,
        point: u32,
        variant: &Variant,
        prepared: &Prepared,
        given: &[PointInput],
    ) -> bool {
        let bound: Vec<BoundInput> = given
            .iter()
            .map(|input| BoundInput {
                name: input.name.clone(),
                members: input
                    .members
                    .iter()
                    .map(|member| member.axes.clone())
                    .collect(),
            })
            .collect();
        let found = prepared.parameters.check(&bound);
        let sound = found.is_empty();
        let expansion = self.expansion;
        for problem in found {
            report_parameter(self.problems, variant, &|| expansion.id(point), problem);
        }
        sound
    }
}

fn written(join: &Join, expansion: &Expansion) -> String {
    let stage = &expansion.heads[join.stage].name;
    match &join.port {
        Some((port, _)) => format!("{stage}.{port}"),
        None => stage.clone(),
    }
}

fn input_hint(spec: &InputSpec) -> String {
    let name = &spec.name;
    let what = port_words(&spec.accepts);
    if spec.many {
        format!("add it under `needs:`: `{name}:` takes {what}, one or several")
    } else {
        format!("add it under `needs:`: `{name}:` takes {what}")
    }
}

/// `a dataset or a model`
fn port_words(types: &[PortType]) -> String {
    let words = types.iter().map(|one| match one {
        PortType::Dataset => "a dataset",
        PortType::Model => "a model",
        PortType::Arrays => "arrays",
        PortType::Metrics => "metrics",
        PortType::Table => "a table",
        PortType::Files => "files",
    });
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        None => "anything".to_string(),
        Some((only, [])) => only.to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
