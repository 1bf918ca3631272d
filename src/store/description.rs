//! `store.json`: a store's format, its claim mechanism and its identity.
//!
//! The identity is random. The file does not name the owner: each user keeps a list of the
//! identities of their own stores. So a store that arrived with another user's files does not pass
//! for one's own, and a store that was moved or copied still does.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::{CLAIMS, DESCRIPTION, STORE_FORMAT, TMP};
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx::lease::{Leases, lasts};
use crate::fsx::{self, Locks, calls};

/// The variable that says which form new stores have.
pub const NEW_STORES: &str = "RIBFLOW_CLAIMS";

/// The form of a store's locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimsForm {
    /// `flock`: for the processes of one host.
    Flock,
    /// Leases: for several hosts that share a file system.
    Lease,
}

impl ClaimsForm {
    pub fn word(self) -> &'static str {
        match self {
            Self::Flock => "flock",
            Self::Lease => "lease",
        }
    }

    /// The form of a new store: that of the variable [`NEW_STORES`], else `flock`.
    fn of_new_stores(root: &Path) -> Result<Self, StoreError> {
        match std::env::var(NEW_STORES) {
            Err(_) => Ok(Self::Flock),
            Ok(word) => form_of(&word).ok_or_else(|| StoreError::UnknownClaims {
                root: root.to_path_buf(),
                mechanism: word,
            }),
        }
    }

    /// How locks of this form are taken in the store at `root`.
    pub(super) fn locks(self, root: &Path) -> Locks {
        match self {
            Self::Flock => Locks::of_one_host(&path(root)),
            Self::Lease => {
                let (claims, tmp, store) = (root.join(CLAIMS), root.join(TMP), root.to_path_buf());
                let confirm = move || self.confirm(&store).map_err(io::Error::other);
                Locks::Lease(Leases::new(claims, tmp, lasts(), confirm))
            }
        }
    }

    /// Checks, once other processes see this one, that the locks of the store still have this form.
    pub(super) fn confirm(self, root: &Path) -> Result<(), StoreError> {
        match Description::read(root) {
            Ok(Some(description)) if description.claims != self => {
                let root = root.to_path_buf();
                Err(StoreError::ChangingClaims { root })
            }
            // It is about to be rewritten, in this form.
            Ok(_) | Err(StoreError::DamagedDescription { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for ClaimsForm {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// In place of a form while it is changed: no build takes a lock then.
const CHANGING: &str = "changing";

/// `store.json` while the form of the locks is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    format: u64,
    claims: String,
    needs_ribflow: String,
    id: Digest,
    /// The form until now.
    #[serde(rename = "claims_until_now")]
    pub last: ClaimsForm,
    /// Names the process that changes it.
    changed_by: Digest,
}

impl Change {
    /// Begins to change the form: from now on no process can begin to use the store. Takes over what a
    /// process that has died had begun.
    pub fn begin(root: &Path) -> Result<Self, StoreError> {
        let (id, last) = match Self::read(root)? {
            Some(begun) => (begun.id, begun.last),
            None => {
                let not_a_store = |why: String| StoreError::NotAStore {
                    root: root.to_path_buf(),
                    why,
                };
                let description = Description::read(root)?;
                let description =
                    description.ok_or_else(|| not_a_store(format!("it has no {DESCRIPTION}")))?;
                let id = description.id.ok_or_else(|| {
                    not_a_store(
                        "it has no identity; `ribflow cache adopt` gives it one".to_string(),
                    )
                })?;
                (id, description.claims)
            }
        };
        let change = Self {
            format: STORE_FORMAT,
            claims: CHANGING.to_string(),
            needs_ribflow: NEEDS.to_string(),
            id,
            last,
            changed_by: new_id()?,
        };
        replace(root, &check::document(&change).unwrap_or_default())?;
        Ok(change)
    }

    /// Lets processes use the store again, with locks of this form.
    ///
    /// # Errors
    /// Another process has begun to change it.
    pub fn end(self, root: &Path, form: ClaimsForm) -> Result<(), StoreError> {
        if Self::read(root)?.as_ref() != Some(&self) {
            return Err(StoreError::ChangingClaims {
                root: root.to_path_buf(),
            });
        }
        let description = Description {
            format: STORE_FORMAT,
            claims: form,
            needs_ribflow: NEEDS.to_string(),
            id: Some(self.id),
        };
        replace(root, &description.to_bytes())
    }

    /// `None` if the form is not being changed.
    pub fn read(root: &Path) -> Result<Option<Self>, StoreError> {
        let path = path(root);
        let bytes = match fsx::read_plain(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            bytes => bytes.map_err(StoreError::io(&path))?,
        };
        let (value, checked) = match check::read_document(&bytes) {
            Ok(read) => read,
            Err(_) => return Ok(None),
        };
        let change: Option<Self> = serde_json::from_value(value).ok();
        Ok(change.filter(|change| checked && change.claims == CHANGING))
    }
}

/// The first version that reads the format.
const NEEDS: &str = "0.1.0";

/// Later formats keep the first three fields, so that every version can report which version reads
/// the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub format: u64,
    /// The mechanism that keeps two processes from running one node.
    pub claims: ClaimsForm,
    /// The first version of ribflow that reads this format.
    pub needs_ribflow: String,
    /// Missing in stores that predate identities.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<Digest>,
}

impl Description {
    fn new(id: Digest, claims: ClaimsForm) -> Self {
        Self {
            format: STORE_FORMAT,
            claims,
            needs_ribflow: NEEDS.to_string(),
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
            && form_of(mechanism).is_none()
        {
            let root = root.to_path_buf();
            return Err(match mechanism {
                CHANGING => StoreError::ChangingClaims { root },
                _ => StoreError::UnknownClaims {
                    root,
                    mechanism: mechanism.to_string(),
                },
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

fn form_of(word: &str) -> Option<ClaimsForm> {
    let forms = [ClaimsForm::Flock, ClaimsForm::Lease];
    forms.into_iter().find(|form| form.word() == word)
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
///
/// It gets the form `claims`, or that of new stores.
pub(super) fn create(
    root: &Path,
    id: Digest,
    claims: Option<ClaimsForm>,
) -> Result<(), StoreError> {
    let claims = match claims {
        Some(claims) => claims,
        None => ClaimsForm::of_new_stores(root)?,
    };
    let tmp = root.join(TMP);
    let path = path(root);
    fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
    let bytes = Description::new(id, claims).to_bytes();
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
        let form = last_form(root)?;
        // Two callers at once must not assign two identities; and a process that holds the lock on
        // the file must still hold it afterwards.
        let _alone = form.locks(root).alone().map_err(StoreError::io(&path))?;
        match Description::read(root) {
            Ok(Some(Description { id: Some(id), .. })) => return Ok(id),
            Ok(_) | Err(StoreError::DamagedDescription { .. }) => {}
            Err(error) => return Err(error),
        }
        replace(root, &Description::new(id, form).to_bytes())?;
        Ok(id)
    }

    /// The form of the locks of the store at `root`; `None`: there is none, or it can't be read.
    pub fn form_at(root: &Path) -> Option<ClaimsForm> {
        let description = Description::read(root).ok().flatten();
        description.map(|description| description.claims)
    }

    /// The form of the store's locks.
    pub fn claims_form(&self) -> ClaimsForm {
        match self.locks {
            Locks::Flock { .. } => ClaimsForm::Flock,
            Locks::Lease(_) => ClaimsForm::Lease,
        }
    }
}

/// The form of the locks of the store at `root`, also if `store.json` is damaged: then the word that
/// is left in it decides, or else what its processes have in `tmp/`.
fn last_form(root: &Path) -> Result<ClaimsForm, StoreError> {
    match Description::read(root) {
        Ok(Some(description)) => Ok(description.claims),
        Ok(None) => Ok(ClaimsForm::Flock),
        Err(StoreError::DamagedDescription { .. }) => {
            let bytes = fsx::read_plain(&path(root)).map_err(StoreError::io(root))?;
            let text = String::from_utf8_lossy(&bytes);
            let named = |form: ClaimsForm| text.contains(&format!("\"{form}\""));
            let is_lease = match (named(ClaimsForm::Lease), named(ClaimsForm::Flock)) {
                (lease, flock) if lease != flock => lease,
                _ => Leases::were_used(&root.join(TMP)),
            };
            Ok(match is_lease {
                true => ClaimsForm::Lease,
                false => ClaimsForm::Flock,
            })
        }
        Err(error) => Err(error),
    }
}

/// Replaces `store.json`.
fn replace(root: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let (path, tmp) = (path(root), root.join(TMP));
    fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
    let mode = calls::metadata(&path).map_or(fsx::SHARED, |metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.mode() & 0o777
    });
    fsx::replace_durably(&path, &tmp, mode, bytes).map_err(StoreError::io(&path))
}
