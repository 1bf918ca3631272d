//! Time limits for servers: for a connection, for a response, and a minimum rate during a transfer.
//! A server that drips one byte a minute is never silent, so a limit on silence is not enough.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The time limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a connection.
    pub connect: Duration,
    /// For the start of a response, after the request was sent.
    pub answer: Duration,
    /// During a transfer, at least `least` bytes must move within each `window`.
    pub window: Duration,
    pub least: u64,
    /// The total time for a server that has not responded to anything in this process.
    pub first: Duration,
    /// After this part of `first` the user gets a message.
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
    /// The same limits for a request with only `left` time.
    pub fn within(&self, left: Duration) -> Self {
        Self {
            connect: self.connect.min(left),
            answer: self.answer.min(left),
            window: self.window.min(left),
            ..*self
        }
    }

    /// The minimum number of bytes in this time.
    pub fn least_in(&self, time: Duration) -> u64 {
        let windows = time.as_secs_f64() / self.window.as_secs_f64().max(f64::EPSILON);
        (self.least as f64 * windows).ceil() as u64
    }

    /// The maximum duration of a request and its response that move `bytes` bytes in total.
    pub fn of(&self, bytes: u64) -> Duration {
        let windows = bytes.div_ceil(self.least.max(1));
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        self.answer
            .saturating_add(self.window.saturating_mul(windows))
    }
}

/// Monitors the rate of a transfer.
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

    /// Records that `bytes` bytes have moved; `false` if that is too slow.
    pub fn holds(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.bytes >= self.limits.least {
            self.began = Instant::now();
            self.bytes = 0;
        }
        self.began.elapsed() < self.limits.window
    }

    /// The time left for the rest of the window.
    pub fn left(&self) -> Duration {
        self.limits.window.saturating_sub(self.began.elapsed())
    }

    /// The message about a transfer that is too slow.
    pub fn complaint(&self) -> String {
        format!(
            "less than {} KiB moved in {} s",
            self.limits.least.div_ceil(1024),
            self.limits.window.as_secs_f64().ceil()
        )
    }
}

/// A reader that fails if the rate is too low.
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
        // The end of the stream is never late.
        match count == 0 || self.pace.holds(count as u64) {
            true => Ok(count),
            false => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                self.pace.complaint(),
            )),
        }
    }
}
