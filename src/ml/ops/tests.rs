//! Tests of every operation against a float64 reference: values against the composition in f64,
//! gradients against its central differences; and the same bits for any number of threads.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::Result;
use crate::rng::Stream;

/// The maximum error of f32 against f64, relative to the largest value of a tensor, for short sums.
const FLOAT: f64 = 2e-6;
/// Half the distance from 1 to the next f32.
const UNIT: f64 = 1.0 / (1 << 24) as f64;
/// The maximum difference of a gradient from central differences, also relative.
const DIFFERENCE: f64 = 1e-6;
const STEP: f64 = 1e-5;

/// Checks `operation` on inputs of these shapes.
fn check(
    name: &str,
    shapes: &[&[usize]],
    operation: impl Fn(&Tape, &[Value]) -> Result<Value> + Sync,
) {
    check_within(FLOAT, name, shapes, operation);
}

/// The maximum error if an element is a sum of `terms` products. Rounding errors of a sum of n
/// terms grow as the square root of n (Higham and Mary 2019, theorem 2.4, with λ = 3): one
/// accumulator adds all terms sequentially on one class of processor, several share them on
/// another.
fn rounding(terms: usize) -> f64 {
    FLOAT.max(3.0 * (terms as f64).sqrt() * UNIT)
}

fn check_within(
    tolerance: f64,
    name: &str,
    shapes: &[&[usize]],
    operation: impl Fn(&Tape, &[Value]) -> Result<Value> + Sync,
) {
    let inputs: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(index, shape)| random(&format!("{name}/{index}"), shape))
        .collect();
    let wide: Vec<Tensor> = inputs.iter().map(double).collect();
    let (exact, gradients) = run(&operation, &wide);
    let seed = random("seed", exact.dims());
    let weighted = |inputs: &[Tensor]| -> f64 {
        let tape = Tape::new();
        let values: Vec<Value> = inputs.iter().cloned().map(Value::constant).collect();
        let output = operation(&tape, &values).unwrap().into_tensor();
        let product = (output * double(&seed)).unwrap();
        product.sum_all().unwrap().to_scalar().unwrap()
    };
    for (index, gradient) in gradients.iter().enumerate() {
        let scale = largest(gradient).max(1e-3);
        let found = flat(gradient);
        for element in sample(found.len()) {
            let moved = |by: f64| {
                let mut inputs = wide.clone();
                inputs[index] = nudged(&wide[index], element, by);
                weighted(&inputs)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let error = (slope - found[element]).abs() / scale;
            assert!(
                error < DIFFERENCE,
                "{name}: gradient {index} at {element}: {error}"
            );
        }
    }
    let results: Vec<_> = [1, 2, 5]
        .map(|threads| parallel::scope(threads, || run(&operation, &inputs)))
        .into();
    let (output, narrow) = &results[0];
    near(tolerance, name, "output", output, &exact);
    for (index, (found, exact)) in narrow.iter().zip(&gradients).enumerate() {
        near(tolerance, name, &format!("gradient {index}"), found, exact);
    }
    for (other, others) in &results[1..] {
        assert_eq!(
            bits(output),
            bits(other),
            "{name}: threads change the output"
        );
        for (a, b) in narrow.iter().zip(others) {
            assert_eq!(bits(a), bits(b), "{name}: threads change a gradient");
        }
    }
}

/// The output, and the gradient of each input for the output gradient `seed`.
fn run(
    operation: &(impl Fn(&Tape, &[Value]) -> Result<Value> + Sync),
    inputs: &[Tensor],
) -> (Tensor, Vec<Tensor>) {
    run_on(Tape::new(), operation, inputs)
}

/// The same on another tape.
pub(super) fn run_on(
    tape: Tape,
    operation: &(impl Fn(&Tape, &[Value]) -> Result<Value> + ?Sized),
    inputs: &[Tensor],
) -> (Tensor, Vec<Tensor>) {
    let leaves: Vec<Value> = inputs
        .iter()
        .map(|input| tape.leaf(input.clone()))
        .collect();
    let output = operation(&tape, &leaves).unwrap();
    let seed = random("seed", output.tensor().dims());
    let seed = seed.to_dtype(output.tensor().dtype()).unwrap();
    let mut found = tape.backward_from(&output, seed).unwrap();
    let gradients = leaves
        .iter()
        .map(|leaf| found.take(leaf).expect("a gradient"));
    let gradients = gradients.collect();
    (output.into_tensor(), gradients)
}

