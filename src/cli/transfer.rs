//! What `ribflow push` and `ribflow pull` have in common, and bundles with them.

use std::collections::BTreeSet;

use clap::Args;

use super::failure::Failure;
use super::target::TargetArguments;
use crate::remote::exchange::PushError;
use crate::store::{BlobRequest, Port, Store, StoredRecord};

/// What moves, and where to or where from.
#[derive(Clone, Debug, Args)]
pub struct TransferArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The remote, as `ribflow remote add` named it, or its URL
    #[arg(long, value_name = "NAME")]
    pub remote: String,

    /// Records and signatures only: enough for results, report and verdicts
    #[arg(long)]
    pub records_only: bool,

    /// Say what would move, and move nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub fn refused(error: PushError) -> Failure {
    let failure = Failure::from_error(&error);
    match error {
        PushError::NoKey => failure.hint("`ribflow key generate` makes one"),
        PushError::Remote(_) => failure.hint("the same command goes on where it stopped"),
        _ => failure,
    }
}

/// One record of each key.
pub fn distinct(records: impl Iterator<Item = StoredRecord>) -> Vec<StoredRecord> {
    let mut seen = BTreeSet::new();
    records
        .filter(|stored| seen.insert(stored.digest))
        .collect()
}

/// Fetches blobs, and then those that the artifacts among them name; all that were asked for.
pub fn fetch(store: &Store, missing: &[BlobRequest]) -> Vec<BlobRequest> {
    store.obtain(missing);
    let mut named = Vec::new();
    for wanted in missing.iter().filter(|wanted| wanted.bytes.is_none()) {
        // What can't be had is counted by the caller.
        if let Ok(artifact) = store.read_artifact(&wanted.digest) {
            named.extend(artifact.wanted());
        }
    }
    named.retain(|wanted| !store.has(&wanted.digest));
    named.sort_unstable();
    named.dedup();
    store.obtain(&named);
    named.extend(missing);
    named
}

/// The blobs of a port, as far as its record tells.
pub fn wanted_of(port: &Port) -> Vec<BlobRequest> {
    match &port.inline {
        Some(artifact) => artifact.wanted().collect(),
        None => vec![BlobRequest {
            digest: port.digest,
            bytes: None,
        }],
    }
}
