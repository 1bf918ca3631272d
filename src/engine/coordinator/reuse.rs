//! Records that a run reuses, and the markers of their withheld outputs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::Coordinator;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::{Counts, State};
use crate::store::StoredRecord;

/// How long after a result a worker may note it.
const NOTED: Duration = Duration::from_millis(500);
/// The interval between two looks at their journals.
const SHORTEST: Duration = Duration::from_millis(20);

impl Coordinator<'_> {
    /// Reuses a record that has appeared since the node was keyed.
    pub(super) fn take_record(
        &mut self,
        node: NodeIndex,
        key: &Digest,
    ) -> Result<bool, EngineError> {
        if self.must_run(node) {
            return Ok(false);
        }
        let found = match self.prepare_reuse(key)? {
            true => self.keys.find_again(node, key)?,
            false => None,
        };
        let found = match found {
            Some(record) => Some(record),
            None => self.accepted_again(node)?,
        };
        let Some(record) = found else {
            return Ok(false);
        };
        self.set_record(node, record)?;
        match self.was_made_for_this_run(node, key) {
            true => self.decide.ran_elsewhere(node),
            false => self.decide.found(node),
        }
        Ok(true)
    }

    /// Whether a record that was found is the work of a worker of this run. A worker counts only what it
    /// has run itself.
    pub(super) fn was_made_for_this_run(&mut self, node: NodeIndex, key: &Digest) -> bool {
        if self.is_worker() || !self.peers.has_made(node, key) {
            return false;
        }
        if let Some((_, wall_s)) = self.peers.finished.get(&node) {
            self.walls.insert(node, *wall_s);
        }
        true
    }

    /// What has become of the nodes. A worker notes a result a moment after others can find it: what was
    /// taken for a record of another run is counted as run.
    pub(super) fn counts(&mut self) -> Counts {
        let mut counts = self.decide.counts();
        if self.is_worker() {
            let failed = self.peers.failed_there.iter();
            let elsewhere = failed.filter(|node| self.decide.state(**node) == State::Failed);
            counts.failed -= elsewhere.count();
            return counts;
        }
        self.wait_for_notes();
        let finished = self.peers.finished.iter();
        let late =
            finished.filter(|(node, _)| self.decide.state(**node) == State::Done { ran: false });
        let late = late.count();
        counts.ran += late;
        counts.reused -= late;
        counts
    }

    /// Reads the journals of the workers until they say who made the records of all nodes that were left to
    /// them, for a moment at most: another run may have made them.
    fn wait_for_notes(&mut self) {
        let begun = Instant::now();
        while self.has_unexplained_record() && begun.elapsed() < NOTED {
            self.peers.look_for_ends();
            std::thread::sleep(SHORTEST);
        }
    }

    fn has_unexplained_record(&self) -> bool {
        let mut left = self.peers.left.iter();
        left.any(|node| {
            self.decide.state(*node) == State::Done { ran: false }
                && !self.peers.finished.contains_key(node)
        })
    }

    /// Sets the record of `node`. Marks outputs that may not be redistributed, even if another
    /// workflow without that restriction made them.
    pub(super) fn set_record(
        &mut self,
        node: NodeIndex,
        record: Arc<StoredRecord>,
    ) -> Result<(), EngineError> {
        self.withhold(node, &record)?;
        self.keys.set_record(node, record);
        Ok(())
    }

    fn withhold(&mut self, node: NodeIndex, record: &StoredRecord) -> Result<(), EngineError> {
        for name in self.withheld.ports(node) {
            if let Some(port) = record.record.ports.get(name)
                && !self.store.withhold_port(port)?
            {
                // It may be fetched during the run.
                self.unmarked.push(node);
            }
        }
        Ok(())
    }

    /// Marks withheld blobs that have arrived since their record was reused.
    pub(super) fn withhold_rest(&mut self) -> Result<(), EngineError> {
        for node in std::mem::take(&mut self.unmarked) {
            if let Some(record) = self.keys.record(node).cloned() {
                self.withhold(node, &record)?;
            }
        }
        Ok(())
    }
}
