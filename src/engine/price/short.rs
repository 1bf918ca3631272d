//! Counts and describes trainings that end before their warm-up.

use std::fmt;

use petgraph::graph::NodeIndex;

use super::{prices, recorded_images};
use crate::stages::price::{InputForecasts, PortForecast, ShortTraining};
use crate::stages::registry::Registry;
use crate::store::StoredRecord;
use crate::workflow::graph::{Graph, Input, Member};

/// The nodes of one stage that train for fewer steps than their warm-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortStage {
    pub stage: String,
    pub nodes: usize,
    /// The node with the fewest steps.
    pub node: NodeIndex,
    pub id: String,
    pub training: ShortTraining,
}

impl fmt::Display for ShortStage {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { nodes, id, .. } = self;
        let ShortTraining { steps, warmup } = self.training;
        let reached = 100.0 * steps as f64 / warmup as f64;
        let stage = &self.stage;
        match nodes {
            1 => write!(
                formatter,
                "`{id}` trains for {steps} steps, fewer than the {warmup} of its warm-up"
            ),
            _ => write!(
                formatter,
                "{nodes} nodes of `{stage}` train for fewer steps than their warm-up takes \
                 (`{id}`: {steps} of {warmup})"
            ),
        }?;
        write!(
            formatter,
            ": the learning rate only reaches {reached:.0} % of `lr`"
        )
    }
}

/// A hint for such trainings.
pub const HINT: &str = "`warmup: 0.1` is a tenth of the steps, however many there are";

/// Counts a node of `stages`.
pub(super) fn add(
    stages: &mut Vec<ShortStage>,
    graph: &Graph,
    index: NodeIndex,
    training: ShortTraining,
) {
    let node = &graph.dag[index];
    match stages.iter_mut().find(|short| short.stage == node.stage) {
        Some(short) => {
            short.nodes += 1;
            if training.steps < short.training.steps {
                short.node = index;
                short.id.clone_from(&node.id);
                short.training = training;
            }
        }
        None => stages.push(ShortStage {
            stage: node.stage.clone(),
            nodes: 1,
            node: index,
            id: node.id.clone(),
            training,
        }),
    }
}

/// The stages whose trainings are known to be short before anything has run.
pub fn foreseen(graph: &Graph, registry: &Registry) -> Vec<ShortStage> {
    let prices = prices(graph, registry, &|_| None);
    let mut stages = Vec::new();
    for &node in &graph.order {
        let price = prices[node.index()].as_ref();
        if let Some(short) = price.and_then(|price| price.short) {
            add(&mut stages, graph, node, short);
        }
    }
    stages
}

/// Whether a node whose inputs have records trains for too few steps.
pub fn of_node<'r>(
    graph: &Graph,
    index: NodeIndex,
    registry: &Registry,
    record: impl Fn(NodeIndex) -> Option<&'r StoredRecord>,
) -> Option<ShortStage> {
    let node = &graph.dag[index];
    let task = registry.task(node.kind.name(), &node.with)?.ok()?;
    let outlook = |member: &Member| {
        let count = record(member.node).and_then(recorded_images);
        // The storage of the images does not matter here.
        count.map_or(PortForecast::Unknown, |count| PortForecast::Images {
            count,
            decode: false,
        })
    };
    let outlooks = |input: &Input| {
        let members = input.members.iter().map(outlook);
        (input.name.clone(), members.collect())
    };
    let foreseen: InputForecasts = node.inputs.iter().map(outlooks).collect();
    let training = task.price(&foreseen).short?;
    let mut stages = Vec::new();
    add(&mut stages, graph, index, training);
    stages.pop()
}
