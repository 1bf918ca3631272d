//! Resamples position embeddings for another number of patches, as timm does.

use candle_core::{Device, Tensor};

use crate::{Error, Result};

/// `positions` `[1, 1 + g², width]` for a grid of `side` × `side` patches: the class token's
/// position is kept, the others are resized as an image of `width` channels, bicubic (a = −0.5) and
/// antialiased as in PyTorch's `interpolate(mode="bicubic", antialias=True, align_corners=False)`.
pub fn resample(positions: &Tensor, side: usize) -> Result<Tensor> {
    let (Some(grid), true) = (grid(positions), side > 0) else {
        return Err(Error::Invalid(format!(
            "position embeddings {:?} are not those of a class token and a square of patches",
            positions.dims()
        )));
    };
    let width = positions.dim(2)?;
    let values = positions.flatten_all()?.to_vec1::<f32>()?;
    let (class, patches) = values.split_at(width);
    let weights = weights(grid, side);
    // Columns first, then rows, as PyTorch does; sums in f64.
    let across = blend(patches, grid, 1, width, &weights);
    let down = blend(&across, 1, side, width, &weights);
    let mut resized = class.to_vec();
    resized.extend(down);
    Ok(Tensor::from_vec(
        resized,
        (1, side * side + 1, width),
        &Device::Cpu,
    )?)
}

/// The side of the square grid of patches in `positions`, after a class token.
pub(super) fn grid(positions: &Tensor) -> Option<usize> {
    let [1, tokens, _] = positions.dims()[..] else {
        return None;
    };
    let grid = tokens.saturating_sub(1).isqrt();
    (grid > 0 && grid * grid + 1 == tokens).then_some(grid)
}

/// For each new position, the first old one and the weights from there on.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let place = |index: usize| {
        let centre = scale * (index as f64 + 0.5);
        let low = (centre - support + 0.5).max(0.0) as usize;
        let high = ((centre + support + 0.5) as usize).min(from);
        let weight = |old: usize| cubic((old as f64 - centre + 0.5) / stretch);
        let all: Vec<f64> = (low..high).map(weight).collect();
        let total: f64 = all.iter().sum();
        (low, all.into_iter().map(|weight| weight / total).collect())
    };
    (0..to).map(place).collect()
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// Blends `values` `[rows, old, inner, width]` along the second axis, whose length follows from the
/// others.
fn blend(
    values: &[f32],
    rows: usize,
    inner: usize,
    width: usize,
    weights: &[(usize, Vec<f64>)],
) -> Vec<f32> {
    let stride = inner * width;
    let old = values.len() / (rows * stride).max(1);
    let mut blended = Vec::with_capacity(rows * weights.len() * stride);
    for row in 0..rows {
        let start = row * old * stride;
        for (low, weights) in weights {
            for offset in 0..stride {
                let term = |(index, weight): (usize, &f64)| {
                    weight * f64::from(values[start + (low + index) * stride + offset])
                };
                blended.push(weights.iter().enumerate().map(term).sum::<f64>() as f32);
            }
        }
    }
    blended
}
