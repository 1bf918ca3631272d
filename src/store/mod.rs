//! The content-addressed store: blobs, records, claims, and what is known of outside data.
//!
//! It owns one folder; docs/store.md specifies its layout and its promises. It does not know how nodes
//! run or what a kind computes. Files are the truth: there is no database, and everything derived from
//! the files may be deleted at any time.
//!
//! ```text
//! the folder      layout description prepare error session beside                  names, format, identity; temporary files; scratch stores
//! blobs           objects incoming                                                 sealed files named by digest; bytes that arrive in pieces
//! artifacts       artifact tensors tensorfile                                      what a port holds; tensor trees and .safetensors
//! records         record records publish claims samples forget                     outcomes of keys: read, chosen, published, claimed, recomputed, forgotten
//! record caches   recordindex receipt packed                                       derived files that make a run with nothing to do fast; their encoding
//! outside data    sources source_error imagefolder walk statcache statindex trees  folders as digests; caches of file stamps
//! derived work    derived_cache                                                    pixels, features and logits that can be recomputed
//! from elsewhere  foreign revocation_check withheld                                  records and blobs of other stores; revocations; what may not be sent
//! care            inventory check gc pins                                          what is there, whether it is whole, what may go, what must stay
//! out             export                                                           artifacts as ordinary files
//! ```

pub mod artifact;
mod beside;
pub mod check;
mod claims;
pub mod derived_cache;
mod description;
mod error;
pub mod export;
mod foreign;
mod forget;
pub mod gc;
mod imagefolder;
mod incoming;
pub mod inventory;
mod layout;
mod objects;
mod packed;
pub mod pins;
mod prepare;
mod publish;
pub mod receipt;
pub mod record;
mod recordindex;
mod records;
mod revocation_check;
pub mod samples;
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
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::digest::Digest;
use crate::fsx::Stamp;

pub use artifact::{Artifact, Blob, BlobError, Blobs};
pub use beside::{Beside, ScratchStore};
pub use claims::Claim;
pub use description::{Identity, new_id};
pub use error::StoreError;
pub use export::{ExportError, export};
pub use foreign::{Elsewhere, Foreign, Signature, Wanted};
pub use incoming::Incoming;
pub use layout::STORE_FORMAT;
pub use record::{Accepted, Port, Record, StoredRecord};
pub use recordindex::RecordIndex;
pub use revocation_check::RevocationCheck;
pub use sources::{IdentifiedSource, ResolvedSource, SourceError};
pub use statcache::StatCache;
pub use withheld::{Marking, Named};

/// An open store. Cheap to open; used from many threads, and by many processes at once.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// `None`: it is older than identities.
    id: Option<Digest>,
    /// This process's folder under `tmp/`, made when something is first written.
    session: Mutex<Option<session::Session>>,
    /// Blobs that this process has verified, with the stamp they had.
    verified: Mutex<HashMap<Digest, Stamp>>,
    /// Derived pieces likewise, by path.
    pieces: Mutex<HashMap<PathBuf, Stamp>>,
    /// Lists of images that stay here, as far as they were read.
    listed: Mutex<withheld::Lists>,
    /// Where missing blobs are asked for.
    elsewhere: OnceLock<Arc<dyn Elsewhere>>,
    /// Who knows what has been taken back.
    revocations: Mutex<Option<Arc<dyn RevocationCheck>>>,
    /// Where it can't be told any more which record is used, any will do.
    any_choice: bool,
}

impl Store {
    /// Opens the store at `root`, making it where there is none.
    ///
    /// # Errors
    /// A store of a newer format, a folder that holds something else, or one that can't be read.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, None)
    }

    /// As [`Store::open`]; a store that is made gets the identity `id`.
    pub fn open_as(root: &Path, id: Digest) -> Result<Self, StoreError> {
        Self::open_with(root, Some(id))
    }

    fn open_with(root: &Path, id: Option<Digest>) -> Result<Self, StoreError> {
        let description = prepare::prepare(root, id)?;
        let root = std::path::absolute(root).map_err(StoreError::io(root))?;
        Ok(Self {
            root,
            id: description.id,
            session: Mutex::default(),
            verified: Mutex::default(),
            pieces: Mutex::default(),
            listed: Mutex::default(),
            elsewhere: OnceLock::new(),
            revocations: Mutex::default(),
            any_choice: false,
        })
    }

    /// For the command that says which record is used: a lost choice is no error.
    pub fn with_any_choice(mut self) -> Self {
        self.any_choice = true;
        self
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What tells it from all other stores; `None`: it is older than identities.
    pub fn id(&self) -> Option<Digest> {
        self.id
    }

    /// Where runs keep their plans, journals and logs.
    pub fn runs(&self) -> PathBuf {
        self.root.join(layout::RUNS)
    }

    /// Where downloads lie that are not whole yet, for a later process to go on with.
    pub fn downloads(&self) -> PathBuf {
        self.root.join(layout::DOWNLOADS)
    }

    /// A fresh folder under `tmp/`, removed on drop, and by a later process if this one dies.
    pub fn scratch(&self) -> Result<tempfile::TempDir, StoreError> {
        let folder = self.session_folder()?;
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&folder)
            .map_err(StoreError::io(&folder))
    }
}
