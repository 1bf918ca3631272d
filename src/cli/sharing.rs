//! From `--remote` to an exchange with other stores, and what is told of it afterwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use petgraph::graph::NodeIndex;

use super::arguments::Common;
use super::failure::Failure;
use super::refusals;
use crate::remote::exchange::{Exchange, Neighbour, Refusal};
use crate::remote::home::Home;
use crate::remote::neighbours::{self, Lab, NeighbourError};
use crate::remote::patience::{Patience, Patient};
use crate::remote::signing::PublicKey;
use crate::remote::transport::Remote;
use crate::remote::trust::{Policy, Standing};
use crate::store::{Store, StoredRecord};
use crate::ui::words::{count, printable};
use crate::workflow::graph::Graph;

/// The remotes of these names, or at these URLs.
pub fn exchange(names: &[String]) -> Result<Exchange, Failure> {
    Ok(lab()?.exchange(names)?)
}

/// Complains of remotes that are folders of this machine and are not there, a mistyped one for
/// instance; whether there are any.
pub fn lacks_folder(exchange: &Exchange) -> bool {
    let folders = exchange.neighbours().iter().filter_map(|neighbour| {
        let folder = neighbour.remote.shown().strip_prefix("file://")?;
        Some((&neighbour.name, folder))
    });
    let lacking: Vec<_> = folders
        .filter(|(_, folder)| !Path::new(folder).is_dir())
        .collect();
    for (name, folder) in &lacking {
        exchange.complain(format!("`{name}`: there is no folder {folder}"));
    }
    !lacking.is_empty()
}

/// One remote that is known to nobody else, under the usual policy.
pub fn exchange_of(name: &str, remote: Box<dyn Remote>) -> Result<Exchange, Failure> {
    let neighbour = Neighbour {
        name: name.to_string(),
        remote: Patient::new(remote, Patience::default()),
        policy: Policy::default(),
        writes: true,
    };
    Ok(lab()?.exchange_with(vec![neighbour])?)
}

fn lab() -> Result<Lab, Failure> {
    let home = Home::of_user().map_err(NeighbourError::from)?;
    Ok(Lab::open(home)?)
}

/// Warns of what was found wrong with remotes, and of what was not taken from them.
pub fn tell(exchange: &Exchange, refused: &[Refusal], common: &Common) {
    if common.quiet {
        return;
    }
    let complaints = exchange.complaints().into_iter();
    let mut notices: Vec<refusals::Notice> = complaints
        .map(|message| refusals::Notice {
            message,
            hint: None,
        })
        .collect();
    notices.extend(refusals::notices(refused, exchange.trust()));
    refusals::warn(&notices);
}

/// What of the records behind a report has been taken back by whoever signed it, in sentences.
pub fn taken_back(
    graph: &Graph,
    store: &Store,
    records: &BTreeMap<NodeIndex, StoredRecord>,
) -> Result<Vec<String>, Failure> {
    // Without a home, or without any revocation, nothing has been; that costs no look at records.
    let Ok(home) = Home::of_user() else {
        return Ok(Vec::new());
    };
    if !home.revocations().is_dir() {
        return Ok(Vec::new());
    }
    let trust = Lab::open(home)?.trust;
    let mut sentences: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for (node, stored) in records {
        let signatures = store.signatures(&stored.record.key, &stored.digest);
        let signatures = signatures.map_err(|error| Failure::from_error(&error))?;
        for signature in signatures {
            let signer = PublicKey::from_name(&signature.signer);
            if let Standing::Revoked(reason) = trust.standing(&signer, &stored.digest) {
                let name = trust.name(&signer).map(str::to_string);
                let who = name.unwrap_or_else(|| signer.to_string());
                let ids = sentences.entry((who, reason)).or_default();
                ids.push(&graph.dag[*node].id);
            }
        }
    }
    let told = sentences.into_iter().map(|((who, reason), ids)| {
        let others = match ids.len() {
            1 => String::new(),
            more => format!(" and {}", count(more - 1, "other")),
        };
        format!(
            "{} has taken back its word for {}{others}: {}.",
            printable(&who),
            ids.first().unwrap_or(&""),
            printable(&reason)
        )
    });
    Ok(told.collect())
}

/// Tells the remotes that are written to what has been taken back.
pub fn pass_on(exchange: &Exchange) {
    // Without a home nothing has been.
    if let Ok(home) = Home::of_user() {
        neighbours::pass_on(&home, exchange);
    }
}

/// The arguments by which a worker gets the same remotes.
pub fn worker_arguments(names: &[String]) -> Vec<OsString> {
    let pairs = names
        .iter()
        .flat_map(|name| [OsString::from("--remote"), OsString::from(name)]);
    pairs.collect()
}
