//! Forecasts the work of each node before it has run, to estimate the remaining time.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;

use super::devices::CORE;
use super::prices;
use super::rates::{Rates, WORTH_COUNTING};
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::stages::registry::Registry;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::Graph;
use crate::workflow::kind::Meaning;

/// Seconds of a node with almost no computation, until such nodes of its kind have been recorded.
const SMALL: f64 = 0.1;

/// Core seconds to make one image, likewise.
const IMAGE: f64 = 0.004;

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
    let mut nodes = HashMap::new();
    for index in graph.dag.node_indices() {
        let node = &graph.dag[index];
        let kind = node.kind.name();
        let small = rates.seconds_of_small(kind, class);
        let cost = prices[index.index()].as_ref().map(|price| &price.cost);
        let foreseen = match cost {
            Some(cost) if cost.operations >= WORTH_COUNTING => {
                let seconds = cost.operations * pace(rates, kind, class);
                Some((seconds, Dominant::Arithmetic))
            }
            Some(cost) if cost.made > 0.0 => {
                let assumed = SMALL + IMAGE * cost.made;
                Some((small.unwrap_or(assumed), Dominant::Images))
            }
            // The time of optimal transport depends on the data.
            _ if node.kind.meaning() == Meaning::Distance => {
                small.map(|small| (small, Dominant::Overhead))
            }
            Some(cost) if !cost.at_least => Some((small.unwrap_or(SMALL), Dominant::Overhead)),
            _ => small.map(|small| (small, Dominant::Overhead)),
        };
        nodes.extend(foreseen.map(|(seconds, dominated_by)| {
            let forecast = NodeForecast {
                seconds,
                dominated_by,
            };
            (node.id.clone(), forecast)
        }));
    }
    Forecast { nodes }
}

/// Seconds per operation.
fn pace(rates: &Rates, kind: &str, class: &str) -> f64 {
    match rates.seconds_per_operation(kind, class) {
        0.0 => 1.0 / CORE,
        recorded => recorded,
    }
}
