//! The value of a plan, and how far a dual solution says that it is from the best.

use qd::Quad;

use super::prices::{column_minima, row_minima};
use super::{ExactTransport, Move};
use crate::Error;
use crate::ot::cost::Cost;
use crate::ot::digits::Digits;
use crate::ot::mass::Masses;

/// How much of what is moved a value may be off by.
const ERROR: f64 = 1e-6;

/// Below this share of [`ERROR`], a value in f64 is not computed again in twice the digits.
const SURE: f64 = 0.01;

/// What is moved below this share of the largest cost is rounding: the root of it is the rounding
/// of a coordinate.
const NOTHING: f64 = 1e-31;

/// A plan, its value, and potentials that are feasible.
pub(super) struct Finished {
    found: ExactTransport,
    /// Beyond `dual_gap`, what rounding may hide.
    rounding: f64,
    /// Of what is moved, each at its absolute cost.
    moved: f64,
    /// The share of `moved` that the value may be off by.
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
    // As many roundings as there are terms, and a few.
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

/// In twice the digits: `plan` counts whole masses.
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
    /// The outcome, where it is as good as it must be.
    pub fn settled(&self, cost: &Cost, pivots: u64) -> Option<ExactTransport> {
        let ExactTransport {
            value, dual_gap, ..
        } = self.found;
        if !(value.is_finite() && dual_gap.is_finite()) {
            return None;
        }
        // Nothing is cheaper than nothing.
        let free = self.moved == 0.0 && cost.is_nowhere_negative();
        let close = dual_gap.abs() + self.rounding <= self.allowed * self.moved;
        // Of a set and itself, whose classes are apart by rounding. Without classes, costs of
        // points are differences, and those of a point and itself are 0.
        let nothing = || cost.is_labelled() && self.moved <= NOTHING * cost.largest();
        (close || free || nothing()).then(|| ExactTransport {
            pivots,
            dual_gap: if free { 0.0 } else { dual_gap },
            ..self.found.clone()
        })
    }

    /// Why there is no outcome.
    pub fn unsettled(&self, cost: &Cost) -> Error {
        let ExactTransport {
            value, dual_gap, ..
        } = self.found;
        Error::Numerical(format!(
            "exact transport can't be told to a millionth: its value is {value:.3e}, up to \
             {dual_gap:.1e} too large, at costs of up to {:.1e}",
            cost.largest()
        ))
    }
}

/// What rounding left of infeasibility, and points without mass, are settled here.
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

/// The value of a plan, and that of it under absolute costs.
fn moved(cost: &Cost, plan: &[Move]) -> (f64, f64) {
    let (mut value, mut moved) = (0.0, 0.0);
    for arc in plan {
        let term = arc.mass * cost.at(arc.row, arc.column);
        value += term;
        moved += term.abs();
    }
    (value, moved)
}
