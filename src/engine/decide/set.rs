//! State transitions: every change of a state goes through [`Decide::set`], which updates the
//! queues, the counters and the neighbours.

use petgraph::graph::NodeIndex;

use super::{Decide, Entry, Skip, State};

impl Decide {
    pub(super) fn entry(&mut self, node: NodeIndex) -> &mut Entry {
        &mut self.nodes[node.index()]
    }

    /// Moves `node` to `to`.
    pub(super) fn set(&mut self, node: NodeIndex, to: State) {
        let from = std::mem::replace(&mut self.entry(node).state, to);
        self.leave(node, from);
        self.enter(node, to);
        if to.ended() {
            self.ended.push_back(node);
            self.end_twins(node, to);
        }
        if to == State::Failed {
            self.skip_below(node, node);
        }
    }

    pub(super) fn leave(&mut self, node: NodeIndex, from: State) {
        let (rank, demand) = (
            self.nodes[node.index()].rank,
            self.nodes[node.index()].demand,
        );
        match from {
            State::Open => {
                self.open.remove(&rank);
            }
            State::Ready => {
                self.ready.remove(&rank);
                self.ready_tiny.remove(&rank);
            }
            State::Running { cores } => self.usage.remove(&demand, cores),
            State::Held => {
                self.held.remove(&node);
            }
            State::Done { .. } => self.close_children(node),
            State::Twin(first) => self.entry(first).twins.retain(|twin| *twin != node),
            State::Blocked | State::Publishing | State::Failed | State::Skipped(_) => {}
        }
        self.in_flight -= usize::from(from.in_flight());
    }

    pub(super) fn enter(&mut self, node: NodeIndex, to: State) {
        let (rank, demand) = (
            self.nodes[node.index()].rank,
            self.nodes[node.index()].demand,
        );
        match to {
            State::Open => {
                self.open.insert(rank);
            }
            State::Ready if demand.tiny => {
                self.ready_tiny.insert(rank);
            }
            State::Ready => {
                self.ready.insert(rank);
            }
            State::Running { cores } => self.usage.add(&demand, cores),
            State::Held => {
                self.held.insert(node);
            }
            State::Done { .. } => self.open_children(node),
            State::Blocked
            | State::Twin(_)
            | State::Publishing
            | State::Failed
            | State::Skipped(_) => {}
        }
        self.in_flight += usize::from(to.in_flight());
    }

    /// An input of every child is done.
    fn open_children(&mut self, node: NodeIndex) {
        for child in self.children[node.index()].clone() {
            let entry = self.entry(child);
            entry.pending -= 1;
            if entry.pending == 0 && entry.state == State::Blocked {
                self.set(child, State::Open);
            }
        }
    }

    /// An input of every child is no longer done: children that have not started wait for it again.
    fn close_children(&mut self, node: NodeIndex) {
        for child in self.children[node.index()].clone() {
            self.entry(child).pending += 1;
            let waits = !self.state(child).ended() && !self.state(child).in_flight();
            if waits && self.state(child) != State::Blocked {
                self.set(child, State::Blocked);
            }
        }
    }

    /// Returns the node to the queue of startable nodes.
    pub(super) fn resume(&mut self, node: NodeIndex) {
        self.back_to(node, State::Ready);
    }

    /// Returns the node to the queue of nodes to be keyed.
    pub(super) fn reopen(&mut self, node: NodeIndex) {
        self.back_to(node, State::Open);
    }

    /// Moves `node` to `to` if its inputs are still done; otherwise it waits for them again, or is
    /// skipped if they never will be.
    fn back_to(&mut self, node: NodeIndex, to: State) {
        if self.entry(node).pending == 0 {
            return self.set(node, to);
        }
        let needs = self.needs[node.index()].clone();
        let cause = needs.into_iter().find_map(|need| match self.state(need) {
            State::Failed => Some(need),
            State::Skipped(Skip::Ancestor(cause)) => Some(cause),
            _ => None,
        });
        match cause {
            None => self.set(node, State::Blocked),
            Some(cause) => {
                self.set(node, State::Skipped(Skip::Ancestor(cause)));
                self.skip_below(node, cause);
            }
        }
    }

    /// Ends `node` as failed, and its descendants that have not started as skipped.
    pub(super) fn fail(&mut self, node: NodeIndex) {
        self.set(node, State::Failed);
        if !self.policy.keep_going {
            self.halt.get_or_insert(Skip::Failure);
        }
    }

    /// The twins of a node end as it did; if it was only skipped, they are keyed again and may run
    /// themselves.
    fn end_twins(&mut self, node: NodeIndex, end: State) {
        if matches!(end, State::Skipped(_)) {
            return self.release_twins(node);
        }
        for twin in std::mem::take(&mut self.entry(node).twins) {
            match end {
                State::Failed => self.set(twin, State::Failed),
                _ => self.set(twin, State::Done { ran: false }),
            }
        }
    }

    /// Skips all descendants of `node` that have not started, because `cause` failed.
    pub(super) fn skip_below(&mut self, node: NodeIndex, cause: NodeIndex) {
        let mut below = vec![node];
        while let Some(node) = below.pop() {
            for child in self.children[node.index()].clone() {
                let state = self.state(child);
                if !state.ended() && !state.in_flight() {
                    self.set(child, State::Skipped(Skip::Ancestor(cause)));
                    below.push(child);
                }
            }
        }
    }

    pub(super) fn release_twins(&mut self, node: NodeIndex) {
        for twin in std::mem::take(&mut self.entry(node).twins) {
            self.reopen(twin);
        }
    }
}
