//! The store: what it promises, tried on real files and real processes.

mod export;
mod figures;
mod processes;
mod recordindex;
mod records;
mod sources;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::recipe::Recipe;
use ribflow::digest::Digest;
use ribflow::store::artifact::{Artifact, BlobError, Blobs, Files, Metric, Metrics};
use ribflow::store::gc::GcOptions;
use ribflow::store::record::Provenance;
use ribflow::store::{Record, Store, StoreError};
use tempfile::TempDir;

/// A folder with a store in it.
pub fn new_store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    (folder, store)
}

pub fn recipe(parameter: &str) -> Recipe {
    Recipe {
        kind: "test".to_string(),
        version: 1,
        with: serde_json::json!({ "parameter": parameter, "rate": 0.1 }),
        inputs: BTreeMap::new(),
        device: None,
    }
}

/// A record of the key that `parameter` gives, holding a tree of `contents`; `seconds` tells the
/// outcomes of one key apart.
pub fn record(store: &Store, parameter: &str, contents: &[&[u8]], seconds: f64) -> Record {
    let blobs = contents.iter().map(|content| store.write(content).unwrap());
    let named = blobs.enumerate();
    let files: Files = named
        .map(|(index, blob)| (format!("file-{index}"), blob))
        .collect();
    let metrics = Metrics {
        values: BTreeMap::from([("top1".to_string(), Metric::new(0.1 + 0.2, "percent"))]),
    };
    let port = |gives, artifact| store.port(&OutputSpec::new("", gives), artifact).unwrap();
    let recipe = recipe(parameter);
    Record {
        format: 1,
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
            wall_seconds: seconds,
            ..Provenance::default()
        },
    }
}

pub fn object(store: &Store, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    store.root().join("objects").join(&hex[..2]).join(&hex[2..])
}

/// Removes everything that is not in use, however young.
pub fn clean_all(store: &Store) {
    let cleaning = GcOptions {
        before: SystemTime::now(),
        most: Some(0),
        grace: Duration::ZERO,
        dry_run: false,
    };
    store.clean(&cleaning, || Ok(Vec::new())).unwrap();
}

/// Flips a bit in a read-only file, as a failing disk would.
pub fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn blobs_are_sealed_where_the_layout_says() {
    let (folder, store) = new_store();
    let blob = store.write(b"content").unwrap();
    let path = store.path(&blob.digest).unwrap();
    assert_eq!(path, object(&store, &blob.digest));
    assert_eq!((mode(&path), blob.bytes), (0o444, 7));
    let outside = folder.path().join("outside");
    fs::write(&outside, b"content").unwrap();
    assert_eq!(store.write_file(&outside).unwrap(), blob);
    assert_eq!(mode(&outside) & 0o200, 0o200);
    let missing = Digest::of(b"never written");
    assert!(matches!(store.read(&missing), Err(BlobError::Missing(digest)) if digest == missing));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_written_is_read(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..6)) {
        let (_folder, store) = new_store();
        let blobs: Vec<_> = contents.iter().map(|content| store.write(content).unwrap()).collect();
        for (content, blob) in contents.iter().zip(&blobs) {
            prop_assert_eq!(&store.read(&blob.digest).unwrap(), content);
            prop_assert_eq!(&fs::read(store.path(&blob.digest).unwrap()).unwrap(), content);
        }
    }
}

#[test]
fn a_damaged_blob_is_set_aside_and_can_be_made_again() {
    let (_folder, store) = new_store();
    let digest = store.write(b"content").unwrap().digest;
    let path = store.path(&digest).unwrap();
    let damaged =
        |result: Result<(), BlobError>| assert!(matches!(result, Err(BlobError::Damaged(_))));

    damage(&path);
    damaged(store.read(&digest).map(|_| ()));
    assert!(matches!(store.read(&digest), Err(BlobError::Missing(_))));
    assert!(
        store
            .root()
            .join("damaged/objects")
            .join(digest.to_hex())
            .is_file()
    );

    store.write(b"content").unwrap();
    assert_eq!(store.read(&digest).unwrap(), b"content");
    damage(&path);
    damaged(store.path(&digest).map(|_| ()));

    // Writing over damage repairs it.
    store.write(b"content").unwrap();
    damage(&path);
    store.write(b"content").unwrap();
    assert_eq!(fs::read(store.path(&digest).unwrap()).unwrap(), b"content");
}

#[test]
fn damage_is_seen_by_a_process_that_verified_the_blob_before() {
    let (_folder, store) = new_store();
    let digest = store.write(b"content").unwrap().digest;
    let path = store.path(&digest).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    // A cut file, as after a power failure.
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(3)
        .unwrap();
    assert!(matches!(store.path(&digest), Err(BlobError::Damaged(_))));
}

#[test]
fn a_store_from_the_future_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let description = r#"{"format": 7, "claims": "leases", "needs_ribflow": "3.1.0", "more": {}}"#;
    fs::write(folder.path().join("store.json"), description).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerStore { found: 7, .. }));
    assert!(
        error.to_string().contains("use ribflow 3.1.0 or newer"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_store_is_not_made_among_other_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "").unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(
        error.to_string().contains("it contains `thesis.tex`"),
        "{error}"
    );
    fs::remove_file(folder.path().join("thesis.tex")).unwrap();
    // What a repository keeps in `cache/` is no obstacle.
    fs::write(folder.path().join("README.md"), "").unwrap();
    fs::write(folder.path().join(".gitignore"), "").unwrap();
    Store::open(folder.path()).unwrap();
    fs::write(folder.path().join("store.json"), "{").unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(StoreError::DamagedDescription { .. })
    ));
}

#[test]
fn a_new_store_can_be_opened_by_many_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| Store::open(&root).unwrap().write(b"content").unwrap());
            }
        });
        assert_eq!(fs::read_dir(root.join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_closed_store_leaves_nothing_in_tmp_and_the_dead_are_swept() {
    let (folder, store) = new_store();
    store.write(b"content").unwrap();
    let scratch = store.scratch().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    drop((scratch, store));
    let tmp = folder.path().join("cache/tmp");
    let left = || fs::read_dir(&tmp).unwrap().count();
    assert_eq!(left(), 0);

    // Left by processes that died: one long ago, one just now, which may still be starting.
    for name in ["process-old", "process-young"] {
        fs::create_dir_all(tmp.join(name).join("scratch")).unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::open(tmp.join("process-old"))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let mine = store.scratch().unwrap();
    assert!(!tmp.join("process-old").exists());
    assert!(tmp.join("process-young").exists());
    // A living process is left alone, however old its folder.
    let session = mine.path().parent().unwrap();
    fs::File::open(session)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    Store::open(&folder.path().join("cache"))
        .unwrap()
        .scratch()
        .unwrap();
    assert!(mine.path().is_dir());
}
