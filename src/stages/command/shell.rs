//! The shell that runs a line.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The shell that runs a line. Its name is part of the key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// `bash -euo pipefail -c`: the line fails when a program fails, also inside a pipeline, or
    /// when a variable is not set.
    #[default]
    Bash,
    /// `/bin/sh -c`: the line fails if its last program fails.
    Sh,
}

/// The search path if `PATH` is not set, same as in the shells.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Shell {
    /// The shell of a `command` node with these parameters.
    pub fn of(with: &Value) -> Self {
        let name = with.get("shell").cloned().unwrap_or_default();
        serde_json::from_value(name).unwrap_or_default()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Sh => "sh",
        }
    }

    /// The arguments before the line.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Bash => &["-euo", "pipefail", "-c"],
            Self::Sh => &["-c"],
        }
    }

    /// The program; `None` if `PATH` has none.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Bash => found(self.name()),
            Self::Sh => Some(PathBuf::from("/bin/sh")),
        }
    }
}

/// The program of this name in `PATH`.
pub(super) fn found(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
    let mut places = env::split_paths(&path).map(|folder| folder.join(name));
    places.find(|place| place.is_absolute() && can_run(place))
}

fn can_run(place: &Path) -> bool {
    place.is_file() && access(place, Access::EXEC_OK).is_ok()
}
