//! Distances between classes, from the `pairs` tables of the `ot` nodes of a graph.

use petgraph::graph::NodeIndex;

use super::view::View;
use crate::workflow::kind::Meaning;

/// The class pairs of one `ot` node.
pub struct ClassPairs<'a> {
    pub index: NodeIndex,
    /// Classes of `a` and of `b`, in the order of their labels.
    pub a: Vec<&'a str>,
    pub b: Vec<&'a str>,
    pub pairs: Vec<Pair<'a>>,
}

/// A class of `a` and a class of `b`.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub a: &'a str,
    pub b: &'a str,
    /// In the unit of the features.
    pub distance: f64,
    /// The share of the total mass that the plan moves from one to the other.
    pub mass: f64,
}

impl<'a> ClassPairs<'a> {
    /// Whether every class of `a` is paired with every class of `b`.
    pub fn is_complete(&self) -> bool {
        self.pairs.len() == self.a.len() * self.b.len()
    }

    pub fn pair(&self, a: &str, b: &str) -> Option<&Pair<'a>> {
        self.pairs.iter().find(|pair| pair.a == a && pair.b == b)
    }

    /// The `count` pairs with the smallest distance.
    pub fn nearest(&self, count: usize) -> Vec<Pair<'a>> {
        let mut pairs = self.pairs.clone();
        pairs.sort_by(|one, other| one.distance.total_cmp(&other.distance));
        pairs.truncate(count);
        pairs
    }

    pub fn largest_distance(&self) -> f64 {
        let distances = self.pairs.iter().map(|pair| pair.distance);
        distances.fold(0.0, f64::max)
    }
}

/// The class pairs of all nodes that have a record, in the order of the file.
pub fn class_pairs<'a>(view: &View<'a>) -> Vec<ClassPairs<'a>> {
    let done = view.done(Meaning::Distance).into_iter();
    done.filter_map(|index| read(view, index)).collect()
}

fn read<'a>(view: &View<'a>, index: NodeIndex) -> Option<ClassPairs<'a>> {
    let table = view.table(index, "pairs")?;
    let column = |name: &str| table.columns.iter().position(|column| column == name);
    let places = [
        column("a")?,
        column("b")?,
        column("distance")?,
        column("mass")?,
    ];
    let mut read = ClassPairs {
        index,
        a: Vec::new(),
        b: Vec::new(),
        pairs: Vec::new(),
    };
    for row in &table.rows {
        let pair = Pair {
            a: row.get(places[0])?.as_str()?,
            b: row.get(places[1])?.as_str()?,
            distance: row.get(places[2])?.as_f64()?,
            mass: row.get(places[3])?.as_f64()?,
        };
        for (known, name) in [(&mut read.a, pair.a), (&mut read.b, pair.b)] {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        read.pairs.push(pair);
    }
    (!read.pairs.is_empty()).then_some(read)
}
