//! Trees of outside files that are told by their listings alone: nothing that changes is missed,
//! and where the user's word stands in, nothing is looked at.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use ribflow::contract::source::{ImageSelection, Source, SourceShape};
use ribflow::store::{IdentifiedSource, StatCache};

use super::*;

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn photos(shape: SourceShape, sealed: bool) -> Source {
    Source {
        name: "folder".to_string(),
        location: "photos".into(),
        shape,
        sealed,
    }
}

fn images(limit: Option<usize>) -> SourceShape {
    let classes = None;
    SourceShape::ImageFolder(ImageSelection { classes, limit })
}

/// What a later process would say of it.
fn identify(store: &Store, source: &Source, base: &Path) -> IdentifiedSource {
    let cache = StatCache::open(store);
    let identified = cache.identify(source, base).unwrap();
    cache.save().unwrap();
    identified
}

/// What a process without any memory says of it.
fn anew(source: &Source, base: &Path) -> Digest {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let resolved = StatCache::open(&store).resolve(source, base);
    resolved.unwrap().digest
}

/// Long enough for a file to be remembered.
fn rest() {
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn whatever_changes_in_a_tree_is_seen() {
    let (folder, store) = new_store();
    let base = folder.path();
    let at = |path: &str| base.join("photos").join(path);
    for name in ["cat/1.png", "cat/2.png", "cat/deep/3.png", "dog/4.png"] {
        write(&at(name), name);
    }
    write(&base.join("others/5.png"), "another");
    rest();
    let sources = [
        photos(SourceShape::Tree, false),
        photos(images(None), false),
        photos(images(Some(2)), false),
    ];
    let same_size_and_time = || {
        let file = fs::File::options().write(true).open(at("cat/1.png"));
        let time = fs::metadata(at("cat/1.png")).unwrap().modified().unwrap();
        write(&at("cat/1.png"), "cat/1.PNG");
        file.unwrap().set_modified(time).unwrap();
    };
    let older = || {
        let file = fs::File::options().write(true).open(at("cat/2.png"));
        write(&at("cat/2.png"), "longer than it was");
        file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    let changes: [&dyn Fn(); 7] = [
        &same_size_and_time,
        &older,
        &|| write(&at("cat/deep/er/0.png"), "new"),
        &|| fs::remove_file(at("cat/deep/3.png")).unwrap(),
        &|| fs::rename(at("cat/2.png"), at("cat/0.png")).unwrap(),
        &|| symlink(base.join("others"), at("dog/others")).unwrap(),
        &|| write(&base.join("others/5.png"), "ANOTHER"),
    ];
    for change in changes {
        for source in &sources {
            let read = identify(&store, source, base);
            let told = identify(&store, source, base);
            assert!(told.content.is_none(), "{source:?}");
            assert_eq!(told.digest, read.digest);
        }
        change();
        for source in &sources {
            let found = identify(&store, source, base);
            assert_eq!(found.digest, anew(source, base), "{source:?}");
        }
        rest();
    }
}

#[test]
fn a_young_tree_is_read_again() {
    let (folder, store) = new_store();
    write(&folder.path().join("photos/cat/1.png"), "one");
    let source = photos(images(None), false);
    for _ in 0..2 {
        assert!(identify(&store, &source, folder.path()).content.is_some());
    }
}

#[test]
fn a_torn_or_foreign_tree_index_is_not_believed() {
    let (folder, store) = new_store();
    write(&folder.path().join("photos/cat/1.png"), "one");
    let source = photos(images(None), true);
    let usual = identify(&store, &source, folder.path());
    assert!(identify(&store, &source, folder.path()).content.is_none());
    let indices = store.root().join("index.trees");
    let index = fs::read_dir(&indices).unwrap().next().unwrap().unwrap();
    let text = fs::read_to_string(index.path()).unwrap();
    let digit = usual.digest.to_hex();
    let forged = text.replace(&digit, &Digest::of(b"forged").to_hex());
    assert_ne!(forged, text);
    for bad in [&text[..text.len() - 1], &forged, ""] {
        fs::write(index.path(), bad).unwrap();
        let found = identify(&store, &source, folder.path());
        assert_eq!(found.digest, usual.digest);
        assert!(found.content.is_some());
    }
    fs::remove_dir_all(indices).unwrap();
    assert_eq!(
        identify(&store, &source, folder.path()).digest,
        usual.digest
    );
}

#[test]
fn a_sealed_tree_is_looked_at_once() {
    let (folder, store) = new_store();
    let base = folder.path();
    write(&base.join("photos/cat/1.png"), "one");
    write(&base.join("photos/dog/2.png"), "two");
    let (sealed, open) = (photos(images(None), true), photos(images(None), false));
    let first = identify(&store, &sealed, base);
    assert_eq!(first.digest, identify(&store, &open, base).digest);
    // Neither what a file holds, nor its length, nor whether it is there.
    write(&base.join("photos/cat/1.png"), "other");
    fs::remove_file(base.join("photos/dog/2.png")).unwrap();
    write(&base.join("photos/dog/3.png"), "three");
    let unseen = identify(&store, &sealed, base);
    assert_eq!(unseen.digest, first.digest);
    assert!(unseen.content.is_none());
    // Whoever reads all of it sees it, and so does from then on whoever does not.
    let seen = identify(&store, &open, base);
    assert_eq!(seen.digest, anew(&open, base));
    assert_ne!(seen.digest, first.digest);
    assert_eq!(identify(&store, &sealed, base).digest, seen.digest);
    // Another folder in its place is none that was sealed.
    write(&base.join("photos/cat/1.png"), "again");
    fs::rename(base.join("photos"), base.join("before")).unwrap();
    fs::create_dir(base.join("photos")).unwrap();
    for class in ["cat", "dog"] {
        let (from, to) = (
            base.join("before").join(class),
            base.join("photos").join(class),
        );
        fs::rename(from, to).unwrap();
    }
    assert_eq!(identify(&store, &sealed, base).digest, anew(&open, base));
}
