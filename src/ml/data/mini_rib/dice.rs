//! Random draws in the units of the renderer, based on a named random stream.

use crate::rng::Stream;

/// The random numbers of one image.
pub struct Dice(Stream);

impl Dice {
    /// The random numbers of image `index` for `purpose`.
    pub fn new(seed: u64, purpose: &str, index: usize) -> Self {
        Self(Stream::new(seed, &format!("mini-rib/{purpose}/{index}")))
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.uniform() as f32
    }

    /// Uniform in [-reach, reach).
    pub fn around(&mut self, reach: f32) -> f32 {
        self.between(-reach, reach)
    }

    pub fn chance(&mut self, probability: f32) -> bool {
        (self.0.uniform() as f32) < probability
    }

    /// Uniform in 0..count; 0 if `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        match count {
            0 => 0,
            _ => self.0.below(count as u64) as usize,
        }
    }

    /// Uniform in low..=high.
    pub fn count(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn pick<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        const { assert!(N > 0) };
        choices[self.below(N)]
    }

    pub fn normal(&mut self) -> f32 {
        self.0.normal() as f32
    }

    /// A seed for [`super::noise`].
    pub fn salt(&mut self) -> u32 {
        self.0.bits() as u32
    }
}
