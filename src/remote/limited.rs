//! A writer with a limit: a few bytes, compressed or announced, can claim to be any number.

use std::io::{self, Write};

/// Passes on what is written, up to a limit.
pub struct Limited<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Limited<W> {
    pub fn new(inner: W, most: u64) -> Self {
        Self { inner, left: most }
    }

    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("it has more bytes than it should"));
        }
        let count = self.inner.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
