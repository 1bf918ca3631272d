//! The distance of two tensors, element by element.

use rayon::prelude::*;

use super::math::vectorised;
use crate::ops::parallel;

/// Elements of a work item.
const PIECE: usize = 1 << 14;

/// Σ w·(x − a)², summed in f64; empty weights mean weights of 1.
pub fn squared_distance(x: &[f32], anchor: &[f32], weights: &[f32]) -> f64 {
    let piece = |index: usize| {
        let from = index * PIECE;
        let until = (from + PIECE).min(x.len());
        let square = |place: usize| {
            let moved = f64::from(x[place]) - f64::from(anchor[place]);
            let weight = weights.get(place).map_or(1.0, |weight| f64::from(*weight));
            weight * moved * moved
        };
        (from..until).map(square).sum::<f64>()
    };
    let pieces = 0..x.len().div_ceil(PIECE);
    let sums: Vec<f64> = pieces.into_par_iter().map(piece).collect();
    sums.iter().sum()
}

/// Σ x², summed in f64.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let square = |value: &f32| f64::from(*value) * f64::from(*value);
    let pieces = x.par_chunks(PIECE);
    let sums: Vec<f64> = pieces
        .map(|piece| piece.iter().map(square).sum::<f64>())
        .collect();
    sums.iter().sum()
}

/// factor·w·(x − a).
pub fn gradient(x: &[f32], anchor: &[f32], weights: &[f32], factor: f32) -> Vec<f32> {
    let mut output = vec![0.0; x.len()];
    parallel::each_piece(&mut output, PIECE, |index, target| {
        let from = index * PIECE;
        let (x, anchor) = (&x[from..][..target.len()], &anchor[from..][..target.len()]);
        vectorised(
            #[inline(always)]
            || {
                for ((target, x), anchor) in target.iter_mut().zip(x).zip(anchor) {
                    *target = factor * (x - anchor);
                }
                if !weights.is_empty() {
                    let weights = &weights[from..][..target.len()];
                    for (target, weight) in target.iter_mut().zip(weights) {
                        *target *= weight;
                    }
                }
            },
        );
    });
    output
}
