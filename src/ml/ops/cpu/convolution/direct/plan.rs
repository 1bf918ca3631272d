//! The source values of each window position, and the targets of results: for a convolution and for
//! its gradient.

use crate::ops::cpu::convolution::ConvolutionShape;
use crate::ops::cpu::packed::segment::Segment;

/// A padded source image, the window positions in it, and the targets of results.
#[derive(Clone)]
pub struct Slide {
    pub source: Source,
    /// Source values from one position to the next, in both directions.
    pub step: usize,
    pub down: usize,
    pub across: usize,
    /// For each tap, its offset in the padded image at the first position.
    pub taps: Vec<usize>,
    pub target: TargetLayout,
}

/// Planes with a margin of zeros.
#[derive(Clone, Copy)]
pub struct Source {
    pub planes: usize,
    pub height: usize,
    pub width: usize,
    /// Zeros before and after, in both directions.
    pub before: usize,
    pub after: usize,
}

/// The target of a position's result in a plane of the target.
#[derive(Clone, Copy)]
pub struct TargetLayout {
    pub plane: usize,
    pub width: usize,
    pub first: usize,
    pub step: usize,
}

impl Source {
    pub fn values(&self) -> usize {
        self.planes * self.height * self.width
    }

    pub fn tall(&self) -> usize {
        self.before + self.height + self.after
    }

    pub fn wide(&self) -> usize {
        self.before + self.width + self.after
    }

    pub fn padded(&self) -> usize {
        self.planes * self.tall() * self.wide()
    }

    pub fn is_bare(&self) -> bool {
        self.before + self.after == 0
    }

    pub fn pad(&self, image: &[f32], target: &mut [f32]) {
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
    pub fn forward(shape: &ConvolutionShape) -> Self {
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
        let target = TargetLayout {
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

    /// Merges rows that are contiguous in source and target.
    fn merged(mut self) -> Self {
        let dense = self.source.is_bare() && self.step == 1 && self.across == self.source.width;
        if dense && self.target.step == 1 && self.target.width == self.across {
            self.across *= self.down;
            self.target.width = self.across;
            self.down = 1;
        }
        self
    }

    pub fn places(&self) -> usize {
        self.down * self.across
    }

    /// The runs of neighbouring positions, each within one row of one image, among 32 positions
    /// starting at `first`; positions are numbered across all images.
    pub fn segments(&self, first: usize, count: usize, segments: &mut Vec<Segment>) {
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
    pub fn at(&self, plane: usize, y: usize, x: usize) -> usize {
        (plane * self.tall() + y) * self.wide() + x
    }
}

/// For each pair of remainders, the slide over the gradient, and for each of its taps the index of
/// its weight for channel 0.
pub fn phases(shape: &ConvolutionShape, outputs: usize) -> Vec<(Slide, Vec<usize>)> {
    let (size, stride, padding) = (
        shape.window.size as isize,
        shape.window.stride as isize,
        shape.window.padding as isize,
    );
    // Pixel stride·u + remainder takes tap d from position u + (remainder + padding − d)/stride.
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
        let target = TargetLayout {
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
