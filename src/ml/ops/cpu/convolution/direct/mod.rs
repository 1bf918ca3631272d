//! Convolution on AVX-512: panels of positions, built directly from the padded images, multiplied by
//! packed weights. The matrix of all windows (im2col) is never materialised. The gradient of the weight
//! also runs on AVX2. Filters of 3 × 3 at stride 1 are convolved in `winograd` instead.

mod plan;

use std::cell::RefCell;

use self::plan::{Slide, Source, TargetLayout, phases};
use super::ConvolutionShape;
use crate::ops::cpu::gemm::Matrix;
use crate::ops::cpu::packed::runs::{Left, Right, add_along_runs};
use crate::ops::cpu::packed::segment::{Segment, copy_segment};
use crate::ops::cpu::packed::tile::LANES;
use crate::ops::cpu::packed::{
    Base, Format, Tiles, multiply, pack_columns, panel_words, tall, vectors, wide,
};
use crate::ops::cpu::uninit::{self, at_least};

/// The number of taps whose values are packed at once.
const DEEP: usize = 512;
/// Panels that share a packed block of weights.
const PANELS: usize = 6;
/// The minimum number of positions in a work item, so that panels are full.
const PLACES: usize = 192;

#[derive(Default)]
struct Scratch {
    padded: Vec<f32>,
    panels: Vec<f32>,
    results: Vec<f32>,
    segments: Vec<Vec<Segment>>,
}

thread_local! {
    static ROOM: RefCell<Scratch> = RefCell::default();
}

/// `[batch, outputs, places]` of `x` and `weight` `[outputs, taps]`.
pub fn forward(shape: ConvolutionShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let slide = Slide::forward(&shape);
    let outputs = weight.len() / slide.taps.len();
    let weight = [Tiles::pack(
        Matrix::new(weight, outputs, slide.taps.len()),
        Format::Single,
    )];
    over_images(&[slide], &weight, outputs, x)
}

/// Applies slides with the same source and target to all images.
fn over_images(slides: &[Slide], weights: &[Tiles], outputs: usize, x: &[f32]) -> Vec<f32> {
    let Some(first) = slides.first() else {
        return Vec::new();
    };
    let (source, plane) = (first.source, first.target.plane);
    let batch = x.len() / source.values().max(1);
    let group = PLACES.div_ceil(first.places()).clamp(1, batch.max(1));
    let image = outputs * plane;
    uninit::vector(batch * image, group * image, |index, blank| {
        // Pixels that no tap reaches stay zero; this also brings the memory into the cache.
        let target = uninit::fill(blank, 0.0);
        let count = target.len() / image;
        let images = &x[index * group * source.values()..][..count * source.values()];
        ROOM.with_borrow_mut(|room| {
            let Scratch {
                padded,
                panels,
                results,
                segments,
            } = room;
            let images = match source.is_bare() {
                true => images,
                false => {
                    at_least(padded, count * source.padded());
                    let pairs = images
                        .chunks_exact(source.values())
                        .zip(padded.chunks_exact_mut(source.padded()));
                    for (image, padded) in pairs {
                        source.pad(image, padded);
                    }
                    &padded[..count * source.padded()]
                }
            };
            for (slide, weight) in slides.iter().zip(weights) {
                let total = count * slide.places();
                for from in (0..total).step_by(PANELS * wide()) {
                    let places = (total - from).min(PANELS * wide());
                    let block = Block {
                        slide,
                        weight,
                        outputs,
                        from,
                        places,
                    };
                    block.run(images, target, panels, results, segments);
                }
            }
        });
        target
    })
}

/// Up to [`PANELS`] panels of positions, for all taps.
struct Block<'a> {
    slide: &'a Slide,
    weight: &'a Tiles,
    outputs: usize,
    from: usize,
    places: usize,
}

