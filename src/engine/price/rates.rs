//! How long operations took in recorded runs, by kind and class of device. Stored with the store's
//! other indexes: derived, deletable at any time, and used only by `plan` and the time left of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use petgraph::graph::NodeIndex;
use serde::{Deserialize, Serialize};

use super::prices;
use crate::fsx;
use crate::stages::registry::Registry;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::Graph;

/// Below this number of operations, arithmetic does not dominate a node's time.
pub(super) const WORTH_COUNTING: f64 = 1e9;

/// How much longer than all recorded nodes of its kind together a run may be for its time to be told.
const MOST_EXTRAPOLATED: f64 = 1e5;

/// Recorded totals of one kind on one class of devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rate {
    nodes: usize,
    /// Device seconds; core seconds on a CPU.
    seconds: f64,
    operations: f64,
    /// Nodes of too few operations to count here.
    #[serde(default, skip_serializing_if = "is_zero")]
    small: usize,
    #[serde(default)]
    small_seconds: f64,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// By class of device, and by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates(BTreeMap<String, BTreeMap<String, Rate>>);

impl Rates {
    /// The rates recorded in `store`; empty if they can't be read.
    pub fn of(store: &Store) -> Self {
        let bytes = fsx::read_regular(&file(store)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// The classes of devices of which arithmetic was recorded.
    pub fn classes(&self) -> Vec<&str> {
        let classes = self.0.keys().map(String::as_str);
        classes.filter(|class| self.nodes(class) > 0).collect()
    }

    /// Mean seconds of a node of `kind` that arithmetic does not dominate; `None` where none was recorded.
    pub fn seconds_of_small(&self, kind: &str, class: &str) -> Option<f64> {
        let rate = self.0.get(class)?.get(kind)?;
        (rate.small > 0).then(|| rate.small_seconds / rate.small as f64)
    }

    /// The number of recorded nodes on a class of devices.
    pub fn nodes(&self, class: &str) -> usize {
        let kinds = self.0.get(class).into_iter().flatten();
        kinds.map(|(_, rate)| rate.nodes).sum()
    }

    /// The rate of `kind`; of all kinds if it has not been recorded.
    pub fn seconds_per_operation(&self, kind: &str, class: &str) -> f64 {
        let rate = self.rate(kind, class);
        rate.seconds / rate.operations.max(1.0)
    }

    /// The rate of `kind`; `None` if it has not been recorded.
    pub fn seconds_per_operation_of(&self, kind: &str, class: &str) -> Option<f64> {
        let rate = self.0.get(class)?.get(kind)?;
        (rate.operations > 0.0).then(|| rate.seconds / rate.operations)
    }

    fn rate(&self, kind: &str, class: &str) -> Rate {
        let Some(kinds) = self.0.get(class) else {
            return Rate::default();
        };
        let known = kinds.get(kind).copied().filter(|rate| rate.nodes > 0);
        known.unwrap_or_else(|| {
            kinds.values().fold(Rate::default(), |all, one| Rate {
                seconds: all.seconds + one.seconds,
                operations: all.operations + one.operations,
                ..all
            })
        })
    }

    /// Whether enough of `kind` was recorded on a class of devices to tell how long `operations` of it
    /// take. Short nodes mostly measure what is not arithmetic.
    pub fn measured(&self, kind: &str, class: &str, operations: f64) -> bool {
        operations <= self.rate(kind, class).operations * MOST_EXTRAPOLATED
    }

    fn add(&mut self, kind: &str, operations: f64, record: &StoredRecord) {
        let provenance = &record.record.provenance;
        let class = provenance.device_class.as_str();
        let cores = match class.starts_with("cpu/") {
            true => provenance.threads.max(1) as f64,
            false => 1.0,
        };
        let kinds = self.0.entry(class.to_string()).or_default();
        let rate = kinds.entry(kind.to_string()).or_default();
        let seconds = provenance.wall_seconds * cores;
        if operations < WORTH_COUNTING {
            rate.small += 1;
            rate.small_seconds += seconds;
            return;
        }
        rate.nodes += 1;
        rate.seconds += seconds;
        rate.operations += operations;
    }
}

/// Records the times of the nodes that have run since `started` (seconds since 1970).
pub fn learn(
    graph: &Graph,
    store: &Store,
    registry: &Registry,
    records: &BTreeMap<NodeIndex, StoredRecord>,
    started: u64,
) -> std::io::Result<()> {
    let prices = prices(graph, registry, &|node| records.get(&node));
    let mut rates = Rates::of(store);
    let before = rates.clone();
    for (node, record) in records {
        let operations = prices[node.index()]
            .as_ref()
            .map_or(0.0, |price| price.cost.operations);
        if record.record.provenance.started >= started {
            rates.add(graph.dag[*node].kind.name(), operations, record);
        }
    }
    if rates == before {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&rates)?;
    fsx::replace(&file(store), store.root(), 0o644, &text)
}

fn file(store: &Store) -> PathBuf {
    store.root().join("index.rates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_short_nodes_do_not_tell_how_long_a_benchmark_takes() {
        let rate = Rate {
            nodes: 12,
            seconds: 30.0,
            operations: 4e11,
            ..Rate::default()
        };
        let kinds = BTreeMap::from([("finetune".to_string(), rate)]);
        let rates = Rates(BTreeMap::from([("cpu/x86-64-v4".to_string(), kinds)]));
        let measured = |kind, operations| rates.measured(kind, "cpu/x86-64-v4", operations);
        assert!(measured("finetune", 1e15));
        assert!(!measured("finetune", 5e20), "ImageNet-RIB, of mini-RIB");
        assert!(measured("evaluate", 1e9), "by the rate of all kinds");
        assert!(!rates.measured("finetune", "cuda/NVIDIA H100", 1e9));
    }
}
