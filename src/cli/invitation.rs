//! The plan that a run leaves for workers on other machines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use petgraph::graph::NodeIndex;

use super::common::Common;
use super::failure::Failure;
use super::target::TargetArguments;
use crate::contract::source::SourceShape;
use crate::engine;
use crate::engine::join::Invitation;
use crate::remote::lock::Lock;
use crate::workflow::graph::Graph;

/// What decides the graph and the keys of a run, apart from outside data. `None`: it can't be passed
/// on, because a file or a variable is not UTF-8.
pub fn invitation(
    target: &TargetArguments,
    graph: &Graph,
    common: &Common,
    run: &RunSettings,
) -> Result<Option<Invitation>, Failure> {
    let Some(source) = graph.places.sources.first() else {
        return Ok(None);
    };
    let lock = match Lock::bytes(&graph.file)?.map(String::from_utf8) {
        Some(Ok(lock)) => Some(lock),
        Some(Err(_)) => return Ok(None),
        None => None,
    };
    let class = match graph.strict {
        true => Some(
            engine::class_named(&common.device.to_string())
                .map_err(|error| Failure::from_error(&error))?,
        ),
        false => None,
    };
    let refused = run.refused.iter();
    Ok(Some(Invitation {
        workflow: graph.file.clone(),
        text: source.text().to_string(),
        lock,
        profiles: target.workflow.profiles.clone(),
        overrides: target.workflow.sets.clone(),
        targets: target.targets.clone(),
        environment: environment(graph),
        device: common.device.to_string(),
        class,
        keep_going: run.keep_going,
        derived_max: run.derived_max,
        remotes: run.remotes.to_vec(),
        refused: refused
            .map(|(node, why)| (graph.dag[*node].id.clone(), why.clone()))
            .collect(),
    }))
}

/// The settings of a run that its workers share.
pub struct RunSettings<'a> {
    pub keep_going: bool,
    pub derived_max: u64,
    pub remotes: &'a [String],
    pub refused: &'a [(NodeIndex, String)],
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

/// The path of this program.
pub fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::failed(format!("can't find the path of this program: {error}")))
}
