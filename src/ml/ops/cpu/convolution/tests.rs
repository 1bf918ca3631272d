//! All ways to convolve agree. On one machine, only these tests cover some of them.

use super::*;
use crate::ops::cpu::packed::{available, has_avx512};
use crate::rng::Stream;

/// A convolution with random operands.
struct Case {
    shape: ConvolutionShape,
    outputs: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(
        stream: &mut Stream,
        [batch, channels, height, width, outputs]: [usize; 5],
        window: Window,
    ) -> Self {
        let shape = ConvolutionShape {
            batch,
            channels,
            height,
            width,
            window,
            down: window.places(height).unwrap(),
            across: window.places(width).unwrap(),
        };
        let mut random = |count: usize| -> Vec<f32> {
            (0..count).map(|_| stream.range(-1.0, 1.0) as f32).collect()
        };
        Self {
            shape,
            outputs,
            x: random(batch * shape.image()),
            weight: random(outputs * shape.taps()),
            gradient: random(batch * outputs * shape.places()),
        }
    }

    /// Output, gradient of x, gradient of the weight.
    fn columns(&self) -> [Vec<f32>; 3] {
        [
            columns::forward(self.shape, &self.x, &self.weight),
            columns::to_x(self.shape, &self.gradient, &self.weight),
            columns::to_weight(self.shape, self.outputs, &self.gradient, &self.x),
        ]
    }

    fn minimal(&self) -> [Vec<f32>; 3] {
        [
            winograd::forward(self.shape, &self.x, &self.weight),
            winograd::to_x(self.shape, &self.gradient, &self.weight),
            winograd::to_weight(self.shape, self.outputs, &self.gradient, &self.x),
        ]
    }

    /// The same in f64, tap by tap.
    fn exact(&self) -> [Vec<f64>; 3] {
        let ConvolutionShape {
            batch,
            channels,
            height,
            width,
            window,
            down,
            across,
        } = self.shape;
        let (mut output, mut to_x, mut to_weight) = (
            vec![0.0; self.gradient.len()],
            vec![0.0; self.x.len()],
            vec![0.0; self.weight.len()],
        );
        let size = window.size;
        for image in 0..batch {
            for (o, c) in (0..self.outputs).flat_map(|o| (0..channels).map(move |c| (o, c))) {
                for place in 0..down * across {
                    for tap in 0..size * size {
                        let y = (place / across * window.stride + tap / size)
                            .checked_sub(window.padding);
                        let x = (place % across * window.stride + tap % size)
                            .checked_sub(window.padding);
                        let (Some(y), Some(x)) = (y, x) else { continue };
                        if y >= height || x >= width {
                            continue;
                        }
                        let pixel = ((image * channels + c) * height + y) * width + x;
                        let result = (image * self.outputs + o) * down * across + place;
                        let weight = (o * channels + c) * size * size + tap;
                        let wide = |values: &[f32], index: usize| f64::from(values[index]);
                        output[result] += wide(&self.x, pixel) * wide(&self.weight, weight);
                        to_x[pixel] += wide(&self.gradient, result) * wide(&self.weight, weight);
                        to_weight[weight] += wide(&self.gradient, result) * wide(&self.x, pixel);
                    }
                }
            }
        }
        [output, to_x, to_weight]
    }
}

const WHAT: [&str; 3] = ["output", "gradient of x", "gradient of the weight"];

fn near(what: &str, window: Window, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0_f32, |top, value| top.max(value.abs()));
    for (a, b) in found.iter().zip(expected) {
        let off = (a - b).abs();
        assert!(off <= 4e-6 * largest, "{what} of {window:?}: {a}, {b}");
    }
}

fn window(size: usize, stride: usize, padding: usize) -> Window {
    Window {
        size,
        stride,
        padding,
    }
}

#[test]
fn the_direct_way_agrees_with_matrices() {
    if !available() {
        println!("skipped: this processor has no AVX2");
        return;
    }
    let mut stream = Stream::new(0, "convolution");
    for (batch, channels, side, size, stride, outputs) in [
        (2, 3, 8, 3, 1, 4),
        (3, 5, 9, 3, 2, 17),
        (2, 4, 12, 1, 2, 33),
        (1, 3, 30, 7, 2, 16),
        (5, 6, 4, 3, 1, 40),
        (2, 70, 7, 3, 1, 20),
        (2, 4, 9, 5, 3, 3),
        (3, 4, 9, 1, 1, 3),
    ] {
        let window = window(size, stride, size / 2);
        let case = Case::new(&mut stream, [batch, channels, side, side, outputs], window);
        let [output, to_x, to_weight] = case.columns();
        if has_avx512() {
            let found = direct::forward(case.shape, &case.x, &case.weight);
            near(WHAT[0], window, &found, &output);
            let found = direct::to_x(case.shape, &case.gradient, &case.weight);
            near(WHAT[1], window, &found, &to_x);
        }
        let found = direct::to_weight(case.shape, outputs, &case.gradient, &case.x);
        near(WHAT[2], window, &found, &to_weight);
    }
}

/// Images of all remainders of tiles and registers, more channels than are summed at once, blocks
/// that span images, all paddings.
#[test]
fn minimal_filtering_agrees_with_matrices() {
    if !available() {
        println!("skipped: this processor has no AVX2");
        return;
    }
    let mut stream = Stream::new(0, "minimal filtering");
    for (sizes, padding) in [
        ([1, 1, 1, 1, 1], 1),
        ([2, 3, 3, 4, 2], 0),
        ([3, 2, 5, 3, 70], 2),
        ([17, 4, 7, 7, 5], 1),
        ([2, 3, 8, 15, 7], 1),
        ([2, 5, 9, 16, 15], 2),
        ([2, 2, 17, 33, 6], 1),
        ([1, 2, 40, 31, 3], 0),
        ([2, 530, 6, 5, 3], 1),
        ([1, 3, 70, 66, 2], 1),
    ] {
        let window = window(3, 1, padding);
        let case = Case::new(&mut stream, sizes, window);
        let (found, expected) = (case.minimal(), case.columns());
        for (what, (found, expected)) in WHAT.iter().zip(found.iter().zip(&expected)) {
            near(&format!("{what} of {sizes:?}"), window, found, expected);
        }
    }
}

/// The root mean square error against f64, relative to the root mean square, is that of a direct sum
/// (1.2e-7 to 2.9e-7 here): the transforms of F(2 × 2, 3 × 3) amplify errors little (Barabasz et al. 2020).
#[test]
fn minimal_filtering_is_nearly_as_exact_as_a_direct_sum() {
    if !available() {
        println!("skipped: this processor has no AVX2");
        return;
    }
    let mut stream = Stream::new(0, "errors");
    let case = Case::new(&mut stream, [2, 64, 14, 14, 32], window(3, 1, 1));
    let square =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let error = |found: &[f32], exact: &[f64]| {
        let off = square(&mut found.iter().zip(exact).map(|(a, b)| f64::from(*a) - b));
        (off / square(&mut exact.iter().copied())).sqrt()
    };
    let (minimal, direct, exact) = (case.minimal(), case.columns(), case.exact());
    for index in 0..3 {
        let found = error(&minimal[index], &exact[index]);
        let direct = error(&direct[index], &exact[index]);
        println!("{}: {found:.2e}, direct {direct:.2e}", WHAT[index]);
        assert!(found < 4e-7, "{}: {found}", WHAT[index]);
    }
}
