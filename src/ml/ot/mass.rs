//! Integer masses, so that moving them is exact and nothing is left over.

use crate::{Error, Result};

/// The sum of unequal weights: a weight is rounded to 2⁻⁵² of the mass.
const WHOLE: f64 = (1_i64 << 52) as f64;

/// The maximum error relative to the cost of all moves.
const ERROR: f64 = 1e-6;

/// Integer masses of both sides with the same sum.
pub(super) struct Masses {
    pub a: Vec<i64>,
    pub b: Vec<i64>,
    /// The share of the total mass per unit.
    pub unit: f64,
    /// The maximum change of an arc's flow due to rounding; 0 for equal weights.
    doubt: f64,
}

impl Masses {
    /// From weights that sum to 1 on each side.
    pub fn of(a: &[f64], b: &[f64]) -> Self {
        let alike = |weights: &[f64]| weights.windows(2).all(|pair| pair[0] == pair[1]);
        if alike(a) && alike(b) {
            let common = greatest_common_divisor(a.len(), b.len());
            let (of_a, of_b) = (b.len() / common, a.len() / common);
            return Self {
                a: vec![of_a as i64; a.len()],
                b: vec![of_b as i64; b.len()],
                unit: 1.0 / (a.len() * of_a) as f64,
                doubt: 0.0,
            };
        }
        Self {
            a: rounded(a),
            b: rounded(b),
            unit: 1.0 / WHOLE,
            doubt: (a.len() + b.len()) as f64 / WHOLE,
        }
    }

    /// The part of `mass` that may be due to rounding.
    pub fn doubtful(&self, mass: f64) -> f64 {
        mass.min(self.doubt)
    }

    /// Checks that rounding of the masses does not affect a value, given the costs of all moves and
    /// of their [doubtful](Self::doubtful) parts: a tiny mass that must go to a distant cluster may
    /// cost more than all else.
    pub fn check(&self, value: f64, doubtful: f64) -> Result<()> {
        if !value.is_finite() {
            return Err(beyond_range());
        }
        if doubtful <= ERROR * value {
            return Ok(());
        }
        Err(Error::Numerical(format!(
            "the distance can't be computed to a millionth: weights are known to {:.0e} of the mass, \
             and moving that may cost {doubtful:.1e} of {value:.3e}; equal weights, or points less \
             far apart, have a distance",
            self.doubt
        )))
    }
}

/// A sum of powers of distances overflows, or has lost digits to underflow.
pub fn beyond_range() -> Error {
    Error::Numerical(
        "a power of a distance is beyond the range of f64: scale the points first".to_string(),
    )
}

fn greatest_common_divisor(mut x: usize, mut y: usize) -> usize {
    while y > 0 {
        (x, y) = (y, x % y);
    }
    x
}

/// The heaviest point takes the rounding remainder: about 2⁻⁵² of the mass per point.
fn rounded(weights: &[f64]) -> Vec<i64> {
    let mut masses: Vec<i64> = weights
        .iter()
        .map(|weight| (weight * WHOLE).round() as i64)
        .collect();
    let missing = WHOLE as i64 - masses.iter().sum::<i64>();
    if let Some(heaviest) = masses.iter_mut().max() {
        *heaviest += missing;
    }
    masses
}
