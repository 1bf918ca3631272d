//! The vision transformer (Dosovitskiy et al. 2021), with timm's structure and names.

use super::config::{Input, Vit, VitStart};
use super::pass::Pass;
use super::{Initial, Role, TensorSpec};
use crate::Result;
use crate::ops::{Activation, Value};

/// timm's initialisation: 0.02 for positions, nearly zero for the class token, PyTorch's default
/// for the patch convolution, [`VitStart`] for linear layers.
pub(super) fn tensors(vit: &Vit, input: &Input, classifier: Option<usize>) -> Vec<TensorSpec> {
    let width = vit.width;
    let tokens = (input.size / vit.patch).pow(2) + 1;
    let pixels = 3 * vit.patch * vit.patch;
    let mut list = List {
        specs: Vec::new(),
        start: vit.start,
    };
    list.add("cls_token", &[1, 1, width], normal(1e-6));
    list.add("pos_embed", &[1, tokens, width], normal(0.02));
    let bound = Initial::Uniform {
        bound: 1.0 / (pixels as f64).sqrt(),
    };
    let patch = [width, 3, vit.patch, vit.patch];
    list.add("patch_embed.proj.weight", &patch, bound);
    if vit.patch_bias {
        list.add("patch_embed.proj.bias", &[width], bound);
    }
    if vit.norm_pre {
        list.norm("norm_pre", width);
    }
    for block in 0..vit.depth {
        let name = |part: &str| format!("blocks.{block}.{part}");
        list.norm(&name("norm1"), width);
        let qkv = list.weight(width, width);
        list.add(&name("attn.qkv.weight"), &[3 * width, width], qkv);
        if vit.qkv_bias {
            list.add(&name("attn.qkv.bias"), &[3 * width], ZERO);
        }
        list.linear(&name("attn.proj"), width, width);
        list.norm(&name("norm2"), width);
        list.linear(&name("mlp.fc1"), width, vit.hidden);
        list.linear(&name("mlp.fc2"), vit.hidden, width);
    }
    list.norm("norm", width);
    if let Some(outputs) = classifier {
        list.linear("head", width, outputs);
    }
    list.specs
}

const ZERO: Initial = Initial::Constant(0.0);

fn normal(deviation: f64) -> Initial {
    Initial::Normal { deviation }
}

struct List {
    specs: Vec<TensorSpec>,
    start: VitStart,
}

impl List {
    /// The initialisation of a linear layer's weight.
    fn weight(&self, inputs: usize, outputs: usize) -> Initial {
        match self.start {
            VitStart::Normal => normal(0.02),
            VitStart::Xavier => Initial::Uniform {
                bound: (6.0 / (inputs + outputs) as f64).sqrt(),
            },
        }
    }

    fn add(&mut self, name: &str, shape: &[usize], initial: Initial) {
        self.specs.push(TensorSpec {
            name: name.to_string(),
            shape: shape.to_vec(),
            role: Role::Parameter,
            initial,
            head: name.starts_with("head."),
            outside_blocks: ["cls_token", "pos_embed", "norm_pre.", "norm."]
                .iter()
                .any(|start| name.starts_with(start)),
        });
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], Initial::Constant(1.0));
        self.add(&format!("{name}.bias"), &[width], ZERO);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        let weight = self.weight(inputs, outputs);
        self.add(&format!("{name}.weight"), &[outputs, inputs], weight);
        self.add(&format!("{name}.bias"), &[outputs], ZERO);
    }
}

/// The pooled features `[batch, width]` of `images` `[batch, 3, size, size]`.
///
/// Only the class token of the last block is used, so from that block's attention on only its row
/// is computed.
pub(super) fn features(vit: &Vit, pass: &Pass, images: &Value) -> Result<Value> {
    let tape = pass.tape;
    let patches = tape.patches(images, vit.patch)?;
    let bias = vit
        .patch_bias
        .then(|| pass.weight("patch_embed.proj.bias"))
        .transpose()?;
    let weight = pass.weight("patch_embed.proj.weight")?;
    let patches = tape.linear(&patches, &weight, bias.as_ref(), Activation::None)?;
    let (class, positions) = (pass.weight("cls_token")?, pass.weight("pos_embed")?);
    let mut x = tape.embed(&patches, &class, &positions)?;
    let tokens = x.tensor().dim(1)?;
    if vit.norm_pre {
        x = norm(vit, pass, "norm_pre", &x)?;
    }
    for index in 0..vit.depth {
        let leaving = if index + 1 == vit.depth { 1 } else { tokens };
        x = block(vit, pass, &format!("blocks.{index}"), &x, leaving)?;
    }
    let class = tape.first_tokens(&x, 1)?;
    let pooled = norm(vit, pass, "norm", &class)?;
    tape.flatten_tokens(&pooled)
}

/// One block; returns only the first `leaving` tokens.
fn block(vit: &Vit, pass: &Pass, name: &str, x: &Value, leaving: usize) -> Result<Value> {
    let tape = pass.tape;
    let h = norm(vit, pass, &format!("{name}.norm1"), x)?;
    let weight = pass.of(name, "attn.qkv.weight")?;
    let bias = vit
        .qkv_bias
        .then(|| pass.of(name, "attn.qkv.bias"))
        .transpose()?;
    let qkv = tape.linear(&h, &weight, bias.as_ref(), Activation::None)?;
    let h = tape.attention(&qkv, vit.heads, leaving)?;
    let x = residual(
        pass,
        &format!("{name}.attn.proj"),
        &h,
        &tape.first_tokens(x, leaving)?,
    )?;

    let h = norm(vit, pass, &format!("{name}.norm2"), &x)?;
    let activation = match vit.quick_gelu {
        true => Activation::QuickGelu,
        false => Activation::Gelu,
    };
    let layer = |name: String| -> Result<[Value; 2]> {
        Ok([pass.of(&name, "weight")?, pass.of(&name, "bias")?])
    };
    let first = layer(format!("{name}.mlp.fc1"))?;
    let second = layer(format!("{name}.mlp.fc2"))?;
    tape.perceptron(&h, first.each_ref(), activation, second.each_ref(), &x)
}

fn norm(vit: &Vit, pass: &Pass, name: &str, x: &Value) -> Result<Value> {
    let (weight, bias) = (pass.of(name, "weight")?, pass.of(name, "bias")?);
    pass.tape.layer_norm(x, &weight, &bias, vit.norm_eps)
}

fn residual(pass: &Pass, name: &str, h: &Value, x: &Value) -> Result<Value> {
    let (weight, bias) = (pass.of(name, "weight")?, pass.of(name, "bias")?);
    pass.tape.linear_residual(h, &weight, Some(&bias), x)
}
