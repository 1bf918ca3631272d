//! The lines of a journal. Each has a checksum: an altered line must not be taken for what a run
//! did, and a cleaning must not miss a key. Journals of earlier versions have none, and are
//! accepted.
//!
//! Journals are not flushed to disk, so one may end anywhere: a truncated last line, or zeros left
//! by a crash of the machine, are not damage.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Header, JOURNAL_FORMAT};
use crate::digest::check;
use crate::fsx;
use crate::fsx::calls::File;

/// Content that a crash of the machine has lost reads as at least this many zeros.
const ZEROS: [u8; 16] = [0; 16];

pub(super) struct Lines {
    input: BufReader<File>,
    /// Whether each line must have a checksum.
    checked: bool,
}

/// A line of a journal.
enum Line {
    Whole {
        text: Vec<u8>,
        checked: bool,
    },
    Damaged,
    /// The file ends here.
    End,
}

/// Why not all lines of a file can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] check::Damaged),
}

/// The start of a journal.
pub(super) enum JournalStart {
    /// There is no file, or it is empty.
    Nothing,
    Journal(Box<Header>, Lines),
    /// A later format.
    Newer(u64),
}

impl Lines {
    /// The lines of a file without a header; `None` if there is no file.
    pub fn open(path: &Path, checked: bool) -> io::Result<Option<Self>> {
        match fsx::open_plain(path) {
            Ok(file) => Ok(Some(Self {
                input: BufReader::new(file),
                checked,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the journal at `path` and reads its header.
    pub fn begin(path: &Path) -> Result<JournalStart, LineError> {
        let Some(mut lines) = Self::open(path, false)? else {
            return Ok(JournalStart::Nothing);
        };
        let (text, checked) = match lines.next()? {
            Line::End => return Ok(JournalStart::Nothing),
            Line::Damaged => return Err(check::Damaged.into()),
            Line::Whole { text, checked } => (text, checked),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        match value["format"].as_u64() {
            Some(found) if found > u64::from(JOURNAL_FORMAT) => {
                return Ok(JournalStart::Newer(found));
            }
            _ => {}
        }
        let header = serde_json::from_value(value).map_err(|_| check::Damaged)?;
        lines.checked = checked;
        Ok(JournalStart::Journal(Box::new(header), lines))
    }

    pub fn are_checked(&self) -> bool {
        self.checked
    }

    /// The values of the readable lines.
    pub fn values<T: DeserializeOwned>(mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || {
            loop {
                match self.next().unwrap_or(Line::End) {
                    Line::End => return None,
                    Line::Whole { text, .. } => match serde_json::from_slice(&text) {
                        Ok(value) => return Some(value),
                        Err(_) => continue,
                    },
                    Line::Damaged => {}
                }
            }
        })
    }

    /// Passes the value of every line to `look`.
    ///
    /// # Errors
    /// A line that can't be read, or that does not match its checksum.
    pub fn each<T: DeserializeOwned>(mut self, mut look: impl FnMut(T)) -> Result<(), LineError> {
        loop {
            match self.next()? {
                Line::End => return Ok(()),
                Line::Damaged => return Err(check::Damaged.into()),
                // An event that this version does not know names no key that it could miss.
                Line::Whole { text, .. } => {
                    if let Ok(value) = serde_json::from_slice(&text) {
                        look(value);
                    }
                }
            }
        }
    }

    fn next(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line)?;
        let end = line.pop_if(|last| *last == b'\n');
        let read = check::read_line(&line);
        Ok(match (read, end) {
            (Ok((text, checked)), Some(_)) if checked || !self.checked => {
                Line::Whole { text, checked }
            }
            // An earlier version may have been killed between a line and its line break.
            (Ok((text, false)), None) if !self.checked && is_json(&text) => Line::Whole {
                text,
                checked: false,
            },
            // Only its line break was lost.
            (Ok((text, true)), None) => Line::Whole {
                text,
                checked: true,
            },
            _ if end.is_none() && !is_whole_but_for_its_end(&line) => Line::End,
            // The remains of a line after a crash of the machine.
            _ if line.windows(ZEROS.len()).any(|bytes| bytes == ZEROS) => Line::End,
            _ => Line::Damaged,
        })
    }
}

/// Whether a flipped bit has replaced the line break of a line with a checksum.
fn is_whole_but_for_its_end(line: &[u8]) -> bool {
    let line = line.split_last().map(|(_, line)| line);
    line.is_some_and(|line| matches!(check::read_line(line), Ok((_, true))))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}
