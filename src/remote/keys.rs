//! The signing keys of this lab: one file each, readable only by the owner.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::home::Home;
use super::signing::{PublicKey, SecretKey};
use super::trust::Trust;
use crate::diag;
use crate::fsx;
use crate::fsx::calls;
use crate::workflow::fields::is_label;

/// The extension of a key file.
const ENDING: &str = ".key";
/// Only the owner may read or write.
const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// A named signing key of this user.
#[derive(Debug)]
pub struct OwnKey {
    pub name: String,
    pub secret: SecretKey,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} contains a private key, but others may read it", .0.display())]
    Readable(PathBuf),
    #[error("{} does not contain a key: expected `name:` and 32 bytes in base64", .0.display())]
    Format(PathBuf),
    #[error("there is a key `{0}` already")]
    Exists(String),
    #[error("`{0}` can't be the name of a key")]
    Name(String),
    #[error("there is no key `{name}`")]
    Unknown { name: String, known: Vec<String> },
    #[error("there are several keys: {}", diag::listed(.0.iter().map(String::as_str)))]
    Several(Vec<String>),
    #[error("the key `{name}` is revoked: {reason}")]
    Revoked { name: String, reason: String },
    #[error("the system provides no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl KeyError {
    /// How to fix it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Readable(path) => format!(
                "`chmod 600 {}`; if it may have been read by others: `ribflow revoke --key`",
                path.display()
            ),
            Self::Exists(_) => {
                "choose another name: `ribflow key generate --name NAME`".to_string()
            }
            Self::Name(_) => {
                "letters, digits, `_`, `.`, `+` and `-`, at most 64, a letter or digit first"
                    .to_string()
            }
            Self::Unknown { name, known } if !known.is_empty() => {
                diag::suggest(name, "keys", known.iter().map(String::as_str))
            }
            Self::Unknown { .. } => "`ribflow key generate` makes one".to_string(),
            Self::Several(_) => {
                "`ribflow key use NAME` or RIBFLOW_KEY=NAME chooses the signing key".to_string()
            }
            Self::Revoked { .. } => {
                "`ribflow key generate` makes a new one, `ribflow key use NAME` chooses another one"
                    .to_string()
            }
            Self::Io { .. } | Self::Format(_) | Self::Random(_) => return None,
        };
        Some(hint)
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError + '_ {
    |source| KeyError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Whether a lab, remote or key may have this name, which must be a valid file name on every
/// system.
pub fn is_name(text: &str) -> bool {
    is_label(text) && text.len() <= 64
}

/// Creates a key and its file. Without a name it gets a random one, which reveals nothing about the
/// machine or the user.
///
/// # Errors
/// The key exists: it is never overwritten.
pub fn generate(home: &Home, name: Option<&str>) -> Result<OwnKey, KeyError> {
    let name = match name {
        Some(name) if !is_name(name) => return Err(KeyError::Name(name.to_string())),
        Some(name) => name.to_string(),
        None => random_name()?,
    };
    let secret = SecretKey::generate()?;
    let folder = home.keys();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_FOLDER);
    builder.create(&folder).map_err(io_error(&folder))?;
    let path = folder.join(format!("{name}{ENDING}"));
    let mut file = fsx::temporary(&folder, PRIVATE).map_err(io_error(&folder))?;
    writeln!(file, "{name}:{}", STANDARD.encode(secret.seed())).map_err(io_error(&path))?;
    file.file().sync_all().map_err(io_error(&path))?;
    match fsx::place_new(file, &path).map_err(io_error(&path))? {
        true => Ok(OwnKey { name, secret }),
        false => Err(KeyError::Exists(name)),
    }
}

/// All keys, sorted by name.
pub fn all(home: &Home) -> Result<Vec<OwnKey>, KeyError> {
    names(home)?.iter().map(|name| read(home, name)).collect()
}

/// The names of all keys, sorted.
pub fn names(home: &Home) -> Result<Vec<String>, KeyError> {
    let folder = home.keys();
    let entries = match calls::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(&folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error(&folder))?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(ENDING));
        names.extend(name.filter(|name| is_name(name)).map(str::to_string));
    }
    names.sort();
    Ok(names)
}

/// The signing key: the one `chosen` by name, or the only one that is not revoked. `None` if there
/// is none.
///
/// # Errors
/// There are several keys and none is chosen, or the chosen one is revoked or can't be read.
pub fn used(home: &Home, chosen: Option<&str>, trust: &Trust) -> Result<Option<OwnKey>, KeyError> {
    if let Some(name) = chosen {
        let known = names(home)?;
        if !known.iter().any(|known| known == name) {
            let name = name.to_string();
            return Err(KeyError::Unknown { name, known });
        }
        let key = read(home, name)?;
        return match trust.revocation_of(&key.secret.public()) {
            None => Ok(Some(key)),
            Some(reason) => Err(KeyError::Revoked {
                name: key.name,
                reason: reason.to_string(),
            }),
        };
    }
    let mut keys = all(home)?;
    keys.retain(|key| trust.revocation_of(&key.secret.public()).is_none());
    match keys.len() {
        0 | 1 => Ok(keys.pop()),
        _ => Err(KeyError::Several(
            keys.into_iter().map(|key| key.name).collect(),
        )),
    }
}

fn read(home: &Home, name: &str) -> Result<OwnKey, KeyError> {
    let path = home.keys().join(format!("{name}{ENDING}"));
    let metadata = calls::metadata(&path).map_err(io_error(&path))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(KeyError::Readable(path));
    }
    let text = fsx::read_regular_text(&path).map_err(io_error(&path))?;
    let seed = text
        .trim_end()
        .split_once(':')
        .filter(|(said, _)| *said == name)
        .and_then(|(_, seed)| STANDARD.decode(seed).ok())
        .and_then(|seed| <[u8; 32]>::try_from(seed).ok());
    match seed {
        Some(seed) => Ok(OwnKey {
            name: name.to_string(),
            secret: SecretKey::from_seed(&seed),
        }),
        None => Err(KeyError::Format(path)),
    }
}

/// `name:base64`, as `ribflow trust add` takes it.
pub fn shown(name: &str, key: &PublicKey) -> String {
    format!("{name}:{key}")
}

const MANNERS: [&str; 16] = [
    "amber", "brisk", "calm", "dusty", "eager", "faint", "gentle", "hollow", "ivory", "keen",
    "lunar", "mellow", "quiet", "rapid", "silent", "warm",
];
const THINGS: [&str; 16] = [
    "acorn", "beacon", "canyon", "dune", "ember", "fjord", "glacier", "harbor", "island",
    "juniper", "lantern", "meadow", "orchid", "pebble", "ridge", "willow",
];

/// `quiet-fjord-482`
fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    let [manner, thing, high, low] = bytes.map(usize::from);
    let number = (high * 256 + low) % 1000;
    let (manner, thing) = (MANNERS[manner % 16], THINGS[thing % 16]);
    Ok(format!("{manner}-{thing}-{number:03}"))
}
