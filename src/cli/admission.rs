//! Checks that a store belongs to the user. A store that was found beside a workflow may have come
//! with it, from a clone, an archive or an import, and its records would count as the user's own.
//! So a command opens it only if the user created it, adopted it, or named it explicitly.

use super::failure::Failure;
use super::locations::{StoreLocation, shown};
use crate::digest::Digest;
use crate::remote::home::Home;
use crate::remote::own_stores;
use crate::store::{Identity, Store, StoreError, new_id};

/// Opens the store and creates it if it does not exist. A new store belongs to the user.
///
/// # Errors
/// The store was found, not named, and is not known to be the user's.
pub fn admitted(place: &StoreLocation) -> Result<Store, Failure> {
    let identity = Store::identity(&place.root).map_err(|error| unusable(&error))?;
    let made = match identity {
        Identity::NoStore => Some(new_id().map_err(|error| unusable(&error))?),
        _ => None,
    };
    if made.is_none() && !place.named {
        check(place, identity)?;
    }
    let Some(id) = made else {
        return Store::open(&place.root).map_err(|error| unusable(&error));
    };
    // List it before it exists: a store that exists and is not listed would be refused.
    let listed = list(&id);
    let store = Store::open_as(&place.root, id);
    if !store.as_ref().is_ok_and(|store| store.id() == made) {
        take_off(&id);
    }
    let store = store.map_err(|error| unusable(&error))?;
    match listed {
        // Another process was faster.
        _ if store.id() != made && !place.named => {
            check(place, store.id().map_or(Identity::Unnamed, Identity::Of))?;
        }
        Err(why) if store.id() == made => tracing::warn!(
            "can't record that the new store {} is yours ({why}): name it with `--store` or \
             RIBFLOW_STORE from the next command on",
            shown(&place.root)
        ),
        _ => {}
    }
    Ok(store)
}

fn unusable(error: &StoreError) -> Failure {
    Failure::usage("store", error.to_string())
        .hint("choose another store with `--store` or RIBFLOW_STORE")
}

/// Adds a store to the list of the user's stores. The error is text for a message.
pub fn list(id: &Digest) -> Result<(), String> {
    let home = Home::of_user().map_err(|error| error.to_string())?;
    own_stores::add(&home, id).map_err(|error| error.to_string())
}

fn take_off(id: &Digest) {
    if let Ok(home) = Home::of_user() {
        own_stores::remove(&home, id);
    }
}

/// Refuses a store that is not known to be the user's.
fn check(place: &StoreLocation, identity: Identity) -> Result<(), Failure> {
    let why = match (identity, Home::of_user()) {
        (Identity::NoStore, _) => return Ok(()),
        (Identity::Unnamed, _) => "an earlier version of ribflow created it, without an identity",
        (Identity::Of(_), Err(_)) => "HOME is not set, so the list of your stores can't be read",
        (Identity::Of(id), Ok(home)) => match own_stores::knows(&home, &id) {
            Ok(true) => return Ok(()),
            Ok(false) => "you neither created nor adopted it, so it may have come with these files",
            Err(error) => return Err(refused(place, &error.to_string())),
        },
    };
    Err(refused(place, why))
}

fn refused(place: &StoreLocation, why: &str) -> Failure {
    let root = shown(&place.root);
    let message = format!("the store {root} is not known to be yours: {why}");
    Failure::usage("foreign-store", message).hint(format!(
        "`ribflow cache adopt {}` accepts everything in it as your own results; for one command, \
         name this store or another with `--store` or RIBFLOW_STORE",
        super::invocation::quoted(&root)
    ))
}
