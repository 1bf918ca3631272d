//! From `--remote` to an exchange with other stores, and what is told of it afterwards.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::common::Common;
use super::failure::Failure;
use super::refusals;
use crate::engine::Gathered;
use crate::remote::exchange::{Exchange, Peer, Refusal};
use crate::remote::home::Home;
use crate::remote::pace::Limits;
use crate::remote::patience::{Patience, Patient};
use crate::remote::transport::Remote;
use crate::remote::trust::Policy;
use crate::remote::user_profile::{self, UserProfile, UserProfileError};
use crate::remote::web::silence::{self, Verdicts};
use crate::store::Store;
use crate::ui::text::count;

/// The remotes of these names, or at these URLs. `store` learns what they say is taken back.
pub fn exchange(names: &[String], store: &Store) -> Result<Exchange, Failure> {
    let exchange = lab()?.exchange(names)?;
    store.set_revocation_check(Arc::new(exchange.trust().clone()));
    Ok(exchange)
}

/// Complains of remotes that are folders of this machine and are not there, a mistyped one for
/// instance; whether there are any.
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

/// One remote that is known to nobody else, under the usual policy.
pub fn exchange_of(name: &str, remote: Box<dyn Remote>) -> Result<Exchange, Failure> {
    let peer = Peer {
        name: name.to_string(),
        remote: Patient::new(remote, Patience::default()),
        policy: Policy::default(),
        writes: true,
    };
    Ok(lab()?.exchange_with(vec![peer])?)
}

fn lab() -> Result<UserProfile, Failure> {
    let home = Home::of_user().map_err(UserProfileError::from)?;
    Ok(UserProfile::open(home)?)
}

/// Warns of what was found wrong with remotes, of what was not taken from them, and of labs that do
/// not agree.
pub fn warn_of_gathered(exchange: &Exchange, gathered: &Gathered, common: &Common) {
    warn_of_refusals(exchange, &gathered.refused, common);
    if !common.quiet {
        refusals::warn(&refusals::disagreements(&gathered.agreements));
    }
}

/// Warns of what was found wrong with remotes, and of what was not taken from them.
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

/// Tells the remotes that are written to what has been taken back.
pub fn send_revocations(exchange: &Exchange) {
    // Without a home nothing has been.
    if let Ok(home) = Home::of_user() {
        user_profile::push_revocations(&home, exchange);
    }
}

/// The arguments by which a worker gets the remotes of these names, but for those that `exchange`
/// has given up, and what is known of their servers.
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

/// The number of blobs that were not sent, and why.
pub fn withheld_line(blobs: usize) -> String {
    format!(
        "{} stayed here: {}",
        count(blobs, "blob"),
        withheld_reason(blobs)
    )
}

/// Why blobs stay where they were made. That needs no licence: nobody has said that they may go.
pub fn withheld_reason(blobs: usize) -> &'static str {
    match blobs {
        1 => "it holds images of a `dataset` without `share: true`, or is made of them",
        _ => "they hold images of a `dataset` without `share: true`, or are made of them",
    }
}
