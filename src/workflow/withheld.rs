//! Determines what may not be redistributed: the outputs of nodes with outside data that a licence
//! withholds, and everything derived from them.
//!
//! Datasets, files and arrays of kinds that pass on their inputs (copies, corruptions, drawings,
//! features of each image) inherit this, and so do tables with a row for each image. Models,
//! metrics, other tables, and arrays of counts or means over many images do not.

use petgraph::graph::NodeIndex;

use super::graph::Graph;
use super::kind::Withholds;

/// The ports of a graph's nodes that may not be redistributed.
#[derive(Clone, Debug)]
pub struct Withheld(Vec<Vec<String>>);

impl Withheld {
    /// Examines every node of `graph`. Pure: reads nothing else.
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
                let holding = outputs.filter(|output| output.reveals_inputs);
                withheld.0[index.index()] = holding.map(|output| output.name).collect();
            }
        }
        withheld
    }

    /// The ports of `node` that may not be redistributed.
    pub fn ports(&self, node: NodeIndex) -> &[String] {
        self.0.get(node.index()).map_or(&[], Vec::as_slice)
    }

    pub fn is_withheld(&self, node: NodeIndex, port: &str) -> bool {
        self.ports(node).iter().any(|name| name == port)
    }
}
