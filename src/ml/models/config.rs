//! The config of a model: its structure, its classes, and its input.

use serde::{Deserialize, Serialize};

use super::{TensorSpec, prompt, resnet, vit};
use crate::data::resize::{Filter, Transform};
use crate::{Error, Result};

/// A complete description of a model, stored with its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The catalogue entry it is based on; only a label.
    pub arch: String,
    /// Names of the classes, one per logit; empty if the outputs have no names.
    pub classes: Vec<String>,
    /// The number of outputs without names: CLIP's joint embedding, or a classification without
    /// class names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Without a classifier: the outputs are the pooled features.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headless: bool,
    /// The width of the visual prompt around its images in pixels, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<usize>,
    pub input: Input,
    pub network: Network,
}

/// The input of a model, in the terms of timm's pretrained configurations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The side of the image after the crop, in pixels.
    pub size: usize,
    /// Of the channels red, green, blue, in [0, 1].
    pub mean: [f64; 3],
    pub std: [f64; 3],
    pub interpolation: Filter,
    /// The share of the resized shorter side that the centre crop keeps.
    pub crop: f64,
}

impl Input {
    /// The transform of an image to the model's input: timm's and torchvision's evaluation
    /// transform.
    pub fn transform(&self) -> Transform {
        Transform {
            resize: (self.size as f64 / self.crop).floor() as usize,
            crop: self.size,
            filter: self.interpolation,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    Vit(Vit),
    Resnet(ResNet),
}

impl Network {
    /// The number of pooled features.
    pub fn features(&self) -> usize {
        match self {
            Self::Vit(network) => network.width,
            Self::Resnet(network) => network.outputs(),
        }
    }
}

/// A vision transformer with a class token, as timm's `VisionTransformer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vit {
    /// Pixels on a side of a patch.
    pub patch: usize,
    pub width: usize,
    pub depth: usize,
    pub heads: usize,
    /// Width of the hidden layer of a block's perceptron.
    pub hidden: usize,
    pub norm_eps: f64,
    /// A layer norm before the blocks, as in CLIP.
    pub norm_pre: bool,
    pub patch_bias: bool,
    pub qkv_bias: bool,
    /// x·σ(1.702 x) in place of the exact GELU.
    pub quick_gelu: bool,
    /// The initialisation of new models.
    pub start: VitStart,
}

/// The initialisation of a transformer's linear weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VitStart {
    /// Normal with standard deviation 0.02, timm's default. For widths of several hundred.
    Normal,
    /// Uniform by fan-in and fan-out (Glorot and Bengio 2010), as in the first ViT; queries, keys
    /// and values count as three layers. Narrow models learn faster with it.
    Xavier,
}

/// A residual network, as torchvision's `ResNet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResNet {
    pub block: Block,
    /// Blocks in each stage; each stage except the first halves the image.
    pub stages: Vec<usize>,
    /// Channels of the first stage; each further stage doubles them.
    pub width: usize,
    /// A 3×3 convolution with stride 1 and no pooling, for images of 32 pixels, instead of 7×7 with
    /// stride 2 and 3×3 max pooling.
    pub small_stem: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1 with four times the channels at the end.
    Bottleneck,
}

impl Config {
    /// The tensors of the model, in the order of its state dict.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut tensors = match &self.network {
            Network::Vit(network) => vit::tensors(network, &self.input, self.classifier()),
            Network::Resnet(network) => resnet::tensors(network, self.classifier()),
        };
        if let Some(pad) = self.prompt {
            tensors.extend(prompt::tensors(pad, self.input.size));
        }
        tensors
    }

    /// The outputs of the classifier, if there is one.
    fn classifier(&self) -> Option<usize> {
        (!self.headless).then(|| self.outputs())
    }

    /// The number of outputs: one per class, or the width of the embedding.
    pub fn outputs(&self) -> usize {
        self.embedding.unwrap_or(self.classes.len())
    }

    /// The number of pooled features before the classifier.
    pub fn features(&self) -> usize {
        self.network.features()
    }

    /// The name of the classifier: `head` or `fc`.
    pub fn head(&self) -> &'static str {
        match &self.network {
            Network::Vit(_) => "head",
            Network::Resnet(_) => "fc",
        }
    }

    /// Refuses an invalid config.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if self.outputs() == 0 {
            return invalid("a model needs at least one class".to_string());
        }
        if self
            .prompt
            .is_some_and(|pad| pad == 0 || 2 * pad >= self.input.size)
        {
            return invalid("a visual prompt leaves some of the image".to_string());
        }
        if self.headless && self.embedding != Some(self.features()) {
            return invalid("without a classifier the outputs are the features".to_string());
        }
        if self.embedding.is_some() && !self.classes.is_empty() {
            return invalid("outputs are either classes or an embedding".to_string());
        }
        if self.input.std.iter().any(|std| *std <= 0.0) {
            return invalid("the standard deviation of a channel must be positive".to_string());
        }
        if !(self.input.crop > 0.0 && self.input.crop <= 1.0) {
            return invalid("the crop keeps a share of the image, above 0 and up to 1".to_string());
        }
        match &self.network {
            Network::Vit(vit) => {
                let size = self.input.size;
                if vit.patch == 0 || size == 0 || !size.is_multiple_of(vit.patch) {
                    return invalid(format!(
                        "images of {size} pixels do not divide into patches of {}",
                        vit.patch
                    ));
                }
                if vit.heads == 0 || vit.width == 0 || !vit.width.is_multiple_of(vit.heads) {
                    return invalid(format!(
                        "a width of {} does not divide into {} heads",
                        vit.width, vit.heads
                    ));
                }
            }
            Network::Resnet(resnet) => {
                if resnet.width == 0 || resnet.stages.is_empty() || resnet.stages.contains(&0) {
                    return invalid("every stage of a ResNet needs a block".to_string());
                }
            }
        }
        Ok(())
    }
}

impl ResNet {
    /// Channels out of a block of stage `stage` (from 0).
    pub fn channels(&self, stage: usize) -> usize {
        (self.width << stage) * self.block.expansion()
    }

    /// Channels out of the last stage.
    pub fn outputs(&self) -> usize {
        self.channels(self.stages.len().saturating_sub(1))
    }
}

impl Block {
    pub fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}
