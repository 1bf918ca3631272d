//! Convolution on AVX-512: panels of 32 places, made straight from the padded images, against
//! packed weights. No matrix of all windows is ever written.

use std::cell::RefCell;

use super::Shape;
use crate::ml::ops::cpu::fresh;
use crate::ml::ops::cpu::gemm::Matrix;
use crate::ml::ops::cpu::wide::runs::{Left, Right, add_along_runs};
use crate::ml::ops::cpu::wide::segment::{Segment, copy_segment};
use crate::ml::ops::cpu::wide::tile::{LANES, TALL, WIDE};
use crate::ml::ops::cpu::wide::{
    Base, Format, Tiles, multiply, pack_columns, panel_words, vectors,
};

/// Taps whose values are packed at once.
const DEEP: usize = 512;
/// Panels that share a packed block of weights.
const PANELS: usize = 6;
/// Places that a piece of work has at least, so that panels are full.
const PLACES: usize = 192;

/// A padded source image, the places of a window in it, and where results go.
#[derive(Clone)]
struct Slide {
    source: Source,
    /// Source values from a place to the next, in both directions.
    step: usize,
    down: usize,
    across: usize,
    /// For each tap its offset in the padded image at the first place.
    taps: Vec<usize>,
    target: Spread,
}

/// Planes with a margin of zeros.
#[derive(Clone, Copy)]
struct Source {
    planes: usize,
    height: usize,
    width: usize,
    /// Zeros before and after, in both directions.
    before: usize,
    after: usize,
}

/// Where a place's result lies in a plane of the target.
#[derive(Clone, Copy)]
struct Spread {
    plane: usize,
    width: usize,
    first: usize,
    step: usize,
}

impl Source {
    fn values(&self) -> usize {
        self.planes * self.height * self.width
    }

    fn tall(&self) -> usize {
        self.before + self.height + self.after
    }

    fn wide(&self) -> usize {
        self.before + self.width + self.after
    }

    fn padded(&self) -> usize {
        self.planes * self.tall() * self.wide()
    }

    fn is_bare(&self) -> bool {
        self.before + self.after == 0
    }

    fn pad(&self, image: &[f32], target: &mut [f32]) {
        let planes = image.chunks_exact(self.height * self.width);
        for (plane, target) in planes.zip(target.chunks_exact_mut(self.tall() * self.wide())) {
            let (top, rest) = target.split_at_mut(self.before * self.wide());
            let (middle, bottom) = rest.split_at_mut(self.height * self.wide());
            top.fill(0.0);
            bottom.fill(0.0);
            let rows = plane.chunks_exact(self.width);
            for (row, target) in rows.zip(middle.chunks_exact_mut(self.wide())) {
                target[..self.before].fill(0.0);
                target[self.before..self.before + self.width].copy_from_slice(row);
                target[self.before + self.width..].fill(0.0);
            }
        }
    }
}

impl Slide {
    fn forward(shape: &Shape) -> Self {
        let padding = shape.window.padding;
        let source = Source {
            planes: shape.channels,
            height: shape.height,
            width: shape.width,
            before: padding,
            after: padding,
        };
        let size = shape.window.size;
        let mut taps = Vec::with_capacity(shape.taps());
        for channel in 0..shape.channels {
            for dy in 0..size {
                taps.extend((0..size).map(|dx| source.at(channel, dy, dx)));
            }
        }
        let target = Spread {
            plane: shape.places(),
            width: shape.across,
            first: 0,
            step: 1,
        };
        let slide = Self {
            source,
            step: shape.window.stride,
            down: shape.down,
            across: shape.across,
            taps,
            target,
        };
        slide.merged()
    }

    /// Rows that follow each other without a gap, in source and target, count as one.
    fn merged(mut self) -> Self {
        let dense = self.source.is_bare() && self.step == 1 && self.across == self.source.width;
        if dense && self.target.step == 1 && self.target.width == self.across {
            self.across *= self.down;
            self.target.width = self.across;
            self.down = 1;
        }
        self
    }

    fn places(&self) -> usize {
        self.down * self.across
    }

    /// The runs of neighbouring places, of one row of one image each, among 32 places from
    /// `first` on; places of all images are counted through.
    fn segments(&self, first: usize, count: usize, segments: &mut Vec<Segment>) {
        segments.clear();
        let mut place = first;
        while place < first + count {
            let (image, within) = (place / self.places(), place % self.places());
            let (y, x) = (within / self.across, within % self.across);
            let length = (self.across - x).min(first + count - place);
            segments.push(Segment {
                lane: place - first,
                length,
                source: image * self.source.padded() + (y * self.source.wide() + x) * self.step,
                image,
                target: self.target.first + (y * self.target.width + x) * self.target.step,
            });
            place += length;
        }
    }
}

