//! Estimates the cost of a run before anything has run and without any data: images, steps,
//! operations, bytes. Adds up what the kinds say about their nodes ([`crate::stages::price`]) and
//! knows no kind.

pub mod devices;
pub mod forecast;
pub mod rates;
pub mod short;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use serde::Serialize;

use self::short::ShortStage;
use super::event::PlanState;
use super::survey::{Survey, SurveyedNode};
use crate::ml::models::Config;
use crate::stages::price::{
    Cost, CostEstimate, InputForecasts, PortForecast, Rows, SharedUse, forward,
};
use crate::stages::registry::Registry;
use crate::store::StoredRecord;
use crate::store::artifact::Artifact;
use crate::workflow::graph::{Graph, Node};

/// The cost of the remaining nodes of one stage.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StagePrice {
    pub stage: String,
    /// The number of remaining nodes.
    pub nodes: usize,
    /// Images shown to a model, counted once for each time they are shown.
    pub images: f64,
    pub steps: f64,
    pub operations: f64,
    pub written: f64,
}

/// Work that nodes share: done once if the cache has room, otherwise by every node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shared {
    /// Images to decode if the pixels are cached, and if every node decodes for itself.
    pub decoded: f64,
    pub decoded_alone: f64,
    /// Operations of frozen models, if done once, and if done by every node.
    pub operations: f64,
    pub operations_alone: f64,
    /// Bytes of the cached pixels, features and logits.
    pub bytes: f64,
}

/// The estimated cost of a run.
#[derive(Debug, Default)]
pub struct RunPrice {
    pub stages: Vec<StagePrice>,
    pub shared: Shared,
    /// By remaining node.
    pub costs: Vec<(NodeIndex, Cost)>,
    /// The number of nodes whose cost can't be fully known yet.
    pub open: usize,
    /// Stages with trainings that end before their warm-up.
    pub short: Vec<ShortStage>,
}

impl RunPrice {
    pub fn total(&self, of: impl Fn(&StagePrice) -> f64) -> f64 {
        self.stages.iter().map(of).sum()
    }

    /// The peak disk usage in bytes, with shared work cached and without.
    pub fn peak(&self) -> (f64, f64) {
        let written = self.total(|stage| stage.written);
        (written + self.shared.bytes, written)
    }
}

/// Estimates the cost of the nodes that `survey` says remain. Results with records are used as
/// recorded.
pub fn price(graph: &Graph, registry: &Registry, survey: &Survey) -> RunPrice {
    let mut surveyed: HashMap<NodeIndex, &SurveyedNode> = HashMap::new();
    surveyed.extend(survey.nodes.iter().map(|one| (one.node, one)));
    let record = |node: NodeIndex| surveyed.get(&node)?.record.as_deref();
    let prices = prices(graph, registry, &record);
    let mut found = RunPrice::default();
    let mut stages: BTreeMap<&str, StagePrice> = BTreeMap::new();
    let mut sharing = Sharing::default();
    for &node in &graph.order {
        let left = surveyed
            .get(&node)
            .is_none_or(|one| !matches!(one.state, PlanState::Reused | PlanState::Remote));
        let Some(price) = prices[node.index()].as_ref().filter(|_| left) else {
            continue;
        };
        let cost = &price.cost;
        let stage = stages.entry(&graph.dag[node].stage).or_default();
        stage.nodes += 1;
        stage.images += cost.images;
        stage.steps += cost.steps;
        stage.operations += cost.operations;
        stage.written += cost.written;
        found.open += usize::from(cost.at_least);
        if let Some(short) = price.short {
            short::add(&mut found.short, graph, node, short);
        }
        for ask in &cost.asks {
            sharing.add(graph, &prices, node, ask, cost);
        }
        found.costs.push((node, cost.clone()));
    }
    found.stages = graph
        .stages
        .iter()
        .filter_map(|info| {
            let stage = stages.remove(info.name.as_str())?;
            Some(StagePrice {
                stage: info.name.clone(),
                ..stage
            })
        })
        .collect();
    found.shared = sharing.shared;
    found
}

