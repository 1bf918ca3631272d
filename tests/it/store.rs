//! The store: what it promises, tried on real files and real processes.

use std::collections::BTreeMap;
use std::path::Path;

use ribflow::digest::Digest;
use ribflow::store::artifact::{Artifact, Blobs, Files, Metric, Metrics};
use ribflow::store::record::{Provenance, RECORD_FORMAT};
use ribflow::store::{Record, Store};
use ribflow::workflow::kind::PortType;
use ribflow::workflow::recipe::Recipe;

/// A record of the key that `parameter` gives, holding a tree of `contents`.
fn record(store: &Store, parameter: &str, contents: &[&[u8]], wall_seconds: f64) -> Record {
    let mut files = Files::default();
    for (index, content) in contents.iter().enumerate() {
        let blob = store.write(content).unwrap();
        files.files.insert(format!("file-{index}"), blob);
    }
    let metrics = Metrics {
        values: BTreeMap::from([("top1".to_string(), Metric::new(0.1 + 0.2, "percent"))]),
    };
    let recipe = Recipe {
        kind: "test".to_string(),
        version: 1,
        with: serde_json::json!({ "parameter": parameter }),
        inputs: BTreeMap::new(),
        device: None,
    };
    let port = |gives, artifact| store.port(gives, artifact).unwrap();
    Record {
        format: RECORD_FORMAT,
        key: recipe.key(),
        recipe,
        ports: BTreeMap::from([
            (
                "files".to_string(),
                port(PortType::Files, Artifact::Files(files)),
            ),
            (
                "metrics".to_string(),
                port(PortType::Metrics, Artifact::Metrics(metrics)),
            ),
        ]),
        provenance: Provenance {
            wall_seconds,
            ..Provenance::default()
        },
    }
}

fn open(folder: &Path) -> Store {
    Store::open(folder).unwrap()
}

#[test]
fn a_published_record_is_found_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    let store = open(&root);
    let record = record(&store, "a", &[b"one", b"two"], 1.0);
    let digests = store.publish(std::slice::from_ref(&record)).unwrap();
    drop(store);

    let store = open(&root);
    let found = store.chosen(&record.key).unwrap().unwrap();
    assert_eq!((found.digest, &found.record), (digests[0], &record));
    let files = store.artifact(&record.ports["files"]).unwrap();
    assert!(store.missing(&files).is_empty());
    assert_eq!(store.read(&Digest::of(b"two")).unwrap(), b"two");
    assert!(store.chosen(&Digest::of(b"another key")).unwrap().is_none());
}