impl Block<'_> {
    fn run(
        &self,
        images: &[f32],
        target: &mut [f32],
        panels: &mut Vec<f32>,
        results: &mut Vec<f32>,
        segments: &mut Vec<Vec<Segment>>,
    ) {
        let taps = &self.slide.taps;
        at_least(panels, PANELS * DEEP * wide());
        at_least(results, PANELS * self.outputs * wide());
        segments.resize(self.places.div_ceil(wide()), Vec::new());
        for (index, segments) in segments.iter_mut().enumerate() {
            self.slide
                .segments(self.from + index * wide(), self.columns(index), segments);
        }
        for first in (0..taps.len()).step_by(DEEP) {
            let taps = &taps[first..taps.len().min(first + DEEP)];
            for (index, segments) in segments.iter().enumerate() {
                let pitch = vectors(self.columns(index)) * LANES;
                let panel = &mut panels[index * DEEP * wide()..][..taps.len() * pitch];
                for segment in segments {
                    copy_segment(images, taps, self.slide.step, *segment, panel, pitch);
                }
            }
            for (index, segments) in segments.iter().enumerate() {
                let base = if first == 0 {
                    Base::Nothing
                } else {
                    Base::Target
                };
                let panel = &panels[index * DEEP * wide()..];
                let columns = self.columns(index);
                let weight = self.weight.part(first, taps.len());
                match self.direct(segments) {
                    Some(start) => {
                        let pitch = self.slide.target.plane;
                        multiply(&mut target[start..], pitch, weight, panel, columns, base);
                    }
                    None => {
                        let results = &mut results[index * self.outputs * wide()..];
                        multiply(results, wide(), weight, panel, columns, base);
                    }
                }
            }
        }
        for (index, segments) in segments.iter().enumerate() {
            if self.direct(segments).is_none() {
                self.scatter(&results[index * self.outputs * wide()..], segments, target);
            }
        }
    }

    fn columns(&self, panel: usize) -> usize {
        (self.places - panel * wide()).min(wide())
    }

    /// The target of a panel's first output, if its positions are contiguous in the target.
    fn direct(&self, segments: &[Segment]) -> Option<usize> {
        let TargetLayout {
            plane, width, step, ..
        } = self.slide.target;
        let (first, last) = (segments.first()?, segments.last()?);
        let dense = step == 1 && width == self.slide.across && first.image == last.image;
        (dense || (step == 1 && segments.len() == 1))
            .then(|| first.image * self.outputs * plane + first.target)
    }

    fn scatter(&self, results: &[f32], segments: &[Segment], target: &mut [f32]) {
        let TargetLayout { plane, step, .. } = self.slide.target;
        for segment in segments {
            for output in 0..self.outputs {
                let from = &results[output * wide() + segment.lane..][..segment.length];
                let at = (segment.image * self.outputs + output) * plane + segment.target;
                match step {
                    1 => target[at..at + segment.length].copy_from_slice(from),
                    _ => {
                        let places = target[at..].iter_mut().step_by(step);
                        places.zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// The gradient of x.
/// Pixels of x with the same remainders modulo the stride see the same taps: each pair of
/// remainders has its own convolution of the gradient.
pub fn to_x(shape: ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let outputs = weight.len() / shape.taps();
    let phases = phases(&shape, outputs);
    let (slides, taps): (Vec<Slide>, Vec<Vec<usize>>) = phases.into_iter().unzip();
    let weights: Vec<Tiles> = taps
        .iter()
        .map(|taps| {
            let mut values = Vec::with_capacity(shape.channels * taps.len());
            let window = shape.window.size * shape.window.size;
            for channel in 0..shape.channels {
                values.extend(taps.iter().map(|tap| weight[tap + channel * window]));
            }
            Tiles::pack(
                Matrix::new(&values, shape.channels, taps.len()),
                Format::Single,
            )
        })
        .collect();
    over_images(&slides, &weights, shape.channels, gradient)
}

/// The gradient of the weight `[outputs, taps]`.
///
/// Work is divided by taps, so that one thread computes each sum over all images.
pub fn to_weight(shape: ConvolutionShape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let slide = Slide::forward(&shape);
    let (places, taps) = (slide.places(), slide.taps.len());
    let padded = padded(&slide.source, x);
    let images = padded.as_deref().unwrap_or(x);
    let columns = by_place(gradient, shape.batch, outputs, places);
    let piece = taps.div_ceil(tall()).div_ceil(16).max(3) * tall();
    let transposed = uninit::vector(taps * outputs, piece * outputs, |index, blank| {
        let target = uninit::fill(blank, 0.0);
        let taps = &slide.taps[index * piece..][..target.len() / outputs];
        let rows = (1024 / slide.across).clamp(1, slide.down);
        for image in 0..shape.batch {
            for first in (0..slide.down).step_by(rows) {
                let count = rows.min(slide.down - first);
                let starts: Vec<usize> = (first..first + count)
                    .map(|row| row * slide.step * slide.source.wide())
                    .collect();
                let left = Left {
                    values: &images[image * slide.source.padded()..][..slide.source.padded()],
                    offsets: taps,
                    step: slide.step,
                    starts: &starts,
                    length: slide.across,
                };
                let right = Right {
                    panels: &columns,
                    inner: shape.batch * places,
                    from: image * places + first * slide.across,
                    columns: outputs,
                };
                add_along_runs(target, left, right);
            }
        }
        target
    });
    let mut weight = vec![0.0; taps * outputs];
    for (tap, row) in transposed.chunks_exact(outputs).enumerate() {
        for (output, value) in row.iter().enumerate() {
            weight[output * taps + tap] = *value;
        }
    }
    weight
}

/// All images with their margins; `None` without margins.
fn padded(source: &Source, x: &[f32]) -> Option<Vec<f32>> {
    if source.is_bare() {
        return None;
    }
    let count = x.len() / source.values() * source.padded();
    let images = uninit::vector(count, source.padded(), |index, blank| {
        let target = uninit::fill(blank, 0.0);
        source.pad(&x[index * source.values()..][..source.values()], target);
        target
    });
    Some(images)
}

/// `[batch, outputs, places]` as a packed right matrix `[batch·places, outputs]`.
fn by_place(gradient: &[f32], batch: usize, outputs: usize, places: usize) -> Vec<f32> {
    let (count, size) = (
        panel_words(batch * places, outputs),
        batch * places * wide(),
    );
    uninit::vector(count, size, |panel, blank| {
        let count = (outputs - panel * wide()).min(wide());
        let image = places * vectors(count) * LANES;
        uninit::pieces(blank, image, |index, blank| {
            let from = (index * outputs + panel * wide()) * places;
            let lines = Matrix::new(&gradient[from..from + count * places], count, places);
            pack_columns(blank, lines.t(), Format::Single)
        })
    })
}