fn near(tolerance: f64, name: &str, what: &str, found: &Tensor, exact: &Tensor) {
    assert_eq!(found.dims(), exact.dims(), "{name}: shape of {what}");
    assert_eq!(found.dtype(), DType::F32, "{name}: type of {what}");
    let error = largest(&(double(found) - exact).unwrap()) / largest(exact).max(1e-3);
    assert!(error < tolerance, "{name}: {what} is off by {error}");
}

pub(super) fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(0, name);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| stream.range(-1.5, 1.5) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn double(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::F64).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn largest(tensor: &Tensor) -> f64 {
    flat(tensor)
        .iter()
        .fold(0.0, |top, value| value.abs().max(top))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.iter().map(|value| value.to_bits()).collect()
}

/// Up to a dozen indices spread over 0..count, including the ends.
fn sample(count: usize) -> impl Iterator<Item = usize> {
    let steps = count.min(12);
    (0..steps).map(move |step| {
        if steps < 2 {
            0
        } else {
            step * (count - 1) / (steps - 1)
        }
    })
}

fn nudged(tensor: &Tensor, element: usize, by: f64) -> Tensor {
    let mut values = flat(tensor);
    values[element] += by;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

#[test]
fn linear_layers() {
    for (name, activation) in [
        ("plain", Activation::None),
        ("gelu", Activation::Gelu),
        ("quick gelu", Activation::QuickGelu),
    ] {
        check(name, &[&[3, 50, 20], &[40, 20], &[40]], |tape, x| {
            tape.linear(&x[0], &x[1], Some(&x[2]), activation)
        });
    }
    // Several blocks of rows and of the inner dimension, and panels of all widths.
    let shapes: &[&[usize]] = &[&[2, 120, 600], &[70, 600], &[70]];
    check_within(rounding(600), "large", shapes, |tape, x| {
        tape.linear(&x[0], &x[1], Some(&x[2]), Activation::Gelu)
    });
    check(
        "perceptron",
        &[&[2, 70, 8], &[20, 8], &[20], &[6, 20], &[6], &[2, 70, 6]],
        |tape, x| {
            let (first, second) = ([&x[1], &x[2]], [&x[3], &x[4]]);
            tape.perceptron(&x[0], first, Activation::Gelu, second, &x[5])
        },
    );
    check("no bias", &[&[7, 12], &[9, 3, 2, 2]], |tape, x| {
        tape.linear(&x[0], &x[1], None, Activation::None)
    });
    check(
        "residual",
        &[&[2, 70, 8], &[5, 8], &[5], &[2, 70, 5]],
        |tape, x| tape.linear_residual(&x[0], &x[1], Some(&x[2]), &x[3]),
    );
}

#[test]
fn normalisations() {
    check("layer norm", &[&[2, 67, 33], &[33], &[33]], |tape, x| {
        tape.layer_norm(&x[0], &x[1], &x[2], 1e-6)
    });
    let shapes: &[&[usize]] = &[&[5, 3, 7, 6], &[3], &[3], &[5, 3, 7, 6]];
    check("batch norm, batch statistics", shapes, |tape, x| {
        batch_norm(tape, x, Statistics::Batch)
    });
    let (mean, variance) = (
        random("mean", &[3]),
        (random("variance", &[3]) + 2.0).unwrap(),
    );
    check("batch norm, running statistics", shapes, |tape, x| {
        let (mean, variance) = match x[0].tensor().dtype() {
            DType::F64 => (double(&mean), double(&variance)),
            _ => (mean.clone(), variance.clone()),
        };
        batch_norm(tape, x, Statistics::Running(&mean, &variance))
    });
}

fn batch_norm(tape: &Tape, x: &[Value], statistics: Statistics) -> Result<Value> {
    let affine = Affine {
        weight: &x[1],
        bias: &x[2],
        eps: 1e-5,
    };
    let follow = Epilogue {
        residual: Some(&x[3]),
        rectify: true,
    };
    Ok(tape.batch_norm(&x[0], affine, statistics, follow)?.0)
}

#[test]
fn attention_on_packed_rows() {
    check("attention", &[&[3, 19, 3 * 8]], |tape, x| {
        tape.attention(&x[0], 2, 19)
    });
    check("attention of one", &[&[3, 19, 3 * 8]], |tape, x| {
        tape.attention(&x[0], 2, 1)
    });
    // Sharp attention weights amplify input errors, so the inputs are scaled exactly.
    let strong = |tape: &Tape, x: &[Value]| tape.attention(&tape.scale(&x[0], 4.0)?, 1, 5);
    check("sharp attention", &[&[2, 5, 24]], strong);
}

#[test]
fn images_and_tokens() {
    check("patches", &[&[2, 3, 8, 12]], |tape, x| {
        tape.patches(&x[0], 4)
    });
    check(
        "embed",
        &[&[3, 6, 20], &[1, 1, 20], &[1, 7, 20]],
        |tape, x| tape.embed(&x[0], &x[1], &x[2]),
    );
    check("first tokens", &[&[3, 6, 20]], |tape, x| {
        tape.first_tokens(&x[0], 2)
    });
    check("sums", &[&[3, 6], &[3, 6]], |tape, x| {
        let twice = tape.add(&x[0], &x[0])?;
        tape.add(&twice, &x[1])
    });
}

#[test]
fn windows() {
    for (size, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 2, 0), (7, 2, 3)] {
        let window = Window {
            size,
            stride,
            padding,
        };
        let weight = [4, 3, size, size];
        for (height, width) in [(9, 9), (8, 11), (10, 7)] {
            check(
                &format!("{window:?}"),
                &[&[9, 3, height, width], &weight],
                |tape, x| tape.convolution(&x[0], &x[1], window),
            );
        }
        check(
            &format!("maximum {window:?}"),
            &[&[2, 3, 9, 8]],
            |tape, x| tape.max_pool(&x[0], window),
        );
    }
    // More taps than are packed at once, and panels that span images.
    let square = |size: usize, stride: usize| Window {
        size,
        stride,
        padding: size / 2,
    };
    for (x, weight, stride) in [
        ([5, 60, 4, 4], [40, 60, 3, 3], 1),
        ([2, 70, 7, 7], [20, 70, 3, 3], 2),
        ([1, 2, 33, 35], [3, 2, 3, 3], 1),
        ([3, 40, 5, 5], [35, 40, 1, 1], 1),
    ] {
        let window = square(weight[2], stride);
        check(&format!("{x:?} {weight:?}"), &[&x, &weight], |tape, x| {
            tape.convolution(&x[0], &x[1], window)
        });
    }
    check("mean", &[&[2, 3, 9, 8]], |tape, x| tape.mean_pool(&x[0]));
}

