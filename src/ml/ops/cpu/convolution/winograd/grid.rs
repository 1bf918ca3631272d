//! Rows of tiles and their places in scratch memory.

use std::ops::Range;

use super::POINTS;
use super::transform::{self, Lines, Part, TOGETHER, line_length};
use crate::ops::cpu::packed::tile::LANES;
use crate::ops::cpu::uninit::at_least;

/// The sizes of a source plane and of a target plane.
#[derive(Clone, Copy)]
pub struct Planes {
    pub height: usize,
    pub width: usize,
    /// Zeros before the first row and the first column of the source.
    pub before: usize,
    pub down: usize,
    pub across: usize,
}

impl Planes {
    pub fn source(&self) -> usize {
        self.height * self.width
    }

    pub fn target(&self) -> usize {
        self.down * self.across
    }

    /// Rows of tiles.
    pub fn tall(&self) -> usize {
        self.down.div_ceil(2)
    }

    /// Tiles in a row.
    pub fn wide(&self) -> usize {
        self.across.div_ceil(2)
    }

    /// The number of rows of a block of about `tiles` tiles.
    pub fn rows(&self, tiles: usize) -> usize {
        (tiles / self.wide()).max(1)
    }
}

/// Rows of tiles in one image.
pub struct Run {
    pub image: usize,
    /// In the image.
    pub first: usize,
    pub rows: usize,
    /// The first tile's number in the block.
    pub tile: usize,
}

/// Adjacent rows of tiles, counted over all images.
#[derive(Clone, Copy)]
pub struct Block {
    pub planes: Planes,
    pub first: usize,
    pub rows: usize,
}

/// The lines of a plane that some rows of tiles depend on.
#[derive(Default)]
pub struct LineRoom {
    even: Vec<f32>,
    odd: Vec<f32>,
}

/// Planes whose tiles are transformed.
struct Source<'a> {
    images: &'a [f32],
    /// Planes of an image.
    planes: usize,
    /// The planes of each image that are transformed.
    channels: Range<usize>,
    height: usize,
    width: usize,
    /// Zeros before the first row and the first column.
    before: usize,
    /// Rows and columns that a tile has beyond its two.
    further: usize,
}

impl Block {
    /// All blocks of `size` rows of `images` images.
    pub fn all(planes: Planes, images: usize, size: usize) -> impl Iterator<Item = Self> {
        let rows = images * planes.tall();
        (0..rows).step_by(size).map(move |first| Self {
            planes,
            first,
            rows: (rows - first).min(size),
        })
    }

    /// Tiles, rounded up to whole registers.
    pub fn tiles(&self) -> usize {
        (self.rows * self.planes.wide()).next_multiple_of(LANES)
    }

    /// Words of a channel at a point: an odd number of cache lines, so that the channels are spread over the
    /// sets of the cache, and room for the tiles that a transform writes beyond the last one.
    pub fn pitch(&self) -> usize {
        let lines = (self.tiles() + TOGETHER).div_ceil(LANES);
        (lines + 1 - lines % 2) * LANES
    }

    /// Words of a point: a cache line more than its channels, for the same reason.
    pub fn stride(&self, channels: usize) -> usize {
        channels * self.pitch() + LANES
    }

    pub fn words(&self, channels: usize) -> usize {
        POINTS * self.stride(channels)
    }

    pub fn runs(&self) -> impl Iterator<Item = Run> {
        let (tall, wide) = (self.planes.tall(), self.planes.wide());
        let (first, last) = (self.first, self.first + self.rows);
        let mut row = first;
        std::iter::from_fn(move || {
            let run = Run {
                image: row / tall,
                first: row % tall,
                rows: (tall - row % tall).min(last.saturating_sub(row)),
                tile: (row - first) * wide,
            };
            row += run.rows;
            (run.rows > 0).then_some(run)
        })
    }

    /// Transforms the tiles of all `channels` of `images`: `target` has [`Self::words`]. Tiles after the
    /// last one are zero.
    pub fn transform(
        &self,
        images: &[f32],
        channels: usize,
        room: &mut LineRoom,
        target: &mut [f32],
    ) {
        let source = Source {
            images,
            planes: channels,
            channels: 0..channels,
            height: self.planes.height,
            width: self.planes.width,
            before: self.planes.before,
            further: 2,
        };
        self.transform_lines(source, room, target, transform::forward);
    }

    /// Transforms the results' gradients of some `channels` of `count` in each of `images`, as the
    /// transpose of the transform of results.
    pub fn transform_gradient(
        &self,
        gradient: &[f32],
        count: usize,
        channels: Range<usize>,
        room: &mut LineRoom,
        target: &mut [f32],
    ) {
        let source = Source {
            images: gradient,
            planes: count,
            channels,
            height: self.planes.down,
            width: self.planes.across,
            before: 0,
            further: 0,
        };
        self.transform_lines(source, room, target, transform::gradient);
    }

    fn transform_lines(
        &self,
        source: Source,
        room: &mut LineRoom,
        target: &mut [f32],
        kernel: fn(Lines, usize, &mut [f32], usize),
    ) {
        let (width, further) = (source.width, source.further);
        let tiles = self.planes.wide();
        let pitch = line_length(width).max(tiles.next_multiple_of(TOGETHER) + further / 2);
        at_least(&mut room.even, (2 * self.rows + further) * pitch);
        at_least(&mut room.odd, (2 * self.rows + further) * pitch);
        let stride = self.stride(source.channels.len());
        for (index, channel) in source.channels.enumerate() {
            let target = &mut target[index * self.pitch()..];
            for run in self.runs() {
                let size = source.height * width;
                let plane = &source.images[(run.image * source.planes + channel) * size..];
                let part = Part {
                    plane: &plane[..size],
                    width,
                    before: source.before,
                    first: 2 * run.first,
                    rows: 2 * run.rows + further,
                };
                part.split(&mut room.even, &mut room.odd, pitch);
                for row in 0..run.rows {
                    let lines = Lines {
                        even: &room.even[2 * row * pitch..],
                        odd: &room.odd[2 * row * pitch..],
                        pitch,
                    };
                    let target = &mut target[run.tile + row * tiles..];
                    kernel(lines, tiles, target, stride);
                }
            }
            self.clear_rest(target, stride);
        }
    }

    /// Zeros after the last tile of a channel, at all points.
    fn clear_rest(&self, target: &mut [f32], stride: usize) {
        for point in 0..POINTS {
            let used = point * stride + self.rows * self.planes.wide();
            target[used..point * stride + self.tiles()].fill(0.0);
        }
    }
}
