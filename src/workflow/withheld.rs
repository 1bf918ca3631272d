//! What may not be passed on: the outputs of nodes whose outside data must stay where it is, and
//! what is made of them, however many nodes down.
//!
//! Datasets, files and arrays of kinds that pass on what comes in (copies, corruptions, drawings,
//! features of each image) hand this on. Models, metrics, tables, and arrays that hold counts or
//! means over many images do not.

use petgraph::graph::NodeIndex;

use super::graph::Graph;
use super::kind::{PortType, Withholds};

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
            let mut comes_in = || members.any(|it| withheld.is_withheld(it.node, &it.port));
            let stays = match node.parameters.withholds() {
                Withholds::Nothing => false,
                Withholds::WhatComesIn => comes_in(),
                Withholds::Data => true,
            };
            if stays {
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