#[test]
fn losses() {
    let labels = [1, 4, 0, 2, 2];
    for smoothing in [0.0, 0.1] {
        let targets = Targets {
            labels: &labels,
            smoothing,
        };
        check("cross-entropy", &[&[5, 6]], |tape, x| {
            tape.cross_entropy(&x[0], targets)
        });
    }
    let masked = Targets {
        labels: &[0, 1, 1, 0, 1],
        smoothing: 0.0,
    };
    check("masked", &[&[5, 6]], |tape, x| {
        let logits = tape.select_classes(&x[0], &[2, 5])?;
        tape.cross_entropy(&logits, masked)
    });
}

#[test]
fn what_methods_of_fine_tuning_add() {
    let teacher = random("teacher", &[5, 6]);
    check("distillation", &[&[5, 6]], |tape, x| {
        let teacher = teacher.to_dtype(x[0].tensor().dtype())?;
        tape.distillation(&x[0], &teacher, 2.0)
    });
    let anchor = random("anchor", &[7, 9]);
    let weights = random("weights", &[7, 9]).sqr().unwrap();
    for weighted in [false, true] {
        check("distance", &[&[7, 9]], |tape, x| {
            let like = |tensor: &Tensor| tensor.to_dtype(x[0].tensor().dtype());
            let weights = weighted.then(|| like(&weights)).transpose()?;
            tape.squared_distance(&x[0], &like(&anchor)?, weights.as_ref(), 0.7)
        });
    }
    check("scale", &[&[3, 4]], |tape, x| tape.scale(&x[0], -1.5));
    let weight = random("weight", &[12, 5]);
    check("low rank", &[&[4, 5], &[8, 2]], |tape, x| {
        let weight = weight.to_dtype(x[0].tensor().dtype())?;
        tape.low_rank(&weight, &x[0], &x[1], 0.125)
    });
    let shapes: &[&[usize]] = &[
        &[2, 3, 8, 8],
        &[1, 3, 2, 8],
        &[1, 3, 2, 8],
        &[1, 3, 4, 2],
        &[1, 3, 4, 2],
    ];
    check("frame", shapes, |tape, x| {
        let frame = Frame {
            up: &x[1],
            down: &x[2],
            left: &x[3],
            right: &x[4],
        };
        tape.frame(&x[0], &frame)
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    let tape = Tape::new();
    let leaf = |shape: &[usize]| tape.leaf(random("x", shape));
    let (x, weight) = (leaf(&[2, 3]), leaf(&[4, 5]));
    assert!(tape.linear(&x, &weight, None, Activation::None).is_err());
    assert!(tape.add(&x, &weight).is_err());
    assert!(tape.attention(&leaf(&[1, 2, 7]), 2, 2).is_err());
    assert!(tape.patches(&leaf(&[1, 3, 8, 8]), 3).is_err());
    let targets = Targets {
        labels: &[0, 9],
        smoothing: 0.0,
    };
    assert!(tape.cross_entropy(&x, targets).is_err());
    let constant = Value::constant(random("x", &[2, 3]));
    assert!(Tape::new().backward(&constant).is_err());
}

/// Rounds to bf16, ties to even, by bits.
fn bf16(value: f64) -> f64 {
    let bits = (value as f32).to_bits();
    let up = 0x7FFF + ((bits >> 16) & 1);
    f64::from(f32::from_bits((bits + up) & 0xFFFF_0000))
}

#[test]
fn half_precision_rounds_what_goes_into_and_comes_out_of_a_product() {
    let (rows, inputs, outputs) = (5, 16, 7);
    let draw = |name: &str, count: usize| -> Vec<f32> {
        let mut stream = Stream::new(4, name);
        (0..count).map(|_| stream.normal() as f32).collect()
    };
    let (x, weight) = (draw("x", rows * inputs), draw("weight", outputs * inputs));
    let (bias, residual) = (draw("bias", outputs), draw("residual", rows * outputs));
    let seed = draw("seed", rows * outputs);
    let tensor = |values: &[f32], shape: &[usize]| {
        Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
    };
    let tape = Tape::with_precision(Precision::Bf16);
    let leaf = |values: &[f32], shape: &[usize]| tape.leaf(tensor(values, shape));
    let leaves = [
        leaf(&x, &[rows, inputs]),
        leaf(&weight, &[outputs, inputs]),
        leaf(&bias, &[outputs]),
        leaf(&residual, &[rows, outputs]),
    ];
    let output = tape
        .linear_residual(&leaves[0], &leaves[1], Some(&leaves[2]), &leaves[3])
        .unwrap();
    let found = output
        .tensor()
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let mut gradients = tape
        .backward_from(&output, tensor(&seed, &[rows, outputs]))
        .unwrap();
    let gradients = leaves.each_ref().map(|leaf| {
        let gradient = gradients.take(leaf).unwrap();
        gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    });

    let r = |values: &[f32]| -> Vec<f64> { values.iter().map(|it| bf16(f64::from(*it))).collect() };
    let (x, weight, bias, upstream) = (r(&x), r(&weight), r(&bias), r(&seed));
    let sum = |count: usize, term: &dyn Fn(usize) -> f64| (0..count).map(term).sum::<f64>();
    let product = |row: usize, out: usize| {
        sum(inputs, &|i| x[row * inputs + i] * weight[out * inputs + i]) + bias[out]
    };
    let forward = |at: usize| bf16(product(at / outputs, at % outputs)) + f64::from(residual[at]);
    let to_x = |at: usize| {
        let (row, i) = (at / inputs, at % inputs);
        bf16(sum(outputs, &|out| {
            upstream[row * outputs + out] * weight[out * inputs + i]
        }))
    };
    let to_weight = |at: usize| {
        let (out, i) = (at / inputs, at % inputs);
        bf16(sum(rows, &|row| {
            upstream[row * outputs + out] * x[row * inputs + i]
        }))
    };
    let to_bias = |out: usize| bf16(sum(rows, &|row| upstream[row * outputs + out]));
    let values = [&found, &gradients[0], &gradients[1], &gradients[2]];
    let expected: [&dyn Fn(usize) -> f64; 4] = [&forward, &to_x, &to_weight, &to_bias];
    for (which, (values, expected)) in values.into_iter().zip(expected).enumerate() {
        for (at, found) in values.iter().enumerate() {
            let (found, expected) = (f64::from(*found), expected(at));
            assert!(
                (found - expected).abs() <= 1e-6 * expected.abs(),
                "{which}, {at}: {found} {expected}"
            );
        }
    }
    // The residual is not an operand of a product.
    assert_eq!(gradients[3], seed);
}
