//! Looks up records at remotes, and decides which of them to take.

use std::collections::{BTreeMap, BTreeSet};

use super::agreement::{Agreement, same_outcome};
use super::parallel;
use super::{Exchange, Peer, shuffle_by};
use crate::digest::Digest;
use crate::remote::names::{self, InRecords, in_records};
use crate::remote::record_check::{self, MOST_RECORD};
use crate::remote::signing::{MOST_ENVELOPE, PublicKey};
use crate::remote::statement::OutcomeStatement;
use crate::remote::transport::{self, Remote, RemoteError};
use crate::remote::trust::{Policy, Standing};
use crate::store::{
    Accepted, ForeignRecord, Record, RevocationCheck, Signature, Store, StoreError, StoredRecord,
};
use crate::workflow::kind::Comparison;

/// The number of outcomes of one key, signed by trusted labs, that are taken.
const MOST_OUTCOMES: usize = 64;
/// The number of names for one key that claim a signature of a trusted lab and turn out false
/// before the lookup gives up.
const MOST_FALSE: usize = 4096;
/// The number of names in a batch.
const TOGETHER: usize = 64;
/// The number of refused records of one key that are reported individually.
const MOST_REPORTED: usize = 64;
/// The number of unknown signers of one record that are reported.
const MOST_STRANGERS: usize = 8;

/// A requested key, and how to compare two outcomes of it.
#[derive(Clone, Copy, Debug)]
pub struct RecordQuery {
    pub key: Digest,
    pub comparison: Comparison,
}

/// The result of a lookup.
#[derive(Debug, Default)]
pub struct LookupResult {
    /// By key.
    pub taken: BTreeMap<Digest, TrustedOutcomes>,
    /// Records that were found but refused.
    pub refused: Vec<Refusal>,
    /// The agreement on keys for which more than one trusted lab has an outcome.
    pub agreements: BTreeMap<Digest, Agreement>,
}

/// The trusted outcomes of a key at a remote.
#[derive(Clone, Debug)]
pub struct TrustedOutcomes {
    /// The remote's name.
    pub remote: String,
    /// In order of preference: a store uses the first.
    pub outcomes: Vec<ForeignRecord>,
}

impl TrustedOutcomes {
    /// The outcome that a store without any would choose.
    pub fn first(&self) -> Option<StoredRecord> {
        let record = self.outcomes.first()?.record.clone();
        Some(StoredRecord::of(record))
    }
}

/// A refused record or signature, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub remote: String,
    pub key: Digest,
    pub record: Digest,
    pub why: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RefusalReason {
    #[error("nobody has signed it")]
    Unsigned,
    /// The signers, none of whom is trusted.
    #[error("no trusted lab has signed it")]
    Unknown(Vec<PublicKey>),
    #[error("it was revoked: {0}")]
    Revoked(String),
    /// The labs that support it.
    #[error("the remote's policy requires other labs, or more, than {}", .0.join(", "))]
    Policy(Vec<String>),
    #[error("{0}")]
    Bad(String),
}

/// A verified record with the labs that support it.
struct Candidate {
    foreign: ForeignRecord,
    digest: Digest,
    labs: BTreeSet<String>,
}

impl Exchange {
    /// Looks up records of every key, and returns the trusted ones. A remote that is down, or
    /// responds with invalid data, only contributes nothing.
    pub fn look_up(&self, asked: &[RecordQuery]) -> LookupResult {
        let asked: Vec<RecordQuery> = self.not_known_absent(asked);
        let looked = parallel::map(&asked, |asked| self.candidates(asked));
        let mut found = LookupResult::default();
        for (asked, (candidates, refused)) in asked.iter().zip(looked) {
            found.refused.extend(refused);
            match candidates {
                Some((peer, candidates)) => {
                    let agreement = agreement(asked.comparison, &candidates);
                    if agreement.is_of_several() {
                        found.agreements.insert(asked.key, agreement);
                    }
                    let taken = TrustedOutcomes {
                        remote: peer.name.clone(),
                        outcomes: candidates.into_iter().map(|one| one.foreign).collect(),
                    };
                    found.taken.insert(asked.key, taken);
                }
                None => self.note_absent(asked.key),
            }
        }
        found
    }

    /// Looks up records of every key, and adds the trusted ones to `store`.
    ///
    /// # Errors
    /// `store` can't be written.
    pub fn bring(&self, store: &Store, asked: &[RecordQuery]) -> Result<LookupResult, StoreError> {
        let found = self.look_up(asked);
        let outcomes = found.taken.values().flat_map(|taken| &taken.outcomes);
        store.adopt(&outcomes.cloned().collect::<Vec<_>>())?;
        Ok(found)
    }

