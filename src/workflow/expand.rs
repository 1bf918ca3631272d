//! Expansion: every stage over its axes, skipped points, and the inputs of each point.
//!
//! The points of a stage are numbered in the order of its axes, the last one fastest, so that the
//! number of a point can be computed from its coordinates.

use std::ops::Range;
use std::sync::Arc;

use super::compiled::Point;
use super::join::{Join, StageHeader};
use super::options::Limits;
use super::stages::{Stage, Variant};
use super::values::{AxisPoint, AxisValues};
use crate::diag::{Place, Problems};

/// The maximum number of members of all inputs, for each node that is allowed.
const MEMBERS_PER_NODE: usize = 8;

/// The result of expanding a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointState {
    /// A node of this variant; the default of the stage comes after its cases.
    Kept(u32),
    Skipped,
    /// A problem with it has been reported.
    Broken,
}

/// The members that one selector of one point selects.
pub struct Selection {
    pub point: u32,
    pub need: u32,
    pub join: u32,
    /// The axes of the upstream stage that it gathers, as positions in `each`.
    pub gathers: Vec<usize>,
    members: Range<usize>,
}

/// All points of all stages.
pub struct Expansion<'e, 'a> {
    pub heads: &'e [StageHeader],
    pub stages: &'e [Option<Stage<'a>>],
    /// The first point of each stage, then the total.
    first: Vec<u32>,
    pub states: Vec<PointState>,
    pub selections: Vec<Selection>,
    /// The selections of each point.
    own: Vec<Range<usize>>,
    members: Vec<u32>,
}

/// Expands the stages. `None` if there are too many points.
pub fn expand<'e, 'a>(
    heads: &'e [StageHeader],
    stages: &'e [Option<Stage<'a>>],
    limits: &Limits,
    problems: &mut Problems,
) -> Option<Expansion<'e, 'a>> {
    let mut first = vec![0_u32];
    let mut total = 0_u64;
    for head in heads {
        total = total.saturating_add(head.points());
        if total > limits.nodes as u64 {
            let points = head.points();
            let message = format!(
                "with the {points} points of this stage the workflow has more than {} nodes",
                limits.nodes
            );
            let found = problems.error(head.place, "too-many-nodes", message);
            let axes = head.axes.iter().flatten();
            let sizes = axes.map(|axis| format!("{} {}", axis.values.len(), axis.name));
            found.hint(sizes.collect::<Vec<_>>().join(" × "));
            return None;
        }
        first.push(u32::try_from(total).ok()?);
    }
    let mut expansion = Expansion {
        heads,
        stages,
        first,
        states: vec![PointState::Broken; total as usize],
        selections: Vec::new(),
        own: vec![0..0; total as usize],
        members: Vec::new(),
    };
    let most = limits.nodes.saturating_mul(MEMBERS_PER_NODE);
    for stage in 0..heads.len() {
        expansion.stage(stage, most, problems)?;
    }
    expansion.spread_skips();
    Some(expansion)
}

