//! Image classifiers: vision transformers with timm's names, residual networks with torchvision's
//! names, so that other tools can read and write their checkpoints.
//!
//! An architecture is an entry in [`catalogue`]; a [`Config`] is self-contained, so that a
//! checkpoint does not depend on the catalogue. A [`Model`] is a config and its named tensors; the
//! caller decides through [`Weights`] how a forward pass accesses them (a frozen tensor, a leaf of
//! the tape, a value computed from several).

pub mod average;
pub mod catalogue;
pub mod checkpoint;
pub mod config;
mod initial;
mod model;
mod pass;
pub mod prompt;
mod resnet;
pub mod soup;
mod vit;
mod work;

pub use catalogue::Architecture;
pub use config::{Config, Network, ResNet, Vit, VitStart};
pub use model::{Classifier, Model};
pub use pass::{BufferUpdates, Pass, Weights};

/// The role of a tensor of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradients.
    Parameter,
    /// Updated by forward passes in training mode: running statistics and their counter.
    Buffer,
}

/// The initialisation of a tensor. Every distribution draws from the stream named by the seed and
/// the tensor's name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    Constant(f32),
    Normal {
        deviation: f64,
    },
    Uniform {
        bound: f64,
    },
    /// The 64-bit integer 0.
    Counter,
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    pub initial: Initial,
    /// Belongs to the classifier, which linear probing trains.
    pub head: bool,
    /// Belongs to a transformer's parts outside its blocks: class token, positions, outer norms.
    pub outside_blocks: bool,
}

impl TensorSpec {
    /// A weight of a linear layer or a convolution, as opposed to biases, norms and embeddings.
    pub fn is_matrix(&self) -> bool {
        let embedding = matches!(self.name.as_str(), "cls_token" | "pos_embed");
        self.shape.len() > 1 && !embedding
    }
}
