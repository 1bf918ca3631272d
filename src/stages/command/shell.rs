//! The shell that runs a line.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which shell runs a line. Its name stands in the key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// `bash -euo pipefail -c`: a line fails with the first program that fails, also inside a
    /// pipeline, and with the first variable that is not set.
    #[default]
    Bash,
    /// `/bin/sh -c`: a line fails if its last program fails.
    Sh,
}

/// Where programs are looked for if `PATH` is not set, as the shells do.
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

    /// What stands before the line.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Bash => &["-euo", "pipefail", "-c"],
            Self::Sh => &["-c"],
        }
    }

    /// The program; `None` if `PATH` has none.
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Bash => {
                let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
                let mut places = env::split_paths(&path).map(|folder| folder.join(self.name()));
                places.find(|place| place.is_absolute() && can_run(place))
            }
            Self::Sh => Some(PathBuf::from("/bin/sh")),
        }
    }
}

fn can_run(place: &Path) -> bool {
    place.is_file() && access(place, Access::EXEC_OK).is_ok()
}
