//! Estimates how long operations take on common devices: by their peak rates and the share that
//! training reaches, until recorded runs provide measurements.

use std::collections::BTreeMap;

use serde::Serialize;

use super::RunPrice;
use super::rates::Rates;
use crate::workflow::graph::Graph;
use crate::workflow::kind::{Kinds, Meaning};

/// A device by its peak rates, in operations per second, as its manufacturer states them.
pub struct Device {
    pub name: &'static str,
    pub full: f64,
    /// With half-precision products (dense).
    pub half: f64,
}

const TERA: f64 = 1e12;

/// NVIDIA's data sheets; f32 without TF32.
pub const DEVICES: [Device; 4] = [
    Device {
        name: "H100 or H200",
        full: 67.0 * TERA,
        half: 989.0 * TERA,
    },
    Device {
        name: "A100",
        full: 19.5 * TERA,
        half: 312.0 * TERA,
    },
    Device {
        name: "RTX 4090",
        full: 82.6 * TERA,
        half: 165.0 * TERA,
    },
    Device {
        name: "V100",
        full: 15.7 * TERA,
        half: 125.0 * TERA,
    },
];

/// The share of the peak rate that is assumed without measurements.
pub const SHARE: f64 = 0.4;

/// Operations per second of one CPU core, assumed until runs on it have been recorded.
pub const CORE: f64 = 60e9;

/// Device hours of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Hours {
    pub device: String,
    pub hours: f64,
    /// The number of recorded nodes it is based on; 0: peak rates.
    pub recorded: usize,
}

/// The time of a run on each of the known devices, and on each class of devices with recorded runs.
pub fn hours(graph: &Graph, price: &RunPrice, rates: &Rates, kinds: &Kinds) -> Vec<Hours> {
    let mut kinds = kinds.0.values();
    let evaluation = kinds.find(|kind| kind.meaning() == Meaning::Evaluation);
    let evaluation = evaluation.map_or("", |kind| kind.name());
    let mut all: Vec<Hours> = DEVICES
        .iter()
        .map(|device| Hours {
            device: device.name.to_string(),
            hours: by_peak(price, device.full * SHARE, device.half * SHARE) / 3600.0,
            recorded: 0,
        })
        .collect();
    let by_kind = operations_by_kind(graph, price);
    let mut classes = rates.classes();
    classes.retain(|class| {
        let mut kinds = by_kind.iter();
        kinds.all(|(kind, operations)| rates.measured(kind, class, *operations))
    });
    if !classes.iter().any(|class| class.starts_with("cpu/")) {
        all.push(Hours {
            device: "CPU cores".to_string(),
            hours: by_peak(price, CORE, CORE) / 3600.0,
            recorded: 0,
        });
    }
    for class in classes {
        let of_nodes = price.costs.iter().map(|(node, cost)| {
            let kind = graph.dag[*node].kind.name();
            cost.operations * rates.seconds_per_operation(kind, class)
        });
        // Frozen models run within the nodes that use their features, at the same rate.
        let frozen = price.shared.operations * rates.seconds_per_operation(evaluation, class);
        all.push(Hours {
            device: match class.starts_with("cpu/") {
                true => format!("cores of {class}"),
                false => class.to_string(),
            },
            hours: (of_nodes.sum::<f64>() + frozen) / 3600.0,
            recorded: rates.nodes(class),
        });
    }
    all
}

fn operations_by_kind<'a>(graph: &'a Graph, price: &RunPrice) -> BTreeMap<&'a str, f64> {
    let mut kinds = BTreeMap::new();
    for (node, cost) in &price.costs {
        *kinds.entry(graph.dag[*node].kind.name()).or_default() += cost.operations;
    }
    kinds
}

fn by_peak(price: &RunPrice, full: f64, half: f64) -> f64 {
    let of_nodes = price.costs.iter().map(|(_, cost)| match cost.half {
        true => cost.operations / half,
        false => cost.operations / full,
    });
    of_nodes.sum::<f64>() + price.shared.operations / full
}
