//! Tests of the GPU layers on the CPU: in f32 and bf16, against the same layers composed in f64.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::ops::tests::{double, largest, random, run_on};
use crate::ops::{
    Activation, Affine, Epilogue, Precision, Statistics, Tape, Targets, Value, Window,
};

/// For one layer, relative to the largest value of a tensor.
const FLOAT: f64 = 2e-6;
/// Half a unit in the last place of bf16 is 2⁻⁹; several roundings accumulate.
const HALF: f64 = 0.02;

fn error(found: &Tensor, exact: &Tensor) -> f64 {
    assert_eq!(found.dims(), exact.dims());
    let gap = (double(found) - double(exact)).unwrap();
    largest(&gap) / largest(&double(exact)).max(1e-3)
}

/// The output of an operation and the gradient of each input, in the inputs' types.
fn run(
    tape: Tape,
    inputs: &[Tensor],
    operation: &dyn Fn(&Tape, &[Value]) -> Result<Value>,
) -> Vec<Tensor> {
    let (output, gradients) = run_on(tape, operation, inputs);
    for (gradient, input) in gradients.iter().zip(inputs) {
        assert_eq!(gradient.dtype(), input.dtype());
    }
    std::iter::once(output).chain(gradients).collect()
}

fn check(name: &str, shapes: &[&[usize]], operation: &dyn Fn(&Tape, &[Value]) -> Result<Value>) {
    check_layers(1.0, name, shapes, operation);
}

/// Runs [`check`] for several layers.
fn check_layers(
    layers: f64,
    name: &str,
    shapes: &[&[usize]],
    operation: &dyn Fn(&Tape, &[Value]) -> Result<Value>,
) {
    let input = |(index, shape): (usize, &&[usize])| random(&format!("{name}/{index}"), shape);
    let inputs: Vec<Tensor> = shapes.iter().enumerate().map(input).collect();
    let wide: Vec<Tensor> = inputs.iter().map(double).collect();
    let exact = run(Tape::new(), &wide, operation);
    for (precision, most) in [(Precision::F32, FLOAT), (Precision::Bf16, HALF)] {
        let tape = Tape::with_precision(precision).acting_as_gpu();
        let found = run(tape, &inputs, operation);
        for (index, (found, exact)) in found.iter().zip(&exact).enumerate() {
            let error = error(found, exact);
            assert!(
                error < layers * most,
                "{name}, {precision:?}, {index}: {error}"
            );
        }
    }
}

#[test]
fn layers_of_a_gpu_are_the_same_layers() {
    for activation in [Activation::None, Activation::Gelu, Activation::QuickGelu] {
        let name = format!("linear {activation:?}");
        check(&name, &[&[3, 5, 24], &[17, 24], &[17]], &|tape, v| {
            tape.linear(&v[0], &v[1], Some(&v[2]), activation)
        });
    }
    check("no bias", &[&[4, 8], &[6, 8]], &|tape, v| {
        tape.linear(&v[0], &v[1], None, Activation::None)
    });
    let shapes: &[&[usize]] = &[&[2, 3, 8], &[16, 8], &[16], &[8, 16], &[8], &[2, 3, 8]];
    check("perceptron", shapes, &|tape, v| {
        let (first, second) = ([&v[1], &v[2]], [&v[3], &v[4]]);
        tape.perceptron(&v[0], first, Activation::Gelu, second, &v[5])
    });
    check("layer norm", &[&[2, 7, 40], &[40], &[40]], &|tape, v| {
        tape.layer_norm(&v[0], &v[1], &v[2], 1e-6)
    });
    for queries in [9, 1] {
        check("attention", &[&[2, 9, 3 * 32]], &|tape, v| {
            tape.attention(&v[0], 4, queries)
        });
    }
    for (size, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0)] {
        let window = Window {
            size,
            stride,
            padding,
        };
        let shapes: &[&[usize]] = &[&[2, 3, 7, 8], &[5, 3, size, size]];
        check("convolution", shapes, &|tape, v| {
            tape.convolution(&v[0], &v[1], window)
        });
    }
    let (mean, variance) = (
        random("mean", &[3]),
        (random("variance", &[3]) + 2.0).unwrap(),
    );
    for (own, residual, rectify) in [
        (true, true, true),
        (true, false, false),
        (false, true, true),
    ] {
        let mut shapes: Vec<&[usize]> = vec![&[4, 3, 5, 6], &[3], &[3]];
        if residual {
            shapes.push(&[4, 3, 5, 6]);
        }
        check("batch norm", &shapes, &|tape, v| {
            let affine = Affine {
                weight: &v[1],
                bias: &v[2],
                eps: 1e-5,
            };
            let dtype = v[0].tensor().dtype();
            let (mean, variance) = (mean.to_dtype(dtype)?, variance.to_dtype(dtype)?);
            let statistics = match own {
                true => Statistics::Batch,
                false => Statistics::Running(&mean, &variance),
            };
            let follow = Epilogue {
                residual: v.get(3),
                rectify,
            };
            Ok(tape.batch_norm(&v[0], affine, statistics, follow)?.0)
        });
    }
    for smoothing in [0.0, 0.1] {
        check("cross-entropy", &[&[5, 11]], &|tape, v| {
            let labels = &[3, 0, 10, 10, 7];
            tape.cross_entropy(&v[0], Targets { labels, smoothing })
        });
    }
}

/// A transformer block in bf16: which values are stored in half precision.
#[test]
fn a_block_stores_in_half_precision_what_goes_between_its_layers() {
    let shapes: &[&[usize]] = &[
        &[2, 5, 32],
        &[32],
        &[32],
        &[96, 32],
        &[96],
        &[32, 32],
        &[32],
    ];
    check_layers(4.0, "block", shapes, &|tape, v| {
        let h = tape.layer_norm(&v[0], &v[1], &v[2], 1e-6)?;
        let qkv = tape.linear(&h, &v[3], Some(&v[4]), Activation::None)?;
        let h = tape.attention(&qkv, 4, 5)?;
        tape.linear_residual(&h, &v[5], Some(&v[6]), &v[0])
    });
    let tape = Tape::with_precision(Precision::Bf16).acting_as_gpu();
    let x = Value::constant(random("x", &[2, 4]));
    let weight = Value::constant(random("weight", &[4, 4]));
    let half = tape.linear(&x, &weight, None, Activation::Gelu).unwrap();
    assert_eq!(half.tensor().dtype(), DType::BF16);
    let wide = tape.linear_residual(&half, &weight, None, &x).unwrap();
    assert_eq!(wide.tensor().dtype(), DType::F32);
    let bias = Value::constant(random("bias", &[4]));
    let normal = tape.layer_norm(&wide, &bias, &bias, 1e-6).unwrap();
    assert_eq!(normal.tensor().dtype(), DType::BF16);
    assert_eq!(tape.widened(&normal).unwrap().tensor().dtype(), DType::F32);
}
