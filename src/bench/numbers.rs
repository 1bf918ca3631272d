//! Random numbers for calculations. Their exact values do not affect times as long as their scale
//! is realistic, so a short list is repeated: a ViT-B initialises immediately.

use candle_core::{DType, Device, Tensor};

use super::Result;
use crate::ml::models::{Config, Initial, Model, TensorSpec};
use crate::ml::rng::Stream;

/// A prime, so that rows of a matrix differ.
const PERIOD: usize = 4099;

/// `count` normal numbers times `scale`, of which [`PERIOD`] are distinct.
pub fn normal(count: usize, scale: f32) -> Vec<f32> {
    let mut stream = Stream::new(0, "bench");
    let few: Vec<f32> = (0..PERIOD.min(count))
        .map(|_| scale * stream.normal() as f32)
        .collect();
    few.iter().cycle().take(count).copied().collect()
}

/// A tensor of such numbers.
pub fn tensor(shape: &[usize], scale: f32, device: &Device) -> Result<Tensor> {
    let values = normal(shape.iter().product(), scale);
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// A model with a realistic initialisation.
pub fn model(config: Config, device: &Device) -> Result<Model> {
    let tensors = config
        .tensors()
        .into_iter()
        .map(|spec| Ok((spec.name.clone(), start(&spec, device)?)))
        .collect::<Result<_>>()?;
    Ok(Model::from_tensors(config, tensors)?)
}

fn start(spec: &TensorSpec, device: &Device) -> Result<Tensor> {
    let shape = spec.shape.as_slice();
    match spec.initial {
        Initial::Constant(value) => Ok(Tensor::full(value, shape, device)?),
        Initial::Normal { deviation } => tensor(shape, deviation as f32, device),
        // With the same standard deviation.
        Initial::Uniform { bound } => tensor(shape, bound as f32 / 3.0f32.sqrt(), device),
        Initial::Counter => Ok(Tensor::zeros(shape, DType::I64, device)?),
    }
}
