//! Revocations of labs: signed statements that are fetched before anything else, kept permanently
//! in the user's folder, and forwarded.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::exchange::{parallel, shuffle};
use super::home::Home;
use super::names;
use super::signing::PublicKey;
use super::statement::{Revocation, StatementError};
use super::transport::{self, Content, Remote, RemoteError};
use super::trust::Trust;
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// The size limit of the envelope of a revocation: a signed sentence.
const MOST_BYTES: u64 = 16 << 10;
/// The number of unknown revocations of one signer that are fetched: a remote with invented ones
/// must not make every command fetch much.
const MOST_NAMES: usize = 4096;
/// The maximum length of a reason.
pub const MOST_REASON: usize = 500;

/// A revocation with a verified signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRevocation {
    pub signer: PublicKey,
    /// The digest of its envelope, which is its name.
    pub digest: Digest,
    pub revocation: Revocation,
}

#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl VerifiedRevocation {
    fn of(envelope: &[u8], signer: PublicKey) -> Result<Self, StatementError> {
        Ok(Self {
            signer,
            digest: Digest::of(envelope),
            revocation: Revocation::open(envelope, &signer)?,
        })
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RevocationError + '_ {
    |source| RevocationError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Stores a revocation in the user's folder. An existing one is left unchanged.
pub fn keep(
    home: &Home,
    envelope: &[u8],
    signer: PublicKey,
) -> Result<VerifiedRevocation, RevocationError> {
    let kept = VerifiedRevocation::of(envelope, signer)?;
    let folder = folder(home, &signer);
    calls::create_dir_all(&folder).map_err(io_error(&folder))?;
    let path = folder.join(format!("{}.sig", kept.digest));
    if !path.exists() {
        fsx::replace_durably(&path, &folder, fsx::SEALED, envelope).map_err(io_error(&path))?;
    }
    Ok(kept)
}

/// The folder of one signer's revocations.
fn folder(home: &Home, signer: &PublicKey) -> PathBuf {
    home.revocations().join(signer.in_names().to_hex())
}

/// All stored revocations, and complaints about unusable ones.
pub fn kept(home: &Home) -> Result<(Vec<VerifiedRevocation>, Vec<String>), RevocationError> {
    let mut kept = Vec::new();
    let mut complaints = Vec::new();
    for signer in listed(&home.revocations())? {
        let Ok(signer) = signer.parse() else {
            continue;
        };
        let signer = PublicKey::from_name(&signer);
        let folder = folder(home, &signer);
        for name in listed(&folder)? {
            if digest_in(&name).is_none() {
                continue;
            }
            let path = folder.join(&name);
            let envelope = fsx::read_regular(&path).map_err(io_error(&path))?;
            match VerifiedRevocation::of(&envelope, signer) {
                Ok(one) => kept.push(one),
                Err(error) => complaints.push(format!("{}: {error}", path.display())),
            }
        }
    }
    Ok((kept, complaints))
}

/// The names in a local folder, sorted.
fn listed(folder: &Path) -> Result<BTreeSet<String>, RevocationError> {
    let entries = match calls::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(io_error(folder)(error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(io_error(folder))?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}

/// `<digest>.sig`
fn digest_in(name: &str) -> Option<Digest> {
    name.strip_suffix(".sig")?.parse().ok()
}

/// Adds all stored revocations to `trust`; returns complaints about unusable ones.
pub fn apply(home: &Home, trust: &mut Trust) -> Vec<String> {
    match kept(home) {
        Ok((kept, complaints)) => {
            for one in kept {
                trust.revoke(one.signer, &one.revocation);
            }
            complaints
        }
        Err(error) => vec![error.to_string()],
    }
}

/// The result of pulling from a remote.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Revocations that were not known before.
    pub new: Vec<VerifiedRevocation>,
    pub complaints: Vec<String>,
}

/// Fetches the revocations of trusted signers, stores them and adds them to `trust`.
///
/// # Errors
/// The remote can't be listed.
pub fn pull(remote: &dyn Remote, home: &Home, trust: &mut Trust) -> Result<Pulled, RemoteError> {
    let there: BTreeSet<Digest> = list(remote, names::REVOCATIONS)?
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    let signers = trust.signers().map(|(key, _)| *key);
    let signers: Vec<PublicKey> = signers
        .filter(|signer| there.contains(&signer.in_names()))
        .collect();
    let mut pulled = Pulled::default();
    for signer in signers {
        let new = new_names(remote, home, signer, &mut pulled.complaints)?;
        let fetched = parallel::map(&new, |digest| fetch(remote, signer, digest));
        for fetched in fetched {
            match fetched {
                Ok(envelope) => pulled.take(home, &envelope, signer),
                Err(complaint) => pulled.complaints.push(complaint),
            }
        }
    }
    for one in &pulled.new {
        trust.revoke(one.signer, &one.revocation);
    }
    Ok(pulled)
}

impl Pulled {
    fn take(&mut self, home: &Home, envelope: &[u8], signer: PublicKey) {
        match keep(home, envelope, signer) {
            Ok(one) => self.new.push(one),
            Err(error) => {
                self.complaints.push(error.to_string());
                // It takes effect even if it can't be stored.
                self.new.extend(VerifiedRevocation::of(envelope, signer));
            }
        }
    }
}

/// The revocations of `signer` that are only at the remote.
fn new_names(
    remote: &dyn Remote,
    home: &Home,
    signer: PublicKey,
    complaints: &mut Vec<String>,
) -> Result<Vec<Digest>, RemoteError> {
    let names = list(remote, &at_remote(&signer))?;
    let named: BTreeSet<Digest> = names.iter().filter_map(|name| digest_in(name)).collect();
    let here = folder(home, &signer);
    let is_new = |digest: &Digest| !here.join(format!("{digest}.sig")).exists();
    let mut new: Vec<Digest> = named.into_iter().filter(is_new).collect();
    if new.len() > MOST_NAMES {
        let shown = remote.shown();
        complaints.push(format!(
            "{shown}: of the {} revocations by {signer} that are new here only {MOST_NAMES} are \
             read: what it has revoked is not fully known",
            new.len()
        ));
        // In random order, so that false names can't hide a valid one permanently.
        shuffle(&mut new);
        new.truncate(MOST_NAMES);
    }
    Ok(new)
}

/// The envelope that `signer` has signed according to its name.
fn fetch(remote: &dyn Remote, signer: PublicKey, digest: &Digest) -> Result<Vec<u8>, String> {
    let name = format!("{}/{digest}.sig", at_remote(&signer));
    let envelope = transport::read(remote, &name, MOST_BYTES).map_err(|error| error.to_string())?;
    let wrong = |why: &str| format!("{}: {name}: {why}", remote.shown());
    if Digest::of(&envelope) != *digest {
        return Err(wrong("its content does not match the digest in its name"));
    }
    match VerifiedRevocation::of(&envelope, signer) {
        Ok(_) => Ok(envelope),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// Pushes all stored revocations that the remote lacks; returns their number.
pub fn push(remote: &dyn Remote, home: &Home) -> Result<usize, PushError> {
    let mut sent = 0;
    for (signer, digests) in by_signer(home)? {
        let there: BTreeSet<String> = list(remote, &at_remote(&signer))?.into_iter().collect();
        for digest in digests {
            let name = format!("{digest}.sig");
            if !there.contains(&name) {
                let path = folder(home, &signer).join(&name);
                let name = format!("{}/{name}", at_remote(&signer));
                remote.put(&name, Content::File(&path))?;
                sent += 1;
            }
        }
    }
    Ok(sent)
}

/// Why revocations could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Here(#[from] RevocationError),
}

fn by_signer(home: &Home) -> Result<BTreeMap<PublicKey, BTreeSet<Digest>>, RevocationError> {
    let mut by_signer: BTreeMap<PublicKey, BTreeSet<Digest>> = BTreeMap::new();
    for one in kept(home)?.0 {
        by_signer.entry(one.signer).or_default().insert(one.digest);
    }
    Ok(by_signer)
}

/// The folder of a signer's revocations at a remote.
fn at_remote(signer: &PublicKey) -> String {
    format!("{}/{}", names::REVOCATIONS, signer.in_names())
}

/// As [`Remote::list`]; a server reports a missing folder in one of two ways.
fn list(remote: &dyn Remote, folder: &str) -> Result<Vec<String>, RemoteError> {
    match remote.list(folder) {
        Err(RemoteError::Missing { .. }) => Ok(Vec::new()),
        result => result,
    }
}
