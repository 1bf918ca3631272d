//! Links inside a store: nothing follows one, whatever lies at its end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ribflow::digest::Digest;
use ribflow::store::artifact::{BlobError, Blobs};
use ribflow::store::check::Fault;
use ribflow::store::{Signature, Store, StoreError};

use crate::space::TestSpace;
use crate::store::{clean_all, new_store, object, recipe, record};

/// A folder with files that are not the store's.
fn elsewhere() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let names = ["lock", "file", "content"].map(|name| folder.path().join(name));
    for path in &names {
        fs::write(path, "not the store's").unwrap();
    }
    (folder, names.to_vec())
}

fn are_untouched(files: &[PathBuf]) {
    for path in files {
        let text = fs::read_to_string(path);
        assert_eq!(
            text.unwrap_or_default(),
            "not the store's",
            "{}",
            path.display()
        );
    }
}

/// As if it had been there for two days, whatever it is.
fn age(path: &Path) {
    let days = SystemTime::now() - Duration::from_secs(2 * 86400);
    let since = days.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = rustix::fs::Timespec {
        tv_sec: since.as_secs() as i64,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

#[test]
fn sweeping_removes_a_link_and_nothing_behind_it() {
    let (_folder, store) = new_store();
    let (other, files) = elsewhere();
    let tmp = store.root().join("tmp");
    let links = ["process-x", "link"].map(|name| tmp.join(name));
    symlink(other.path(), &links[0]).unwrap();
    symlink(&files[1], &links[1]).unwrap();
    // A folder whose lock is a link to another file.
    let folder = tmp.join("process-y");
    fs::create_dir(&folder).unwrap();
    symlink(&files[0], folder.join("lock")).unwrap();
    symlink(other.path(), folder.join("inner")).unwrap();
    links.iter().chain([&folder]).for_each(|path| age(path));
    store.write(b"content").unwrap();
    are_untouched(&files);
    for path in links.iter().chain([&folder]) {
        assert!(path.symlink_metadata().is_err(), "{}", path.display());
    }
    // While it is young it stays, and still nothing is followed.
    symlink(other.path(), &links[0]).unwrap();
    clean_all(&store);
    are_untouched(&files);
}

#[test]
fn a_store_with_a_link_for_a_folder_is_refused() {
    let (folder, store) = new_store();
    let root = store.root().to_path_buf();
    drop(store);
    let (other, files) = elsewhere();
    for name in [
        "objects",
        "records",
        "claims",
        "runs",
        "tmp",
        "downloads",
        "derived",
        "damaged",
        "pins",
        "withheld",
        "index.stat",
        "index.trees",
        "index.records",
        "index.runs",
    ] {
        let path = root.join(name);
        let _ = fs::remove_dir(&path);
        symlink(other.path(), &path).unwrap();
        match Store::open(&root) {
            Err(StoreError::NotAStore { why, .. }) => {
                assert!(why.contains(&format!("`{name}` is a link")), "{why}");
            }
            other => panic!("{name}: {other:?}"),
        }
        fs::remove_file(&path).unwrap();
    }
    are_untouched(&files);
    // The store itself may be reached through one.
    symlink(&root, folder.path().join("link")).unwrap();
    Store::open(&folder.path().join("link")).unwrap();
}

#[test]
fn a_linked_folder_of_blobs_is_neither_cleaned_nor_written() {
    let (_folder, store) = new_store();
    let (_other_folder, other) = new_store();
    let digest = other.write(b"content").unwrap().digest;
    let hex = digest.to_hex();
    let linked = store.root().join("objects").join(&hex[..2]);
    symlink(other.root().join("objects").join(&hex[..2]), &linked).unwrap();
    let kept = object(&other, &digest);
    age(&kept);

    clean_all(&store);
    assert!(kept.exists(), "the other store keeps its blob");
    assert!(store.objects().unwrap().is_empty());
    let inventory = store.inventory().unwrap();
    assert!(inventory.objects.is_empty());
    fs::remove_file(&kept).unwrap();
    let error = store.write(b"content").unwrap_err().to_string();
    assert!(error.contains("is a link"), "{error}");
    assert!(!kept.exists(), "nothing was written there");
    let faults = store
        .check_all(&|_, _, _| Ok(()), &|_, _| ())
        .unwrap()
        .faults;
    let is_told = |fault: &Fault| matches!(fault, Fault::Small { path, .. } if *path == linked);
    assert!(faults.iter().any(is_told), "{faults:?}");
}

#[test]
fn a_linked_folder_of_records_is_neither_cleaned_nor_written() {
    let (_folder, store) = new_store();
    let (_other_folder, other) = new_store();
    let published = record(&other, "x", &[b"content"], 1.0);
    let digest = other.publish(&[published]).unwrap()[0];
    let key = recipe("x").key();
    let hex = key.to_hex();
    let of = |store: &Store| store.root().join("records").join(&hex[..2]);
    symlink(of(&other), of(&store)).unwrap();
    let path = of(&other).join(&hex).join(format!("{digest}.json"));
    age(&path);

    clean_all(&store);
    assert!(path.exists());
    assert!(store.forget(&key, &digest).is_err());
    assert!(path.exists());
    let own = record(&store, "x", &[b"content"], 2.0);
    assert!(store.publish(&[own]).is_err());
    let signature = Signature {
        signer: Digest::of(b"lab"),
        envelope: b"envelope".to_vec(),
    };
    assert!(store.add_signature(&key, &digest, &signature).is_err());
    assert_eq!(other.record_names(&key).unwrap(), [digest]);
    assert_eq!(other.signers(&key, &digest).unwrap(), []);
}

#[test]
fn a_link_for_a_blob_is_damage() {
    let (_folder, store) = new_store();
    let (other, files) = elsewhere();
    // The content is right, and still it is not the store's.
    let digest = Digest::of(b"not the store's");
    let path = object(&store, &digest);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(&files[0], &path).unwrap();
    assert!(!store.has(&digest));
    let read = store.read(&digest);
    assert!(matches!(read, Err(BlobError::Damaged(_))), "{read:?}");
    are_untouched(&files);
    assert!(path.symlink_metadata().is_err(), "it was set aside");
    store.write(b"not the store's").unwrap();
    assert_eq!(store.read(&digest).unwrap(), b"not the store's");
    drop(other);
}

#[test]
fn a_signature_that_links_to_a_private_file_is_not_read() {
    let (_folder, store) = new_store();
    let (_other, files) = elsewhere();
    let published = record(&store, "x", &[b"content"], 1.0);
    let digest = store.publish(&[published]).unwrap()[0];
    let key = recipe("x").key();
    let hex = key.to_hex();
    let folder = store.root().join("records").join(&hex[..2]).join(&hex);
    let signer = Digest::of(b"lab");
    symlink(&files[0], folder.join(format!("{digest}.{signer}.sig"))).unwrap();
    assert!(store.signatures(&key, &digest).is_err());
}

#[test]
fn a_store_that_is_a_link_to_nothing_is_named() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: dataset, with: { builtin: mini-rib, domain: v2 } }\n",
    );
    for target in ["gone/store", "cache"] {
        let _ = fs::remove_file(space.path("cache"));
        symlink(target, space.path("cache")).unwrap();
        for words in [
            &["run", "w.yaml"][..],
            &["plan", "w.yaml"],
            &["status", "w.yaml"],
            &["cache", "gc"],
            &["cache", "ls"],
        ] {
            let told = space.run(words).expect(2);
            let expected = format!("it is a link to {target}, which is not there");
            assert!(told.stderr.contains(&expected), "{told}");
        }
    }
}

#[test]
fn a_folder_to_write_to_that_is_a_link_to_nothing_is_named() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { run: \"echo > out/x\", \
         outputs: [x] } }\n",
    );
    symlink("gone", space.path("out")).unwrap();
    symlink("gone", space.path("got")).unwrap();
    let told = space.run(&["run", "w.yaml"]).expect(1);
    let expected = "out is a link to gone, which is not there";
    assert!(told.stderr.contains(expected), "{told}");
    let told = space.run(&["get", "w.yaml", "a.x", "-o", "got"]).expect(2);
    assert!(told.stderr.contains("got is already there"), "{told}");
}
