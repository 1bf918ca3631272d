//! Whose word is taken: keys, trust, policies, what is taken back, and forgeries of all of it.

mod commands;
mod config;
mod foreign;
mod forgeries;
mod labs;
mod refusals;

use std::collections::BTreeMap;
use std::path::Path;

use ribflow::contract::port::PortType;
use ribflow::contract::recipe::Recipe;
use ribflow::digest::Digest;
use ribflow::remote::home::Home;
use ribflow::remote::signing::{PublicKey, SecretKey};
use ribflow::store::artifact::{Artifact, Metric, Metrics};
use ribflow::store::record::{Port, Provenance, Record};
use serde_json::json;

fn secret(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn key(number: u8) -> PublicKey {
    secret(number).public()
}

/// The folders of a user whose home is `folder`.
fn home(folder: &Path) -> Home {
    let folder = folder.to_path_buf();
    Home::of(|name| (name == "HOME").then(|| folder.clone().into_os_string())).unwrap()
}

/// One outcome of the recipe `name`: a metric.
fn record(name: &str, accuracy: f64) -> Record {
    let metric = Metric::new(accuracy, "");
    let values = BTreeMap::from([("accuracy".to_string(), metric)]);
    let artifact = Artifact::Metrics(Metrics { values });
    let bytes = artifact.to_bytes();
    let port = Port {
        gives: PortType::Metrics,
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        inline: Some(artifact),
    };
    let recipe = Recipe {
        kind: "evaluate".to_string(),
        version: 1,
        with: json!({ "name": name }),
        inputs: BTreeMap::new(),
        device: None,
    };
    Record {
        format: 1,
        key: recipe.key(),
        recipe,
        ports: BTreeMap::from([("metrics".to_string(), port)]),
        provenance: Provenance::default(),
    }
}
