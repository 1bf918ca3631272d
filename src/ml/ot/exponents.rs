//! Computes the exponentials of a plan's entries, one run of a row at a time, in one of two ways.
//!
//! Exponents are differences of numbers that may be a thousand times as large: in plain f32 they
//! would have an error of 1e-4 for potentials of a thousand times ε, and the iteration would never
//! converge. [`Wide`] computes them in f64. [`Split`] uses f32: it splits each potential into a
//! multiple of a unit and a rest. The unit is so coarse that the sum of two multiples is exact in
//! f32, and so is subtracting a cost within a factor of two of that sum (Sterbenz 1974); for other
//! costs the exponential is far from 1, and the error of the difference is at most its own
//! rounding. The rests are small compared with ε and go to the weights and the sums, in f64.

use std::marker::PhantomData;

use super::cost::padded;
use super::kernel::Plan;
use super::real::Real;

/// A power of two that all weights are multiplied by, and all sums divided by.
///
/// Most exponentials of a plan are near the least normal number. Times a weight they would be
/// subnormal, and an operation on subnormal numbers takes a hundred times as long on many
/// processors. A power of two changes no other bit. A sum beyond the range of f32 is above
/// 2⁶⁴ without it, so it is not [trusted](super::kernel) either way.
pub(super) const WEIGHT_UNIT: f64 = 18_446_744_073_709_551_616.0; // 2^64

/// The method of computing a plan's exponentials.
///
/// `plan[i, j] = a[i] b[j] · run[j] · exp(rest_of_row(i) + rest_of_column(j))`, where `row_weights`
/// and `column_weights` include the rests and [`WEIGHT_UNIT`] already, and sums still need the rests: a
/// row sum that of its row, a column sum that of its column.
pub(super) trait Exponentials: Sync {
    /// The storage type of costs.
    type Cost: Real;
    /// The type of exponentials.
    type Value: Real;

    /// Fills `run` with the exponentials of `row`, starting at column `first`.
    fn fill(&self, run: &mut [Self::Value], costs: &[Self::Cost], row: usize, first: usize);

    fn row_weights(&self) -> &[Self::Value];

    /// Padded with zeros, like the cost.
    fn column_weights(&self) -> &[Self::Value];

    fn rest_of_row(&self, _row: usize) -> f64 {
        0.0
    }

    fn rest_of_column(&self, _column: usize) -> f64 {
        0.0
    }
}

fn in_units<T: Real>(weight: T) -> T {
    T::from_f64(weight.to_f64() * WEIGHT_UNIT)
}

/// Exponents in f64, from costs stored as `S`; exponentials as `T`.
pub(super) struct Wide<S, T> {
    /// Potentials in units of ε.
    f: Vec<f64>,
    g: Vec<f64>,
    a: Vec<T>,
    b: Vec<T>,
    per_epsilon: f64,
    cost: PhantomData<S>,
}

impl<S: Real, T: Real> Wide<S, T> {
    pub fn new(plan: &Plan) -> Self {
        let per_epsilon = 1.0 / plan.epsilon;
        let stride = padded(plan.cost.columns());
        let scale = |values: &[f64]| values.iter().map(|value| value * per_epsilon).collect();
        let weights = |values: &[f64]| values.iter().map(|it| in_units(T::from_f64(*it))).collect();
        let mut g: Vec<f64> = scale(plan.g);
        g.resize(stride, 0.0);
        let mut b: Vec<T> = weights(plan.b);
        b.resize(stride, T::from_f64(0.0));
        Self {
            f: scale(plan.f),
            g,
            a: weights(plan.a),
            b,
            per_epsilon,
            cost: PhantomData,
        }
    }
}

impl<S: Real, T: Real> Exponentials for Wide<S, T> {
    type Cost = S;
    type Value = T;

    #[inline(always)]
    fn fill(&self, run: &mut [T], costs: &[S], row: usize, first: usize) {
        let f = self.f[row];
        let g = &self.g[first..first + run.len()];
        for ((entry, cost), g) in run.iter_mut().zip(costs).zip(g) {
            let exponent = cost.to_f64().mul_add(-self.per_epsilon, f + g);
            *entry = T::from_f64(exponent).fused_exp();
        }
    }

    fn row_weights(&self) -> &[T] {
        &self.a
    }

    fn column_weights(&self) -> &[T] {
        &self.b
    }
}

/// Exponents in f32, from costs in f32, without loss of accuracy.
pub(super) struct Split {
    f: Potential,
    g: Potential,
    /// log2 e / ε, and its rounding error.
    scale: f32,
    scale_rest: f32,
    /// The range to which differences are clamped: beyond it, their power of two is not a normal
    /// number.
    least: f32,
    most: f32,
}

/// The split potentials of one side.
struct Potential {
    /// Multiples of the unit.
    coarse: Vec<f32>,
    /// The rest, divided by ε.
    rest: Vec<f64>,
    /// The weights of the side, times the exponentials of its rests.
    weights: Vec<f32>,
}

impl Potential {
    fn new(potential: &[f64], weights: &[f64], unit: f64, epsilon: f64, length: usize) -> Self {
        let coarse: Vec<f64> = potential
            .iter()
            .map(|it| (it / unit).round() * unit)
            .collect();
        let pairs = potential.iter().zip(&coarse);
        let rest: Vec<f64> = pairs.map(|(it, coarse)| (it - coarse) / epsilon).collect();
        let pairs = weights.iter().zip(&rest);
        let weights = pairs.map(|(weight, rest)| in_units((weight * Real::exp(*rest)) as f32));
        let mut weights: Vec<f32> = weights.collect();
        let mut coarse: Vec<f32> = coarse.iter().map(|it| *it as f32).collect();
        weights.resize(length, 0.0);
        coarse.resize(length, 0.0);
        Self {
            coarse,
            rest,
            weights,
        }
    }
}

