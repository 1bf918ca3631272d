//! The content-addressed store: blobs, records, claims, and indexes of outside data.
//!
//! It owns one folder; docs/store.md specifies its layout and its guarantees. It does not know how
//! nodes run or what a kind computes. Files are the truth: there is no database, and everything
//! derived from the files may be deleted at any time.
//!
//! ```text
//! the folder      layout description prepare locking_form error session scratch local    names, format, identity, form of locks; temporary files; scratch stores
//! blobs           objects incoming                                                 read-only files named by digest; bytes that arrive in pieces
//! artifacts       artifact tensors tensorfile                                      what a port holds; tensor trees and .safetensors
//! records         record records publish claims samples forget                     outcomes of keys: read, chosen, published, claimed, recomputed, forgotten
//! caches          recordindex receipt packed recent                                derived files that make a run with nothing to do fast; their encoding; what a process remembers
//! outside data    sources source_error imagefolder ignore walk statcache statindex trees  folders as digests; caches of file stamps
//! environments    environments                                                     lock files and installed packages as tables
//! derived work    derived_cache                                                    pixels, features and logits that can be recomputed
//! from elsewhere  foreign revocation_check withheld                                records and blobs of other stores; revocations; blobs that must not be shared
//! care            inventory check gc pins                                          inventory, integrity check, garbage collection, pins
//! out             export                                                           artifacts as ordinary files
//! ```

pub mod artifact;
pub mod check;
mod claims;
pub mod derived_cache;
mod description;
mod environments;
mod error;
pub mod export;
mod foreign;
mod forget;
pub mod gc;
pub mod ignore;
mod imagefolder;
mod incoming;
pub mod inventory;
mod layout;
mod local;
mod locking_form;
mod objects;
mod packed;
pub mod pins;
mod prepare;
mod publish;
pub mod receipt;
mod recent;
pub mod record;
mod recordindex;
mod records;
mod revocation_check;
pub mod samples;
mod scratch;
mod session;
mod source_error;
pub mod sources;
mod statcache;
mod statindex;
pub mod tensorfile;
pub mod tensors;
mod trees;
mod walk;
mod withheld;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::digest::Digest;
use crate::fsx::{self, Stamp};

pub use artifact::{Artifact, Blob, BlobError, Blobs};
pub use claims::Claim;
pub use description::{ClaimsForm, Identity, new_id};
pub use environments::check_environment_file;
pub use error::StoreError;
pub use export::{ExportError, export};
pub use foreign::{BlobRequest, BlobSource, ForeignRecord, Signature};
pub use incoming::Incoming;
pub use layout::STORE_FORMAT;
pub use locking_form::StoreUser;
pub use recent::Recent;
pub use record::{Accepted, Port, Record, StoredRecord};
pub use recordindex::RecordIndex;
pub use revocation_check::RevocationCheck;
pub use scratch::{FromStore, ScratchStore};
pub use sources::{IdentifiedSource, ResolvedSource, SourceError};
pub use statcache::StatCache;
pub use withheld::{MarkingStore, References};

/// Of this number of blobs, a process remembers that it has verified them: about 100 MB.
const MOST_VERIFIED: usize = 1 << 20;

/// An open store. Cheap to open; many threads and many processes may use it at once.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// `None`: the store predates identities.
    id: Option<Digest>,
    locks: fsx::Locks,
    /// The root folder, opened by the first write.
    below: Mutex<Option<Arc<fsx::Beneath>>>,
    /// This process's folder under `tmp/`, created on the first write.
    session: Mutex<Option<session::Session>>,
    /// Blobs that this process has verified, with their stamps at that time.
    verified: Mutex<Recent<Digest, Stamp>>,
    /// Pieces of the derived cache likewise, by path.
    pieces: Mutex<HashMap<PathBuf, Stamp>>,
    /// Lists of images that must not be shared, as far as they were read.
    listed: Mutex<withheld::Lists>,
    /// A folder on this machine's own disk.
    local: OnceLock<local::LocalFolder>,
    /// The source of missing blobs.
    elsewhere: OnceLock<Arc<dyn BlobSource>>,
    /// Knows the revocations.
    revocations: Mutex<Option<Arc<dyn RevocationCheck>>>,
    /// If the choice among records is lost, use any of them instead of failing.
    any_choice: bool,
}

impl Store {
    /// Opens the store at `root`; creates it if it does not exist.
    ///
    /// # Errors
    /// The store has a newer format, the folder holds something else, or it can't be read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, None, None)
    }

    /// As [`Store::open`]; a new store gets the identity `id`.
    pub fn open_as(root: &Path, id: Digest) -> Result<Self, StoreError> {
        Self::open_with(root, Some(id), None)
    }

    /// A new store gets locks of this form, or of the usual one.
    fn open_with(
        root: &Path,
        id: Option<Digest>,
        form: Option<ClaimsForm>,
    ) -> Result<Self, StoreError> {
        let description = prepare::prepare(root, id, form)?;
        let root = std::path::absolute(root).map_err(StoreError::io(root))?;
        Ok(Self {
            locks: description.claims.locks(&root),
            root,
            id: description.id,
            below: Mutex::default(),
            session: Mutex::default(),
            verified: Mutex::new(Recent::new(MOST_VERIFIED)),
            pieces: Mutex::default(),
            listed: Mutex::default(),
            local: OnceLock::new(),
            elsewhere: OnceLock::new(),
            revocations: Mutex::default(),
            any_choice: false,
        })
    }

    /// For the command that chooses a record: a lost choice is not an error.
    pub fn with_any_choice(mut self) -> Self {
        self.any_choice = true;
        self
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The open root folder, below which no link is followed.
    fn below(&self) -> io::Result<Arc<fsx::Beneath>> {
        let mut place = self.below.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(below) = place.as_ref().filter(|below| below.is_there()) {
            return Ok(Arc::clone(below));
        }
        let below = Arc::new(fsx::Beneath::open(&self.root)?);
        *place = Some(Arc::clone(&below));
        Ok(below)
    }

    /// Distinguishes it from all other stores; `None`: the store predates identities.
    pub fn id(&self) -> Option<Digest> {
        self.id
    }

    /// Where runs keep their plans, journals and logs.
    pub fn runs(&self) -> PathBuf {
        self.root.join(layout::RUNS)
    }

    /// The folder of incomplete downloads, which a later process can resume.
    pub fn downloads(&self) -> PathBuf {
        self.root.join(layout::DOWNLOADS)
    }

    /// Where environments of commands are built. May not exist.
    pub fn environments(&self) -> PathBuf {
        self.root.join(layout::ENVIRONMENTS)
    }

    /// A new folder under `tmp/`, removed on drop, or by a later process if this one dies.
    pub fn scratch(&self) -> Result<fsx::DraftFolder, StoreError> {
        let folder = self.session_folder()?;
        fsx::DraftFolder::new(&folder, "scratch-").map_err(StoreError::io(&folder))
    }
}