impl<'a> Expansion<'_, 'a> {
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// The numbers of the points of a stage.
    pub fn points(&self, stage: usize) -> Range<u32> {
        self.first[stage]..self.first[stage + 1]
    }

    pub fn stage_of(&self, point: u32) -> usize {
        self.first.partition_point(|first| *first <= point) - 1
    }

    /// The axes of a stage that has points.
    pub fn axes(&self, stage: usize) -> &[Arc<AxisValues>] {
        self.heads[stage].axes.as_deref().unwrap_or(&[])
    }

    /// The index of the point's value on each axis of its stage.
    pub fn coordinates(&self, stage: usize, point: u32) -> Vec<u32> {
        let axes = self.axes(stage);
        let mut rest = point - self.first[stage];
        let mut coordinates = vec![0; axes.len()];
        for (slot, axis) in axes.iter().enumerate().rev() {
            let size = axis.values.len() as u32;
            coordinates[slot] = rest % size;
            rest /= size;
        }
        coordinates
    }

    /// `tuned[source=rich,domain=r]`
    pub fn id(&self, point: u32) -> String {
        let stage = self.stage_of(point);
        let coordinates = self.coordinates(stage, point);
        node_id(&self.heads[stage].name, self.axes(stage), &coordinates)
    }

    pub fn variant(&self, stage: usize, point: u32) -> Option<&Variant<'a>> {
        let PointState::Kept(variant) = self.states[point as usize] else {
            return None;
        };
        let stage = self.stages[stage].as_ref()?;
        match stage.cases.get(variant as usize) {
            Some((_, variant)) => Some(variant),
            None => stage.default.as_ref(),
        }
    }

    pub fn kept(&self, point: u32) -> bool {
        matches!(self.states[point as usize], PointState::Kept(_))
    }

    /// The selections of a point, in the order of its needs.
    pub fn selections(&self, point: u32) -> &[Selection] {
        &self.selections[self.own[point as usize].clone()]
    }

    /// The members of a selection, without skipped ones.
    pub fn members(&self, selection: &Selection) -> impl Iterator<Item = u32> {
        let members = self.members[selection.members.clone()].iter().copied();
        members.filter(|member| self.states[*member as usize] != PointState::Skipped)
    }

    /// The points that a point takes inputs from.
    pub fn producers(&self, point: u32) -> impl Iterator<Item = u32> {
        let selections = self.selections(point).iter();
        selections.flat_map(|selection| self.members(selection))
    }

    /// Expands one stage. `None` once the inputs have more than `most` members.
    fn stage(&mut self, index: usize, most: usize, problems: &mut Problems) -> Option<()> {
        let (heads, stages) = (self.heads, self.stages);
        let (Some(stage), Some(axes)) = (&stages[index], &heads[index].axes) else {
            return Some(());
        };
        for point in self.points(index) {
            let coordinates = self.coordinates(index, point);
            let values: Vec<&AxisPoint> = axes
                .iter()
                .zip(&coordinates)
                .map(|(axis, at)| &axis.values[*at as usize])
                .collect();
            self.states[point as usize] = match state(stage, &values) {
                Some(state) => state,
                None => {
                    self.no_case(index, point, problems);
                    PointState::Broken
                }
            };
            let begin = self.selections.len();
            let states = &self.states;
            if let PointState::Kept(variant) = states[point as usize] {
                let variant = match stage.cases.get(variant as usize) {
                    Some((_, variant)) => Some(variant),
                    None => stage.default.as_ref(),
                };
                if let Some(variant) = variant {
                    self.select(variant, point, &coordinates, problems);
                }
            }
            self.own[point as usize] = begin..self.selections.len();
            if self.members.len() > most {
                let place = heads[index].place;
                let message =
                    format!("the inputs of all nodes together have more than {most} members");
                let found = problems.error(place, "too-many-nodes", message);
                found.hint("a stage with many nodes gathers a stage with many nodes");
                return None;
            }
        }
        Some(())
    }

    fn no_case(&self, stage: usize, point: u32, problems: &mut Problems) {
        let head = &self.heads[stage];
        let message = format!(
            "no case of stage `{}` holds, and the stage itself has no kind",
            head.name
        );
        let found = problems.node_error(&|| self.id(point), head.place, "no-case", message);
        found.hint("add a case that holds, a `use:` for all other points, or a `skip:`");
    }

    fn select(
        &mut self,
        variant: &Variant,
        point: u32,
        coordinates: &[u32],
        problems: &mut Problems,
    ) {
        for (need_index, need) in variant.needs.iter().enumerate() {
            for (join_index, join) in need.joins.iter().enumerate() {
                let Some(join) = join else { continue };
                match self.join(join, coordinates) {
                    Ok((gathers, members)) => self.selections.push(Selection {
                        point,
                        need: need_index as u32,
                        join: join_index as u32,
                        gathers,
                        members,
                    }),
                    Err((message, hint)) => {
                        let id = || self.id(point);
                        let code = "unknown-value";
                        problems
                            .node_error(&id, join.place, code, message)
                            .maybe_hint(hint);
                        self.states[point as usize] = PointState::Broken;
                    }
                }
            }
        }
    }

    /// The gathered axes and the members of `join` at a point.
    #[expect(clippy::type_complexity)]
    fn join(
        &mut self,
        join: &Join,
        coordinates: &[u32],
    ) -> Result<(Vec<usize>, Range<usize>), (String, Option<String>)> {
        let heads = self.heads;
        let axes = heads[join.stage].axes.as_deref().unwrap_or(&[]);
        let taken = join.take(coordinates, axes)?;
        let mut strides = vec![1_u32; axes.len()];
        for slot in (1..axes.len()).rev() {
            strides[slot - 1] = strides[slot] * axes[slot].values.len() as u32;
        }
        let begin = self.members.len();
        self.members.push(self.first[join.stage]);
        for slot in &join.order {
            // Each member so far becomes one for each value of this axis; outer axes stay
            // outermost.
            let indices = &taken[*slot].indices;
            if let [only] = indices.as_slice() {
                let step = only * strides[*slot];
                self.members[begin..]
                    .iter_mut()
                    .for_each(|member| *member += step);
                continue;
            }
            let outer: Vec<u32> = self.members.drain(begin..).collect();
            for member in outer {
                let inner = indices.iter().map(|index| member + index * strides[*slot]);
                self.members.extend(inner);
            }
        }
        let slots = taken.iter().enumerate();
        let gathers = slots
            .filter(|(_, taken)| taken.gathers)
            .map(|(slot, _)| slot);
        Ok((gathers.collect(), begin..self.members.len()))
    }

    /// Skips every point whose selector has no member left: a matched or pinned input that is
    /// skipped, or a gather whose members are all skipped.
    fn spread_skips(&mut self) {
        let all = |state: &PointState| *state == PointState::Skipped;
        let mut todo: Vec<u32> = (0_u32..)
            .zip(&self.states)
            .filter(|(_, state)| all(state))
            .map(|(point, _)| point)
            .collect();
        if todo.is_empty() {
            return;
        }
        let users = self.users();
        let lengths = self
            .selections
            .iter()
            .map(|selection| selection.members.len());
        let mut left: Vec<usize> = lengths.collect();
        while let Some(point) = todo.pop() {
            for selection in users.of(point) {
                left[*selection as usize] -= 1;
                let user = self.selections[*selection as usize].point;
                let state = &mut self.states[user as usize];
                if left[*selection as usize] == 0 && *state != PointState::Skipped {
                    *state = PointState::Skipped;
                    todo.push(user);
                }
            }
        }
    }

    /// For each point, the selections that contain it.
    fn users(&self) -> Users {
        let mut counts = vec![0_u32; self.len() + 1];
        for member in &self.members {
            counts[*member as usize + 1] += 1;
        }
        for index in 1..counts.len() {
            counts[index] += counts[index - 1];
        }
        let mut next = counts.clone();
        let mut selections = vec![0_u32; self.members.len()];
        for (number, selection) in (0_u32..).zip(&self.selections) {
            for member in &self.members[selection.members.clone()] {
                selections[next[*member as usize] as usize] = number;
                next[*member as usize] += 1;
            }
        }
        Users {
            first: counts,
            selections,
        }
    }

    /// The place where the stage of a point selects one that `wanted` accepts, for messages.
    pub fn place_of_selection(&self, point: u32, wanted: u32) -> Option<Place> {
        let stage = self.stage_of(point);
        let variant = self.variant(stage, point)?;
        let selection = self
            .selections(point)
            .iter()
            .find(|selection| self.members(selection).any(|member| member == wanted))?;
        let need = &variant.needs[selection.need as usize];
        need.joins[selection.join as usize]
            .as_ref()
            .map(|join| join.place)
    }
}

