//! Demands of nodes, the capacity of the machine, and which ready node fits next.

use petgraph::graph::NodeIndex;

use super::{Decide, Skip};

/// The resources that a node requires of the machine it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Cores; `None`: an equal share of the free ones.
    pub cpus: Option<usize>,
    /// Bytes; 0: not declared.
    pub mem: u64,
    pub gpus: u32,
    /// Uses no core of its own, and no worker.
    pub tiny: bool,
    /// Further attempts after a failure.
    pub retries: u32,
}

/// The resources to distribute. A node that asks for more than all of them runs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub cores: usize,
    /// Bytes.
    pub mem: u64,
    pub gpus: u32,
}

/// The resources that running nodes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub cores: usize,
    pub mem: u64,
    pub gpus: u32,
    pub tiny: usize,
    pub heavy: usize,
}

impl Usage {
    pub fn add(&mut self, demand: &Demand, cores: usize) {
        self.cores += cores;
        self.mem += demand.mem;
        self.gpus += demand.gpus;
        *self.kind(demand) += 1;
    }

    pub fn remove(&mut self, demand: &Demand, cores: usize) {
        self.cores -= cores;
        self.mem -= demand.mem;
        self.gpus -= demand.gpus;
        *self.kind(demand) -= 1;
    }

    fn kind(&mut self, demand: &Demand) -> &mut usize {
        if demand.tiny {
            &mut self.tiny
        } else {
            &mut self.heavy
        }
    }
}

impl Decide {
    /// Why nothing is started any more, if so.
    pub(super) fn stopped(&self) -> Option<Skip> {
        let limit = self.policy.limit.is_some_and(|most| self.started >= most);
        self.halt.or(limit.then_some(Skip::Limit))
    }

    /// The node to start now, and its cores.
    ///
    /// Strictly by rank: a smaller node does not overtake one that does not fit yet, because a
    /// stream of small nodes could keep it waiting forever.
    pub(super) fn startable(&self) -> Option<(NodeIndex, usize)> {
        let may_start =
            |node: &NodeIndex| self.stopped().is_none() || self.retries_within_limit(*node);
        let tiny = self.ready_tiny.iter().map(|rank| rank.3).find(may_start);
        if let Some(node) = tiny.filter(|_| self.usage.tiny < self.capacity.cores) {
            return Some((node, 1));
        }
        let node = self.ready.iter().map(|rank| rank.3).find(may_start)?;
        let demand = &self.nodes[node.index()].demand;
        let free = self.capacity.cores.saturating_sub(self.usage.cores);
        let cores = match demand.cpus {
            Some(wish) => wish.clamp(1, self.capacity.cores.max(1)),
            None => (free / self.ready.len()).max(1),
        };
        let fits = cores <= free
            && self.usage.mem + demand.mem <= self.capacity.mem
            && self.usage.gpus + demand.gpus <= self.capacity.gpus;
        let alone = self.usage.heavy == 0;
        (fits || alone).then_some((node, cores.min(self.capacity.cores.max(1))))
    }

    /// A node that was started before may start again if only the limit prevents it.
    fn retries_within_limit(&self, node: NodeIndex) -> bool {
        self.halt.is_none() && self.nodes[node.index()].started
    }
}
