//! The user's own folders: what is written there is never part of a store or a repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the user's configuration and keys lie.
#[derive(Clone, Debug)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
}

/// No variable says where the user's folders are.
#[derive(Debug, thiserror::Error)]
#[error("there is no home folder: HOME is not set")]
pub struct NoHome;

impl Home {
    /// The folders of the user that runs this process.
    pub fn of_user() -> Result<Self, NoHome> {
        Self::of(|name| std::env::var_os(name))
    }

    /// The folders that these variables give: `XDG_CONFIG_HOME`, `XDG_DATA_HOME`, `HOME`.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let absolute = |name: &str| {
            let path = PathBuf::from(variable(name)?);
            // As the specification of these variables asks: a relative path is ignored.
            path.is_absolute().then_some(path)
        };
        let home = absolute("HOME");
        let folder = |name: &str, below: &str| {
            let folder = absolute(name).or_else(|| Some(home.as_ref()?.join(below)));
            folder.map(|folder| folder.join("ribflow")).ok_or(NoHome)
        };
        Ok(Self {
            config: folder("XDG_CONFIG_HOME", ".config")?,
            data: folder("XDG_DATA_HOME", ".local/share")?,
        })
    }

    /// Remotes and trust.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.yaml")
    }

    pub(super) fn config_folder(&self) -> &Path {
        &self.config
    }

    /// The private keys, one file each.
    pub fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The command stages that came from elsewhere.
    pub fn imported(&self) -> PathBuf {
        self.data.join("imported")
    }

    /// What this user has packed into bundles.
    pub fn exported(&self) -> PathBuf {
        self.data.join("exported")
    }

    /// The identities of the stores that were made or adopted here.
    pub fn stores(&self) -> PathBuf {
        self.data.join("stores")
    }

    /// Where workflow files are that were run or pinned here.
    pub fn projects(&self) -> PathBuf {
        self.data.join("projects")
    }

    /// What this lab and others have taken back.
    pub fn revocations(&self) -> PathBuf {
        self.data.join("revocations")
    }
}
