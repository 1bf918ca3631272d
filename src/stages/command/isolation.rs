//! An isolated line: it reads and writes the places that [`places`] lists, and no others, and has
//! no network unless the stage asks for it.
//!
//! Landlock limits files, seccomp limits sockets and other ways out of the process. The line never
//! runs without either.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;
mod places;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(not(target_os = "linux"))]
use self::elsewhere::Restrictions;
#[cfg(target_os = "linux")]
use self::linux::Restrictions;
pub(super) use self::places::{Access, Place, of_environment};
use super::super::task::TaskError;
use super::work_dir::WorkDir;

/// The restrictions of one line.
pub(super) struct Isolation {
    restrictions: Restrictions,
    network: bool,
    /// What the line can read outside its own folders, for messages.
    readable: Vec<PathBuf>,
}

impl Isolation {
    /// Prepares the restrictions of a line in `space`. `environment` is what its runner needs.
    ///
    /// # Errors
    /// The kernel has no Landlock or no seccomp.
    pub fn prepare(
        space: &WorkDir,
        network: bool,
        program: &Path,
        environment: Vec<Place>,
    ) -> Result<Self, TaskError> {
        let mut places = places::of_system(program, network);
        places.extend(environment);
        let readable = places.iter().map(|place| place.path.clone()).collect();
        for folder in [&space.folder, &space.temporary] {
            places.push(Place::new(folder, Access::Write));
        }
        let restrictions = Restrictions::prepare(&places, network).map_err(refused)?;
        Ok(Self {
            restrictions,
            network,
            readable,
        })
    }

    /// Makes `command` start with the restrictions. All its descendants inherit them.
    pub fn bind(&self, command: &mut Command) {
        self.restrictions.bind(command);
    }

    /// The reason, if a start failed because the kernel refused a restriction.
    pub fn refusal(&self, error: &io::Error) -> Option<TaskError> {
        self.restrictions.refusal(error).map(refused)
    }

    /// The entry of the record.
    pub fn note(&self) -> String {
        let network = if self.network { ", network" } else { "" };
        format!("{}{network}", self.restrictions.name())
    }

    /// What the line could read, for the message of a failure.
    pub fn hint(&self, shown: impl Fn(&Path) -> String) -> String {
        let readable: Vec<String> = self.readable.iter().map(|path| shown(path)).collect();
        let network = match self.network {
            true => "It could use the network",
            false => "It had no network (`network: true` allows it)",
        };
        format!(
            "the line is `isolated`. It could read its own folder (also HOME), TMPDIR, {}. {network}. \
             List other files under `files` or `needs`",
            readable.join(", ")
        )
    }
}

fn refused(reason: String) -> TaskError {
    TaskError::Failed(format!(
        "the command was not run: it is `isolated`, and {reason}"
    ))
}
