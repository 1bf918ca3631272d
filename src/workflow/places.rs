//! Where a file writes the parameters of nodes, for what is found after the file was read.

use std::collections::HashMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::diag::{Diagnostic, Place, SourceText};

/// The places of the parameters of all nodes.
#[derive(Default)]
pub struct Places {
    /// The file and the values of options, as places number them.
    pub sources: Vec<Arc<SourceText>>,
    blocks: Vec<Block>,
    /// The block of each stage and variant.
    known: HashMap<(usize, u32), usize>,
    nodes: HashMap<NodeIndex, usize>,
}

/// A `with:` block.
pub struct Block {
    pub whole: Place,
    pub fields: HashMap<String, Place>,
}

impl Places {
    /// Adds a node, whose block belongs to a stage and a variant of it.
    pub fn add(&mut self, node: NodeIndex, variant: (usize, u32), block: impl FnOnce() -> Block) {
        let blocks = &mut self.blocks;
        let block = *self.known.entry(variant).or_insert_with(|| {
            blocks.push(block());
            blocks.len() - 1
        });
        self.nodes.insert(node, block);
    }

    /// An error at the first of `fields` that the file gives `node`, otherwise at its whole block.
    pub fn diagnostic(
        &self,
        node: NodeIndex,
        fields: &[&str],
        code: &str,
        message: String,
    ) -> Diagnostic {
        let block = self.nodes.get(&node).map(|block| &self.blocks[*block]);
        let place = block.map(|block| block.place(fields));
        let source = place.and_then(|place| self.sources.get(place.source.0 as usize));
        match place.zip(source) {
            Some((place, source)) => source.diagnostic(place.span, code, message),
            None => Diagnostic::nowhere(code, "", message),
        }
    }
}

impl Block {
    fn place(&self, fields: &[&str]) -> Place {
        let mut given = fields.iter().filter_map(|name| self.fields.get(*name));
        given.next().copied().unwrap_or(self.whole)
    }
}
