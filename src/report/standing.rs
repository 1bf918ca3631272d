//! What is known about a node's record besides its content: who has revoked it, and other outcomes
//! of the same key. These are statements of others, so they are never part of `results.json`.

use serde::Serialize;

use crate::digest::Digest;

/// The standing of a node's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    #[serde(rename = "taken_back", skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<Revocation>,
    /// The other outcomes in the store: from other labs, or from a run that was forced or
    /// recomputed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherOutcome>,
}

/// Who has revoked a record, by its digest or by its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    pub by: String,
    pub reason: String,
}

/// Another outcome of the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherOutcome {
    pub record: Digest,
    /// Who has signed it; empty if it was made here and never shared.
    pub signers: Vec<String>,
    pub outcome: Agrees,
}

/// How another outcome compares with the one in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agrees {
    /// Bit for bit.
    Equal,
    /// Within the tolerance of the kind.
    Within,
    Different,
}
