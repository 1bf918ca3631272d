//! The spanning tree of the network simplex: the arcs that carry mass, and the potentials that they
//! imply.
//!
//! All sources and sinks are descendants of a root without mass. The tree is kept strongly feasible
//! (Cunningham 1976): a tree arc without flow points towards the root. Together with the choice of
//! the leaving arc below, that prevents cycling even for degenerate problems.

use crate::ot::digits::Digits;

/// The absence of a node.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    /// The first child, and the siblings of this node.
    child: u32,
    next: u32,
    previous: u32,
    /// The number of nodes of the subtree, including this one.
    size: u32,
    /// The mass on the arc between this node and its parent: upwards from a source, downwards to a
    /// sink.
    flow: i64,
}

/// Sources `0..sources`, then sinks, then the root.
pub(super) struct Tree<P> {
    nodes: Vec<Node>,
    sources: u32,
    /// For each node: u of a source, -v of a sink. Arcs of the tree cost `potential[source] -
    /// potential[sink]`.
    pub potentials: Vec<P>,
}

impl<P: Digits> Tree<P> {
    pub fn new(sources: usize, sinks: usize) -> Self {
        let alone = Node {
            parent: NONE,
            child: NONE,
            next: NONE,
            previous: NONE,
            size: 1,
            flow: 0,
        };
        Self {
            nodes: vec![alone; sources + sinks + 1],
            sources: sources as u32,
            potentials: vec![P::from(0.0); sources + sinks + 1],
        }
    }

    pub fn root(&self) -> u32 {
        self.nodes.len() as u32 - 1
    }

    pub fn parent(&self, node: u32) -> u32 {
        self.nodes[node as usize].parent
    }

    pub fn flow(&self, node: u32) -> i64 {
        self.nodes[node as usize].flow
    }

    fn is_source(&self, node: u32) -> bool {
        node < self.sources
    }

    /// Attaches `node`, which has no parent yet, to `parent`.
    pub fn hang(&mut self, node: u32, parent: u32, flow: i64) {
        self.link(node, parent);
        self.nodes[node as usize].flow = flow;
    }

    /// The same tree with potentials in `Q`: those of the root's children are kept, and all others
    /// follow from the costs of the arcs, `cost(source, sink)`.
    pub fn with_potentials<Q: Digits>(self, cost: impl Fn(u32, u32) -> f64) -> Tree<Q> {
        let mut potentials: Vec<Q> = self
            .potentials
            .iter()
            .map(|it| Q::from(it.to_f64()))
            .collect();
        let mut open = Vec::new();
        let mut next = self.nodes[self.root() as usize].child;
        while next != NONE {
            open.push(next);
            next = self.nodes[next as usize].next;
        }
        while let Some(node) = open.pop() {
            let mut child = self.nodes[node as usize].child;
            while child != NONE {
                let known = potentials[node as usize];
                potentials[child as usize] = match self.is_source(node) {
                    true => known - Q::from(cost(node, child)),
                    false => known + Q::from(cost(child, node)),
                };
                open.push(child);
                child = self.nodes[child as usize].next;
            }
        }
        Tree {
            nodes: self.nodes,
            sources: self.sources,
            potentials,
        }
    }

    /// Counts the nodes of every subtree; the reverse of `order` has children before parents.
    pub fn count(&mut self, order: &[u32]) {
        for node in order.iter().rev() {
            let (size, parent) = (self.nodes[*node as usize].size, self.parent(*node));
            self.nodes[parent as usize].size += size;
        }
    }

    fn link(&mut self, node: u32, parent: u32) {
        let next = self.nodes[parent as usize].child;
        if next != NONE {
            self.nodes[next as usize].previous = node;
        }
        self.nodes[parent as usize].child = node;
        let node = &mut self.nodes[node as usize];
        (node.parent, node.next, node.previous) = (parent, next, NONE);
    }

