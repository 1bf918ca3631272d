//! Rows of tiles and their places in scratch memory.

use super::POINTS;
use super::transform::{self, Lines, Part, TOGETHER, line_length};
use crate::ops::cpu::packed::tile::LANES;

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

pub fn at_least(values: &mut Vec<f32>, count: usize) {
    if values.len() < count {
        values.resize(count, 0.0);
    }
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
        let Planes {
            height,
            width,
            before,
            ..
        } = self.planes;
        let tiles = self.planes.wide();
        let pitch = line_length(width).max(tiles.next_multiple_of(TOGETHER) + 1);
        at_least(&mut room.even, (2 * self.rows + 2) * pitch);
        at_least(&mut room.odd, (2 * self.rows + 2) * pitch);
        let stride = self.stride(channels);
        for channel in 0..channels {
            let target = &mut target[channel * self.pitch()..];
            for run in self.runs() {
                let plane = &images[(run.image * channels + channel) * height * width..];
                let part = Part {
                    plane: &plane[..height * width],
                    width,
                    before,
                    first: 2 * run.first,
                    rows: 2 * run.rows + 2,
                };
                part.split(&mut room.even, &mut room.odd, pitch);
                for row in 0..run.rows {
                    let lines = Lines {
                        even: &room.even[2 * row * pitch..],
                        odd: &room.odd[2 * row * pitch..],
                        pitch,
                    };
                    let target = &mut target[run.tile + row * tiles..];
                    transform::forward(lines, tiles, target, stride);
                }
            }
            self.clear_rest(target, stride);
        }
    }

    /// Transforms the results' gradients of some `channels` of `count` in each of `images`, as the
    /// transpose of the transform of results.
    pub fn transform_gradient(
        &self,
        gradient: &[f32],
        count: usize,
        channels: std::ops::Range<usize>,
        room: &mut LineRoom,
        target: &mut [f32],
    ) {
        let Planes { down, across, .. } = self.planes;
        let tiles = self.planes.wide();
        let pitch = line_length(across).max(tiles.next_multiple_of(TOGETHER));
        at_least(&mut room.even, 2 * self.rows * pitch);
        at_least(&mut room.odd, 2 * self.rows * pitch);
        let stride = self.stride(channels.len());
        for (index, channel) in channels.enumerate() {
            let target = &mut target[index * self.pitch()..];
            for run in self.runs() {
                let plane = &gradient[(run.image * count + channel) * down * across..];
                let part = Part {
                    plane: &plane[..down * across],
                    width: across,
                    before: 0,
                    first: 2 * run.first,
                    rows: 2 * run.rows,
                };
                part.split(&mut room.even, &mut room.odd, pitch);
                for row in 0..run.rows {
                    let lines = Lines {
                        even: &room.even[2 * row * pitch..],
                        odd: &room.odd[2 * row * pitch..],
                        pitch,
                    };
                    let target = &mut target[run.tile + row * tiles..];
                    transform::gradient(lines, tiles, target, stride);
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
