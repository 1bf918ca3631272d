//! Derived work that the nodes of a graph would share, for `plan`.

use std::collections::HashMap;
use std::sync::Arc;

use super::EngineError;
use super::device;
use super::event::PlanState;
use super::survey::Survey;
use crate::digest::Digest;
use crate::stages::derived::Work;
use crate::stages::registry::Registry;
use crate::store::derived_cache::Budget;
use crate::store::record::Port;
use crate::store::{Artifact, Store};
use crate::workflow::graph::{Graph, Member};

/// Derived work that nodes would share.
pub struct SharedWork {
    pub work: Work,
    /// The cache already contains it.
    pub there: bool,
    /// The number of nodes that would run and use it.
    pub nodes: usize,
}

/// The work that the nodes that would run share, as far as their inputs are known.
pub fn shared_work(
    graph: &Graph,
    store: &Store,
    registry: &Registry,
    device: &str,
    survey: &Survey,
) -> Result<Vec<SharedWork>, EngineError> {
    let class = device::class_named(device)?;
    let shelf = store.derived_cache(Budget::NONE);
    let mut records = vec![None; graph.dag.node_count()];
    for surveyed in &survey.nodes {
        records[surveyed.node.index()] = surveyed.record.as_deref();
    }
    let port = |member: &Member| -> Option<&Port> {
        records[member.node.index()]?.record.ports.get(&member.port)
    };
    let mut artifacts: HashMap<Digest, Option<Arc<Artifact>>> = HashMap::new();
    let mut asked: HashMap<Digest, usize> = HashMap::new();
    let mut works: Vec<SharedWork> = Vec::new();
    let would_run = survey
        .nodes
        .iter()
        .filter(|node| node.state == PlanState::WouldRun);
    for surveyed in would_run {
        let node = &graph.dag[surveyed.node];
        let Some(Ok(task)) = registry.task(node.kind.name(), &node.with) else {
            continue;
        };
        let given = node.inputs.iter().filter_map(|input| {
            let port = port(input.members.first()?)?;
            let artifact = artifacts.entry(port.digest);
            // An unreadable artifact is reported when the node runs.
            let artifact = artifact.or_insert_with(|| store.artifact(port).ok().map(Arc::new));
            Some((input.name.clone(), Arc::clone(artifact.as_ref()?)))
        });
        for work in task.derived(&given.collect(), &class) {
            let place = *asked.entry(work.key).or_insert(works.len());
            match works.get_mut(place) {
                Some(known) => known.nodes += 1,
                None => works.push(SharedWork {
                    there: work.is_there(&shelf),
                    work,
                    nodes: 1,
                }),
            }
        }
    }
    Ok(works)
}
