//! A reader of the bytes of a pickle, which never reads past the end.

pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The little-endian number in the next `width` bytes, at most eight.
    pub fn number(&mut self, width: usize) -> Result<usize, String> {
        let bytes = self.take(width)?.iter().rev();
        let number = bytes.fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| cut())
    }

    /// As many bytes as the number in the next `width` bytes specifies.
    pub fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = self.number(width)?;
        self.take(count)
    }

    /// The bytes up to the end of the line, without it.
    pub fn line(&mut self) -> Result<&'a [u8], String> {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or_else(cut)? + 1)?;
        let line = &line[..line.len() - 1];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// A line with a decimal number; Python 2 appends an L to long ones.
pub(super) fn decimal<T: std::str::FromStr>(line: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(line).ok()?;
    text.trim_end_matches('L').parse().ok()
}

/// A text in UTF-8, or otherwise in Latin-1, in which any bytes are valid.
pub(super) fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn cut() -> String {
    "its pickle is cut short".to_string()
}
