//! The user's configuration: remotes by name, trusted keys, and which command stages of others may run.
//! It is the only list of trust: one that comes with a workflow is never read. It reads and writes the
//! file; what trust means is decided in `trust`.

mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::home::Home;
use super::signing::PublicKey;
use super::trust::Policy;
use crate::diag::{Diagnostic, Diagnostics, SourceText};
use crate::digest::Digest;
use crate::fsx;

/// Largest configuration that is read.
const MOST_CONFIG: u64 = 4 << 20;

/// What the user has written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub remotes: BTreeMap<String, Configured>,
    /// Everybody has one name and one key.
    pub trust: BTreeMap<String, PublicKey>,
    /// Command stages of workflows from elsewhere that may run.
    pub commands: BTreeSet<Digest>,
    /// The name of the key that signs, where there are several.
    pub key: Option<String>,
}

/// A remote as it is written down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    pub url: String,
    /// The server of an S3-compatible store.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether what is made here is written there.
    pub write: bool,
    /// The variable that holds the token for a server.
    pub token_env: Option<String>,
    pub policy: Policy,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration is wrong: {0}")]
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
    /// What is written down; nothing where there is no file.
    ///
    /// # Errors
    /// Everything that is wrong with the file, by place.
    pub fn read(home: &Home) -> Result<Self, ConfigError> {
        let path = home.config_file();
        match text(&path)? {
            Some(text) => read::read(SourceText::new(path.display().to_string(), text)),
            None => Ok(Self::default()),
        }
    }

    /// Changes what is written down. Of several processes that do so at once, each sees what the
    /// others have written.
    ///
    /// # Errors
    /// Where `change` fails nothing is written.
    pub fn edit<T, E: From<ConfigError>>(
        home: &Home,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let folder = home.config_folder();
        fs::create_dir_all(folder).map_err(ConfigError::io(folder))?;
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

/// Replaces the file, whole, with what its head says kept.
fn write(path: &Path, config: &Config) -> Result<(), ConfigError> {
    // A link to a file elsewhere stays one.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let old = text(&path)?;
    let mode = fs::metadata(&path).map_or(fsx::SHARED, |metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.mode() & 0o777
    });
    let content = write::text(config, old.as_deref());
    let folder = path.parent().unwrap_or(Path::new("."));
    fsx::replace_durably(&path, folder, mode, content.as_bytes()).map_err(ConfigError::io(&path))
}

/// The text of the file, if there is one.
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
        return Err(wrong("too-large", "it has more than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("not-utf8", "it is not UTF-8"))?;
    Ok(Some(text))
}

impl Configured {
    /// Whether a URL carries what belongs into a variable.
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
