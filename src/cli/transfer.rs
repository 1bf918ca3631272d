//! Shared parts of `ribflow push`, `ribflow pull` and bundles.

use std::collections::BTreeSet;

use clap::Args;

use super::failure::Failure;
use super::target::TargetArguments;
use crate::remote::exchange::PushError;
use crate::store::{BlobRequest, Port, Store, StoredRecord};

/// What to transfer, and the remote.
#[derive(Clone, Debug, Args)]
pub struct TransferArguments {
    #[command(flatten)]
    pub target: TargetArguments,

    /// The remote: a name from `ribflow remote list`, or a URL
    #[arg(long, value_name = "NAME")]
    pub remote: String,

    /// Transfer only records and signatures: enough for results, report and verdicts
    #[arg(long)]
    pub records_only: bool,

    /// Show what would be transferred without transferring it
    #[arg(long)]
    pub dry_run: bool,
}

pub fn refused(error: PushError) -> Failure {
    let failure = Failure::from_error(&error);
    match error {
        PushError::NoKey => failure.hint("create one with `ribflow key generate`"),
        PushError::Remote(_) => failure.hint("run the same command again to continue"),
        _ => failure,
    }
}

/// One record for each key.
pub fn distinct(records: impl Iterator<Item = StoredRecord>) -> Vec<StoredRecord> {
    let mut seen = BTreeSet::new();
    records
        .filter(|stored| seen.insert(stored.digest))
        .collect()
}

/// Fetches blobs, then the blobs that the artifacts among them name. Returns everything requested.
pub fn fetch(store: &Store, missing: &[BlobRequest]) -> Vec<BlobRequest> {
    store.obtain(missing);
    let mut named = Vec::new();
    for wanted in missing.iter().filter(|wanted| wanted.bytes.is_none()) {
        // The caller counts the blobs that can't be fetched.
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

/// The blobs of a port that its record names.
pub fn wanted_of(port: &Port) -> Vec<BlobRequest> {
    match &port.inline {
        Some(artifact) => artifact.wanted().collect(),
        None => vec![BlobRequest {
            digest: port.digest,
            bytes: None,
        }],
    }
}
