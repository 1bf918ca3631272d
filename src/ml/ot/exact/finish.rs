//! The value of a plan, and its gap to a dual solution.

use qd::Quad;

use super::prices::{column_minima, row_minima};
use super::{ExactTransport, Move};
use crate::Error;
use crate::ot::cost::Cost;
use crate::ot::digits::Digits;
use crate::ot::mass::Masses;

/// The maximum error of a value, relative to the cost of all moves.
const ERROR: f64 = 1e-6;

/// Below this share of [`ERROR`], a value in f64 is not recomputed in double-double.
const SURE: f64 = 0.01;

/// Values below this share of the largest cost are rounding errors: its square root is the rounding
/// error of a coordinate.
const NOTHING: f64 = 1e-31;

/// A plan, its value, and feasible potentials.
pub(super) struct Finished {
    found: ExactTransport,
    /// Possible rounding error in addition to `dual_gap`.
    rounding: f64,
    /// The total of all moves at absolute cost.
    moved: f64,
    /// The allowed error as a share of `moved`.
    allowed: f64,
}

/// In f64: `weights` sum to 1 on each side.
pub(super) fn in_single(
    cost: &Cost,
    plan: &[Move],
    weights: [&[f64]; 2],
    potentials: (Vec<f64>, Vec<f64>),
) -> Finished {
    let (f, g) = feasible(cost, weights, potentials);
    let (value, moved) = moved(cost, plan);
    let dual = dot(weights[0], &f) + dot(weights[1], &g);
    let size = |weights: &[f64], values: &[f64]| -> f64 {
        let pairs = weights.iter().zip(values);
        pairs.map(|(weight, value)| weight * value.abs()).sum()
    };
    // A rounding for each term, and a few more.
    let terms = (f.len() + g.len() + 4) as f64;
    let size = size(weights[0], &f) + size(weights[1], &g);
    Finished {
        rounding: terms * 0.5 * f64::EPSILON * size,
        moved,
        allowed: SURE * ERROR,
        found: ExactTransport {
            value,
            dual_gap: value - dual,
            f,
            g,
            plan: plan.to_vec(),
            pivots: 0,
        },
    }
}

/// In double-double: `plan` consists of whole masses.
pub(super) fn in_double(
    cost: &Cost,
    plan: &[Move],
    masses: &Masses,
    potentials: (Vec<Quad>, Vec<Quad>),
) -> Finished {
    let whole = |masses: &[i64]| -> Vec<f64> { masses.iter().map(|mass| *mass as f64).collect() };
    let (a, b) = (whole(&masses.a), whole(&masses.b));
    let (f, g) = feasible(cost, [&a, &b], potentials);
    let terms = plan.iter();
    let terms = terms.map(|arc| Quad::from(cost.at(arc.row, arc.column)).times(arc.mass));
    let value = terms.fold(Quad::from(0.0), |sum, term| sum + term);
    let gap = value - (dot(&a, &f) + dot(&b, &g));
    let unit = masses.unit;
    let plan: Vec<Move> = plan
        .iter()
        .map(|arc| Move {
            mass: arc.mass * unit,
            ..*arc
        })
        .collect();
    let (_, moved) = moved(cost, &plan);
    let rounded = |values: &[Quad]| values.iter().map(|it| it.to_f64()).collect();
    Finished {
        // Potentials are sums of costs along the tree.
        rounding: 1e-30 * cost.largest(),
        moved,
        allowed: ERROR,
        found: ExactTransport {
            value: value.to_f64() * unit,
            dual_gap: gap.to_f64() * unit,
            f: rounded(&f),
            g: rounded(&g),
            plan,
            pivots: 0,
        },
    }
}

impl Finished {
    /// The result, if it is accurate enough.
    pub fn result(&self, cost: &Cost, pivots: u64) -> Option<ExactTransport> {
        let ExactTransport {
            value, dual_gap, ..
        } = self.found;
        if !(value.is_finite() && dual_gap.is_finite()) {
            return None;
        }
        // If no cost is negative, 0 is optimal.
        let free = self.moved == 0.0 && cost.is_nowhere_negative();
        let close = dual_gap.abs() + self.rounding <= self.allowed * self.moved;
        // A set and itself, with class distances due to rounding. Without classes, costs of points
        // are differences, and those of a point and itself are 0.
        let nothing = || cost.is_labelled() && self.moved <= NOTHING * cost.largest();
        (close || free || nothing()).then(|| ExactTransport {
            pivots,
            dual_gap: if free { 0.0 } else { dual_gap },
            ..self.found.clone()
        })
    }

    /// Why the result is not accurate enough.
    pub fn inaccuracy(&self, cost: &Cost) -> Error {
        let ExactTransport {
            value, dual_gap, ..
        } = self.found;
        Error::Numerical(format!(
            "exact transport can't be computed to a millionth: its value is {value:.3e}, up to \
             {dual_gap:.1e} too large, at costs of up to {:.1e}",
            cost.largest()
        ))
    }
}

/// Corrects infeasibility due to rounding, and sets the potentials of points without mass.
fn feasible<P: Digits>(
    cost: &Cost,
    [a, b]: [&[f64]; 2],
    (u, v): (Vec<P>, Vec<P>),
) -> (Vec<P>, Vec<P>) {
    let counts: Vec<bool> = a.iter().map(|weight| *weight > 0.0).collect();
    let of_columns = column_minima(cost, &u, &counts);
    let pairs = v.iter().zip(&of_columns).zip(b);
    let g: Vec<P> = pairs
        .map(|((v, least), weight)| match *weight == 0.0 {
            true => *least,
            false => v.least(*least),
        })
        .collect();
    (row_minima(cost, &g), g)
}

fn dot<P: Digits>(weights: &[f64], values: &[P]) -> P {
    let pairs = weights.iter().zip(values);
    let terms = pairs.map(|(weight, value)| value.times(*weight));
    terms.fold(P::from(0.0), |sum, term| sum + term)
}

/// The value of a plan, and its value under absolute costs.
fn moved(cost: &Cost, plan: &[Move]) -> (f64, f64) {
    let (mut value, mut moved) = (0.0, 0.0);
    for arc in plan {
        let term = arc.mass * cost.at(arc.row, arc.column);
        value += term;
        moved += term.abs();
    }
    (value, moved)
}
