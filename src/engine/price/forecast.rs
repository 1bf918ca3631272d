//! Forecasts the work of each node before it has run, to estimate the remaining time.

use std::collections::{HashMap, HashSet};

use petgraph::graph::NodeIndex;

use super::devices::CORE;
use super::prices;
use super::rates::{Rates, WORTH_COUNTING};
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::stages::price::{Cost, CostEstimate, Rows, forward};
use crate::stages::registry::Registry;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::{Graph, Node};
use crate::workflow::kind::Meaning;

/// Seconds of a node with almost no computation, until such nodes of its kind have been recorded.
const SMALL: f64 = 0.1;

/// Core seconds to make one image, likewise.
const IMAGE: f64 = 0.004;

/// Operations per second of a core in optimal transport: exponentials in double precision, likewise.
const TRANSPORT: f64 = 1.5e9;

/// How much faster the operations of a forward pass alone are than those of training, likewise:
/// between 1 and 3 times, by architecture.
const FORWARD: f64 = 1.7;

/// The forecast for the nodes of a run, by id. Omits nodes whose work can't be forecast.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    pub nodes: HashMap<String, NodeForecast>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeForecast {
    /// Core seconds, or device seconds on a GPU.
    pub seconds: f64,
    pub dominated_by: Dominant,
}

/// What takes most of a node's time. Forecasts of one group are off by a common factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dominant {
    /// Arithmetic, at the rate of the machine.
    Arithmetic,
    /// Images that are drawn or redrawn.
    Images,
    /// Optimal transport: the number of passes depends on the data.
    Transport,
    /// Reading, writing, and starting.
    #[default]
    Overhead,
}

/// Forecasts a run, again and again: what a dataset holds is known once it has been read.
pub struct Forecaster<'a> {
    graph: &'a Graph,
    registry: &'a Registry,
    store: &'a Store,
    rates: Rates,
    class: String,
    /// The datasets.
    datasets: HashMap<&'a str, NodeIndex>,
    /// Those that are known, of which the last forecast has read the records.
    known: Vec<(NodeIndex, Digest)>,
    records: HashMap<NodeIndex, StoredRecord>,
    /// How many were known to the last forecast.
    forecast: Option<usize>,
}

impl<'a> Forecaster<'a> {
    /// For a class of devices.
    pub fn new(graph: &'a Graph, registry: &'a Registry, store: &'a Store, class: String) -> Self {
        let nodes = graph.dag.node_indices();
        let datasets = nodes.filter(|node| graph.dag[*node].kind.meaning() == Meaning::Images);
        Self {
            datasets: datasets
                .map(|node| (graph.dag[node].id.as_str(), node))
                .collect(),
            graph,
            registry,
            store,
            rates: Rates::of(store),
            class,
            known: Vec::new(),
            records: HashMap::new(),
            forecast: None,
        }
    }

    /// Takes in an event. A forecast is due when the first node starts, since a run that reuses
    /// everything needs none; then whenever the number of known datasets has doubled, or all of them
    /// are known.
    pub fn observe(&mut self, event: &Event) -> Option<Forecast> {
        let due = match event {
            Event::NodeStarted { .. } => self.forecast.is_none(),
            Event::NodeFinished { id, key, .. } | Event::NodeReused { id, key } => {
                self.known.push((*self.datasets.get(id.as_str())?, *key));
                let known = self.known.len();
                let all = known == self.datasets.len();
                self.forecast
                    .is_some_and(|before| all || known >= 2 * before)
            }
            _ => false,
        };
        due.then(|| self.forecast())
    }

    fn forecast(&mut self) -> Forecast {
        self.forecast = Some(self.known.len());
        for (node, key) in &self.known {
            if !self.records.contains_key(node)
                && let Ok(Some(record)) = self.store.chosen(key)
            {
                self.records.insert(*node, record);
            }
        }
        forecast(
            self.graph,
            self.registry,
            &self.rates,
            &self.class,
            &self.records,
        )
    }
}

