//! Executes recorded nodes again, in a scratch store, and compares the outcomes. The store, its
//! records and the choice among them do not change.

mod compare;
mod pick;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::coordinator::{RunOptions, run};
use super::event::Event;
use super::{EngineError, Survey};
use crate::stages::registry::Registry;
use crate::store::{ScratchStore, Store, StoredRecord};
use crate::workflow::graph::Graph;
pub use compare::{RecomputeOutcome, compare};
pub use pick::{Group, pick};

/// A scratch store in which nodes of one graph are executed again.
pub struct Recomputation<'a> {
    graph: &'a Graph,
    records: BTreeMap<NodeIndex, Arc<StoredRecord>>,
    scratch: ScratchStore,
}

/// The results of executing some nodes again.
#[derive(Debug)]
pub struct Recomputed {
    pub outcomes: BTreeMap<NodeIndex, RecomputeOutcome>,
    /// The class of the device that they were executed on.
    pub device_class: String,
    pub interrupted: bool,
}

impl<'a> Recomputation<'a> {
    /// Creates it beside `store`, with the records that `survey` found.
    pub fn beside(
        store: &Arc<Store>,
        graph: &'a Graph,
        survey: &Survey,
    ) -> Result<Self, EngineError> {
        let nodes = survey.nodes.iter();
        let records: BTreeMap<NodeIndex, Arc<StoredRecord>> = nodes
            .filter_map(|surveyed| Some((surveyed.node, Arc::clone(surveyed.record.as_ref()?))))
            .collect();
        let copies = records.values().map(|stored| stored.record.clone());
        Ok(Self {
            graph,
            scratch: ScratchStore::beside(store, copies)?,
            records,
        })
    }

    /// The folder of the scratch store, for workers.
    pub fn root(&self) -> &Path {
        self.scratch.store().root()
    }

    /// Executes `nodes` again, each with the inputs that its record names, and compares. Emits only
    /// events of these nodes.
    pub async fn run(
        &self,
        registry: &Registry,
        options: &RunOptions,
        nodes: &[NodeIndex],
        interrupt: watch::Receiver<bool>,
        events: UnboundedSender<Event>,
    ) -> Result<Recomputed, EngineError> {
        let sample: HashSet<NodeIndex> = nodes.iter().copied().collect();
        let options = RunOptions {
            keep_going: true,
            force: nodes.to_vec(),
            // Their inputs are taken as recorded: nothing else runs.
            refused: self.all_but(&sample),
            ..options.clone()
        };
        let (sender, receiver) = unbounded_channel();
        let store = Arc::clone(self.scratch.store());
        let run = run(self.graph, store, registry, &options, interrupt, sender);
        let ids = nodes.iter().map(|node| (&*self.graph.dag[*node].id, *node));
        let watch = follow(ids.collect(), receiver, events);
        let (result, ends) = tokio::join!(run, watch);
        let result = result?;
        let mut outcomes = BTreeMap::new();
        for node in nodes {
            outcomes.insert(*node, self.outcome(*node, ends.get(node))?);
        }
        Ok(Recomputed {
            outcomes,
            device_class: super::device::class_named(&options.device)?,
            interrupted: result.summary.interrupted,
        })
    }

    fn all_but(&self, sample: &HashSet<NodeIndex>) -> HashMap<NodeIndex, String> {
        let others = self.graph.dag.node_indices();
        let others = others.filter(|node| !sample.contains(node));
        others
            .map(|node| (node, "it is not in the sample".to_string()))
            .collect()
    }

    fn outcome(
        &self,
        node: NodeIndex,
        end: Option<&NodeEnd>,
    ) -> Result<RecomputeOutcome, EngineError> {
        let Some(recorded) = self.records.get(&node) else {
            return Ok(RecomputeOutcome::Unable("it has no record".to_string()));
        };
        match end {
            Some(NodeEnd::Finished) => {}
            Some(NodeEnd::Failed(message)) => return Ok(RecomputeOutcome::Failed(message.clone())),
            Some(NodeEnd::Skipped(why)) => return Ok(RecomputeOutcome::Unable(why.clone())),
            None => return Ok(RecomputeOutcome::Unable("it was not started".to_string())),
        }
        let found = self.scratch.store().records(&recorded.record.key)?;
        let fresh = found.iter().find(|one| one.digest != recorded.digest);
        // An equal record has the same digest.
        let fresh = fresh.map_or(&recorded.record, |fresh| &fresh.record);
        let comparison = self.graph.dag[node].kind.comparison();
        Ok(compare(comparison, &recorded.record, fresh))
    }
}

/// How the execution of a node ended.
enum NodeEnd {
    Finished,
    Failed(String),
    Skipped(String),
}

/// Forwards the events of some nodes, by id, and records how they ended.
async fn follow(
    ids: HashMap<&str, NodeIndex>,
    mut received: UnboundedReceiver<Event>,
    events: UnboundedSender<Event>,
) -> HashMap<NodeIndex, NodeEnd> {
    let mut ends = HashMap::new();
    while let Some(mut event) = received.recv().await {
        let id = match &mut event {
            Event::RunStarted { nodes, .. } => {
                *nodes = ids.len();
                None
            }
            Event::NodeStarted { id, why, .. } => {
                why.clear();
                Some(&*id)
            }
            Event::NodeReused { id, .. }
            | Event::NodeWaiting { id, .. }
            | Event::NodeProgress { id, .. }
            | Event::DerivedMade { id, .. }
            | Event::NodeFinished { id, .. }
            | Event::NodeFailed { id, .. }
            | Event::NodeSkipped { id, .. } => Some(&*id),
            // They concern the scratch store.
            Event::Warning { .. } | Event::Machines { .. } | Event::Summary(_) => continue,
        };
        let node = id.map(|id| ids.get(id.as_str()).copied());
        let end = match &event {
            Event::NodeFinished { .. } => Some(NodeEnd::Finished),
            Event::NodeFailed { message, .. } => Some(NodeEnd::Failed(message.clone())),
            Event::NodeSkipped { why, .. } => Some(NodeEnd::Skipped(format!(
                "what it reads is not in the store: {why}"
            ))),
            _ => None,
        };
        match (node, end) {
            (Some(None), _) => continue,
            (Some(Some(node)), Some(end)) => {
                ends.insert(node, end);
            }
            _ => {}
        }
        // The listener may be gone.
        let _ = events.send(event);
    }
    ends
}
