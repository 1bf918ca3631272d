//! A lab for tests of sharing: a store with records in it, and a key that signs them.

use std::collections::BTreeMap;

use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::recipe::Recipe;
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement;
use ribflow::store::artifact::{Artifact, Blobs, Files, Metric, Metrics};
use ribflow::store::record::Provenance;
use ribflow::store::{Record, Signature, Store};

pub struct Lab {
    pub store: Store,
    pub key: SecretKey,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// A lab with an empty store, and a key made of `seed`.
    pub fn new(seed: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(&folder.path().join("cache")).unwrap(),
            key: SecretKey::from_seed(&[seed; 32]),
            _folder: folder,
        }
    }

    /// Publishes an outcome that has a tree of `contents` and a metric, and signs it.
    pub fn publish(&self, parameter: &str, contents: &[&[u8]]) -> Record {
        let record = outcome(&self.store, parameter, contents);
        self.store.publish(std::slice::from_ref(&record)).unwrap();
        let signature = self.signature(&record);
        self.store
            .add_signature(&record.key, &record.digest(), &signature)
            .unwrap();
        record
    }

    pub fn signature(&self, record: &Record) -> Signature {
        Signature {
            signer: self.key.public().in_names(),
            envelope: statement::sign(record, &self.key),
        }
    }
}

/// An outcome of the key that `parameter` gives. Its blobs are kept in `store`, it is not.
pub fn outcome(store: &Store, parameter: &str, contents: &[&[u8]]) -> Record {
    let recipe = Recipe {
        kind: "test".to_string(),
        version: 1,
        with: serde_json::json!({ "parameter": parameter }),
        inputs: BTreeMap::new(),
        device: None,
    };
    let blobs = contents.iter().map(|content| store.write(content).unwrap());
    let named = blobs.enumerate();
    let files: Files = named
        .map(|(index, blob)| (format!("file-{index}"), blob))
        .collect();
    let metrics = Metrics {
        values: BTreeMap::from([("top1".to_string(), Metric::new(61.5, "percent"))]),
    };
    let port = |gives, artifact| store.port(&OutputSpec::new("", gives), artifact).unwrap();
    let ports = [
        ("files", port(PortType::Files, Artifact::Files(files))),
        (
            "metrics",
            port(PortType::Metrics, Artifact::Metrics(metrics)),
        ),
    ];
    let ports = ports.map(|(name, port)| (name.to_string(), port));
    Record {
        format: 1,
        key: recipe.key(),
        recipe,
        ports: BTreeMap::from(ports),
        provenance: Provenance {
            ribflow: "0.1.0".to_string(),
            ..Provenance::default()
        },
    }
}