/// The work of the nodes of `graph` on a class of devices: by their operations, and by recorded
/// runs of their kind if there are any.
fn forecast(
    graph: &Graph,
    registry: &Registry,
    rates: &Rates,
    class: &str,
    records: &HashMap<NodeIndex, StoredRecord>,
) -> Forecast {
    let prices = prices(graph, registry, &|node| records.get(&node));
    let frozen = frozen_models(graph, &prices);
    let evaluation = graph.dag.node_weights();
    let evaluation = evaluation
        .map(|node| &node.kind)
        .find(|kind| kind.meaning() == Meaning::Evaluation);
    let evaluation = evaluation.map_or("", |kind| kind.name());
    let mut nodes = HashMap::new();
    for index in graph.dag.node_indices() {
        let node = &graph.dag[index];
        let cost = prices[index.index()].as_ref().map(|price| &price.cost);
        let Some(mut forecast) = own_work(node, cost, rates, class) else {
            continue;
        };
        if let Some(operations) = frozen.get(&index) {
            let seconds = operations * pace(rates, evaluation, class, false);
            if seconds > forecast.seconds {
                forecast.dominated_by = Dominant::Arithmetic;
            }
            forecast.seconds += seconds;
        }
        nodes.insert(node.id.clone(), forecast);
    }
    Forecast { nodes }
}

/// The work of a node without the work that it shares with others.
fn own_work(node: &Node, cost: Option<&Cost>, rates: &Rates, class: &str) -> Option<NodeForecast> {
    let kind = node.kind.name();
    let small = rates.seconds_of_small(kind, class);
    let (seconds, dominated_by) = match cost {
        // The number of passes depends on the data.
        Some(cost) if node.kind.meaning() == Meaning::Distance && !cost.at_least => {
            let recorded = rates.seconds_per_operation_of(kind, class);
            let by_operations = cost.operations * recorded.unwrap_or(1.0 / TRANSPORT);
            let seconds = match cost.operations >= WORTH_COUNTING {
                true => by_operations,
                false => small.unwrap_or(SMALL + by_operations),
            };
            (seconds, Dominant::Transport)
        }
        Some(cost) if cost.operations >= WORTH_COUNTING => {
            let seconds = cost.operations * pace(rates, kind, class, cost.steps > 0.0);
            (seconds, Dominant::Arithmetic)
        }
        Some(cost) if cost.made > 0.0 => {
            let assumed = SMALL + IMAGE * cost.made;
            (small.unwrap_or(assumed), Dominant::Images)
        }
        Some(cost) if !cost.at_least => (small.unwrap_or(SMALL), Dominant::Overhead),
        _ => (small?, Dominant::Overhead),
    };
    Some(NodeForecast {
        seconds,
        dominated_by,
    })
}

/// The operations of frozen models, by the first node that needs their features or logits: the
/// others reuse them.
fn frozen_models(graph: &Graph, prices: &[Option<CostEstimate>]) -> HashMap<NodeIndex, f64> {
    let mut seen = HashSet::new();
    let mut operations: HashMap<NodeIndex, f64> = HashMap::new();
    for &index in &graph.order {
        let asks = prices[index.index()].iter().flat_map(|it| &it.cost.asks);
        for ask in asks.filter(|ask| ask.rows != Rows::None) {
            let inputs = super::shared_inputs(graph, prices, index, ask);
            if let Some(((model, config), (data, count, _))) = inputs
                && seen.insert((model, data, ask.rows == Rows::Logits))
            {
                *operations.entry(index).or_default() += forward(config) * count as f64;
            }
        }
    }
    operations
}

/// Seconds per operation, in training or not.
fn pace(rates: &Rates, kind: &str, class: &str, trains: bool) -> f64 {
    if let Some(recorded) = rates.seconds_per_operation_of(kind, class) {
        return recorded;
    }
    let of_all = match rates.seconds_per_operation(kind, class) {
        0.0 => 1.0 / CORE,
        recorded => recorded,
    };
    if trains { of_all } else { of_all / FORWARD }
}