struct Users {
    first: Vec<u32>,
    selections: Vec<u32>,
}

impl Users {
    fn of(&self, point: u32) -> &[u32] {
        let (begin, end) = (self.first[point as usize], self.first[point as usize + 1]);
        &self.selections[begin as usize..end as usize]
    }
}

/// The state of a point before its inputs are considered; `None`: no case holds.
fn state(stage: &Stage, values: &Point) -> Option<PointState> {
    if stage.skip.as_ref().is_some_and(|skip| skip.holds(values)) {
        return Some(PointState::Skipped);
    }
    let holds = stage.cases.iter().position(|(test, _)| test.holds(values));
    match (holds, &stage.default) {
        (Some(case), _) => Some(PointState::Kept(case as u32)),
        (None, Some(_)) => Some(PointState::Kept(stage.cases.len() as u32)),
        (None, None) => None,
    }
}

fn node_id(stage: &str, axes: &[Arc<AxisValues>], coordinates: &[u32]) -> String {
    let mut id = stage.to_string();
    for (number, (axis, at)) in axes.iter().zip(coordinates).enumerate() {
        id.push(if number == 0 { '[' } else { ',' });
        id.push_str(&axis.name);
        id.push('=');
        id.push_str(&axis.values[*at as usize].written);
    }
    if !axes.is_empty() {
        id.push(']');
    }
    id
}
