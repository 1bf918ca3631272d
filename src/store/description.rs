//! `store.json`: a store's format, its claim mechanism and its identity.
//!
//! The identity is random. The file does not name the owner: each user keeps a list of the
//! identities of their own stores. So a store that arrived with another user's files does not pass
//! for one's own, and a store that was moved or copied still does.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::{DESCRIPTION, STORE_FORMAT, TMP};
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx;
use crate::fsx::calls;

const CLAIMS_BY_FLOCK: &str = "flock";

/// Later formats keep the first three fields, so that every version can report which version reads
/// the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub format: u64,
    /// The mechanism that keeps two processes from running one node: `flock`, locks within one
    /// host.
    pub claims: String,
    /// The first version of ribflow that reads this format.
    pub needs_ribflow: String,
    /// Missing in stores that predate identities.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<Digest>,
}

impl Description {
    fn new(id: Digest) -> Self {
        Self {
            format: STORE_FORMAT,
            claims: CLAIMS_BY_FLOCK.to_string(),
            needs_ribflow: "0.1.0".to_string(),
            id: Some(id),
        }
    }

    /// Reads that of the store at `root`; `None` if there is no store.
    pub fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        if fsx::leads_nowhere(root) {
            return Err(StoreError::NotAStore {
                root: root.to_path_buf(),
                why: format!("it {}", fsx::nowhere(root)),
            });
        }
        let path = path(root);
        match fsx::read_plain(&path) {
            Ok(bytes) => Self::parse(root, &bytes).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io(&path)(error)),
        }
    }

    fn parse(root: &Path, bytes: &[u8]) -> Result<Self, StoreError> {
        // The format comes first, since a later one may have other checksums.
        let value: Value = serde_json::from_slice(bytes).map_err(|_| damaged(root))?;
        if let Some(found) = value["format"].as_u64()
            && found > STORE_FORMAT
        {
            let needs = value["needs_ribflow"].as_str();
            return Err(StoreError::NewerStore {
                root: root.to_path_buf(),
                found,
                needs: needs.unwrap_or("(unknown)").to_string(),
            });
        }
        let (value, checked) = check::read_document(bytes).map_err(|_| damaged(root))?;
        if let Some(mechanism) = value["claims"].as_str()
            && mechanism != CLAIMS_BY_FLOCK
        {
            return Err(StoreError::UnknownClaims {
                root: root.to_path_buf(),
                mechanism: mechanism.to_string(),
            });
        }
        let description: Self = serde_json::from_value(value).map_err(|_| damaged(root))?;
        // Both fields were introduced together.
        match description.id.is_some() == checked {
            true => Ok(description),
            false => Err(damaged(root)),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Encoding numbers and strings can't fail.
        check::document(self).unwrap_or_default()
    }
}

/// A file in place of the folder gets its own error message.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn path(root: &Path) -> PathBuf {
    root.join(DESCRIPTION)
}

fn damaged(root: &Path) -> StoreError {
    StoreError::DamagedDescription {
        path: path(root),
        root: root.to_path_buf(),
    }
}

/// Creates `store.json`, durable before anything else of the store exists. If another process was
/// faster, its file stays: it may be of a newer version.
pub(super) fn create(root: &Path, id: Digest) -> Result<(), StoreError> {
    let tmp = root.join(TMP);
    let path = path(root);
    fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
    let bytes = Description::new(id).to_bytes();
    // The file is also a lock, which the group must be able to take if it shares the store.
    let mode = fsx::shared_in(root);
    let created = fsx::create_durably(&path, &tmp, mode, &bytes);
    created.map_err(StoreError::io(&path))?;
    // The folder itself may be new.
    fsx::sync_folder_of(root).map_err(StoreError::io(root))
}

/// A random identity for a store.
pub fn new_id() -> Result<Digest, StoreError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Io {
        path: PathBuf::from("the system's random numbers"),
        source: io::Error::other(error.to_string()),
    })?;
    Ok(Digest::from_bytes(bytes))
}

/// The identity of the store in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// There is no store.
    NoStore,
    /// The store predates identities.
    Unnamed,
    Of(Digest),
}

impl Store {
    /// The identity of the store at `root`. Changes nothing there.
    pub fn identity(root: &Path) -> Result<Identity, StoreError> {
        Ok(match Description::read(root)? {
            None => Identity::NoStore,
            Some(Description { id: None, .. }) => Identity::Unnamed,
            Some(Description { id: Some(id), .. }) => Identity::Of(id),
        })
    }

    /// Gives the store at `root` the identity `id`, unless it has one, and returns the identity
    /// that it then has. Rewrites a damaged `store.json`.
    ///
    /// # Errors
    /// There is no store of this format, or `store.json` can't be written.
    pub fn give_identity(root: &Path, id: Digest) -> Result<Digest, StoreError> {
        let path = path(root);
        // Two callers at once must not assign two identities; and a process that holds the lock on
        // the file must still hold it afterwards.
        let _alone = fsx::StandingLock::alone(&path).map_err(StoreError::io(&path))?;
        match Description::read(root) {
            Ok(Some(Description { id: Some(id), .. })) => return Ok(id),
            Ok(_) | Err(StoreError::DamagedDescription { .. }) => {}
            Err(error) => return Err(error),
        }
        let tmp = root.join(TMP);
        fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
        let bytes = Description::new(id).to_bytes();
        let mode = calls::metadata(&path).map_or(fsx::SHARED, |metadata| {
            use std::os::unix::fs::MetadataExt;
            metadata.mode() & 0o777
        });
        fsx::replace_durably(&path, &tmp, mode, &bytes).map_err(StoreError::io(&path))?;
        Ok(id)
    }
}
