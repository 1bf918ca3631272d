//! How much work each node of a run is, before it has run: for the time that is left.

use std::collections::HashMap;

use super::devices::CORE;
use super::prices;
use super::rates::{Rates, WORTH_COUNTING};
use crate::stages::registry::Registry;
use crate::store::Store;
use crate::workflow::graph::Graph;

/// Seconds of a node that computes next to nothing, until such nodes of its kind are recorded.
const SMALL: f64 = 0.1;

/// What is foreseen of the nodes of a run, by id. Nodes whose work can't be foreseen are left out.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    pub nodes: HashMap<String, NodeForecast>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeForecast {
    /// Of a core, or of the device where that is a GPU.
    pub seconds: f64,
    /// Whether the node is mostly arithmetic, whose pace is that of the machine.
    pub arithmetic: bool,
}

/// The work of the nodes of `graph` on a class of devices: by their operations, and by recorded runs
/// of their kind where there are any.
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

/// Seconds of an operation.
fn pace(rates: &Rates, kind: &str, class: &str) -> f64 {
    match rates.seconds_per_operation(kind, class) {
        0.0 => 1.0 / CORE,
        recorded => recorded,
    }
}
