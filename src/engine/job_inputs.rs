//! The inputs of a job, by content: the results of other nodes, and outside data.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::job::JobInput;
use super::keys::{Keys, Missing};
use super::roots::Roots;
use crate::store::{Artifact, BlobError, Store};
use crate::workflow::graph::Graph;

/// Trees with more files are sent to a worker as a blob instead of inline.
const INLINE_FILES: usize = 1000;

/// Why the inputs can't be had.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Missing(#[from] Missing),
}

/// The inputs of `node`, whose producers all have records.
pub(super) fn of(
    graph: &Graph,
    keys: &mut Keys,
    known: &mut Roots,
    store: &Store,
    node: NodeIndex,
) -> Result<BTreeMap<String, Vec<JobInput>>, InputError> {
    let at = &graph.dag[node];
    let mut inputs: BTreeMap<String, Vec<JobInput>> = BTreeMap::new();
    for input in &at.inputs {
        let mut members = Vec::with_capacity(input.members.len());
        for member in &input.members {
            let roots = known.of(graph, keys, member.node);
            // Every producer is done before its consumers start.
            if let Some(port) = keys.port(member) {
                members.push(JobInput {
                    axes: member.axes.clone(),
                    digest: port.digest,
                    inline: port.inline.clone(),
                    roots: roots.into_iter().collect(),
                });
            }
        }
        inputs.insert(input.name.clone(), members);
    }
    for (name, source) in keys.contents(at)? {
        let is_large =
            matches!(&source.artifact, Artifact::Files(tree) if tree.files.len() > INLINE_FILES);
        if is_large {
            store.write_artifact(&source.artifact)?;
        }
        let member = JobInput {
            axes: BTreeMap::new(),
            digest: source.digest,
            inline: (!is_large).then(|| source.artifact.clone()),
            roots: vec![source.root.clone()],
        };
        inputs.insert(name, vec![member]);
    }
    Ok(inputs)
}
