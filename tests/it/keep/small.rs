//! Small files that decide something: no flipped bit in one of them passes for another decision,
//! and those of earlier versions stay valid.

use std::fs;
use std::path::{Path, PathBuf};

use ribflow::digest::Digest;
use ribflow::store::check::Fault;
use ribflow::store::pins::{Pin, Pinned};
use ribflow::store::{Record, Store, StoreError};

use crate::store::{new_store, recipe, record};

/// Every state that `path` is in after one of its bits has flipped.
fn each_flip(path: &Path, mut look: impl FnMut(usize)) {
    let whole = fs::read(path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, bytes).unwrap();
        look(bit);
    }
    fs::write(path, whole).unwrap();
}

fn faults(store: &Store) -> Vec<Fault> {
    let checked = store.check_all(&|_, _, _| Ok(()), &|_, _| ());
    checked.unwrap().faults
}

fn is_small(faults: &[Fault], expected: &Path) -> bool {
    matches!(faults, [Fault::Small { path, .. }] if path == expected)
}

/// A store with two records of one key, the later one chosen, and the file that says so.
fn with_choice() -> (tempfile::TempDir, Store, Digest, Vec<Digest>, PathBuf) {
    let (folder, store) = new_store();
    let records: Vec<Record> = [1.0, 2.0]
        .map(|seconds| record(&store, "x", &[b"content"], seconds))
        .to_vec();
    let mut digests = store.publish(&records).unwrap();
    digests.sort();
    let key = recipe("x").key();
    // Not the one that would be taken without a choice.
    store.choose(&key, &digests[1]).unwrap();
    let hex = key.to_hex();
    let marker = store
        .root()
        .join("records")
        .join(&hex[..2])
        .join(&hex)
        .join("chosen");
    (folder, store, key, digests, marker)
}

#[test]
fn no_flipped_bit_chooses_another_record() {
    let (_folder, store, key, digests, marker) = with_choice();
    let chosen = |store: &Store| store.chosen(&key).map(|found| found.unwrap().digest);
    assert_eq!(chosen(&store).unwrap(), digests[1]);
    each_flip(&marker, |bit| match chosen(&store) {
        Err(StoreError::Damaged { path, remedy }) => {
            assert_eq!(path, marker);
            assert!(remedy.contains("ribflow cache choose"), "{remedy}");
            assert!(bit % 97 != 0 || is_small(&faults(&store), &marker));
        }
        other => panic!("bit {bit}: {other:?}"),
    });
    fs::write(&marker, "").unwrap();
    assert!(chosen(&store).is_err());
    // A further record is kept all the same, and the choice is still open.
    let third = record(&store, "x", &[b"content"], 3.0);
    store.publish(&[third]).unwrap();
    assert!(chosen(&store).is_err());
    store.choose(&key, &digests[1]).unwrap();
    assert_eq!(chosen(&store).unwrap(), digests[1]);
}

#[test]
fn a_choice_of_an_earlier_version_is_valid() {
    let (_folder, store, key, digests, marker) = with_choice();
    fs::write(&marker, format!("{}\n", digests[1])).unwrap();
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, digests[1]);
    assert_eq!(faults(&store), []);
    store.choose(&key, &digests[1]).unwrap();
    let text = fs::read_to_string(&marker).unwrap();
    assert_eq!(
        text.len(),
        64 + 1 + 16 + 1,
        "written again, it has a checksum"
    );
    // The checksum is BLAKE3, as b3sum gives it for the 64 digits.
    let sum = blake3::hash(digests[1].to_hex().as_bytes()).to_hex();
    assert_eq!(text, format!("{} {}\n", digests[1], &sum[..16]));
}

#[test]
fn a_choice_goes_with_its_record() {
    let (_folder, store, key, digests, marker) = with_choice();
    store.forget(&key, &digests[1]).unwrap();
    assert!(!marker.exists());
    assert_eq!(store.chosen(&key).unwrap().unwrap().digest, digests[0]);
}

#[test]
fn no_flipped_bit_keeps_something_else() {
    let (_folder, store, key, _, _) = with_choice();
    let node = Pinned {
        id: "x".to_string(),
        key,
    };
    store
        .pin(&Pin::new("paper", "test", 7, vec![node]))
        .unwrap();
    let path = store.root().join("pins/paper.json");
    let pins = store.pins().unwrap();
    each_flip(&path, |bit| match store.pins() {
        // White space.
        Ok(found) => assert_eq!(found, pins, "bit {bit}"),
        Err(StoreError::Damaged { remedy, .. }) => {
            assert!(remedy.contains("ribflow cache unpin paper"), "{remedy}");
            assert!(bit % 97 != 0 || is_small(&faults(&store), &path));
        }
        Err(StoreError::NewerRecord { .. }) => {}
        Err(error) => panic!("bit {bit}: {error}"),
    });
    // One of an earlier version.
    let old = format!(
        r#"{{"format":1,"name":"paper","workflow":"test","at":7,"nodes":[{{"id":"x","key":"{key}"}}]}}"#
    );
    fs::write(&path, old).unwrap();
    assert_eq!(store.pins().unwrap(), pins);
    // A damaged one is replaced, and is taken away.
    fs::write(&path, "").unwrap();
    assert!(store.pins().is_err());
    assert_eq!(store.pin(&pins[0]).unwrap().replaced, None);
    assert_eq!(store.pins().unwrap(), pins);
    fs::write(&path, "").unwrap();
    assert!(store.unpin("paper").unwrap());
    // A link in its place is a damaged pin, not a missing one: a cleaning would take what it kept.
    store.pin(&pins[0]).unwrap();
    let elsewhere = store.root().join("elsewhere.json");
    fs::rename(&path, &elsewhere).unwrap();
    for target in [elsewhere, store.root().join("nothing")] {
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = store.pins().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        fs::remove_file(&path).unwrap();
    }
}
