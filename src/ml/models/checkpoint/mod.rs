//! Published weights: from the file formats of other tools to a [`Model`](super::Model).
//!
//! Knows files and tensors; the caller decides where a file comes from.

mod choice;
mod containers;
mod element;
mod fit;
mod growth;
mod pickle;
mod positions;
mod safetensors;
mod torch;

use std::collections::BTreeMap;

use candle_core::Tensor;

pub use choice::Part;
pub use containers::{USUAL, is_index, read, shards};
pub use fit::{fit, rooted};
pub use growth::Growth;
pub use positions::resample;

/// Tensors by name: floating ones as f32, integers as i64, all on the CPU.
pub type StateDict = BTreeMap<String, Tensor>;
/// A state dict and its place in the file.
pub type Weights = Part<Tensor>;
