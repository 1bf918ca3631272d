//! Finds arcs that could make a plan cheaper: those whose cost is below what the potentials allow.
//!
//! All cores rarely search the whole cost for the cheapest arcs of every row; between two searches
//! the simplex uses only these candidate lists (Gottschlich and Schuhmacher 2014).

use rayon::prelude::*;

use crate::ot::cost::Cost;
use crate::ot::digits::Digits;

/// An arc with its cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arc {
    pub row: u32,
    pub column: u32,
    pub cost: f64,
}

/// For each row, the `limit` arcs with the smallest reduced costs `cost - u - v` below `below`.
/// Excludes rows and columns with a potential of -∞.
pub(super) fn search<P: Digits>(
    cost: &Cost,
    u: &[P],
    v: &[P],
    limit: usize,
    below: f64,
) -> Vec<Arc> {
    let of_row = |row: usize| -> Vec<Arc> {
        if u[row].to_f64() == f64::NEG_INFINITY {
            return Vec::new();
        }
        let mut found: Vec<(f64, u32)> = Vec::new();
        let mut bar = below;
        cost.for_row(row, |column, cost| {
            let reduced = (P::from(cost) - u[row] - v[column]).to_f64();
            if reduced < bar {
                found.push((reduced, column as u32));
                if found.len() >= 4 * limit {
                    bar = keep(&mut found, limit).min(bar);
                }
            }
        });
        if found.len() > limit {
            keep(&mut found, limit);
        }
        let arcs = found.into_iter().map(|(_, column)| Arc {
            row: row as u32,
            column,
            cost: cost.at(row, column as usize),
        });
        arcs.collect()
    };
    let rows: Vec<Vec<Arc>> = (0..cost.rows()).into_par_iter().map(of_row).collect();
    rows.concat()
}

/// Keeps the `limit` smallest and returns the largest of them.
fn keep(found: &mut Vec<(f64, u32)>, limit: usize) -> f64 {
    let order = |x: &(f64, u32), y: &(f64, u32)| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1));
    found.select_nth_unstable_by(limit - 1, order);
    found.truncate(limit);
    found[limit - 1].0
}

/// For every row, the smallest `cost - v`; +∞ if no column has a finite potential.
pub(super) fn row_minima<P: Digits>(cost: &Cost, v: &[P]) -> Vec<P> {
    let of_row = |row: usize| {
        let mut least = P::from(f64::INFINITY);
        cost.for_row(row, |column, cost| {
            least = least.least(P::from(cost) - v[column]);
        });
        least
    };
    (0..cost.rows()).into_par_iter().map(of_row).collect()
}

/// For every column, the smallest `cost - u` over the rows that satisfy `counts`.
pub(super) fn column_minima<P: Digits>(cost: &Cost, u: &[P], counts: &[bool]) -> Vec<P> {
    let chunk = cost.rows().div_ceil(32);
    let of_chunk = |first: usize| {
        let mut least = vec![P::from(f64::INFINITY); cost.columns()];
        for row in (first..(first + chunk).min(cost.rows())).filter(|row| counts[*row]) {
            cost.for_row(row, |column, cost| {
                least[column] = least[column].least(P::from(cost) - u[row]);
            });
        }
        least
    };
    let starts: Vec<usize> = (0..cost.rows()).step_by(chunk).collect();
    let chunks: Vec<Vec<P>> = starts.into_par_iter().map(of_chunk).collect();
    let mut least = vec![P::from(f64::INFINITY); cost.columns()];
    for part in chunks {
        for (least, part) in least.iter_mut().zip(part) {
            *least = least.least(part);
        }
    }
    least
}
