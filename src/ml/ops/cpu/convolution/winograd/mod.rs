//! Convolution with filters of 3 × 3 at stride 1 by minimal filtering, F(2 × 2, 3 × 3) of Winograd
//! (Lavin and Gray 2016, section 4.1).
//!
//! A tile of 2 × 2 results depends on 4 × 4 pixels. After linear transforms of pixels and filters, the
//! sum over channels is a product of matrices at each of 16 points: 16 multiplications for each tile
//! and pair of channels, where a direct sum takes 36.

mod filters;
mod grid;
mod transform;
mod weight;

use std::cell::RefCell;

use self::filters::Filters;
use self::grid::{Block, LineRoom, Planes};
pub use self::weight::to_weight;
use super::ConvolutionShape;
use crate::ops::cpu::packed::{Base, Columns, multiply_tile, wide};
use crate::ops::cpu::uninit::{self, at_least};

/// The points of the transformed domain.
const POINTS: usize = 16;
/// The taps of a filter.
const TAPS: usize = 9;
/// The number of channels whose products are summed at once, as in products of matrices.
const DEEP: usize = 512;
/// The minimum number of results of a plane in a work item.
const PLACES: usize = 192;
/// Words of transformed pixels and results that a block of tiles may have, to stay in the cache.
const WORDS: usize = 1 << 17;
/// Words of filters at a point that are used for all panels of a block before the next ones.
const FILTER_WORDS: usize = 1 << 15;

/// Whether a convolution has the filters and the stride.
pub fn serves(shape: &ConvolutionShape) -> bool {
    shape.window.size == 3 && shape.window.stride == 1
}

/// The planes of x and of the results.
fn source_planes(shape: &ConvolutionShape) -> Planes {
    Planes {
        height: shape.height,
        width: shape.width,
        before: shape.window.padding,
        down: shape.down,
        across: shape.across,
    }
}

/// `[batch, outputs, places]` of `x` and `weight` `[outputs, taps]`.
pub fn forward(shape: ConvolutionShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let channels = shape.channels;
    let outputs = weight.len() / shape.taps();
    let filters = Filters::new(outputs, channels, |output, channel| {
        let from = (output * channels + channel) * TAPS;
        std::array::from_fn(|tap| weight[from + tap])
    });
    over_images(source_planes(&shape), &filters, x)
}

/// The gradient of x: a convolution of the gradient with the filters of each channel, turned around.
pub fn to_x(shape: ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let channels = shape.channels;
    let outputs = weight.len() / shape.taps();
    let filters = Filters::new(channels, outputs, |channel, output| {
        let from = (output * channels + channel) * TAPS;
        std::array::from_fn(|tap| weight[from + TAPS - 1 - tap])
    });
    let planes = Planes {
        height: shape.down,
        width: shape.across,
        before: 2 - shape.window.padding,
        down: shape.height,
        across: shape.width,
    };
    over_images(planes, &filters, gradient)
}

#[derive(Default)]
struct Scratch {
    lines: LineRoom,
    pixels: Vec<f32>,
    results: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Scratch> = RefCell::default();
}

fn over_images(planes: Planes, filters: &Filters, x: &[f32]) -> Vec<f32> {
    let (channels, outputs) = (filters.channels, filters.outputs);
    let (source, target) = (channels * planes.source(), outputs * planes.target());
    let batch = x.len() / source.max(1);
    let group = PLACES.div_ceil(planes.target()).clamp(1, batch.max(1));
    let tiles = WORDS / (POINTS * (channels + outputs));
    let rows = planes.rows(tiles.clamp(2 * wide(), 8 * wide()));
    uninit::vector(batch * target, group * target, |index, blank| {
        let results = uninit::fill(blank, 0.0);
        let count = results.len() / target;
        let images = &x[index * group * source..][..count * source];
        ROOM.with_borrow_mut(|room| {
            for block in Block::all(planes, count, rows) {
                at_least(&mut room.pixels, block.words(channels));
                at_least(&mut room.results, block.words(outputs));
                block.transform(images, channels, &mut room.lines, &mut room.pixels);
                multiply(&block, filters, &room.pixels, &mut room.results);
                finish(&block, outputs, &room.results, results);
            }
        });
        results
    })
}

/// The products at all points: `results` `[POINTS, outputs, tiles]`.
fn multiply(block: &Block, filters: &Filters, pixels: &[f32], results: &mut [f32]) {
    let (channels, pitch, wide) = (filters.channels, block.pitch(), wide());
    let tiles: Vec<_> = filters.tiles().collect();
    let height = tiles.first().map_or(1, |tile| tile.height);
    let together = (FILTER_WORDS / (channels * height)).max(1);
    for point in 0..POINTS {
        let pixels = &pixels[point * block.stride(channels)..];
        let results = &mut results[point * block.stride(filters.outputs)..];
        for filters in tiles.chunks(together) {
            for from in (0..channels).step_by(DEEP) {
                let depth = (channels - from).min(DEEP);
                let base = match from {
                    0 => Base::Nothing,
                    _ => Base::Target,
                };
                for panel in (0..block.tiles()).step_by(wide) {
                    let right = Columns {
                        values: &pixels[from * pitch + panel..],
                        pitch,
                        columns: (block.tiles() - panel).min(wide),
                    };
                    for filter in filters {
                        let height = filter.height;
                        let left = &filter.at(point)[from * height..][..depth * height];
                        let target = &mut results[filter.first * pitch + panel..];
                        multiply_tile(target, pitch, left, height, right, base);
                    }
                }
            }
        }
    }
}

/// Transforms the products to results.
fn finish(block: &Block, outputs: usize, results: &[f32], target: &mut [f32]) {
    let Planes { down, across, .. } = block.planes;
    let tiles = block.planes.wide();
    let stride = block.stride(outputs);
    for output in 0..outputs {
        for run in block.runs() {
            let from = (run.image * outputs + output) * down * across;
            let plane = &mut target[from..][..down * across];
            let lines = plane[2 * run.first * across..].chunks_mut(2 * across);
            for (row, lines) in lines.enumerate().take(run.rows) {
                let (upper, lower) = lines.split_at_mut(across);
                let at = output * block.pitch() + run.tile + row * tiles;
                transform::inverse(&results[at..], stride, upper, lower);
            }
        }
    }
}
