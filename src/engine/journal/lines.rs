//! The lines of a journal. Each has a checksum: a line that says something else than was written
//! must not be taken for what a run did, and a cleaning must not miss a key. Journals of earlier
//! versions have none, and are taken as they are.
//!
//! Journals are not flushed to the disk, so one may end anywhere: a last line that was cut off, or
//! of which a crash of the machine has left nothing, is no damage.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Header, JOURNAL_FORMAT};
use crate::digest::check;
use crate::fsx;

/// Where a crash of the machine has left no content, a file holds at least so many zeros.
const ZEROS: [u8; 16] = [0; 16];

pub(super) struct Lines {
    input: BufReader<File>,
    /// Whether each line must have a checksum.
    checked: bool,
}

/// A line that was read.
enum Line {
    Whole {
        text: Vec<u8>,
        checked: bool,
    },
    Damaged,
    /// The file ends here.
    End,
}

/// Why not all lines of a file can be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsound {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] check::Damaged),
}

/// How a journal begins.
pub(super) enum Beginning {
    /// There is no file, or no line in it yet.
    Nothing,
    Journal(Box<Header>, Lines),
    /// Of a later format.
    Newer(u64),
}

impl Lines {
    /// The lines of a file that has no header; `None` where there is none.
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
    pub fn begin(path: &Path) -> Result<Beginning, Unsound> {
        let Some(mut lines) = Self::open(path, false)? else {
            return Ok(Beginning::Nothing);
        };
        let (text, checked) = match lines.next()? {
            Line::End => return Ok(Beginning::Nothing),
            Line::Damaged => return Err(check::Damaged.into()),
            Line::Whole { text, checked } => (text, checked),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        match value["format"].as_u64() {
            Some(found) if found > u64::from(JOURNAL_FORMAT) => {
                return Ok(Beginning::Newer(found));
            }
            _ => {}
        }
        let header = serde_json::from_value(value).map_err(|_| check::Damaged)?;
        lines.checked = checked;
        Ok(Beginning::Journal(Box::new(header), lines))
    }

    pub fn are_checked(&self) -> bool {
        self.checked
    }

    /// What the lines say that can be read.
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

    /// Shows what every line says.
    ///
    /// # Errors
    /// One that can't be read, or does not say what was written.
    pub fn each<T: DeserializeOwned>(mut self, mut look: impl FnMut(T)) -> Result<(), Unsound> {
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
            // An earlier version may have been killed between a line and its end.
            (Ok((text, false)), None) if !self.checked && is_json(&text) => Line::Whole {
                text,
                checked: false,
            },
            // Only its end was lost.
            (Ok((text, true)), None) => Line::Whole {
                text,
                checked: true,
            },
            _ if end.is_none() && !is_whole_but_for_its_end(&line) => Line::End,
            // What a crash of the machine has left of it.
            _ if line.windows(ZEROS.len()).any(|bytes| bytes == ZEROS) => Line::End,
            _ => Line::Damaged,
        })
    }
}

/// Whether a flipped bit has turned the end of a checked line into another letter.
fn is_whole_but_for_its_end(line: &[u8]) -> bool {
    let line = line.split_last().map(|(_, line)| line);
    line.is_some_and(|line| matches!(check::read_line(line), Ok((_, true))))
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}
