//! The user's own folders. Their content is never part of a store or a repository.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders of the user's configuration and data.
#[derive(Clone, Debug)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
}

/// No environment variable gives the user's folders.
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
            // The specification of these variables says to ignore a relative path.
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

    /// How the user's clusters are asked for places.
    pub fn cluster_file(&self) -> PathBuf {
        self.config.join("cluster.yaml")
    }

    pub(super) fn config_folder(&self) -> &Path {
        &self.config
    }

    /// The private keys, one file each.
    pub fn keys(&self) -> PathBuf {
        self.data.join("keys")
    }

    /// The list of imported command stages.
    pub fn imported(&self) -> PathBuf {
        self.data.join("imported")
    }

    /// The list of what this user has exported in bundles.
    pub fn exported(&self) -> PathBuf {
        self.data.join("exported")
    }

    /// The identities of the stores that this user created or adopted.
    pub fn stores(&self) -> PathBuf {
        self.data.join("stores")
    }

    /// The paths of workflow files that this user has run or pinned.
    pub fn projects(&self) -> PathBuf {
        self.data.join("projects")
    }

    /// The revocations of this lab and of others.
    pub fn revocations(&self) -> PathBuf {
        self.data.join("revocations")
    }
}
