//! How long the nodes of each stage took in earlier runs of a workflow.

use std::collections::BTreeMap;

use super::lines::{JournalStart, Lines};
use super::read::{folders, workers};
use super::{Entry, JOURNAL, WorkflowIdentity};
use crate::engine::event::{Event, stage_of};
use crate::store::Store;

/// The number of newest runs that are read.
const MOST_RUNS: usize = 8;

/// Mean seconds of a node, by stage, in the newest runs of a workflow that are in `store`; the run in
/// progress is one of them.
pub fn stage_seconds(store: &Store, workflow: &WorkflowIdentity) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let runs = folders(store).into_iter().rev().take(MOST_RUNS);
    for journal in runs.flat_map(|run| workers(&run).into_iter().chain([run])) {
        let Ok(JournalStart::Journal(header, lines)) = Lines::begin(&journal.join(JOURNAL)) else {
            continue;
        };
        if !workflow.wrote(&header) {
            continue;
        }
        for Entry { what, .. } in lines.values() {
            if let Event::NodeFinished { id, wall_s, .. } = what {
                let sum = sums.entry(stage_of(&id).to_string()).or_default();
                *sum = (sum.0 + wall_s, sum.1 + 1.0);
            }
        }
    }
    let means = sums.into_iter();
    means
        .map(|(stage, (sum, count))| (stage, sum / count))
        .collect()
}
