//! Builds the graph from the results of expansion and checks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use petgraph::graph::{DiGraph, NodeIndex};

use super::expand::{Expansion, PointState};
use super::graph::{Axis, AxisValue, Graph, Input, Locked, Member, Node, StageInfo};
use super::inputs::PointInput;
use super::names::Names;
use super::options::LoadOptions;
use super::places::{Block, Places};
use super::prepare::Prepared;
use super::spec::Workflow;
use super::stages::{Field, Variant};
use super::values::AxisValues;

/// Everything known about the points, indexed by their numbers.
pub struct Points {
    pub prepared: Vec<Option<Arc<Prepared>>>,
    pub inputs: Vec<Option<Vec<PointInput>>>,
    pub reached: Vec<bool>,
    /// Producers first.
    pub order: Vec<u32>,
    pub goals: Vec<u32>,
}

/// The graph of the reached points, all of which have passed the checks.
pub fn graph(
    file: &Path,
    workflow: &Workflow,
    options: &LoadOptions,
    names: &Names,
    expansion: &Expansion,
    mut points: Points,
) -> Graph {
    let mut dag = DiGraph::new();
    let mut index: Vec<Option<NodeIndex>> = vec![None; expansion.len()];
    let mut places = Places::default();
    for stage in 0..expansion.heads.len() {
        for point in expansion.points(stage) {
            if !points.reached[point as usize] {
                continue;
            }
            if let Some(node) = node(expansion, stage, point, &points) {
                let node = dag.add_node(node);
                index[point as usize] = Some(node);
                if let (PointState::Kept(number), Some(variant)) = (
                    expansion.states[point as usize],
                    expansion.variant(stage, point),
                ) {
                    places.add(node, (stage, number), || block(variant));
                }
            }
        }
    }
    for point in 0..expansion.len() {
        let (Some(at), Some(given)) = (index[point], points.inputs[point].take()) else {
            continue;
        };
        let inputs: Vec<Input> = given
            .into_iter()
            .map(|given| input(given, &index))
            .collect();
        let members = inputs.iter().flat_map(|input| &input.members);
        let mut producers: Vec<NodeIndex> = members.map(|member| member.node).collect();
        producers.sort();
        producers.dedup();
        for producer in producers {
            dag.add_edge(producer, at, ());
        }
        dag[at].inputs = inputs;
    }
    let at = |points: &[u32]| {
        points
            .iter()
            .filter_map(|point| index[*point as usize])
            .collect()
    };
    Graph {
        name: workflow.name.clone(),
        description: workflow.description.clone(),
        file: std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()),
        profiles: options.profiles.clone(),
        known_profiles: workflow
            .profiles
            .iter()
            .map(|profile| profile.name.text.clone())
            .collect(),
        overrides: options.sets.clone(),
        strict: workflow.strict,
        axes: axes(names),
        stages: stages(workflow),
        order: at(&points.order),
        goals: at(&points.goals),
        variables: names.variables.clone(),
        locked: Locked::default(),
        skipped: skipped(expansion),
        places,
        dag,
    }
}

fn node(expansion: &Expansion, stage: usize, point: u32, points: &Points) -> Option<Node> {
    let prepared = points.prepared[point as usize].as_ref()?;
    let variant = expansion.variant(stage, point)?;
    let coordinates = expansion.coordinates(stage, point);
    let axes = expansion.axes(stage).iter().zip(coordinates);
    Some(Node {
        id: expansion.id(point),
        stage: expansion.heads[stage].name.clone(),
        axes: axes
            .map(|(axis, at)| (axis.name.clone(), axis.values[at as usize].id.clone()))
            .collect(),
        kind: Arc::clone(&variant.kind),
        with: Arc::clone(&prepared.with),
        parameters: Arc::clone(&prepared.parameters),
        inputs: Vec::new(),
        resources: prepared.resources.clone(),
        missing_env: prepared.missing_env.clone(),
    })
}

fn block(variant: &Variant) -> Block {
    let place = |field: &Field| (field.entry.key.clone(), field.entry.value.place);
    Block {
        whole: variant.with_place,
        fields: variant.with.iter().map(place).collect(),
    }
}

fn input(given: PointInput, index: &[Option<NodeIndex>]) -> Input {
    let members = given.members.into_iter().filter_map(|member| {
        Some(Member {
            // The inputs of a reached point are reached.
            node: index[member.point as usize]?,
            port: member.port,
            axes: member.axes,
        })
    });
    Input {
        name: given.name,
        many: given.many,
        members: members.collect(),
    }
}

fn axes(names: &Names) -> Vec<Axis> {
    let resolved = names.resolved_axes.iter().flatten().flatten();
    let axis = |axis: &Arc<AxisValues>| Axis {
        name: axis.name.clone(),
        values: axis
            .values
            .iter()
            .map(|value| AxisValue {
                id: value.id.clone(),
                label: value.label.clone(),
                written: value.written.clone(),
                typed: value.typed.clone(),
            })
            .collect(),
        repeats: axis.repeats,
        positions: OnceLock::new(),
        elsewhere: names.elsewhere(&axis.name),
    };
    resolved.map(axis).collect()
}

fn stages(workflow: &Workflow) -> Vec<StageInfo> {
    let stage = |stage: &super::spec::StageSpec| StageInfo {
        name: stage.name.text.clone(),
        axes: stage.each.iter().map(|axis| axis.text.clone()).collect(),
        description: stage.description.clone(),
        skip: stage
            .skip
            .as_ref()
            .and_then(|skip| skip.text().map(str::to_string)),
    };
    workflow.stages.iter().map(stage).collect()
}

fn skipped(expansion: &Expansion) -> BTreeMap<String, usize> {
    let mut skipped = BTreeMap::new();
    for (stage, head) in expansion.heads.iter().enumerate() {
        let states = expansion
            .points(stage)
            .map(|point| expansion.states[point as usize]);
        let count = states.filter(|state| *state == PointState::Skipped).count();
        if count > 0 {
            skipped.insert(head.name.clone(), count);
        }
    }
    skipped
}