/// The cost of every node by its index.
pub fn prices<'r>(
    graph: &Graph,
    registry: &Registry,
    record: &dyn Fn(NodeIndex) -> Option<&'r StoredRecord>,
) -> Vec<Option<CostEstimate>> {
    let mut tasks = HashMap::new();
    let mut prices: Vec<Option<CostEstimate>> = vec![None; graph.dag.node_count()];
    for &index in &graph.order {
        let node = &graph.dag[index];
        // Equal nodes share their parameters.
        let task = tasks
            .entry((node.kind.name(), Arc::as_ptr(&node.with)))
            .or_insert_with(|| registry.task(node.kind.name(), &node.with)?.ok());
        let Some(task) = task else {
            continue;
        };
        let mut price = task.price(&foreseen(node, &prices));
        if let Some(record) = record(index) {
            correct(&mut price, record);
        }
        prices[index.index()] = Some(price);
    }
    prices
}

fn foreseen(node: &Node, prices: &[Option<CostEstimate>]) -> InputForecasts {
    let outlooks = |input: &crate::workflow::graph::Input| {
        let member = |member: &crate::workflow::graph::Member| {
            let price = prices[member.node.index()].as_ref();
            let gives = price.and_then(|price| price.gives.get(member.port.as_str()));
            gives.cloned().unwrap_or(PortForecast::Unknown)
        };
        input.members.iter().map(member).collect()
    };
    node.inputs
        .iter()
        .map(|input| (input.name.clone(), outlooks(input)))
        .collect()
}

/// How many images a dataset has, by its record.
fn recorded_images(record: &StoredRecord) -> Option<u64> {
    let summary = record.record.ports.get("summary")?;
    let Some(Artifact::Metrics(metrics)) = &summary.inline else {
        return None;
    };
    Some(metrics.values.get("images")?.value as u64)
}

/// Replaces the estimate for a dataset by the facts of its record.
fn correct(price: &mut CostEstimate, record: &StoredRecord) {
    let Some(count) = recorded_images(record) else {
        return;
    };
    if let Some(outlook) = price.gives.get_mut("images") {
        let decode = !matches!(outlook, PortForecast::Images { decode: false, .. });
        *outlook = PortForecast::Images { count, decode };
        price.cost.at_least = false;
    }
}

/// The model and its configuration; the dataset, its size, and whether its images must be decoded.
type SharedInputs<'a> = ((NodeIndex, &'a Config), (NodeIndex, u64, bool));

/// The inputs of work that `node` shares with others, if they are known.
fn shared_inputs<'a>(
    graph: &Graph,
    prices: &'a [Option<CostEstimate>],
    node: NodeIndex,
    ask: &SharedUse,
) -> Option<SharedInputs<'a>> {
    let of = |name: &str| {
        let mut inputs = graph.dag[node].inputs.iter();
        let member = inputs.find(|input| input.name == name)?.members.first()?;
        let price = prices[member.node.index()].as_ref()?;
        Some((member.node, price.gives.get(member.port.as_str())?))
    };
    match (of(ask.model)?, of(ask.data)?) {
        ((model, PortForecast::Model(config)), (data, PortForecast::Images { count, decode })) => {
            Some(((model, config), (data, *count, *decode)))
        }
        _ => None,
    }
}

/// Adds up the shared work of nodes, each item once.
#[derive(Default)]
struct Sharing {
    pixels: BTreeSet<(NodeIndex, String)>,
    rows: BTreeSet<(NodeIndex, NodeIndex, &'static str)>,
    shared: Shared,
}

impl Sharing {
    fn add(
        &mut self,
        graph: &Graph,
        prices: &[Option<CostEstimate>],
        node: NodeIndex,
        ask: &SharedUse,
        cost: &Cost,
    ) {
        let Some(((model, config), (data, count, decode))) =
            shared_inputs(graph, prices, node, ask)
        else {
            return;
        };
        let count = count as f64;
        if decode {
            self.decode(data, config, count, cost.images.max(count));
        }
        let (kind, width) = match ask.rows {
            Rows::None => return,
            Rows::Features => ("features", config.features()),
            Rows::Logits => ("logits", config.outputs()),
        };
        let operations = forward(config) * count;
        self.shared.operations_alone += operations;
        if self.rows.insert((model, data, kind)) {
            self.shared.operations += operations;
            self.shared.bytes += 4.0 * width as f64 * count;
        }
    }

    fn decode(&mut self, data: NodeIndex, config: &Config, count: f64, alone: f64) {
        let transform = config.input.transform();
        self.shared.decoded_alone += alone;
        if self.pixels.insert((data, format!("{transform:?}"))) {
            self.shared.decoded += count;
            self.shared.bytes += 3.0 * (transform.crop * transform.crop) as f64 * count;
        }
    }
}
