//! The counterpart of a published number in a run.

use petgraph::graph::NodeIndex;

/// One number, and the nodes that reproduce it: one for every repeat, or none if the run has no
/// such nodes.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a selector: `robustness[source=laion2b,method=ft].mri`.
    pub name: String,
    pub metric: String,
    pub nodes: Vec<NodeIndex>,
}
