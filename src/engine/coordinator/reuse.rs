//! Records that a run reuses, and the markers of their withheld outputs.

use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::Coordinator;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::store::StoredRecord;

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
        self.decide.found(node);
        Ok(true)
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
