//! What is known of a node's record beside what stands in it: who has taken it back, and what
//! else came out of the same key. Others' words, so it is never part of `results.json`.

use serde::Serialize;

use crate::digest::Digest;

/// How a node's record stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken_back: Vec<TakenBack>,
    /// The other outcomes in the store: of other labs, or of a run that was forced or computed
    /// again to compare.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Other>,
}

/// Who has taken back a record, by name or else by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    pub by: String,
    pub reason: String,
}

/// Another outcome of the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    pub record: Digest,
    /// Who has signed it; nobody, where it was made here and never passed on.
    pub signers: Vec<String>,
    pub outcome: Agrees,
}

/// How another outcome compares with the one that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agrees {
    /// To the last bit.
    Equal,
    /// As far as the tolerance of the kind goes.
    Within,
    Different,
}
