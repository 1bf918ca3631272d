//! The settings of a site: a file in the user's own configuration, never a part of a key.

mod read;

use std::io;
use std::path::{Path, PathBuf};

use super::command::LaunchSettings;
use super::slurm::{Pace, SlurmSettings};
use super::supply::Limits;
use crate::diag::{Diagnostic, Diagnostics, SourceText};
use crate::fsx;

/// Seconds after which a run says that no launched worker has joined.
const NOTICE: f64 = 120.0;
/// The size limit of the file.
const MOST_BYTES: u64 = 1 << 20;

/// What a site's file says; each field has a default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Site {
    /// Workers at the same time, and how much work is worth one.
    pub limits: Limits,
    pub slurm: SlurmSettings,
    pub command: CommandSettings,
}

/// The launch line of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandSettings {
    pub launch: Option<String>,
    /// Seconds within which a launched worker joins.
    pub join: u64,
    /// Bytes for classes that name none.
    pub mem: Option<u64>,
    /// Seconds for which a place is asked for.
    pub time: Option<u64>,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            launch: None,
            join: 3600,
            mem: None,
            time: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("the settings of the cluster are invalid: {0}")]
    Wrong(#[from] Diagnostics),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Site {
    /// The file at `path`; the defaults if there is none.
    ///
    /// # Errors
    /// All problems of the file, with their places.
    pub fn read(path: &Path) -> Result<Self, SiteError> {
        let name = path.display().to_string();
        let bytes = match fsx::read_regular_within(path, MOST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                let path = path.to_path_buf();
                return Err(SiteError::Io { path, source });
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| {
            let problem = Diagnostic::nowhere("not-utf8", &name, "it is not UTF-8");
            SiteError::Wrong(problem.into())
        })?;
        Ok(Self::parse(SourceText::new(name, text))?)
    }

    /// The settings in a text.
    ///
    /// # Errors
    /// All problems, with their places.
    pub fn parse(source: SourceText) -> Result<Self, Diagnostics> {
        read::read(source)
    }

    pub fn pace(&self) -> Pace {
        Pace {
            limits: self.limits.clone(),
            ..Pace::default()
        }
    }

    /// The settings for a launch line; `line` replaces that of the file.
    pub fn launch(&self, line: Option<&str>) -> Option<LaunchSettings> {
        let launch = line.or(self.command.launch.as_deref())?;
        Some(LaunchSettings {
            launch: launch.to_string(),
            join: self.command.join as f64,
            notice: NOTICE,
            mem: self.command.mem,
            time: self.command.time,
            limits: self.limits.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
