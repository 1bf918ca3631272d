//! Which of equally urgent nodes this machine takes: those whose data it has. Processes of a shared
//! run then read, fetch and decode a dataset on few machines.

use std::collections::{HashMap, HashSet};

use petgraph::graph::NodeIndex;

use super::{Decide, Dependencies, State};

/// The data of nodes, and which of it is on this machine. Data is known by the node that makes it.
#[derive(Debug, Default)]
pub(super) struct Placement {
    readers: HashMap<NodeIndex, Vec<NodeIndex>>,
    present: HashSet<NodeIndex>,
}

impl Placement {
    pub fn of(dependencies: &Dependencies) -> Self {
        let mut readers: HashMap<NodeIndex, Vec<NodeIndex>> = HashMap::new();
        for (reader, data) in dependencies.data.iter().enumerate() {
            for maker in data {
                let all = readers.entry(*maker).or_default();
                all.push(NodeIndex::new(reader));
            }
        }
        Self {
            readers,
            present: HashSet::new(),
        }
    }
}

impl Decide {
    /// The data that `node` reads is on this machine: `node` runs or has run here.
    pub fn has_data_of(&mut self, node: NodeIndex) {
        for maker in self.data.get(node.index()).cloned().unwrap_or_default() {
            if self.placement.present.insert(maker) {
                let readers = self.placement.readers.get(&maker).cloned();
                for reader in readers.unwrap_or_default() {
                    self.lacks_less(reader);
                }
            }
        }
    }

    /// Moves `node` forward among equally urgent nodes.
    fn lacks_less(&mut self, node: NodeIndex) {
        let entry = self.entry(node);
        let before = entry.rank;
        entry.rank.1 = before.1.saturating_sub(1);
        let after = entry.rank;
        let queue = match entry.state {
            State::Open => &mut self.open,
            State::Ready if entry.demand.tiny => &mut self.ready_tiny,
            State::Ready => &mut self.ready,
            _ => return,
        };
        queue.remove(&before);
        queue.insert(after);
    }
}
