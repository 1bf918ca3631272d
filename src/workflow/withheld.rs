//! What may not be passed on: the outputs of nodes whose outside data must stay where it is, and
//! what is made of them, however many nodes down.
//!
//! Datasets, files and arrays hold what went in, or something close to it, so they hand this on.
//! Models, metrics and tables do not.

use petgraph::graph::NodeIndex;

use super::graph::Graph;
use super::kind::PortType;

/// Which ports of a graph's nodes may not be passed on.
#[derive(Clone, Debug)]
pub struct Withheld(Vec<Vec<String>>);

impl Withheld {
    /// Looks at every node of `graph`. A pure function of it: reads nothing.
    pub fn of(graph: &Graph) -> Self {
        let mut withheld = Self(vec![Vec::new(); graph.dag.node_count()]);
        for index in &graph.order {
            let node = &graph.dag[*index];
            let mut members = node.inputs.iter().flat_map(|input| &input.members);
            let comes_in = members.any(|member| withheld.is_withheld(member.node, &member.port));
            if comes_in || node.parameters.withholds() {
                let outputs = node.parameters.outputs().into_iter();
                let holding = outputs.filter(|output| holds_content(output.gives));
                withheld.0[index.index()] = holding.map(|output| output.name).collect();
            }
        }
        withheld
    }

    /// The ports of `node` that may not be passed on.
    pub fn ports(&self, node: NodeIndex) -> &[String] {
        self.0.get(node.index()).map_or(&[], Vec::as_slice)
    }

    pub fn is_withheld(&self, node: NodeIndex, port: &str) -> bool {
        self.ports(node).iter().any(|name| name == port)
    }
}

/// Whether what a port holds may show what it was made of.
fn holds_content(port: PortType) -> bool {
    match port {
        PortType::Dataset | PortType::Files | PortType::Arrays => true,
        PortType::Model | PortType::Metrics | PortType::Table => false,
    }
}
