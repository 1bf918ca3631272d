//! What a run leaves for workers, made when it is needed: most runs end before anybody joins.

use std::collections::BTreeMap;

use super::RunOptions;
use crate::contract::source::SourceShape;
use crate::engine::join::Invitation;
use crate::engine::{EngineError, device};
use crate::remote::lock::Lock;
use crate::workflow::graph::Graph;

impl RunOptions {
    /// What decides the graph and the keys of this run, apart from outside data; `None`: no worker may
    /// join.
    ///
    /// # Errors
    /// It can't be passed on: the lock file can't be read, or is not UTF-8.
    pub(super) fn invitation(&self, graph: &Graph) -> Result<Option<Invitation>, EngineError> {
        let (Some(invites), Some(source)) = (&self.invites, graph.places.sources.first()) else {
            return Ok(None);
        };
        let lock = match Lock::bytes(&graph.file) {
            Ok(bytes) => bytes.map(String::from_utf8).transpose(),
            Err(error) => return Err(EngineError::NoPlan(error.to_string())),
        };
        let lock =
            lock.map_err(|_| EngineError::NoPlan("its lock file is not UTF-8".to_string()))?;
        let refused = self.refused.iter();
        Ok(Some(Invitation {
            workflow: graph.file.clone(),
            text: source.text().to_string(),
            lock,
            profiles: graph.profiles.clone(),
            overrides: graph.overrides.clone(),
            targets: invites.targets.clone(),
            environment: environment(graph),
            device: self.device.clone(),
            class: match graph.strict {
                true => Some(device::class_named(&self.device)?),
                false => None,
            },
            keep_going: self.keep_going,
            derived_max: self.derived_max,
            remotes: invites.remotes.clone(),
            refused: refused
                .map(|(node, why)| (graph.dag[*node].id.clone(), why.clone()))
                .collect(),
        }))
    }
}

/// The variables that the workflow reads: in its values, and for its commands. Those that a command
/// only passes on are not among them.
fn environment(graph: &Graph) -> BTreeMap<String, Option<String>> {
    let mut variables = graph.variables.clone();
    for node in graph.dag.node_weights() {
        for source in node.parameters.sources() {
            if let SourceShape::Environment(names) = source.shape {
                for name in names {
                    let value = std::env::var(&name).ok();
                    variables.entry(name).or_insert(value);
                }
            }
        }
    }
    variables
}