impl Source {
    fn at(&self, plane: usize, y: usize, x: usize) -> usize {
        (plane * self.tall() + y) * self.wide() + x
    }
}

#[derive(Default)]
struct Room {
    padded: Vec<f32>,
    panels: Vec<f32>,
    results: Vec<f32>,
    segments: Vec<Vec<Segment>>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

fn at_least(values: &mut Vec<f32>, count: usize) {
    if values.len() < count {
        values.resize(count, 0.0);
    }
}

/// `[batch, outputs, places]` of `x` and `weight` `[outputs, taps]`.
pub fn forward(shape: Shape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let slide = Slide::forward(&shape);
    let outputs = weight.len() / slide.taps.len();
    let weight = [Tiles::pack(
        Matrix::new(weight, outputs, slide.taps.len()),
        Format::Single,
    )];
    over_images(&[slide], &weight, outputs, x)
}

/// Slides of one source and target over all images.
fn over_images(slides: &[Slide], weights: &[Tiles], outputs: usize, x: &[f32]) -> Vec<f32> {
    let Some(first) = slides.first() else {
        return Vec::new();
    };
    let (source, plane) = (first.source, first.target.plane);
    let batch = x.len() / source.values().max(1);
    let group = PLACES.div_ceil(first.places()).clamp(1, batch.max(1));
    let image = outputs * plane;
    fresh::vector(batch * image, group * image, |index, blank| {
        // Pixels that no tap reaches stay zero; the piece is in the cache afterwards.
        let target = fresh::fill(blank, 0.0);
        let count = target.len() / image;
        let images = &x[index * group * source.values()..][..count * source.values()];
        ROOM.with_borrow_mut(|room| {
            let Room {
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
                for from in (0..total).step_by(PANELS * WIDE) {
                    let places = (total - from).min(PANELS * WIDE);
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

/// Up to [`PANELS`] panels of places, through all taps.
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
        at_least(panels, PANELS * DEEP * WIDE);
        at_least(results, PANELS * self.outputs * WIDE);
        segments.resize(self.places.div_ceil(WIDE), Vec::new());
        for (index, segments) in segments.iter_mut().enumerate() {
            self.slide
                .segments(self.from + index * WIDE, self.columns(index), segments);
        }
        for first in (0..taps.len()).step_by(DEEP) {
            let taps = &taps[first..taps.len().min(first + DEEP)];
            for (index, segments) in segments.iter().enumerate() {
                let pitch = vectors(self.columns(index)) * LANES;
                let panel = &mut panels[index * DEEP * WIDE..][..taps.len() * pitch];
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
                let panel = &panels[index * DEEP * WIDE..];
                let columns = self.columns(index);
                let weight = self.weight.part(first, taps.len());
                match self.direct(segments) {
                    Some(start) => {
                        let pitch = self.slide.target.plane;
                        multiply(&mut target[start..], pitch, weight, panel, columns, base);
                    }
                    None => {
                        let results = &mut results[index * self.outputs * WIDE..];
                        multiply(results, WIDE, weight, panel, columns, base);
                    }
                }
            }
        }
        for (index, segments) in segments.iter().enumerate() {
            if self.direct(segments).is_none() {
                self.scatter(&results[index * self.outputs * WIDE..], segments, target);
            }
        }
    }

    fn columns(&self, panel: usize) -> usize {
        (self.places - panel * WIDE).min(WIDE)
    }

    /// Where the first output of a panel goes if its places lie side by side in the target.
    fn direct(&self, segments: &[Segment]) -> Option<usize> {
        let Spread {
            plane, width, step, ..
        } = self.slide.target;
        let (first, last) = (segments.first()?, segments.last()?);
        let dense = step == 1 && width == self.slide.across && first.image == last.image;
        (dense || (step == 1 && segments.len() == 1))
            .then(|| first.image * self.outputs * plane + first.target)
    }

    fn scatter(&self, results: &[f32], segments: &[Segment], target: &mut [f32]) {
        let Spread { plane, step, .. } = self.slide.target;
        for segment in segments {
            for output in 0..self.outputs {
                let from = &results[output * WIDE + segment.lane..][..segment.length];
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
///
/// The pixels of x that have the same remainders by the stride see the same taps: for each pair
/// of remainders a convolution of the gradient of its own.
pub fn to_x(shape: Shape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
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

/// For each pair of remainders the slide over the gradient, and for each of its taps the index of
/// its weight for channel 0.
fn phases(shape: &Shape, outputs: usize) -> Vec<(Slide, Vec<usize>)> {
    let (size, stride, padding) = (
        shape.window.size as isize,
        shape.window.stride as isize,
        shape.window.padding as isize,
    );
    // A pixel stride·u + remainder takes tap d from the place u + (remainder + padding − d)/stride.
    let offsets = |remainder: isize| {
        (0..size)
            .filter(move |tap| (remainder + padding - tap).rem_euclid(stride) == 0)
            .map(move |tap| (tap, (remainder + padding - tap) / stride))
    };
    let pixels = |remainder: isize, length: usize| {
        (length as isize - remainder + stride - 1)
            .div_euclid(stride)
            .max(0)
    };
    let (mut before, mut after) = (0, 0);
    for remainder in 0..stride {
        for (_, offset) in offsets(remainder) {
            before = before.max(-offset);
            for (length, places) in [(shape.height, shape.down), (shape.width, shape.across)] {
                let last = pixels(remainder, length) - 1 + offset;
                after = after.max(last - (places as isize - 1));
            }
        }
    }
    let source = Source {
        planes: outputs,
        height: shape.down,
        width: shape.across,
        before: before as usize,
        after: after as usize,
    };
    let mut phases = Vec::new();
    for (py, px) in (0..stride).flat_map(|py| (0..stride).map(move |px| (py, px))) {
        let (down, across) = (pixels(py, shape.height), pixels(px, shape.width));
        let (mut taps, mut weights) = (Vec::new(), Vec::new());
        for output in 0..outputs {
            for (dy, ey) in offsets(py) {
                for (dx, ex) in offsets(px) {
                    taps.push(source.at(output, (before + ey) as usize, (before + ex) as usize));
                    weights.push(output * shape.taps() + (dy * size + dx) as usize);
                }
            }
        }
        if taps.is_empty() || down == 0 || across == 0 {
            continue;
        }
        let target = Spread {
            plane: shape.height * shape.width,
            width: shape.width,
            first: py as usize * shape.width + px as usize,
            step: stride as usize,
        };
        let slide = Slide {
            source,
            step: 1,
            down: down as usize,
            across: across as usize,
            taps,
            target,
        };
        phases.push((slide.merged(), weights));
    }
    phases
}

/// The gradient of the weight `[outputs, taps]`.
///
/// Pieces are cut by taps, so that the sum over all images is one thread's.
pub fn to_weight(shape: Shape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let slide = Slide::forward(&shape);
    let (places, taps) = (slide.places(), slide.taps.len());
    let padded = padded(&slide.source, x);
    let images = padded.as_deref().unwrap_or(x);
    let columns = by_place(gradient, shape.batch, outputs, places);
    let piece = taps.div_ceil(TALL).div_ceil(16).max(3) * TALL;
    let transposed = fresh::vector(taps * outputs, piece * outputs, |index, blank| {
        let target = fresh::fill(blank, 0.0);
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

/// All images with their margins; `None` where there is none.
fn padded(source: &Source, x: &[f32]) -> Option<Vec<f32>> {
    if source.is_bare() {
        return None;
    }
    let count = x.len() / source.values() * source.padded();
    let images = fresh::vector(count, source.padded(), |index, blank| {
        let target = fresh::fill(blank, 0.0);
        source.pad(&x[index * source.values()..][..source.values()], target);
        target
    });
    Some(images)
}

/// `[batch, outputs, places]` as a packed right matrix `[batch·places, outputs]`.
fn by_place(gradient: &[f32], batch: usize, outputs: usize, places: usize) -> Vec<f32> {
    let (count, size) = (panel_words(batch * places, outputs), batch * places * WIDE);
    fresh::vector(count, size, |panel, blank| {
        let count = (outputs - panel * WIDE).min(WIDE);
        let image = places * vectors(count) * LANES;
        for (index, blank) in blank.chunks_exact_mut(image).enumerate() {
            let from = (index * outputs + panel * WIDE) * places;
            let lines = Matrix::new(&gradient[from..from + count * places], count, places);
            pack_columns(fresh::fill(blank, 0.0), lines.t());
        }
        // SAFETY: the images fill the panel, and each was written.
        unsafe { fresh::initialised(blank) }
    })
}
