//! Which of equally urgent nodes this machine takes: those whose data it has. Processes of a shared
//! run then read, fetch and decode a dataset on few machines.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;

use super::{Decide, Dependencies, State};

/// The data of nodes that is not on this machine yet. Data is known by the node that makes it.
#[derive(Debug)]
pub(super) struct Placement {
    /// By node index: the data that the node reads.
    data: Vec<Vec<NodeIndex>>,
    /// The nodes that read each data that is not here.
    readers: HashMap<NodeIndex, Vec<NodeIndex>>,
}

impl Placement {
    pub fn of(dependencies: &Dependencies) -> Self {
        let data = dependencies.data.clone();
        let mut readers: HashMap<NodeIndex, Vec<NodeIndex>> = HashMap::new();
        for (reader, data) in data.iter().enumerate() {
            for maker in data {
                let all = readers.entry(*maker).or_default();
                all.push(NodeIndex::new(reader));
            }
        }
        Self { data, readers }
    }

    /// The number of data that `node` reads and that no node has read here, before any has.
    pub fn lacks(&self, node: usize) -> usize {
        self.data.get(node).map_or(0, Vec::len)
    }

    /// The data that `node` reads is here: its readers, once for each data that was not here before.
    fn arrive(&mut self, node: NodeIndex) -> Vec<NodeIndex> {
        let data = self.data.get(node.index()).into_iter().flatten();
        data.filter_map(|maker| self.readers.remove(maker))
            .flatten()
            .collect()
    }
}

impl Decide {
    /// The data that `node` reads is on this machine: `node` runs or has run here.
    pub fn has_data_of(&mut self, node: NodeIndex) {
        for reader in self.placement.arrive(node) {
            self.lacks_less(reader);
        }
    }

    /// Moves `node` forward among equally urgent nodes.
    fn lacks_less(&mut self, node: NodeIndex) {
        let state = self.state(node);
        let is_queued = matches!(state, State::Open | State::Ready);
        if is_queued {
            self.leave(node, state);
        }
        self.entry(node).rank.1 -= 1;
        if is_queued {
            self.enter(node, state);
        }
    }
}
