//! A writer with a limit: a few compressed bytes may expand to any size, and a stated length may be
//! wrong.

use std::io::{self, Write};

/// Forwards writes up to a limit.
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
            return Err(io::Error::other("it is larger than expected"));
        }
        let count = self.inner.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
