//! Random flips and crops of training images.

use crate::Result;
use crate::data::ImageSet;
use crate::rng::Stream;

/// Random augmentation of training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Flip horizontally with probability ½.
    pub flip: bool,
    /// Shift by up to this number of pixels in both directions, filling with black, as a random
    /// crop of the padded image.
    pub shift: usize,
}

impl Augment {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The images `indices` of `set`, augmented with the next numbers of `stream`; bytes as in
    /// `set`.
    pub fn apply(&self, set: &ImageSet, indices: &[usize], stream: &mut Stream) -> Result<Vec<u8>> {
        let mut changed = vec![0; indices.len() * set.image_bytes()];
        let images = changed.chunks_mut(set.image_bytes().max(1));
        for (target, index) in images.zip(indices) {
            let reach = self.shift as u64;
            let mut shift = || match reach {
                0 => 0,
                _ => stream.below(2 * reach + 1) as isize - reach as isize,
            };
            let (down, right) = (shift(), shift());
            let flip = self.flip && stream.below(2) == 1;
            copy(&set.image(*index)?, target, set.width, (down, right), flip);
        }
        Ok(changed)
    }
}

/// Copies an image shifted by `(down, right)`, then mirrored if `flip`; uncovered pixels are
/// unchanged.
fn copy(from: &[u8], to: &mut [u8], width: usize, (down, right): (isize, isize), flip: bool) {
    let height = from.len() / (3 * width);
    for y in 0..height {
        for x in 0..width {
            let (from_y, from_x) = (y as isize - down, x as isize - right);
            let inside =
                (0..height as isize).contains(&from_y) && (0..width as isize).contains(&from_x);
            if inside {
                let source = 3 * (from_y as usize * width + from_x as usize);
                let x = if flip { width - 1 - x } else { x };
                let target = 3 * (y * width + x);
                to[target..target + 3].copy_from_slice(&from[source..source + 3]);
            }
        }
    }
}
