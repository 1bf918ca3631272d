//! Named random streams: every random number depends on a seed and a purpose, never on a clock, an
//! order of execution or a global generator.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A stream of random numbers named by `(seed, purpose)`.
///
/// ChaCha8 keyed with BLAKE3 of the name. Two purposes never share numbers, so a new consumer does
/// not change existing ones.
pub struct Stream {
    generator: ChaCha8Rng,
}

impl Stream {
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 random stream v1");
        hasher
            .update(&seed.to_le_bytes())
            .update(purpose.as_bytes());
        Self {
            generator: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
        }
    }

    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in 0..count, without bias (Lemire 2019). `count` must not be 0.
    pub fn below(&mut self, count: u64) -> u64 {
        loop {
            let product = u128::from(self.bits()) * u128::from(count);
            if product as u64 >= count.wrapping_neg() % count {
                return (product >> 64) as u64;
            }
        }
    }

    /// Standard normal (Box and Muller 1958, cosine branch), with `libm`, so that every platform
    /// gives the same bits.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// A uniformly random order of 0..count (Fisher and Yates).
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_frozen() {
        let mut stream = Stream::new(7, "test");
        assert_ne!(stream.bits(), Stream::new(8, "test").bits());
        assert_ne!(stream.bits(), Stream::new(7, "other").bits());
        let mut again = Stream::new(7, "test");
        assert_eq!(again.permutation(5).len(), 5);
    }
}
