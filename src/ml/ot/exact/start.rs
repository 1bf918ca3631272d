//! An initial plan: moves mass along the arcs that the potentials make cheapest, and the remaining
//! mass to any sink with capacity.

use super::prices::Arc;
use super::tree::{NONE, Tree};
use crate::ot::cost::Cost;
use crate::ot::mass::Masses;

/// An arc that carries mass.
struct FlowArc {
    row: usize,
    column: usize,
    mass: i64,
}

/// A strongly feasible tree with all mass on arcs between points, using `arcs` in their order
/// first.
///
/// Each arc exhausts one of its points, so the arcs that carry mass form a forest; each of its
/// trees is attached by a source to the root, on an arc without mass. `u` are the rows' potentials,
/// which those sources keep.
pub(super) fn tree(cost: &Cost, masses: &Masses, arcs: &[Arc], u: &[f64], v: &[f64]) -> Tree<f64> {
    let used = moved(cost, masses, arcs, v);
    let (rows, columns) = (cost.rows(), cost.columns());
    let mut beside: Vec<Vec<(u32, i64)>> = vec![Vec::new(); rows + columns];
    for arc in &used {
        let (source, sink) = (arc.row, rows + arc.column);
        beside[source].push((sink as u32, arc.mass));
        beside[sink].push((source as u32, arc.mass));
    }
    let mut tree = Tree::new(rows, columns);
    let root = tree.root();
    let mut order: Vec<u32> = Vec::with_capacity(rows + columns);
    for source in (0..rows).filter(|row| masses.a[*row] > 0) {
        if tree.parent(source as u32) != NONE {
            continue;
        }
        tree.hang(source as u32, root, 0);
        tree.potentials[source] = u[source];
        let mut next = order.len();
        order.push(source as u32);
        while let Some(node) = order.get(next).copied() {
            next += 1;
            for (other, mass) in &beside[node as usize] {
                if *other == tree.parent(node) {
                    continue;
                }
                tree.hang(*other, node, *mass);
                let known = tree.potentials[node as usize];
                tree.potentials[*other as usize] = if (node as usize) < rows {
                    known - cost.at(node as usize, *other as usize - rows)
                } else {
                    known + cost.at(*other as usize, node as usize - rows)
                };
                order.push(*other);
            }
        }
    }
    tree.count(&order);
    tree
}

fn moved(cost: &Cost, masses: &Masses, arcs: &[Arc], v: &[f64]) -> Vec<FlowArc> {
    let (mut a, mut b) = (masses.a.clone(), masses.b.clone());
    let mut used = Vec::with_capacity(a.len() + b.len());
    let mut carry = |row: usize, column: usize, a: &mut [i64], b: &mut [i64]| {
        let mass = a[row].min(b[column]);
        if mass > 0 {
            a[row] -= mass;
            b[column] -= mass;
            used.push(FlowArc { row, column, mass });
        }
    };
    for arc in arcs {
        carry(arc.row as usize, arc.column as usize, &mut a, &mut b);
    }
    let mut open: Vec<usize> = (0..b.len()).filter(|column| b[*column] > 0).collect();
    for row in 0..a.len() {
        if a[row] == 0 {
            continue;
        }
        let mut cheapest: Vec<(f64, usize)> = open
            .iter()
            .map(|column| (cost.at(row, *column) - v[*column], *column))
            .collect();
        cheapest.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        for (_, column) in cheapest {
            if a[row] == 0 {
                break;
            }
            carry(row, column, &mut a, &mut b);
        }
        open.retain(|column| b[*column] > 0);
    }
    used
}
