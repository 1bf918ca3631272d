//! What the compressed entries of an archive may grow to.

use std::io::Read;

/// The maximum expansion of a compressed archive. Weights of which 99 in 100 are 0 shrink to a
/// twentieth.
const MOST: u64 = 100;
/// Bytes beyond that.
const SMALL: u64 = 1 << 24;

/// The bytes that the entries of an archive may still give.
pub struct Growth(u64);

impl Growth {
    /// For an archive of `length` bytes.
    pub fn of(length: u64) -> Self {
        Self(SMALL.saturating_add(length.saturating_mul(MOST)))
    }

    /// Reads an entry to its end.
    ///
    /// # Errors
    /// It can't be read, or the entries read so far give too many bytes. The error begins with `name`.
    pub fn read(&mut self, entry: impl Read, name: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = entry.take(self.0.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|why| format!("{name}: {why}"))?;
        self.0 = self.0.checked_sub(bytes.len() as u64).ok_or_else(|| {
            format!("{name} grows to more than {MOST} times the size of the file")
        })?;
        Ok(bytes)
    }
}
