//! The layer of faults itself: it follows every change, fails where it should, and models the disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ribflow::fsx::faults::{Call, Fault, Survives, arm};
use ribflow::fsx::{self, Lock, SEALED, SHARED};

/// Every kind of change that the layer offers.
fn change(root: &Path) -> io::Result<()> {
    let tmp = root.join("tmp");
    fsx::make_folders(&tmp)?;
    fsx::replace(&root.join("a/one"), &tmp, SEALED, b"one")?;
    fsx::replace_durably(&root.join("two"), &tmp, SHARED, b"two")?;
    fsx::create_durably(&root.join("three"), &tmp, SHARED, b"three")?;
    fsx::create_durably(&root.join("three"), &tmp, SHARED, b"other")?;
    let below = fsx::Beneath::open(root)?;
    let mut file = below.temporary("tmp", SEALED)?;
    std::io::Write::write_all(&mut file, b"four")?;
    file.place(&below, "b/c/four")?;
    below.remove("a/one")?;
    drop(Lock::acquire(&root.join("lock"))?);
    fsx::rename(&root.join("b"), &root.join("d/b"))?;
    fsx::DraftFolder::new(&tmp, "x-")?;
    fsx::sync_filesystem(root, &[])
}

#[test]
fn the_model_follows_every_change() {
    let space = tempfile::tempdir().unwrap();
    let armed = arm(space.path(), Fault::None).unwrap();
    change(space.path()).unwrap();
    let seen = armed.finish().unwrap();
    assert_eq!(seen.strangers, Vec::<PathBuf>::new());
    let kinds: HashSet<Call> = seen.calls.into_iter().collect();
    use Call::*;
    for kind in [
        Open, Create, Write, Sync, SyncAll, Rename, Remove, MakeFolder, Stat, Permit, Lock,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
    // A change past the layer shows.
    let armed = arm(space.path(), Fault::None).unwrap();
    fs::write(space.path().join("stranger"), "").unwrap();
    let seen = armed.finish().unwrap();
    assert_eq!(seen.strangers, [PathBuf::from("stranger")]);
}

/// Threads that create the same folders race to each of them.
#[test]
fn the_model_follows_threads_that_change_the_same_folder() {
    for _ in 0..200 {
        let space = super::space::folder();
        let armed = arm(space.path(), Fault::None).unwrap();
        let root = space.path();
        let place = |name: String| {
            fsx::make_folders(root).unwrap();
            let below = fsx::Beneath::open(root).unwrap();
            let file = below.temporary("tmp", SEALED).unwrap();
            file.place(&below, &format!("objects/{name}")).unwrap();
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (0..4).for_each(|file| place(format!("{file}/{thread}"))));
            }
        });
        let seen = armed.finish().unwrap();
        assert_eq!(seen.strangers, Vec::<PathBuf>::new());
    }
}

#[test]
fn a_fault_is_met_once_and_where_it_was_put() {
    let space = tempfile::tempdir().unwrap();
    let path = space.path().join("file");
    let write = || fsx::replace(&path, space.path(), SHARED, b"content");
    // Create, permit, write, rename.
    for at in 0..4 {
        let armed = arm(space.path(), Fault::Disk { at }).unwrap();
        let error = write().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{at}");
        write().unwrap();
        assert_eq!(armed.finish().unwrap().fired, 1);
    }
    let armed = arm(space.path(), Fault::Interrupted { at: 2 }).unwrap();
    write().unwrap();
    assert_eq!(armed.finish().unwrap().fired, 1);
    let armed = arm(space.path(), Fault::Short { at: 2 }).unwrap();
    write().unwrap();
    assert_eq!(armed.finish().unwrap().fired, 1);
    assert_eq!(fs::read(&path).unwrap(), b"content");
    let armed = arm(space.path(), Fault::Full { at: 0 }).unwrap();
    assert_eq!(write().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(armed.finish().unwrap().fired, 1);
    assert_eq!(fs::read_dir(space.path()).unwrap().count(), 1);
    // A killed process removes nothing, not even its own temporary file.
    let armed = arm(space.path(), Fault::Killed { at: 2 }).unwrap();
    assert!(write().is_err());
    assert!(fs::read(&path).is_ok_and(|bytes| bytes == b"content"));
    drop(armed);
    let sizes = fs::read_dir(space.path()).unwrap();
    let mut sizes: Vec<u64> = sizes
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [3, 7]);
}

/// What is there after a power failure right after `change`.
fn after(survives: Survives, change: impl Fn(&Path) -> io::Result<()>) -> Vec<(String, String)> {
    let space = tempfile::tempdir().unwrap();
    fs::write(space.path().join("old"), "old").unwrap();
    let armed = arm(space.path(), Fault::None).unwrap();
    change(space.path()).unwrap();
    let at = armed.finish().unwrap().calls.len();
    fs::remove_dir_all(space.path()).unwrap();
    fs::create_dir(space.path()).unwrap();
    fs::write(space.path().join("old"), "old").unwrap();
    let armed = arm(space.path(), Fault::Power { at, survives }).unwrap();
    change(space.path()).unwrap();
    assert!(calls_after(space.path()).is_err());
    armed.finish().unwrap();
    let mut files: Vec<(String, String)> = fs::read_dir(space.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn calls_after(root: &Path) -> io::Result<fs::Metadata> {
    fsx::calls::metadata(root)
}

#[test]
fn a_power_failure_keeps_what_was_synced_and_no_promise_beyond() {
    let pairs = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = files.iter();
        pairs
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect()
    };
    let unsynced = |root: &Path| fsx::replace(&root.join("new"), root, SHARED, b"new");
    let old = pairs(&[("old", "old")]);
    assert_eq!(after(Survives::Nothing, unsynced), old);
    let empty = pairs(&[("new", ""), ("old", "old")]);
    assert_eq!(after(Survives::Names, unsynced), empty);
    let synced = |root: &Path| fsx::replace_durably(&root.join("new"), root, SHARED, b"new");
    let whole = pairs(&[("new", "new"), ("old", "old")]);
    let everything = |root: &Path| {
        fsx::replace(&root.join("new"), root, SHARED, b"new")?;
        fsx::sync_filesystem(root, &[])
    };
    let mut seen = HashSet::new();
    for seed in 0..64 {
        let survives = Survives::Some { seed };
        assert_eq!(after(survives, everything), whole);
        let found = after(survives, synced);
        assert!(found.contains(&("new".to_string(), "new".to_string())));
        seen.insert(after(survives, unsynced));
    }
    assert_eq!(after(Survives::Nothing, synced), whole);
    // The file under either name or none, with all its bytes, half, none, or zeros.
    assert!(seen.len() >= 5, "{seen:?}");
    assert!(seen.contains(&old) && seen.contains(&empty) && seen.contains(&whole));
}