    fn not_known_absent(&self, asked: &[RecordQuery]) -> Vec<RecordQuery> {
        let absent = self.absent.lock().unwrap_or_else(|held| held.into_inner());
        let mut seen = BTreeSet::new();
        let asked = asked.iter().filter(|asked| !absent.contains(&asked.key));
        asked
            .filter(|asked| seen.insert(asked.key))
            .copied()
            .collect()
    }

    fn note_absent(&self, key: Digest) {
        let mut absent = self.absent.lock().unwrap_or_else(|held| held.into_inner());
        absent.insert(key);
    }

    /// Whether a lookup of `key` found nothing.
    pub fn is_absent(&self, key: &Digest) -> bool {
        let absent = self.absent.lock().unwrap_or_else(|held| held.into_inner());
        absent.contains(key)
    }

    /// The records of the first peer that has acceptable ones.
    fn candidates(&self, asked: &RecordQuery) -> (Option<(&Peer, Vec<Candidate>)>, Vec<Refusal>) {
        let mut refused = Vec::new();
        for peer in &self.peers {
            if self.is_cancelled() || peer.remote.is_down() {
                continue;
            }
            let mut hearing = KeyLookup {
                exchange: self,
                peer,
                asked,
                refused: Vec::new(),
            };
            let looked = hearing.candidates();
            refused.append(&mut hearing.refused);
            match looked {
                Ok(candidates) if !candidates.is_empty() => {
                    return (Some((peer, candidates)), refused);
                }
                Ok(_) => {}
                Err(error) => {
                    self.failed
                        .store(true, std::sync::atomic::Ordering::Relaxed);
                    self.complain(format!("{}: {error}", peer.name));
                }
            }
        }
        (None, refused)
    }
}

/// A record, and the trusted labs that have signed it according to the list.
type Signed = (Digest, BTreeMap<PublicKey, String>);

/// The records in a list of names, each with its signers according to the list.
fn listed(names: &[String]) -> BTreeMap<Digest, BTreeSet<Digest>> {
    let mut records: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
    let mut signatures = Vec::new();
    for name in names.iter().filter_map(|name| in_records(name)) {
        match name {
            InRecords::Record(record) => drop(records.entry(record).or_default()),
            InRecords::Signature { record, signer } => signatures.push((record, signer)),
        }
    }
    for (record, signer) in signatures {
        if let Some(signers) = records.get_mut(&record) {
            signers.insert(signer);
        }
    }
    records
}

/// The lookup of one key at one peer.
struct KeyLookup<'a> {
    exchange: &'a Exchange,
    peer: &'a Peer,
    asked: &'a RecordQuery,
    refused: Vec<Refusal>,
}

