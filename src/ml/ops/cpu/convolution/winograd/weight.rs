//! The gradient of the weight: the transpose of the convolution in the transformed domain.

use std::cell::RefCell;

use super::grid::{Block, LineRoom, Planes};
use super::{ConvolutionShape, POINTS, TAPS, source_planes};
use crate::ops::cpu::math::vectorised;
use crate::ops::cpu::packed::dots::{Rows, add_dots};
use crate::ops::cpu::uninit::{self, at_least};
use crate::ops::parallel;

/// Tiles whose products are summed at once.
const TILES: usize = 256;
/// Outputs of a work item.
const OUTPUTS: usize = 64;
/// Pairs of channels that are transformed together.
const TOGETHER: usize = 64;
/// Work items, if the batch has as many images.
const ITEMS: usize = 16;

#[derive(Default)]
struct Scratch {
    lines: LineRoom,
    pixels: Vec<f32>,
    gradients: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Scratch> = RefCell::default();
}

/// The gradient of the weight `[outputs, taps]`.
///
/// Work is divided by outputs and by groups of images, whose sums are added in order.
pub fn to_weight(shape: ConvolutionShape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let channels = shape.channels;
    let parts = outputs.div_ceil(OUTPUTS);
    let group = shape.batch.div_ceil(ITEMS.div_ceil(parts)).max(1);
    let planes = source_planes(&shape);
    let mut sums = vec![Vec::new(); shape.batch.div_ceil(group) * parts];
    parallel::each_piece(&mut sums, 1, |index, sum| {
        let (first, part) = (index / parts * group, index % parts);
        let images = first..shape.batch.min(first + group);
        let item = Item {
            planes,
            channels,
            outputs: part * OUTPUTS..outputs.min((part + 1) * OUTPUTS),
            all: outputs,
            images: images.len(),
        };
        let x = &x[images.start * channels * planes.source()..];
        let gradient = &gradient[images.start * outputs * planes.target()..];
        sum[0] = ROOM.with_borrow_mut(|room| item.sum(gradient, x, room));
    });
    let size = OUTPUTS * channels * TAPS;
    uninit::vector(outputs * channels * TAPS, size, |part, blank| {
        let target = uninit::fill(blank, 0.0);
        let sums: Vec<&[f32]> = sums
            .iter()
            .skip(part)
            .step_by(parts)
            .map(Vec::as_slice)
            .collect();
        vectorised(
            #[inline(always)]
            || to_filters(&sums, target),
        );
        target
    })
}

/// Gᵀ·u·G of all pairs of channels, where u is the sum of `sums` `[POINTS, pairs]`; `target` is
/// `[pairs, TAPS]`.
#[inline(always)]
fn to_filters(sums: &[&[f32]], target: &mut [f32]) {
    let pairs = target.len() / TAPS;
    for (index, taps) in target.chunks_mut(TOGETHER * TAPS).enumerate() {
        let count = taps.len() / TAPS;
        let mut points = [[0.0; TOGETHER]; POINTS];
        for sum in sums {
            for (point, values) in points.iter_mut().enumerate() {
                let from = &sum[point * pairs + index * TOGETHER..][..count];
                for (value, from) in values.iter_mut().zip(from) {
                    *value += from;
                }
            }
        }
        for (pair, taps) in taps.chunks_exact_mut(TAPS).enumerate() {
            let mut u = [0.0; POINTS];
            for (u, values) in u.iter_mut().zip(&points) {
                *u = values[pair];
            }
            taps.copy_from_slice(&to_filter(u));
        }
    }
}

/// Some outputs and images.
struct Item {
    planes: Planes,
    channels: usize,
    outputs: std::ops::Range<usize>,
    /// The number of outputs of the convolution.
    all: usize,
    images: usize,
}

impl Item {
    /// The gradient of the transformed filters, `[POINTS, outputs, channels]`.
    fn sum(&self, gradient: &[f32], x: &[f32], room: &mut Scratch) -> Vec<f32> {
        let (outputs, channels) = (self.outputs.len(), self.channels);
        let mut sum = vec![0.0; POINTS * outputs * channels];
        for block in Block::all(self.planes, self.images, self.planes.rows(TILES)) {
            at_least(&mut room.pixels, block.words(channels));
            at_least(&mut room.gradients, block.words(outputs));
            block.transform(x, channels, &mut room.lines, &mut room.pixels);
            block.transform_gradient(
                gradient,
                self.all,
                self.outputs.clone(),
                &mut room.lines,
                &mut room.gradients,
            );
            let pitch = block.pitch();
            for (point, sum) in sum.chunks_exact_mut(outputs * channels).enumerate() {
                let left = Rows {
                    values: &room.gradients[point * block.stride(outputs)..],
                    pitch,
                    count: outputs,
                };
                let right = Rows {
                    values: &room.pixels[point * block.stride(channels)..],
                    pitch,
                    count: channels,
                };
                add_dots(sum, left, right, block.tiles());
            }
        }
        sum
    }
}

/// Gᵀ·u·G: the gradient of a filter of 3 × 3.
#[inline(always)]
fn to_filter(u: [f32; POINTS]) -> [f32; TAPS] {
    let line = |a: f32, b: f32, c: f32, d: f32| {
        let (sum, difference) = (0.5 * (b + c), 0.5 * (b - c));
        [a + sum, difference, sum + d]
    };
    let columns: [[f32; 3]; 4] = std::array::from_fn(|x| line(u[x], u[4 + x], u[8 + x], u[12 + x]));
    let mut taps = [0.0; TAPS];
    for (y, taps) in taps.chunks_exact_mut(3).enumerate() {
        taps.copy_from_slice(&line(
            columns[0][y],
            columns[1][y],
            columns[2][y],
            columns[3][y],
        ));
    }
    taps
}
