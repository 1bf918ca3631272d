//! Filters in the transformed domain, packed for the tiles of a product.

use super::{POINTS, TAPS};
use crate::ops::cpu::packed::tiles;
use crate::ops::parallel;

/// The transformed filters of a convolution with `outputs` × `channels` filters of 3 × 3.
pub struct Filters {
    /// For each of [`tiles`] of outputs: `[POINTS, channels, height]`.
    tiles: Vec<Vec<f32>>,
    pub outputs: usize,
    pub channels: usize,
}

/// The transformed filters of some adjacent outputs.
#[derive(Clone, Copy)]
pub struct FilterTile<'a> {
    pub first: usize,
    pub height: usize,
    /// `[POINTS, channels, height]`
    words: &'a [f32],
}

impl FilterTile<'_> {
    /// `[channels, height]` at a point.
    pub fn at(&self, point: usize) -> &[f32] {
        let size = self.words.len() / POINTS;
        &self.words[point * size..][..size]
    }
}

impl Filters {
    /// Transforms `filter(output, channel)`.
    pub fn new(
        outputs: usize,
        channels: usize,
        filter: impl Fn(usize, usize) -> [f32; TAPS] + Sync,
    ) -> Self {
        let places: Vec<(usize, usize)> = tiles(outputs).collect();
        let mut words = vec![Vec::new(); places.len()];
        parallel::each_piece(&mut words, 1, |index, words| {
            let (first, height) = places[index];
            let size = channels * height;
            let mut tile = vec![0.0; POINTS * size];
            for channel in 0..channels {
                for row in 0..height {
                    let values = transformed(filter(first + row, channel));
                    for (point, value) in values.into_iter().enumerate() {
                        tile[point * size + channel * height + row] = value;
                    }
                }
            }
            words[0] = tile;
        });
        Self {
            tiles: words,
            outputs,
            channels,
        }
    }

    pub fn tiles(&self) -> impl Iterator<Item = FilterTile<'_>> {
        let tiles = tiles(self.outputs).zip(&self.tiles);
        tiles.map(|((first, height), words)| FilterTile {
            first,
            height,
            words,
        })
    }
}

/// G·g·Gᵀ for a filter g of 3 × 3, with G = [[1, 0, 0], [½, ½, ½], [½, −½, ½], [0, 0, 1]].
fn transformed(g: [f32; TAPS]) -> [f32; POINTS] {
    let line = |a: f32, b: f32, c: f32| {
        let ends = 0.5 * (a + c);
        let middle = 0.5 * b;
        [a, ends + middle, ends - middle, c]
    };
    let columns: [[f32; 4]; 3] = std::array::from_fn(|x| line(g[x], g[3 + x], g[6 + x]));
    let mut values = [0.0; POINTS];
    for (y, values) in values.chunks_exact_mut(4).enumerate() {
        values.copy_from_slice(&line(columns[0][y], columns[1][y], columns[2][y]));
    }
    values
}
