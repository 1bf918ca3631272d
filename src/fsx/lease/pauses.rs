//! How often a lease that another process holds is tried.

use std::time::{Duration, Instant};

use crate::fsx::calls;

/// The pauses between two attempts: random, so that many contenders don't come at once, and longer
/// while the lock is held for long.
#[derive(Debug)]
pub(super) struct Pauses {
    begun: Instant,
    most: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            most: Duration::from_micros(200),
        }
    }
}

impl Pauses {
    pub fn wait(&mut self) {
        let mut byte = [128];
        // Without random numbers the pauses are all the same.
        let _ = getrandom::fill(&mut byte);
        calls::pause(self.most.mul_f64((f64::from(byte[0]) + 64.0) / 320.0));
        let longest = match self.begun.elapsed() < Duration::from_secs(2) {
            true => Duration::from_millis(20),
            false => Duration::from_millis(250),
        };
        self.most = (self.most * 2).min(longest);
    }
}
