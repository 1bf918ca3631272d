//! Numbers of any magnitude, brought where their squares have a place in f64.

/// The values times a power of two that brings the largest magnitude to [1/2, 1), and its exponent:
/// [`back`] undoes it. Both are exact, so a computation in between has the same bits as without
/// them wherever it neither overflows nor underflows.
pub(super) fn scaled(values: &[f64]) -> (Vec<f64>, i32) {
    let largest = values
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    let (_, exponent) = match largest.is_finite() {
        true => libm::frexp(largest),
        false => (largest, 0),
    };
    let values = values.iter().map(|value| libm::ldexp(*value, -exponent));
    (values.collect(), exponent)
}

/// A value of the scaled ones in the unit of the original ones.
pub(super) fn back(value: f64, exponent: i32) -> f64 {
    libm::ldexp(value, exponent)
}
