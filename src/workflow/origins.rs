//! Finds the nodes behind the inputs of nodes, for kinds whose inputs must belong together: the scores
//! of a selection are those of its models.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::classes::CheckedPoints;
use super::expand::Expansion;
use super::inputs::{PointInput, PointMember};
use super::kind::{Origin, Origins, OutputOf};
use super::prepare::report_parameter;
use crate::diag::Problems;

/// Reports inputs that do not belong together. `order` has the producers first.
pub fn check(
    expansion: &Expansion,
    points: &CheckedPoints,
    order: &[u32],
    problems: &mut Problems,
) {
    let finder = Finder {
        expansion,
        points,
        order,
        works: OnceCell::new(),
    };
    for &point in order {
        let (Some(prepared), Some(inputs), Some(variant)) = (
            &points.prepared[point as usize],
            &points.inputs[point as usize],
            expansion.variant(expansion.stage_of(point), point),
        ) else {
            continue;
        };
        let given = || finder.origins(inputs);
        for problem in prepared.parameters.origin_problems(&given) {
            report_parameter(problems, variant, &|| expansion.id(point), problem);
        }
    }
}

struct Finder<'f, 'e, 'a> {
    expansion: &'f Expansion<'e, 'a>,
    points: &'f CheckedPoints<'f>,
    order: &'f [u32],
    /// By point, once a kind has asked.
    works: OnceCell<Vec<u32>>,
}

impl Finder<'_, '_, '_> {
    fn origins(&self, inputs: &[PointInput]) -> Origins {
        let origins = inputs.iter().map(|input| {
            let members = input.members.iter().filter_map(|it| self.origin(it));
            (input.name.clone(), members.collect())
        });
        origins.collect()
    }

    fn origin(&self, member: &PointMember) -> Option<Origin> {
        let stage = self.expansion.stage_of(member.point);
        let variant = self.expansion.variant(stage, member.point)?;
        let inputs = self.points.inputs[member.point as usize].iter().flatten();
        let inputs = inputs.map(|input| {
            let outputs = input.members.iter().map(|it| self.output(it));
            (input.name.clone(), outputs.collect())
        });
        Some(Origin {
            output: self.output(member),
            axes: member.axes.clone(),
            meaning: variant.kind.meaning(),
            inputs: inputs.collect(),
        })
    }

    fn output(&self, member: &PointMember) -> OutputOf {
        OutputOf {
            id: self.expansion.id(member.point),
            work: self.works.get_or_init(|| self.works())[member.point as usize],
            port: member.port.clone(),
        }
    }

    /// A number for each point, the same for points with the same kind, parameters and inputs.
    fn works(&self) -> Vec<u32> {
        // A point outside the order, which is part of a cycle, has a number of its own.
        let mut works: Vec<u32> = (0..self.expansion.len() as u32).collect();
        let mut blocks = Blocks::default();
        let mut made = HashMap::new();
        for &point in self.order {
            let stage = self.expansion.stage_of(point);
            let (Some(prepared), Some(inputs), Some(variant)) = (
                &self.points.prepared[point as usize],
                &self.points.inputs[point as usize],
                self.expansion.variant(stage, point),
            ) else {
                continue;
            };
            let member = |it: &PointMember| {
                let work = works[it.point as usize];
                (work, it.port.clone(), it.axes.clone())
            };
            let input = |it: &PointInput| -> (String, Vec<_>) {
                (it.name.clone(), it.members.iter().map(member).collect())
            };
            let question = (
                variant.kind.name(),
                blocks.number(&prepared.with),
                Vec::from_iter(inputs.iter().map(input)),
            );
            works[point as usize] = *made.entry(question).or_insert(point);
        }
        works
    }
}

/// Numbers the `with:` blocks: equal ones have the same number.
#[derive(Default)]
struct Blocks {
    /// Nodes of a stage share their block.
    by_address: HashMap<usize, usize>,
    by_text: BTreeMap<String, usize>,
}

impl Blocks {
    fn number(&mut self, with: &Arc<serde_json::Value>) -> usize {
        let address = Arc::as_ptr(with) as usize;
        let known = self.by_address.entry(address);
        *known.or_insert_with(|| {
            let next = self.by_text.len();
            *self.by_text.entry(with.to_string()).or_insert(next)
        })
    }
}
