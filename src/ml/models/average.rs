//! Weighted averages of models: WiSE-FT, model soups.

use candle_core::{DType, Tensor};

use super::Model;
use crate::ml::{Error, Result};

/// The weighted mean of `models` of one structure; `weights` are as many and sum to 1.
///
/// Summed in f64 and rounded once. Models of weight 0 are left out, so a single one of weight 1
/// comes back bit by bit. Integer buffers are averaged alike and truncated, as PyTorch does when
/// it loads such a mean.
pub fn average(models: &[Model], weights: &[f64]) -> Result<Model> {
    let taken: Vec<(&Model, f64)> = models
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight != 0.0)
        .map(|(model, weight)| (model, *weight))
        .collect();
    let (Some((first, _)), true) = (taken.first(), models.len() == weights.len()) else {
        return Err(Error::Invalid(format!(
            "{} models cannot be averaged with {} weights",
            models.len(),
            weights.len()
        )));
    };
    if let Some((other, _)) = taken
        .iter()
        .find(|(model, _)| model.config() != first.config())
    {
        return Err(Error::Invalid(format!(
            "models of different structure cannot be averaged: {} for {} classes and {} for {}",
            first.config().arch,
            first.config().classes.len(),
            other.config().arch,
            other.config().classes.len(),
        )));
    }
    if let [(only, 1.0)] = taken.as_slice() {
        return Ok((*only).clone());
    }
    let mut tensors = first.tensors().clone();
    for (name, tensor) in &mut tensors {
        let members: Vec<(&Tensor, f64)> = taken
            .iter()
            .filter_map(|(model, weight)| Some((model.tensors().get(name)?, *weight)))
            .collect();
        *tensor = mean(&members)?;
    }
    Model::from_tensors(first.config().clone(), tensors)
}

fn mean(members: &[(&Tensor, f64)]) -> Result<Tensor> {
    let mut sum: Vec<f64> = Vec::new();
    for (tensor, weight) in members {
        let values = tensor
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        sum.resize(values.len(), 0.0);
        for (sum, value) in sum.iter_mut().zip(&values) {
            *sum += value * weight;
        }
    }
    let (like, _) = members[0];
    if like.dtype() == DType::I64 {
        sum.iter_mut().for_each(|value| *value = value.trunc());
    }
    let mean = Tensor::from_vec(sum, like.shape(), like.device())?;
    Ok(mean.to_dtype(like.dtype())?)
}
