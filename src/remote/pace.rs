//! How long a server may take: a connection, an answer, and the least that must move while bytes
//! flow. A server that drips one byte a minute never falls silent, so silence alone is no measure.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The time a server has.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the beginning of an answer, once the request is there.
    pub answer: Duration,
    /// While bytes flow, at least `least` of them within each `window`.
    pub window: Duration,
    pub least: u64,
    /// For everything together, as long as it has not answered anything in this process.
    pub first: Duration,
    /// After so much of that the user is told.
    pub notice: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            window: Duration::from_secs(30),
            least: 256 * 1024,
            first: Duration::from_secs(30),
            notice: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// The same, for a request that has only so much time.
    pub fn within(&self, left: Duration) -> Self {
        Self {
            connect: self.connect.min(left),
            answer: self.answer.min(left),
            window: self.window.min(left),
            ..*self
        }
    }

    /// The bytes that must move in so much time.
    pub fn least_in(&self, time: Duration) -> u64 {
        let windows = time.as_secs_f64() / self.window.as_secs_f64().max(f64::EPSILON);
        (self.least as f64 * windows).ceil() as u64
    }

    /// The most that a request with an answer may take that move so many bytes together.
    pub fn of(&self, bytes: u64) -> Duration {
        let windows = bytes.div_ceil(self.least.max(1));
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        self.answer
            .saturating_add(self.window.saturating_mul(windows))
    }
}

/// Watches over a flow of bytes.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    began: Instant,
    bytes: u64,
}

impl Pace {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            began: Instant::now(),
            bytes: 0,
        }
    }

    /// So many bytes have moved; `false` where that is too few for the time.
    pub fn holds(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.bytes >= self.limits.least {
            self.began = Instant::now();
            self.bytes = 0;
        }
        self.began.elapsed() < self.limits.window
    }

    /// The time left for what is missing.
    pub fn left(&self) -> Duration {
        self.limits.window.saturating_sub(self.began.elapsed())
    }

    /// What to say of a flow that was too slow.
    pub fn complaint(&self) -> String {
        format!(
            "less than {} KiB moved in {} s",
            self.limits.least.div_ceil(1024),
            self.limits.window.as_secs_f64().ceil()
        )
    }
}

/// A reader that fails where the pace does.
#[derive(Debug)]
pub struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R: Read> Paced<R> {
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            pace: Pace::new(limits),
        }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        // The end is on time whenever it comes.
        match count == 0 || self.pace.holds(count as u64) {
            true => Ok(count),
            false => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                self.pace.complaint(),
            )),
        }
    }
}
