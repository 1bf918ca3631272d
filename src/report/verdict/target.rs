//! What a published number is set beside.

use petgraph::graph::NodeIndex;

/// One number, and the nodes that are to reproduce it: one for every repeat, none where the run
/// has no such nodes.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a selector of its own: `robustness[source=laion2b,method=ft].mri`.
    pub name: String,
    pub metric: String,
    pub nodes: Vec<NodeIndex>,
}
