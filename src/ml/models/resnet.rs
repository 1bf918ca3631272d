//! The residual network (He et al. 2016, with the stride in the 3×3 convolution of a bottleneck),
//! with torchvision's structure and names.

use super::config::{Block, ResNet};
use super::pass::Pass;
use super::{Initial, Role, TensorSpec};
use crate::Result;
use crate::ops::{Affine, Epilogue, Statistics, Value, Window};

/// PyTorch's default for batch norm.
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// One convolution with its batch norm.
struct Unit {
    convolution: String,
    norm: String,
    inputs: usize,
    outputs: usize,
    window: Window,
}

/// One residual block.
struct Residual {
    main: Vec<Unit>,
    shortcut: Option<Unit>,
}

fn stem(resnet: &ResNet) -> Unit {
    let window = match resnet.small_stem {
        true => square(3, 1),
        false => square(7, 2),
    };
    Unit {
        convolution: "conv1".to_string(),
        norm: "bn1".to_string(),
        inputs: 3,
        outputs: resnet.width,
        window,
    }
}

fn blocks(resnet: &ResNet) -> Vec<Residual> {
    let mut blocks = Vec::new();
    let mut inputs = resnet.width;
    for (stage, count) in resnet.stages.iter().enumerate() {
        for index in 0..*count {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("layer{}.{index}", stage + 1);
            blocks.push(block(resnet, &name, inputs, stage, stride));
            inputs = resnet.channels(stage);
        }
    }
    blocks
}

fn block(resnet: &ResNet, name: &str, inputs: usize, stage: usize, stride: usize) -> Residual {
    let (inner, outputs) = (resnet.width << stage, resnet.channels(stage));
    let unit = |number: usize, inputs: usize, outputs: usize, window: Window| Unit {
        convolution: format!("{name}.conv{number}"),
        norm: format!("{name}.bn{number}"),
        inputs,
        outputs,
        window,
    };
    let main = match resnet.block {
        Block::Basic => vec![
            unit(1, inputs, inner, square(3, stride)),
            unit(2, inner, outputs, square(3, 1)),
        ],
        Block::Bottleneck => vec![
            unit(1, inputs, inner, square(1, 1)),
            unit(2, inner, inner, square(3, stride)),
            unit(3, inner, outputs, square(1, 1)),
        ],
    };
    let shortcut = (stride != 1 || inputs != outputs).then(|| Unit {
        convolution: format!("{name}.downsample.0"),
        norm: format!("{name}.downsample.1"),
        inputs,
        outputs,
        window: square(1, stride),
    });
    Residual { main, shortcut }
}

/// An odd window with padding that preserves the image size at stride 1.
fn square(size: usize, stride: usize) -> Window {
    Window {
        size,
        stride,
        padding: size / 2,
    }
}

/// torchvision's initialisation: normal by fan-out for convolutions, ones and zeros for norms,
/// PyTorch's default for the classifier.
pub(super) fn tensors(resnet: &ResNet, classifier: Option<usize>) -> Vec<TensorSpec> {
    let mut list = Vec::new();
    unit_tensors(&stem(resnet), &mut list);
    for block in blocks(resnet) {
        for unit in block.main.iter().chain(&block.shortcut) {
            unit_tensors(unit, &mut list);
        }
    }
    let Some(outputs) = classifier else {
        return list;
    };
    let features = resnet.outputs();
    let initial = Initial::Uniform {
        bound: 1.0 / (features as f64).sqrt(),
    };
    for (last, shape) in [("weight", vec![outputs, features]), ("bias", vec![outputs])] {
        list.push(TensorSpec {
            name: format!("fc.{last}"),
            shape,
            role: Role::Parameter,
            initial,
            head: true,
            outside_blocks: false,
        });
    }
    list
}