impl KeyLookup<'_> {
    /// The records to take. Anyone with write access to a remote can add names to its list. Names
    /// without a trusted signer cost nothing; of the others, the signature is read first, which
    /// can't be forged.
    fn candidates(&mut self) -> Result<Vec<Candidate>, RemoteError> {
        let names = self.peer.remote.list(&names::records(&self.asked.key))?;
        let mut worth = self.worth_reading(&listed(&names));
        if worth.len() > MOST_FALSE {
            // In random order, so that false names can't hide a valid one permanently.
            shuffle_by(&mut worth, |(record, _)| *record);
        }
        let (mut candidates, mut wrong, mut seen) = (Vec::new(), 0, 0);
        for some in worth.chunks(TOGETHER) {
            if wrong >= MOST_FALSE || candidates.len() >= MOST_OUTCOMES {
                break;
            }
            let looked = parallel::map(some, |(record, trusted)| self.candidate(record, trusted));
            for ((record, _), looked) in some.iter().zip(looked) {
                let taken = self.judged(*record, looked);
                wrong += usize::from(taken.is_none());
                candidates.extend(taken);
            }
            seen += some.len();
        }
        if wrong >= MOST_FALSE && seen < worth.len() {
            let (name, key) = (&self.peer.name, self.asked.key.short());
            self.exchange.complain(format!(
                "`{name}`: {wrong} of the {} records that it lists for {key} as signed by a trusted \
                 lab are not, and the others were not read",
                worth.len()
            ));
        }
        candidates.truncate(MOST_OUTCOMES);
        Ok(self.agreed(candidates))
    }

    /// The records with a trusted signer according to the list, with those signers.
    fn worth_reading(&mut self, listed: &BTreeMap<Digest, BTreeSet<Digest>>) -> Vec<Signed> {
        let mut worth = Vec::new();
        let mut unreported = 0;
        for (record, signers) in listed {
            match self.trusted(record, signers) {
                Ok(trusted) => worth.push((*record, trusted)),
                Err(why) if self.refused.len() < MOST_REPORTED => self.refuse(*record, why),
                Err(_) => unreported += 1,
            }
        }
        if unreported > 0 {
            let (name, key) = (&self.peer.name, self.asked.key.short());
            self.exchange.complain(format!(
                "`{name}`: {unreported} more records of {key} are not signed by a trusted lab"
            ));
        }
        worth
    }

    /// The verified record, if it may be taken.
    fn judged(
        &mut self,
        record: Digest,
        looked: Result<Result<Candidate, RefusalReason>, RemoteError>,
    ) -> Option<Candidate> {
        let why = match looked {
            Ok(Ok(candidate)) => return Some(candidate),
            Ok(Err(why)) => why,
            Err(RemoteError::Missing { .. }) => {
                RefusalReason::Bad("it is listed but missing".to_string())
            }
            // A record that can't be fetched must not hide the others.
            Err(error) if error.is_passing() => {
                let name = &self.peer.name;
                self.exchange.complain(format!("{name}: {error}"));
                return None;
            }
            Err(error) => RefusalReason::Bad(error.to_string()),
        };
        if self.refused.len() < 2 * MOST_REPORTED {
            self.refuse(record, why);
        }
        None
    }

    fn refuse(&mut self, record: Digest, why: RefusalReason) {
        self.refused.push(Refusal {
            remote: self.peer.name.clone(),
            key: self.asked.key,
            record,
            why,
        });
    }

    /// One record with its signatures. Signatures are read first, since a record without a valid
    /// one is not worth fetching.
    fn candidate(
        &self,
        digest: &Digest,
        trusted: &BTreeMap<PublicKey, String>,
    ) -> Result<Result<Candidate, RefusalReason>, RemoteError> {
        let mut words = Vec::new();
        let mut invalid = Vec::new();
        for (signer, lab) in trusted {
            match self.word(digest, signer)? {
                Ok((word, signature)) => words.push((signer, lab, word, signature)),
                Err(why) => invalid.push(format!("signed as {lab}: {why}")),
            }
        }
        if words.is_empty() {
            return Ok(Err(RefusalReason::Bad(invalid.join("; "))));
        }
        let record = match self.record(digest)? {
            Ok(record) => record,
            Err(why) => return Ok(Err(RefusalReason::Bad(why))),
        };
        if let Some(reason) = self.origin_revoked(&record) {
            return Ok(Err(RefusalReason::Revoked(reason)));
        }
        let mut labs = BTreeSet::new();
        let mut signatures = Vec::new();
        for (signer, lab, word, signature) in words {
            match word.holds_of(&record) {
                Ok(()) => {
                    if self.counts(&record, signer) {
                        labs.insert(lab.clone());
                    }
                    signatures.push(signature);
                }
                Err(error) => invalid.push(format!("signed as {lab}: {error}")),
            }
        }
        if signatures.is_empty() {
            return Ok(Err(RefusalReason::Bad(invalid.join("; "))));
        }
        // Anyone can add a false signature beside a valid one; it must not invalidate that.
        for why in invalid {
            let (name, short) = (&self.peer.name, digest.short());
            self.exchange
                .complain(format!("`{name}`: record {short}, {why}; ignored"));
        }
        let foreign = ForeignRecord { record, signatures };
        Ok(Ok(Candidate {
            foreign,
            digest: *digest,
            labs,
        }))
    }

    /// Why a record of an older version that this one repeats was revoked, if it was.
    fn origin_revoked(&self, record: &Record) -> Option<String> {
        let trust = &self.exchange.trust;
        let mut accepted = record.provenance.accepted.iter();
        let revoked = accepted.find(|one| trust.is_revoked(&one.record, &one.signers))?;
        let by = trust.revoked_by(&revoked.record, &revoked.signers);
        by.into_iter().next().map(|(_, reason)| reason)
    }

    /// Whether `signer` counts as a lab that supports a record. If the policy asks who has computed
    /// a result, a record that a lab accepted from another one counts for the other one.
    fn counts(&self, record: &Record, signer: &PublicKey) -> bool {
        let mut accepted = record.provenance.accepted.iter();
        let is_own =
            |one: &Accepted| one.signers.is_empty() || one.signers.contains(&signer.in_names());
        let Policy {
            require, quorum, ..
        } = &self.peer.policy;
        (require.is_empty() && *quorum <= 1) || accepted.all(is_own)
    }

    /// `signer`'s statement about a record, or a sentence why it is invalid.
    fn word(
        &self,
        digest: &Digest,
        signer: &PublicKey,
    ) -> Result<Result<(OutcomeStatement, Signature), String>, RemoteError> {
        let name = names::signature(&self.asked.key, digest, &signer.in_names());
        let envelope = match self.read(&name, MOST_ENVELOPE) {
            Ok(envelope) => envelope,
            Err(error) if error.is_passing() => return Err(error),
            Err(RemoteError::Missing { .. }) => {
                return Ok(Err("it is listed but missing".to_string()));
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(
            match OutcomeStatement::open(&envelope, signer, digest, &self.asked.key) {
                Ok(word) => {
                    let signer = signer.in_names();
                    Ok((word, Signature { signer, envelope }))
                }
                Err(error) => Err(record_check::shown(&error.to_string())),
            },
        )
    }

    /// The trusted ones of `signers`, with their names.
    fn trusted(
        &self,
        record: &Digest,
        signers: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<PublicKey, String>, RefusalReason> {
        let mut trusted = BTreeMap::new();
        let mut unknown = Vec::new();
        let mut revoked = None;
        for signer in signers.iter().map(PublicKey::from_name) {
            match self.exchange.trust.standing(&signer, record) {
                Standing::Trusted(name) => {
                    trusted.insert(signer, name);
                }
                Standing::Unknown if unknown.len() < MOST_STRANGERS => unknown.push(signer),
                Standing::Unknown => {}
                Standing::Revoked(reason) => revoked = Some(reason),
            }
        }
        match (trusted.is_empty(), revoked) {
            (false, _) => Ok(trusted),
            (true, Some(reason)) => Err(RefusalReason::Revoked(reason)),
            (true, None) if unknown.is_empty() => Err(RefusalReason::Unsigned),
            (true, None) => Err(RefusalReason::Unknown(unknown)),
        }
    }

    /// A record that matches its name and key.
    fn record(&self, digest: &Digest) -> Result<Result<Record, String>, RemoteError> {
        let key = &self.asked.key;
        let bytes = self.read(&names::record(key, digest), MOST_RECORD)?;
        Ok(record_check::record(&bytes, key, digest))
    }

    fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, RemoteError> {
        let bytes = transport::read(&self.peer.remote, name, most)?;
        let count = bytes.len() as u64;
        let received = &self.exchange.received;
        received.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        Ok(bytes)
    }

    /// The records that enough labs support; labs whose outcomes agree count together. Sorted by
    /// number of labs (most first), then by digest. If there are any, other trusted outcomes
    /// follow: they are stored, but not used unless the user chooses them.
    fn agreed(&mut self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let behind: Vec<BTreeSet<String>> = candidates
            .iter()
            .map(|one| {
                let agreeing = candidates.iter().filter(|other| {
                    same_outcome(
                        self.asked.comparison,
                        &one.foreign.record,
                        &other.foreign.record,
                    )
                });
                agreeing.flat_map(|other| other.labs.clone()).collect()
            })
            .collect();
        let policy = &self.peer.policy;
        if !behind.iter().any(|labs| policy.accepts(labs)) {
            for (candidate, labs) in candidates.into_iter().zip(behind) {
                let labs = labs.into_iter().collect();
                self.refuse(candidate.digest, RefusalReason::Policy(labs));
            }
            return Vec::new();
        }
        let mut ranked: Vec<_> = behind.into_iter().zip(candidates).collect();
        ranked.sort_by_key(|(labs, candidate)| {
            let accepted = policy.accepts(labs);
            std::cmp::Reverse((accepted, labs.len(), std::cmp::Reverse(candidate.digest)))
        });
        ranked.into_iter().map(|(_, candidate)| candidate).collect()
    }
}

/// How far the other candidates agree with the first one.
fn agreement(comparison: Comparison, candidates: &[Candidate]) -> Agreement {
    let mut agreement = Agreement::default();
    if let Some(first) = candidates.first() {
        let taken = &first.foreign.record;
        for one in candidates {
            agreement.count(comparison, taken, &one.foreign.record, &one.labs);
        }
    }
    agreement
}