    fn unlink(&mut self, node: u32) {
        let Node {
            parent,
            next,
            previous,
            ..
        } = self.nodes[node as usize];
        match previous {
            NONE => self.nodes[parent as usize].child = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }

    /// The lowest common ancestor.
    fn join(&self, mut x: u32, mut y: u32) -> u32 {
        while x != y {
            if self.nodes[x as usize].size < self.nodes[y as usize].size {
                x = self.parent(x);
            } else if self.nodes[x as usize].size > self.nodes[y as usize].size {
                y = self.parent(y);
            } else {
                (x, y) = (self.parent(x), self.parent(y));
            }
        }
        x
    }

    /// Adds the arc from `source` to `sink`, whose reduced cost is `reduced` < 0, to the tree.
    pub fn enter(&mut self, source: u32, sink: u32, reduced: P) {
        let join = self.join(source, sink);
        // Mass flows from the join down to the source, over the new arc, and from the sink back up.
        // The flow is limited by the arcs of sources on the way down and of sinks on the way up; of
        // the arcs that block first, the last one along the cycle from the join leaves.
        let (mut least, mut leaving, mut at_source) = (i64::MAX, NONE, true);
        let mut node = source;
        while node != join {
            if self.is_source(node) && self.flow(node) < least {
                (least, leaving) = (self.flow(node), node);
            }
            node = self.parent(node);
        }
        node = sink;
        while node != join {
            if !self.is_source(node) && self.flow(node) <= least {
                (least, leaving, at_source) = (self.flow(node), node, false);
            }
            node = self.parent(node);
        }
        if least > 0 {
            self.push(source, join, -least);
            self.push(sink, join, least);
        }
        let (top, below) = if at_source {
            (source, sink)
        } else {
            (sink, source)
        };
        self.shrink(leaving, join);
        self.turn(top, leaving, below, least);
        self.grow(top, join);
        self.shift(top, if at_source { reduced } else { -reduced });
    }

    /// Adds `mass` to the arcs of sources, and subtracts it from those of sinks, from `node` up to
    /// `join`.
    fn push(&mut self, mut node: u32, join: u32, mass: i64) {
        while node != join {
            let upwards = self.is_source(node);
            let entry = &mut self.nodes[node as usize];
            entry.flow += if upwards { mass } else { -mass };
            node = entry.parent;
        }
    }

    /// Subtracts the size of the subtree of `leaving` from its ancestors, up to `join`.
    fn shrink(&mut self, leaving: u32, join: u32) {
        let size = self.nodes[leaving as usize].size;
        let mut node = self.parent(leaving);
        while node != join {
            self.nodes[node as usize].size -= size;
            node = self.parent(node);
        }
    }

    fn grow(&mut self, top: u32, join: u32) {
        let size = self.nodes[top as usize].size;
        let mut node = self.parent(top);
        while node != join {
            self.nodes[node as usize].size += size;
            node = self.parent(node);
        }
    }

    /// Detaches the subtree of `leaving` and attaches it to `below` with `top` as its root: the
    /// arcs between `top` and `leaving` are reversed.
    fn turn(&mut self, top: u32, leaving: u32, below: u32, flow: i64) {
        let whole = self.nodes[leaving as usize].size;
        let (mut node, mut parent, mut carried) = (top, below, flow);
        let mut under = 0;
        loop {
            let above = self.parent(node);
            let (own, size) = (self.flow(node), self.nodes[node as usize].size);
            self.unlink(node);
            self.link(node, parent);
            let entry = &mut self.nodes[node as usize];
            entry.flow = carried;
            entry.size = whole - under;
            if node == leaving {
                return;
            }
            (under, carried) = (size, own);
            (parent, node) = (node, above);
        }
    }

    /// Shifts the potentials of the subtree of `top` relative to the rest, on the smaller side:
    /// only differences matter.
    fn shift(&mut self, top: u32, by: P) {
        let size = self.nodes[top as usize].size as usize;
        if 2 * size <= self.nodes.len() {
            self.shift_below(top, NONE, by);
        } else {
            self.shift_below(self.root(), top, -by);
        }
    }

    /// Shifts `start` and its descendants, except for the subtree of `except`.
    fn shift_below(&mut self, start: u32, except: u32, by: P) {
        let mut node = start;
        loop {
            if node != except {
                self.potentials[node as usize] += by;
                let child = self.nodes[node as usize].child;
                if child != NONE {
                    node = child;
                    continue;
                }
            }
            loop {
                if node == start {
                    return;
                }
                let entry = &self.nodes[node as usize];
                if entry.next != NONE {
                    node = entry.next;
                    break;
                }
                node = entry.parent;
            }
        }
    }
}
