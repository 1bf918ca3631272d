//! Opens the remotes named by `--remote`, and prints warnings about them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::common::Common;
use super::failure::Failure;
use super::refusals;
use crate::engine::RemoteRecords;
use crate::fetch::pace::Limits;
use crate::fetch::web::silence::{self, Verdicts};
use crate::quantity::count;
use crate::remote::config::Config;
use crate::remote::exchange::{Exchange, Peer, Refusal};
use crate::remote::home::Home;
use crate::remote::patience::{Patience, Patient};
use crate::remote::transport::Remote;
use crate::remote::trust::Policy;
use crate::remote::user_profile::{self, UserProfile, UserProfileError};
use crate::store::Store;

/// Opens remotes by name or URL. `store` receives the revocations known to the user.
pub fn exchange(names: &[String], store: &Store) -> Result<Exchange, Failure> {
    let exchange = lab()?.exchange(names)?;
    store.set_revocation_check(Arc::new(exchange.trust().clone()));
    Ok(exchange)
}

/// Warns of remotes that are missing folders on this machine, for example mistyped ones. Returns
/// whether there are any.
pub fn warn_of_missing_folders(exchange: &Exchange) -> bool {
    let folders = exchange.peers().iter().filter_map(|peer| {
        let folder = peer.remote.shown().strip_prefix("file://")?;
        Some((&peer.name, folder))
    });
    let lacking: Vec<_> = folders
        .filter(|(_, folder)| !Path::new(folder).is_dir())
        .collect();
    for (name, folder) in &lacking {
        exchange.complain(format!("`{name}`: there is no folder {folder}"));
    }
    !lacking.is_empty()
}

/// An exchange with a single remote that is not in the configuration, with the default policy.
pub fn exchange_of(name: &str, remote: Box<dyn Remote>) -> Result<Exchange, Failure> {
    let peer = Peer {
        name: name.to_string(),
        remote: Patient::new(remote, Patience::default()),
        policy: Policy::default(),
        writes: true,
    };
    Ok(lab()?.exchange_with(vec![peer])?)
}

/// The names of the configured remotes, for a hint: none where the configuration can't be read.
pub fn configured() -> Vec<String> {
    let config = Home::of_user()
        .ok()
        .and_then(|home| Config::read(&home).ok());
    let remotes = config.map(|config| config.remotes).unwrap_or_default();
    remotes.into_keys().collect()
}

fn lab() -> Result<UserProfile, Failure> {
    let home = Home::of_user().map_err(UserProfileError::from)?;
    Ok(UserProfile::open(home)?)
}

/// Warns of problems with remotes, of refused records, and of labs that do not agree.
pub fn warn_of_gathered(exchange: &Exchange, gathered: &RemoteRecords, common: &Common) {
    warn_of_refusals(exchange, &gathered.refused, common);
    if !common.quiet {
        refusals::warn(&refusals::disagreements(&gathered.agreements));
    }
}

/// Warns of problems with remotes and of refused records.
pub fn warn_of_refusals(exchange: &Exchange, refused: &[Refusal], common: &Common) {
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

/// Publishes revocations at the writable remotes.
pub fn send_revocations(exchange: &Exchange) {
    // Without a home folder there are no revocations.
    if let Ok(home) = Home::of_user() {
        user_profile::push_revocations(&home, exchange);
    }
}

/// The arguments that pass these remotes to a worker, except those that `exchange` has given up,
/// with the known state of their servers.
pub fn worker_arguments(names: &[String], exchange: Option<&Exchange>) -> Vec<OsString> {
    let peers = exchange.map_or(&[][..], Exchange::peers);
    let is_down = |name: &String| {
        let mut named = peers.iter().filter(|one| one.name == *name);
        named.any(|one| one.remote.is_down())
    };
    let remotes = names.iter().filter(|name| !is_down(name));
    let remotes = remotes.map(|name| ("--remote", name.clone()));
    let Verdicts { answered, silent } = silence::verdicts(&Limits::default());
    let answered = answered.into_iter().map(|server| ("--answered", server));
    let silent = silent.into_iter().map(|server| ("--silent", server));
    let pairs = remotes.chain(answered).chain(silent);
    pairs
        .flat_map(|(option, value)| [OsString::from(option), OsString::from(value)])
        .collect()
}

/// A line with the number of blobs that were withheld, and why.
pub fn withheld_line(blobs: usize) -> String {
    format!(
        "{} withheld: {}",
        count(blobs, "blob"),
        withheld_reason(blobs)
    )
}

/// Why blobs are withheld. Sharing needs an explicit permission, whatever the licence.
pub fn withheld_reason(blobs: usize) -> &'static str {
    match blobs {
        1 => "it contains images of a `dataset` without `share: true`, or is derived from them",
        _ => "they contain images of a `dataset` without `share: true`, or are derived from them",
    }
}
