//! The output of a command: lines for the node's log, and the last lines for error messages.
//! Secrets are masked before anything is kept.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::super::task::Context;

/// The number of last lines in an error message.
const TAIL: usize = 20;
/// Longer lines of output are split.
const LONGEST_LINE: usize = 64 << 10;
/// The replacement for a secret.
const MASK: &[u8] = b"***";
/// The lines of a multi-line secret are masked separately. Shorter lines reveal nothing.
const SHORTEST_LINE: usize = 4;

/// Values that must not be shown.
#[derive(Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    pub fn new<'a>(values: impl Iterator<Item = &'a OsStr>) -> Self {
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let value = value.as_bytes();
            let lines = value.split(|byte| matches!(byte, b'\n' | b'\r'));
            let whole = value.trim_ascii();
            let long = lines.map(<[u8]>::trim_ascii);
            let long = long.filter(|line| line.len() >= SHORTEST_LINE);
            secrets.extend(long.chain([whole]).map(<[u8]>::to_vec));
        }
        secrets.retain(|secret| !secret.is_empty());
        // Replace the longer of two values with a common prefix first, or its end would remain.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then(one.cmp(other)));
        secrets.dedup();
        Self(secrets)
    }

    /// `text` with every secret replaced.
    fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.first() {
            match self.0.iter().find(|secret| rest.starts_with(secret)) {
                Some(secret) => {
                    masked.extend_from_slice(MASK);
                    rest = &rest[secret.len()..];
                }
                None => {
                    masked.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        masked
    }

    /// The number of bytes at the end of a text that may be the start of a secret.
    fn overlap(&self) -> usize {
        self.0
            .first()
            .map_or(0, |longest| longest.len().saturating_sub(1))
    }
}

/// Output split into lines, with the last ones kept.
#[derive(Default)]
pub(super) struct Lines {
    secrets: Secrets,
    open: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    pub fn hiding(secrets: Secrets) -> Self {
        Self {
            secrets,
            ..Self::default()
        }
    }

    pub fn take(&mut self, bytes: &[u8], context: &Context) {
        for byte in bytes {
            match byte {
                b'\n' => self.close(context),
                byte => self.open.push(*byte),
            }
            if self.open.len() >= LONGEST_LINE + self.secrets.overlap() {
                self.cut(context);
            }
        }
    }

    pub fn finish(&mut self, context: &Context) {
        if !self.open.is_empty() {
            self.close(context);
        }
    }

    pub fn tail(&self) -> impl ExactSizeIterator<Item = &String> {
        self.tail.iter()
    }

    /// Ends a line that is too long, except for bytes that may be the start of a secret.
    fn cut(&mut self, context: &Context) {
        let masked = self.secrets.mask(&self.open);
        let at = masked.len().saturating_sub(self.secrets.overlap());
        self.open = masked[at..].to_vec();
        self.log(&masked[..at], context);
    }

    fn close(&mut self, context: &Context) {
        let masked = self.secrets.mask(&self.open);
        self.open.clear();
        self.log(&masked, context);
    }

    fn log(&mut self, line: &[u8], context: &Context) {
        let line = String::from_utf8_lossy(line);
        // A progress bar redraws its line after `\r`, so keep only the last state.
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or_default().to_string();
        context.progress.log(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_whole() {
        let values = ["hunter2", "hunter22", "first\nsecond line\n", ""];
        let secrets = Secrets::new(values.iter().map(OsStr::new));
        let masked = |text: &str| String::from_utf8(secrets.mask(text.as_bytes())).unwrap();
        assert_eq!(masked("a=hunter2 b=hunter22;"), "a=*** b=***;");
        assert_eq!(masked("first"), "***");
        assert_eq!(masked("-second line-"), "-***-");
        assert_eq!(masked("hunter"), "hunter");
        assert_eq!(masked(""), "");
    }
}
