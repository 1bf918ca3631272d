//! Counts and describes trainings that end before their warm-up.

use std::collections::BTreeSet;
use std::fmt;

use petgraph::graph::NodeIndex;

use super::{prices, recorded_images};
use crate::diag::{Diagnostic, Severity};
use crate::stages::price::{InputForecasts, PortForecast, ShortTraining};
use crate::stages::registry::Registry;
use crate::store::StoredRecord;
use crate::workflow::graph::{Graph, Input, Member, Node};

/// The nodes of one stage that train for fewer steps than their warm-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortStage {
    pub stage: String,
    pub nodes: usize,
    /// The node whose learning rate rises least.
    pub node: NodeIndex,
    pub id: String,
    pub training: ShortTraining,
}

impl fmt::Display for ShortStage {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { nodes, id, .. } = self;
        let ShortTraining { steps, warmup } = self.training;
        let reached = 100.0 * self.training.reached();
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
            if training.reached() < short.training.reached() {
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

impl ShortStage {
    /// The warning at the place where the file says how long the node trains.
    pub fn diagnostic(&self, graph: &Graph) -> Diagnostic {
        let fields = ["warmup", "epochs"];
        let message = self.to_string();
        let found = graph
            .places
            .diagnostic(self.node, &fields, "short-training", message);
        Diagnostic {
            severity: Severity::Warning,
            ..found.with_hint(HINT)
        }
    }
}

/// What is known about the trainings of a graph before anything has run.
#[derive(Default)]
pub struct Foreseen {
    /// Stages with trainings that end before their warm-up.
    pub short: Vec<ShortStage>,
    /// Parameters with which a node would fail on the model that it is given, each once.
    pub misfits: Vec<Diagnostic>,
}

pub fn foreseen(graph: &Graph, registry: &Registry) -> Foreseen {
    let prices = prices(graph, registry, &|_| None);
    let mut found = Foreseen::default();
    let mut known = BTreeSet::new();
    for &node in &graph.order {
        let Some(price) = prices[node.index()].as_ref() else {
            continue;
        };
        if let Some(short) = price.short {
            add(&mut found.short, graph, node, short);
        }
        let Some(misfit) = &price.misfit else {
            continue;
        };
        let at = &graph.dag[node];
        if known.insert((&at.stage, &misfit.message)) {
            let message = format!("`{}`: {}", at.id, misfit.message);
            let fields: Vec<&str> = misfit.path.iter().map(String::as_str).collect();
            let problem = graph.places.diagnostic(node, &fields, misfit.code, message);
            found.misfits.push(problem);
        }
    }
    found
}

/// The short trainings among the nodes of the stage of `index` whose inputs have records; `None` if
/// that node is not one of them.
pub fn of_stage<'r>(
    graph: &Graph,
    index: NodeIndex,
    registry: &Registry,
    record: impl Fn(NodeIndex) -> Option<&'r StoredRecord>,
) -> Option<ShortStage> {
    let mut stages = Vec::new();
    add(
        &mut stages,
        graph,
        index,
        of_node(&graph.dag[index], registry, &record)?,
    );
    let stage = &graph.dag[index].stage;
    let others = graph.order.iter().filter(|it| **it != index);
    for &other in others.filter(|it| graph.dag[**it].stage == *stage) {
        if let Some(training) = of_node(&graph.dag[other], registry, &record) {
            add(&mut stages, graph, other, training);
        }
    }
    stages.pop()
}

/// Whether a node whose inputs have records trains for too few steps.
fn of_node<'r>(
    node: &Node,
    registry: &Registry,
    record: &impl Fn(NodeIndex) -> Option<&'r StoredRecord>,
) -> Option<ShortTraining> {
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
    task.price(&foreseen).short
}
