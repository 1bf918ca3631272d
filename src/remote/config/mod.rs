//! The user's configuration: remotes by name, trusted keys, and which command stages of others may
//! run. It is the only list of trust: a list that comes with a workflow is never read. It reads and
//! writes the file; what trust means is decided in `trust`.

mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::home::Home;
use super::signing::PublicKey;
use super::trust::Policy;
use crate::diag::{Diagnostic, Diagnostics, SourceText};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// The size limit of the configuration file.
const MOST_CONFIG: u64 = 4 << 20;

/// The user's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub remotes: BTreeMap<String, Configured>,
    /// The trusted keys by name: one name and one key for each signer.
    pub trust: BTreeMap<String, PublicKey>,
    /// Allowed command stages of imported workflows.
    pub commands: BTreeSet<Digest>,
    /// The name of the signing key, if there are several.
    pub key: Option<String>,
}

/// A configured remote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    pub url: String,
    /// The server of an S3-compatible store.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether own results are written there.
    pub write: bool,
    /// The environment variable that holds the token for a server.
    pub token_env: Option<String>,
    pub policy: Policy,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration is invalid: {0}")]
    Wrong(#[from] Diagnostics),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl ConfigError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

impl Config {
    /// The configuration; empty if there is no file.
    ///
    /// # Errors
    /// All problems of the file, with their locations.
    pub fn read(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config_file();
        match text(&path)? {
            Some(text) => read::read(SourceText::new(path.display().to_string(), text)),
            None => Ok(Self::default()),
        }
    }

    /// Edits the configuration. Concurrent processes see each other's changes.
    ///
    /// # Errors
    /// If `change` fails, nothing is written.
    pub fn edit<T, E: From<ConfigError>>(
        home: &Home,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let folder = home.config_folder();
        calls::create_dir_all(folder).map_err(ConfigError::io(folder))?;
        let lock = folder.join("config.lock");
        let _lock = fsx::Lock::acquire(&lock).map_err(ConfigError::io(&lock))?;
        let mut config = Self::read(home)?;
        let before = config.clone();
        let result = change(&mut config)?;
        if config != before {
            write(&home.config_file(), &config)?;
        }
        Ok(result)
    }
}

/// Replaces the file atomically; keeps the comments at its head.
fn write(path: &Path, config: &Config) -> Result<(), ConfigError> {
    // A link to another file remains a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let old = text(&path)?;
    let mode = calls::metadata(&path).map_or(fsx::SHARED, |metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.mode() & 0o777
    });
    let content = write::text(config, old.as_deref());
    let folder = path.parent().unwrap_or(Path::new("."));
    fsx::replace_durably(&path, folder, mode, content.as_bytes()).map_err(ConfigError::io(&path))
}

/// The text of the file, if it exists.
fn text(path: &Path) -> Result<Option<String>, ConfigError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read =
        fsx::open_regular(path).and_then(|file| file.take(MOST_CONFIG + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigError::io(path)(error)),
    }
    let wrong = |code, message| {
        let name = path.display().to_string();
        let diagnostic = Diagnostic::nowhere(code, &name, message);
        ConfigError::Wrong(diagnostic.into())
    };
    if bytes.len() as u64 > MOST_CONFIG {
        return Err(wrong("too-large", "it is larger than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("not-utf8", "it is not UTF-8"))?;
    Ok(Some(text))
}

impl Configured {
    /// Whether a URL contains credentials, which belong in a variable.
    pub fn has_secret(url: &str) -> bool {
        let authority = url.split_once("://").map(|(scheme, rest)| {
            let end = rest.find('/').unwrap_or(rest.len());
            (scheme, &rest[..end])
        });
        authority.is_some_and(|(scheme, authority)| {
            let user = authority.rsplit_once('@').map(|(user, _)| user);
            user.is_some_and(|user| scheme.starts_with("http") || user.contains(':'))
        })
    }
}

/// Whether `text` can be the name of an environment variable.
pub fn is_variable(text: &str) -> bool {
    crate::workflow::fields::is_identifier(text)
}
