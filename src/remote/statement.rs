//! The statements that a lab signs: the outcome of a key, or the revocation of an earlier
//! statement.
//!
//! They are in-toto statements (<https://in-toto.io/Statement/v1>), so that other tools can read
//! them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::signing::{PublicKey, SealError, SecretKey, seal, unseal};
use crate::digest::{Digest, canonical_json};
use crate::store::Record;
use crate::store::record::Provenance;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const OUTCOME: &str = "tag:ribflow,2026:outcome/v1";
const REVOCATION: &str = "tag:ribflow,2026:revocation/v1";

/// Why a signature is not valid for a record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatementError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the signed statement can't be read: {0}")]
    Format(String),
    #[error("the signature is for another {0}")]
    Other(&'static str),
}

/// The statement about one outcome of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    key: Digest,
    /// The digest of every output.
    ports: BTreeMap<String, Digest>,
    provenance: Provenance,
}

/// A signed statement that `record` is an outcome of its key.
pub fn sign(record: &Record, key: &SecretKey) -> Vec<u8> {
    let outcome = Outcome {
        key: record.key,
        ports: ports(record),
        provenance: record.provenance.clone(),
    };
    let bytes = record.to_bytes();
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{
            "name": format!("{}.json", Digest::of(&bytes)),
            "digest": { "blake3": Digest::of(&bytes), "sha256": sha256(&bytes) },
        }],
        "predicateType": OUTCOME,
        "predicate": outcome,
    });
    seal(canonical_json(&statement).as_bytes(), key)
}

/// A signer's statement about a record, which need not be available.
#[derive(Clone, Debug)]
pub struct OutcomeStatement(Outcome);

impl OutcomeStatement {
    /// The statement in `envelope`, if `signer` has signed it and it is about that record.
    pub fn open(
        envelope: &[u8],
        signer: &PublicKey,
        digest: &Digest,
        key: &Digest,
    ) -> Result<Self, StatementError> {
        let (subject, outcome) = opened::<Outcome>(envelope, signer, OUTCOME)?;
        if subject != digest.to_hex() {
            return Err(StatementError::Other("record"));
        }
        if outcome.key != *key {
            return Err(StatementError::Other("key"));
        }
        Ok(Self(outcome))
    }

    /// Whether the statement matches the content of `record`.
    pub fn holds_of(&self, record: &Record) -> Result<(), StatementError> {
        let Self(outcome) = self;
        match outcome.ports == ports(record) && outcome.provenance == record.provenance {
            true => Ok(()),
            false => Err(StatementError::Other("outcome")),
        }
    }
}

/// Verifies that `envelope` is `signer`'s statement about `record`, whose digest is `digest`.
pub fn verify(
    envelope: &[u8],
    signer: &PublicKey,
    digest: &Digest,
    record: &Record,
) -> Result<(), StatementError> {
    OutcomeStatement::open(envelope, signer, digest, &record.key)?.holds_of(record)
}

/// The subject of a revocation: one record, or everything that one of the lab's keys has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoked {
    Record(Digest),
    Key,
}

/// A lab's statement that something it signed is no longer valid, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub revoked: Revoked,
    pub reason: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
}

impl Revocation {
    pub fn sign(&self, key: &SecretKey) -> Vec<u8> {
        let subject = match &self.revoked {
            Revoked::Record(record) => record.to_hex(),
            Revoked::Key => key.public().in_names().to_hex(),
        };
        let statement = json!({
            "_type": STATEMENT,
            "subject": [{ "name": "revoked", "digest": { "blake3": subject } }],
            "predicateType": REVOCATION,
            "predicate": self,
        });
        seal(canonical_json(&statement).as_bytes(), key)
    }

    /// The revocation that `signer` has signed in `envelope`.
    pub fn open(envelope: &[u8], signer: &PublicKey) -> Result<Self, StatementError> {
        opened(envelope, signer, REVOCATION).map(|(_, revocation)| revocation)
    }
}

/// The subject's BLAKE3 and the predicate of a statement of type `kind` that `signer` signed.
fn opened<T: serde::de::DeserializeOwned>(
    envelope: &[u8],
    signer: &PublicKey,
    kind: &str,
) -> Result<(String, T), StatementError> {
    let payload = unseal(envelope, signer)?;
    let format = |error: serde_json::Error| StatementError::Format(error.to_string());
    let mut statement: Value = serde_json::from_slice(&payload).map_err(format)?;
    if statement["_type"] != STATEMENT || statement["predicateType"] != kind {
        return Err(StatementError::Other("kind"));
    }
    let subject = statement["subject"][0]["digest"]["blake3"].as_str();
    let subject = subject.unwrap_or_default().to_string();
    let predicate = serde_json::from_value(statement["predicate"].take()).map_err(format)?;
    Ok((subject, predicate))
}

fn ports(record: &Record) -> BTreeMap<String, Digest> {
    let ports = record.ports.iter();
    ports
        .map(|(name, port)| (name.clone(), port.digest))
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
