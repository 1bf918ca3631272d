//! The standing of records: revocations, and other results with the same key.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::failure::Failure;
use crate::quantity::count;
use crate::remote::exchange::{same_bits, same_outcome};
use crate::remote::home::Home;
use crate::remote::signing::PublicKey;
use crate::remote::statement;
use crate::remote::trust::Trust;
use crate::remote::user_profile::UserProfile;
use crate::report::View;
use crate::report::standing::{Agrees, OtherOutcome, Revocation, Standing};
use crate::report::verdict::Expected;
use crate::store::{Signature, Store, StoredRecord};
use crate::ui::text::printable;
use crate::workflow::graph::Graph;

/// Standings by node. Nodes without remarks are left out.
pub type Standings = BTreeMap<NodeIndex, Standing>;

/// The standing of the records in a report, as data and as sentences.
pub struct StandingReport {
    standings: Standings,
    pub sentences: Vec<String>,
}

impl StandingReport {
    pub fn of(
        graph: &Graph,
        store: &Store,
        records: &BTreeMap<NodeIndex, StoredRecord>,
    ) -> Result<Self, Failure> {
        let records = records.iter().map(|(node, stored)| (*node, stored));
        let standings = of(graph, store, records)?;
        let sentences = sentences(graph, &standings);
        Ok(Self {
            standings,
            sentences,
        })
    }

    /// A view of the records of `graph`, with published numbers and standings.
    pub fn view<'a>(
        &'a self,
        graph: &'a Graph,
        records: &'a BTreeMap<NodeIndex, StoredRecord>,
        expected: Option<&'a Expected>,
    ) -> View<'a> {
        View::new(graph, records)
            .expecting(expected)
            .standing(&self.standings)
            .warning(&self.sentences)
    }
}

/// Names signers with the names that this user has given them.
pub struct Signers(Trust);

impl Signers {
    pub fn of_user() -> Self {
        Self(trust())
    }

    /// The signers of a record with a valid signature.
    pub fn of(&self, store: &Store, stored: &StoredRecord) -> Result<Vec<String>, Failure> {
        let signatures = store.signatures(&stored.record.key, &stored.digest)?;
        let signer = |signature: &Signature| {
            let signer = PublicKey::from_name(&signature.signer);
            let word =
                statement::verify(&signature.envelope, &signer, &stored.digest, &stored.record);
            word.ok().map(|_| match self.0.name(&signer) {
                Some(name) => name.to_string(),
                None => format!("{signer}, which you do not trust"),
            })
        };
        Ok(signatures.iter().filter_map(signer).collect())
    }
}

/// The user's trusted keys; empty if they can't be read. Unknown signers are shown as keys.
fn trust() -> Trust {
    let lab = Home::of_user()
        .ok()
        .and_then(|home| UserProfile::open(home).ok());
    lab.map(|lab| lab.trust).unwrap_or_default()
}

/// Passes the revocations known to this user to `store`.
pub fn load_revocations(store: &Store) -> Result<(), Failure> {
    // Without a home folder there are no revocations.
    if let Ok(home) = Home::of_user()
        && home.revocations().is_dir()
    {
        store.set_revocation_check(Arc::new(UserProfile::open(home)?.trust));
    }
    Ok(())
}

/// The standing of the records of some nodes.
pub fn of<'a>(
    graph: &Graph,
    store: &Store,
    records: impl IntoIterator<Item = (NodeIndex, &'a StoredRecord)>,
) -> Result<Standings, Failure> {
    let trust = trust();
    let mut standings = Standings::new();
    for (node, stored) in records {
        let revocations = revocations(store, &trust, stored)?;
        let others = others(graph, node, store, &trust, stored)?;
        if !revocations.is_empty() || !others.is_empty() {
            standings.insert(
                node,
                Standing {
                    revocations,
                    others,
                },
            );
        }
    }
    Ok(standings)
}

fn revocations(
    store: &Store,
    trust: &Trust,
    stored: &StoredRecord,
) -> Result<Vec<Revocation>, Failure> {
    // Skip the lookup in the store if there are no revocations.
    if trust.has_no_revocations() {
        return Ok(Vec::new());
    }
    let signers = store.signers(&stored.record.key, &stored.digest)?;
    let mut revocations = trust.revoked_by(&stored.digest, &signers);
    for accepted in &stored.record.provenance.accepted {
        let signers = store.signers_of_accepted(accepted)?;
        revocations.extend(trust.revoked_by(&accepted.record, &signers));
    }
    revocations.sort();
    revocations.dedup();
    let revocations = revocations.into_iter();
    Ok(revocations
        .map(|(by, reason)| Revocation { by, reason })
        .collect())
}

fn others(
    graph: &Graph,
    node: NodeIndex,
    store: &Store,
    trust: &Trust,
    stored: &StoredRecord,
) -> Result<Vec<OtherOutcome>, Failure> {
    let key = &stored.record.key;
    if stored.alone || store.record_names(key)?.len() < 2 {
        return Ok(Vec::new());
    }
    let comparison = graph.dag[node].kind.comparison();
    let records = store.records(key)?.into_iter();
    let others = records.filter(|other| other.digest != stored.digest);
    others
        .map(|other| {
            let signers = store.signers(key, &other.digest)?;
            let signers = signers.iter().map(PublicKey::from_name);
            Ok(OtherOutcome {
                record: other.digest,
                signers: signers.map(|signer| named(trust, &signer)).collect(),
                outcome: match () {
                    () if same_bits(&stored.record, &other.record) => Agrees::Equal,
                    () if same_outcome(comparison, &stored.record, &other.record) => Agrees::Within,
                    () => Agrees::Different,
                },
            })
        })
        .collect()
}

fn named(trust: &Trust, signer: &PublicKey) -> String {
    let name = trust.name(signer).map(str::to_string);
    name.unwrap_or_else(|| signer.to_string())
}

/// Revocations as sentences, one for each signer and reason.
pub fn sentences(graph: &Graph, standings: &Standings) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (node, standing) in standings {
        for Revocation { by, reason } in &standing.revocations {
            let ids = groups.entry((by, reason)).or_default();
            ids.push(&graph.dag[*node].id);
        }
    }
    let sentences = groups.into_iter().map(|((by, reason), ids)| {
        let others = match ids.len() {
            1 => String::new(),
            more => format!(" and {}", count(more - 1, "other")),
        };
        format!(
            "{} has revoked {}{others}: {}.",
            printable(by),
            ids.first().unwrap_or(&""),
            printable(reason)
        )
    });
    sentences.collect()
}
