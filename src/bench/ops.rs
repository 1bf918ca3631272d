//! Single operations at the shapes that a ViT-S/16 and a ResNet-18 have at batch 16.

use candle_core::{Device, Tensor};

use super::gemm::precision;
use super::measure::Throughput;
use super::{Family, Prepare, Result, Setting, Work, numbers};
use crate::ml::ops::{
    Activation, Affine, Epilogue, Precision, Statistics, Tape, Targets, Value, Window,
};

pub(super) const FAMILY: Family = Family {
    form: "op/OPERATION/forward|train[/f32|bf16|f16]",
    about: "one operation of a ViT-S/16 or a ResNet-18 at batch 16; `train` goes back too",
    names,
    usual: &[
        "op/layer_norm/train",
        "op/linear_gelu/train",
        "op/attention/train",
        "op/convolution/train",
        "op/batch_norm/train",
    ],
    find,
};

const BATCH: usize = 16;
const TOKENS: usize = 197;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const HIDDEN: usize = 4 * WIDTH;
const CHANNELS: usize = 64;
/// Pixels on a side of the images of a ResNet's first stage.
const SIDE: usize = 56;
const CLASSES: usize = 1000;

const THREE: Window = Window {
    size: 3,
    stride: 1,
    padding: 1,
};

/// An operation: the shapes of its inputs, its function, and its cost.
struct Operation {
    name: &'static str,
    shapes: &'static [&'static [usize]],
    run: fn(&Tape, &[Value]) -> Result<Value>,
    /// Multiply-adds of the forward pass; 0 if the operation is memory-bound.
    multiplications: usize,
}

const OPERATIONS: &[Operation] = &[
    Operation {
        name: "layer_norm",
        shapes: &[&[BATCH, TOKENS, WIDTH], &[WIDTH], &[WIDTH]],
        run: |tape, of| Ok(tape.layer_norm(&of[0], &of[1], &of[2], 1e-6)?),
        multiplications: 0,
    },
    Operation {
        name: "linear_gelu",
        shapes: &[&[BATCH, TOKENS, WIDTH], &[HIDDEN, WIDTH], &[HIDDEN]],
        run: |tape, of| Ok(tape.linear(&of[0], &of[1], Some(&of[2]), Activation::Gelu)?),
        multiplications: BATCH * TOKENS * WIDTH * HIDDEN,
    },
    Operation {
        name: "attention",
        shapes: &[&[BATCH, TOKENS, 3 * WIDTH]],
        run: |tape, of| Ok(tape.attention(&of[0], HEADS, TOKENS)?),
        multiplications: 2 * BATCH * TOKENS * TOKENS * WIDTH,
    },
    Operation {
        name: "convolution",
        shapes: &[&[BATCH, CHANNELS, SIDE, SIDE], &[CHANNELS, CHANNELS, 3, 3]],
        run: |tape, of| Ok(tape.convolution(&of[0], &of[1], THREE)?),
        multiplications: BATCH * CHANNELS * CHANNELS * SIDE * SIDE * 9,
    },
    Operation {
        name: "batch_norm",
        shapes: &[&[BATCH, CHANNELS, SIDE, SIDE], &[CHANNELS], &[CHANNELS]],
        run: batch_norm,
        multiplications: 0,
    },
    Operation {
        name: "max_pool",
        shapes: &[&[BATCH, CHANNELS, 2 * SIDE, 2 * SIDE]],
        run: |tape, of| Ok(tape.max_pool(&of[0], Window { stride: 2, ..THREE })?),
        multiplications: 0,
    },
    Operation {
        name: "cross_entropy",
        shapes: &[&[BATCH, CLASSES]],
        run: cross_entropy,
        multiplications: 0,
    },
];

fn batch_norm(tape: &Tape, of: &[Value]) -> Result<Value> {
    let affine = Affine {
        weight: &of[1],
        bias: &of[2],
        eps: 1e-5,
    };
    let follow = Epilogue {
        residual: None,
        rectify: true,
    };
    let (output, _) = tape.batch_norm(&of[0], affine, Statistics::Batch, follow)?;
    Ok(output)
}

fn cross_entropy(tape: &Tape, of: &[Value]) -> Result<Value> {
    let targets = Targets {
        labels: &[7; BATCH],
        smoothing: 0.0,
    };
    Ok(tape.cross_entropy(&of[0], targets)?)
}

fn names() -> Vec<String> {
    let both = |operation: &Operation| {
        ["forward", "train"].map(|work| format!("op/{}/{work}", operation.name))
    };
    OPERATIONS.iter().flat_map(both).collect()
}

fn find(parts: &[&str]) -> Option<Prepare> {
    let (name, work, precision) = match parts {
        [name, work] => (name, work, Precision::F32),
        [name, work, word] => (name, work, precision(word)?),
        _ => return None,
    };
    let operation = OPERATIONS.iter().find(|it| it.name == *name)?;
    let train = match *work {
        "forward" => false,
        "train" => true,
        _ => return None,
    };
    Some(Box::new(move |_: &Setting| {
        prepare(operation, train, precision)
    }))
}

fn prepare(operation: &'static Operation, train: bool, precision: Precision) -> Result<Work> {
    let tensors = operation
        .shapes
        .iter()
        .map(|shape| numbers::tensor(shape, 1.0, &Device::Cpu))
        .collect::<Result<Vec<Tensor>>>()?;
    let amount = match operation.multiplications {
        // The bytes of its inputs, once.
        0 => Throughput::bytes(4 * tensors[0].elem_count()),
        // The backward pass has two products for each one of the forward pass.
        count if train => Throughput::operations(6 * count),
        count => Throughput::operations(2 * count),
    };
    let mut seed: Option<Tensor> = None;
    Ok(Work::new(amount, move || {
        let tape = Tape::with_precision(precision);
        let value = |tensor: &Tensor| match train {
            true => tape.leaf(tensor.clone()),
            false => Value::constant(tensor.clone()),
        };
        let values: Vec<Value> = tensors.iter().map(value).collect();
        let output = (operation.run)(&tape, &values)?;
        if train {
            let seed = match &seed {
                Some(seed) => seed,
                None => seed.insert(output.tensor().ones_like()?),
            };
            tape.backward_from(&output, seed.clone())?;
        }
        Ok(())
    }))
}
