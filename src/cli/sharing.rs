//! From `--remote` to an exchange with other stores, and what is told of it afterwards.

use std::ffi::OsString;

use super::arguments::Common;
use super::failure::Failure;
use super::refusals;
use crate::remote::exchange::{Exchange, Neighbour, Refusal};
use crate::remote::home::Home;
use crate::remote::neighbours::{Lab, NeighbourError};
use crate::remote::patience::{Patience, Patient};
use crate::remote::transport::Remote;
use crate::remote::trust::Policy;

/// The remotes of these names, or at these URLs.
pub fn exchange(names: &[String]) -> Result<Exchange, Failure> {
    Ok(lab()?.exchange(names)?)
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

/// The arguments by which a worker gets the same remotes.
pub fn worker_arguments(names: &[String]) -> Vec<OsString> {
    let pairs = names
        .iter()
        .flat_map(|name| [OsString::from("--remote"), OsString::from(name)]);
    pairs.collect()
}
