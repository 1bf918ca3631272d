//! Converts images to tokens, and elementwise sums.

use super::math::{add_to, vectorised};
use crate::ops::parallel;

/// How images are divided into patches.
#[derive(Clone, Copy)]
pub struct Grid {
    pub channels: usize,
    pub down: usize,
    pub across: usize,
    /// Pixels on a side of a patch.
    pub size: usize,
}

impl Grid {
    fn image(&self) -> usize {
        self.channels * self.down * self.across * self.size * self.size
    }

    /// Calls `line` with the offset in the image and in the patches of each line of a patch.
    #[inline(always)]
    fn each_line(&self, mut line: impl FnMut(usize, usize)) {
        let Self {
            channels,
            down,
            across,
            size,
        } = *self;
        let width = across * size;
        for channel in 0..channels {
            for y in 0..down * size {
                for x in 0..across {
                    let patch = (y / size) * across + x;
                    let within = (channel * size + y % size) * size;
                    let image = (channel * down * size + y) * width + x * size;
                    line(image, patch * channels * size * size + within);
                }
            }
        }
    }
}

/// Images `[channels, height, width]` to patches `[patches, channels·size·size]`.
pub fn cut(grid: Grid, images: &[f32]) -> Vec<f32> {
    let mut patches = vec![0.0; images.len()];
    parallel::each_piece(&mut patches, grid.image(), |index, target| {
        let image = &images[index * grid.image()..][..grid.image()];
        grid.each_line(|from, to| {
            target[to..to + grid.size].copy_from_slice(&image[from..from + grid.size]);
        });
    });
    patches
}

/// The reverse of [`cut`].
pub fn join(grid: Grid, patches: &[f32]) -> Vec<f32> {
    let mut images = vec![0.0; patches.len()];
    parallel::each_piece(&mut images, grid.image(), |index, target| {
        let patches = &patches[index * grid.image()..][..grid.image()];
        grid.each_line(|to, from| {
            target[to..to + grid.size].copy_from_slice(&patches[from..from + grid.size]);
        });
    });
    images
}

/// Each image's `patches` after the class token, with the positions added.
pub fn embed(patches: &[f32], class: &[f32], positions: &[f32]) -> Vec<f32> {
    let (width, size) = (class.len(), positions.len());
    let images = patches.chunks_exact(size - width);
    let mut tokens = Vec::with_capacity(images.len() * size);
    for image in images {
        let start = tokens.len();
        tokens.extend_from_slice(class);
        tokens.extend_from_slice(image);
        vectorised(
            #[inline(always)]
            || add_to(&mut tokens[start..], positions),
        );
    }
    tokens
}

/// The sum of `values` over images of `size` values each, in their order.
pub fn sum_images(values: &[f32], size: usize) -> Vec<f32> {
    let mut sum = vec![0.0; size];
    vectorised(
        #[inline(always)]
        || {
            for image in values.chunks_exact(size) {
                add_to(&mut sum, image);
            }
        },
    );
    sum
}

/// The values `from..to` of each image of `size` values.
pub fn take(values: &[f32], size: usize, from: usize, to: usize) -> Vec<f32> {
    let mut taken = Vec::with_capacity(values.len() / size.max(1) * (to - from));
    for image in values.chunks_exact(size) {
        taken.extend_from_slice(&image[from..to]);
    }
    taken
}

/// The reverse of taking the first values: pads each `part` values of `taken` with zeros.
pub fn put_first(taken: &[f32], part: usize, size: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(taken.len() / part.max(1) * size);
    for image in taken.chunks_exact(part) {
        values.extend_from_slice(image);
        values.resize(values.len() + size - part, 0.0);
    }
    values
}

/// a + b.
pub fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut sum = a.to_vec();
    let size = sum.len().div_ceil(16).max(8192);
    parallel::each_piece(&mut sum, size, |index, target| {
        let b = &b[index * size..][..target.len()];
        vectorised(
            #[inline(always)]
            || add_to(target, b),
        );
    });
    sum
}