impl Split {
    /// `None` if it exceeds the range of f32: potentials of more than 2²¹ ε, or extreme ones.
    pub fn new(plan: &Plan) -> Option<Self> {
        let largest = |values: &[f64]| values.iter().fold(0.0, |top, value| value.abs().max(top));
        // `max` ignores NaN; a sum does not.
        let sound = plan.f.iter().chain(plan.g).sum::<f64>().is_finite();
        let size = (largest(plan.f) + largest(plan.g)).max(1e-20);
        let scale = std::f64::consts::LOG2_E / plan.epsilon;
        let in_range = size < 1e20 && (1e-20..1e20).contains(&scale);
        if !sound || !in_range || size / plan.epsilon > f64::from(1 << 21) {
            return None;
        }
        // Sums of two multiples up to `size` stay below 2^24 units, so they are exact.
        let unit = libm::exp2(libm::log2(size).ceil() - 23.0);
        let stride = padded(plan.cost.columns());
        Some(Self {
            f: Potential::new(plan.f, plan.a, unit, plan.epsilon, plan.f.len()),
            g: Potential::new(plan.g, plan.b, unit, plan.epsilon, stride),
            scale: scale as f32,
            scale_rest: (scale - f64::from(scale as f32)) as f32,
            least: (-125.0 / scale) as f32,
            most: (126.0 / scale) as f32,
        })
    }

    /// 2^(scale · difference), relative error below 2e-7: the integer part by its bits, the rest,
    /// within ± 1/2, by a minimax polynomial (found by Lawson's algorithm; 8e-8 evaluated in f32).
    #[inline(always)]
    fn power(&self, difference: f32) -> f32 {
        /// Adding it rounds to an integer, which is then in the lowest bits.
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23
        let x = if difference < self.most {
            difference
        } else {
            self.most
        };
        let x = if x > self.least { x } else { self.least };
        let shifted = x.mul_add(self.scale, ROUND);
        let whole = shifted - ROUND;
        let r = x.mul_add(self.scale, -whole);
        let r = x.mul_add(self.scale_rest, r);
        let mut p: f32 = 1.535_336_2e-4;
        p = p.mul_add(r, 1.339_887_5e-3);
        p = p.mul_add(r, 9.618_437e-3);
        p = p.mul_add(r, 5.550_332_4e-2);
        p = p.mul_add(r, 0.240_226_48);
        p = p.mul_add(r, std::f32::consts::LN_2);
        p = p.mul_add(r, 1.0);
        f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
    }
}

impl Exponentials for Split {
    type Cost = f32;
    type Value = f32;

    #[inline(always)]
    fn fill(&self, run: &mut [f32], costs: &[f32], row: usize, first: usize) {
        let f = self.f.coarse[row];
        let g = &self.g.coarse[first..first + run.len()];
        for ((entry, cost), g) in run.iter_mut().zip(costs).zip(g) {
            *entry = self.power((f + g) - cost);
        }
    }

    fn row_weights(&self) -> &[f32] {
        &self.f.weights
    }

    fn column_weights(&self) -> &[f32] {
        &self.g.weights
    }

    fn rest_of_row(&self, row: usize) -> f64 {
        self.f.rest[row]
    }

    fn rest_of_column(&self, column: usize) -> f64 {
        self.g.rest[column]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ot::{Cost, Precision};
    use proptest::prelude::*;

    fn plan_of<'a>(cost: &'a Cost, f: &'a [f64; 1], g: &'a [f64; 1], epsilon: f64) -> Plan<'a> {
        Plan {
            cost,
            a: &[1.0],
            b: &[1.0],
            f,
            g,
            epsilon,
        }
    }

    proptest! {
        /// Compares with the same exponent in f64, for potentials up to a million times ε: the
        /// error is that of an exponential in f32, not that of a potential in f32.
        #[test]
        fn a_split_exponential_is_as_good_as_a_wide_one(
            f in -1e3..1e3f64,
            g in -1e3..1e3f64,
            exponent in -80.0..20.0f64,
            epsilon in 2e-3..1e3f64,
        ) {
            let entry = f64::from((f + g - exponent * epsilon) as f32);
            let cost = Cost::new(&[entry], 1, 1, Precision::Single).unwrap();
            let (f, g) = ([f], [g]);
            let split = Split::new(&plan_of(&cost, &f, &g, epsilon)).unwrap();
            let mut run = [0.0];
            split.fill(&mut run, &[entry as f32], 0, 0);
            let rest = split.rest_of_row(0) + split.rest_of_column(0);
            let found = f64::from(run[0]) * libm::exp(rest);
            let exact = (f[0] + g[0] - entry) / epsilon;
            prop_assume!(exact.abs() < 85.0);
            let within = 2e-7 + 6e-8 * exact.abs();
            let error = found / libm::exp(exact) - 1.0;
            prop_assert!(error.abs() < within, "{exact}: off by {error:e}");
        }
    }

    #[test]
    fn what_f32_has_no_range_for_is_left_to_f64() {
        let cost = Cost::new(&[1.0], 1, 1, Precision::Single).unwrap();
        let fits = |f: f64, epsilon: f64| {
            let (f, g) = ([f], [0.0]);
            Split::new(&plan_of(&cost, &f, &g, epsilon)).is_some()
        };
        assert!(fits(1.0, 1e-6) && fits(0.0, 1.0));
        assert!(!fits(1.0, 1e-7) && !fits(f64::NAN, 1.0) && !fits(f64::INFINITY, 1.0));
        assert!(!fits(1e25, 1e24) && !fits(1.0, 1e-25));
    }
}