fn unit_tensors(unit: &Unit, list: &mut Vec<TensorSpec>) {
    let size = unit.window.size;
    let deviation = (2.0 / (unit.outputs * size * size) as f64).sqrt();
    let mut add = |name: String, shape: Vec<usize>, role: Role, initial: Initial| {
        list.push(TensorSpec {
            name,
            shape,
            role,
            initial,
            head: false,
            outside_blocks: false,
        });
    };
    add(
        format!("{}.weight", unit.convolution),
        vec![unit.outputs, unit.inputs, size, size],
        Role::Parameter,
        Initial::Normal { deviation },
    );
    let channels = || vec![unit.outputs];
    let of = |last: &str| format!("{}.{last}", unit.norm);
    let (zero, one) = (Initial::Constant(0.0), Initial::Constant(1.0));
    add(of("weight"), channels(), Role::Parameter, one);
    add(of("bias"), channels(), Role::Parameter, zero);
    add(of("running_mean"), channels(), Role::Buffer, zero);
    add(of("running_var"), channels(), Role::Buffer, one);
    add(
        of("num_batches_tracked"),
        vec![],
        Role::Buffer,
        Initial::Counter,
    );
}

/// The pooled features `[batch, outputs]` of `images` `[batch, 3, height, width]`.
pub(super) fn features(resnet: &ResNet, pass: &Pass, images: &Value) -> Result<Value> {
    let mut x = apply(pass, &stem(resnet), images, None, true)?;
    if !resnet.small_stem {
        x = pass.tape.max_pool(&x, square(3, 2))?;
    }
    for block in blocks(resnet) {
        let shortcut = match &block.shortcut {
            Some(unit) => apply(pass, unit, &x, None, false)?,
            None => x.clone(),
        };
        let last = block.main.len() - 1;
        for (index, unit) in block.main.iter().enumerate() {
            let residual = (index == last).then_some(&shortcut);
            x = apply(pass, unit, &x, residual, true)?;
        }
    }
    pass.tape.mean_pool(&x)
}

/// Convolution and batch norm, then optionally the residual and the ReLU.
fn apply(
    pass: &Pass,
    unit: &Unit,
    x: &Value,
    residual: Option<&Value>,
    rectify: bool,
) -> Result<Value> {
    let weight = pass.of(&unit.convolution, "weight")?;
    let x = pass.tape.convolution(x, &weight, unit.window)?;
    let (weight, bias) = (pass.of(&unit.norm, "weight")?, pass.of(&unit.norm, "bias")?);
    let (mean, variance) = (
        pass.of(&unit.norm, "running_mean")?,
        pass.of(&unit.norm, "running_var")?,
    );
    let statistics = match pass.is_training() {
        true => Statistics::Batch,
        false => Statistics::Running(mean.tensor(), variance.tensor()),
    };
    let follow = Epilogue { residual, rectify };
    let affine = Affine {
        weight: &weight,
        bias: &bias,
        eps: EPS,
    };
    let (output, moments) = pass.tape.batch_norm(&x, affine, statistics, follow)?;
    if let Some(moments) = moments {
        let blend = |old: &Value, new: &candle_core::Tensor| {
            (old.tensor() * (1.0 - MOMENTUM))? + (new * MOMENTUM)?
        };
        let name = |last: &str| format!("{}.{last}", unit.norm);
        let count = pass.of(&unit.norm, "num_batches_tracked")?;
        pass.update(name("running_mean"), blend(&mean, &moments.mean)?);
        pass.update(name("running_var"), blend(&variance, &moments.variance)?);
        pass.update(name("num_batches_tracked"), (count.tensor() + 1.0)?);
    }
    Ok(output)
}

/// Multiply-adds of the convolutions for one image with sides of `size` pixels.
pub(super) fn multiplications(resnet: &ResNet, size: usize) -> u64 {
    let of_unit = |unit: &Unit, side: usize| {
        let side = side.div_ceil(unit.window.stride);
        let each = unit.inputs * unit.outputs * unit.window.size * unit.window.size;
        (side, (side * side * each) as u64)
    };
    let (mut side, mut total) = of_unit(&stem(resnet), size);
    if !resnet.small_stem {
        side = side.div_ceil(2);
    }
    for block in blocks(resnet) {
        if let Some(shortcut) = &block.shortcut {
            total += of_unit(shortcut, side).1;
        }
        for unit in &block.main {
            let (next, work) = of_unit(unit, side);
            side = next;
            total += work;
        }
    }
    total
}
