//! Initialises the tensors of a new model.

use candle_core::{Device, Tensor};

use super::{Initial, TensorSpec};
use crate::Result;
use crate::rng::Stream;

impl TensorSpec {
    /// The initial value of a parameter or buffer, from the stream `(seed, "init/" + name)`.
    pub fn start(&self, seed: u64, device: &Device) -> Result<Tensor> {
        let count = self.shape.iter().product();
        let mut stream = Stream::new(seed, &format!("init/{}", self.name));
        let values: Vec<f32> = match self.initial {
            Initial::Counter => {
                return Ok(Tensor::from_vec(
                    vec![0i64; count],
                    self.shape.as_slice(),
                    device,
                )?);
            }
            Initial::Constant(value) => vec![value; count],
            Initial::Normal { deviation } => (0..count)
                .map(|_| (stream.normal() * deviation) as f32)
                .collect(),
            Initial::Uniform { bound } => (0..count)
                .map(|_| stream.range(-bound, bound) as f32)
                .collect(),
        };
        Ok(Tensor::from_vec(values, self.shape.as_slice(), device)?)
    }
}
