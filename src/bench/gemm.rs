//! Matrix products with the shapes of the models' linear layers: x·Wᵀ.

use candle_core::Device;

use super::measure::Throughput;
use super::{Family, Prepare, Result, Setting, Work, numbers};
use crate::ml::ops::{Activation, Precision, Tape, Value};

pub(super) const FAMILY: Family = Family {
    form: "gemm/ROWSxINPUTSxOUTPUTS[/f32|bf16|f16]",
    about: "a linear layer without bias; the listed ones are a ViT-S's and a ViT-B's at batch 16",
    names: || NAMES.iter().map(|name| name.to_string()).collect(),
    usual: &["gemm/3152x768x3072"],
    find,
};

const NAMES: &[&str] = &[
    "gemm/3152x384x1152",
    "gemm/3152x384x1536",
    "gemm/3152x768x768",
    "gemm/3152x768x2304",
    "gemm/3152x768x3072",
    "gemm/3152x3072x768",
    "gemm/8320x192x576",
    "gemm/3152x768x3072/bf16",
];

fn find(parts: &[&str]) -> Option<Prepare> {
    let (shape, precision) = match parts {
        [shape] => (shape, Precision::F32),
        [shape, word] => (shape, precision(word)?),
        _ => return None,
    };
    let sizes: Option<Vec<usize>> = shape.split('x').map(positive).collect();
    let [rows, inputs, outputs] = sizes?.try_into().ok()?;
    Some(Box::new(move |_: &Setting| {
        prepare(rows, inputs, outputs, precision)
    }))
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

pub(super) fn precision(word: &str) -> Option<Precision> {
    match word {
        "f32" => Some(Precision::F32),
        "bf16" => Some(Precision::Bf16),
        "f16" => Some(Precision::F16),
        _ => None,
    }
}

fn prepare(rows: usize, inputs: usize, outputs: usize, precision: Precision) -> Result<Work> {
    let x = Value::constant(numbers::tensor(&[rows, inputs], 1.0, &Device::Cpu)?);
    let weight = Value::constant(numbers::tensor(&[outputs, inputs], 0.02, &Device::Cpu)?);
    let amount = Throughput::operations(2 * rows * inputs * outputs);
    Ok(Work::new(amount, move || {
        Tape::with_precision(precision).linear(&x, &weight, None, Activation::None)?;
        Ok(())
    }))
}
