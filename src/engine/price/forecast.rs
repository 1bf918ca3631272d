//! Forecasts the work of each node before it has run, to estimate the remaining time.

use std::collections::HashMap;

use super::devices::CORE;
use super::prices;
use super::rates::{Rates, WORTH_COUNTING};
use crate::stages::registry::Registry;
use crate::store::Store;
use crate::workflow::graph::Graph;

/// Seconds of a node with almost no computation, until such nodes of its kind have been recorded.
const SMALL: f64 = 0.1;

/// The forecast for the nodes of a run, by id. Omits nodes whose work can't be forecast.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    pub nodes: HashMap<String, NodeForecast>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeForecast {
    /// Core seconds, or device seconds on a GPU.
    pub seconds: f64,
    /// Whether the node is dominated by arithmetic, whose rate depends on the machine.
    pub arithmetic: bool,
}

/// The work of the nodes of `graph` on a class of devices: by their operations, and by recorded
/// runs of their kind if there are any.
pub fn forecast(graph: &Graph, registry: &Registry, store: &Store, class: &str) -> Forecast {
    let rates = Rates::of(store);
    let prices = prices(graph, registry, &|_| None);
    let mut nodes = HashMap::new();
    for index in graph.dag.node_indices() {
        let node = &graph.dag[index];
        let kind = node.kind.name();
        let small = rates.seconds_of_small(kind, class);
        let cost = prices[index.index()].as_ref().map(|price| &price.cost);
        let foreseen = match cost {
            Some(cost) if cost.operations >= WORTH_COUNTING => Some(NodeForecast {
                seconds: cost.operations * pace(&rates, kind, class),
                arithmetic: true,
            }),
            Some(cost) if !cost.at_least => Some(is_small(small.unwrap_or(SMALL))),
            _ => small.map(is_small),
        };
        nodes.extend(foreseen.map(|foreseen| (node.id.clone(), foreseen)));
    }
    Forecast { nodes }
}

fn is_small(seconds: f64) -> NodeForecast {
    NodeForecast {
        seconds,
        arithmetic: false,
    }
}

/// Seconds per operation.
fn pace(rates: &Rates, kind: &str, class: &str) -> f64 {
    match rates.seconds_per_operation(kind, class) {
        0.0 => 1.0 / CORE,
        recorded => recorded,
    }
}
