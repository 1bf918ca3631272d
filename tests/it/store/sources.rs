//! Outside data: what counts, in which order, and when a digest may be remembered.

use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use ribflow::contract::source::{ImageSelection, Source, SourceShape};
use ribflow::store::sources::image_folder_order;
use ribflow::store::{ResolvedSource, SourceError, StatCache};

use super::*;

fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn resolve(
    store: &Store,
    base: &Path,
    location: &str,
    shape: SourceShape,
) -> Result<ResolvedSource, SourceError> {
    let source = Source {
        name: "folder".to_string(),
        location: PathBuf::from(location),
        shape,
        sealed: false,
    };
    StatCache::open(store).resolve(&source, base)
}

fn images(classes: Option<&[&str]>, limit: Option<usize>) -> SourceShape {
    let names = classes.map(|names| names.iter().map(|name| name.to_string()).collect());
    SourceShape::ImageFolder(ImageSelection {
        classes: names,
        limit,
    })
}

fn tree(resolved: &ResolvedSource) -> &Files {
    let Artifact::Files(files) = &resolved.artifact else {
        panic!("no files");
    };
    files
}

fn paths(resolved: &ResolvedSource) -> Vec<&str> {
    let mut paths: Vec<&str> = tree(resolved).files.keys().map(String::as_str).collect();
    paths.sort_by_key(|path| image_folder_order(path));
    paths
}

/// A folder with what torchvision would take and what it would not.
fn photos(folder: &Path) {
    for path in [
        "photos/cat/2.JPG",
        "photos/cat/10.png",
        "photos/cat/notes.txt",
        "photos/cat/z.webp",
        "photos/cat/deep/er/1.jpeg",
        "photos/cat/deep/0.bmp",
        "photos/cat/.hidden.png",
        "photos/Dog/b.png",
        "photos/Dog/a.tiff",
        "photos/README.md",
        "photos/stray.png",
        "outside/e.png",
    ] {
        write(folder, path, path.as_bytes());
    }
    symlink("../../outside/e.png", folder.join("photos/Dog/linked.png")).unwrap();
    symlink("../../outside", folder.join("photos/Dog/linked")).unwrap();
    symlink("../outside", folder.join("photos/eel")).unwrap();
}

#[test]
fn an_image_folder_is_listed_as_torchvision_lists_it() {
    let (folder, store) = new_store();
    photos(folder.path());
    let all = resolve(&store, folder.path(), "photos", images(None, None)).unwrap();
    // What `find_classes` and `make_dataset` of torchvision 0.20.1 give, in their order.
    assert_eq!(
        paths(&all),
        [
            "Dog/a.tiff",
            "Dog/b.png",
            "Dog/linked.png",
            "Dog/linked/e.png",
            "cat/.hidden.png",
            "cat/10.png",
            "cat/2.JPG",
            "cat/z.webp",
            "cat/deep/0.bmp",
            "cat/deep/er/1.jpeg",
            "eel/e.png",
        ]
    );
    assert_eq!(all.root, folder.path().join("photos"));
    let blob = &tree(&all).files["cat/2.JPG"];
    assert_eq!(
        (blob.digest, blob.bytes),
        (Digest::of(b"photos/cat/2.JPG"), 16)
    );

    let some = resolve(
        &store,
        folder.path(),
        "photos",
        images(Some(&["cat", "eel"]), Some(4)),
    )
    .unwrap();
    assert_eq!(
        paths(&some),
        [
            "cat/.hidden.png",
            "cat/10.png",
            "cat/2.JPG",
            "cat/z.webp",
            "eel/e.png"
        ]
    );
}

#[test]
fn content_does_not_depend_on_place_time_or_strays() {
    let (folder, store) = new_store();
    photos(folder.path());
    let before = resolve(&store, folder.path(), "photos", images(None, None)).unwrap();
    write(folder.path(), "photos/cat/more.txt", b"stray");
    let moved = folder.path().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(folder.path().join("photos"), moved.join("pictures")).unwrap();
    fs::rename(folder.path().join("outside"), moved.join("outside")).unwrap();
    let base = Path::new("/nowhere");
    let place = moved.join("pictures");
    let after = resolve(&store, base, place.to_str().unwrap(), images(None, None)).unwrap();
    assert_eq!(before.digest, after.digest);
}

#[test]
fn a_tree_and_a_file_are_sources_too() {
    let (folder, store) = new_store();
    photos(folder.path());
    let whole = resolve(&store, folder.path(), "photos/cat", SourceShape::Tree).unwrap();
    let listed: Vec<&String> = tree(&whole).files.keys().collect();
    assert_eq!(
        listed,
        [
            ".hidden.png",
            "10.png",
            "2.JPG",
            "deep/0.bmp",
            "deep/er/1.jpeg",
            "notes.txt",
            "z.webp"
        ]
    );
    let one = resolve(
        &store,
        folder.path(),
        "photos/cat/notes.txt",
        SourceShape::File,
    )
    .unwrap();
    assert_eq!(tree(&one).files.keys().collect::<Vec<_>>(), ["notes.txt"]);
    assert_eq!(one.root, folder.path().join("photos/cat"));
}

#[test]
fn problems_are_named() {
    let (folder, store) = new_store();
    photos(folder.path());
    fs::create_dir_all(folder.path().join("photos/empty/inner")).unwrap();
    fs::create_dir_all(folder.path().join("bare")).unwrap();
    write(folder.path(), "broken/cat/a.png", b"x");
    symlink("nowhere", folder.path().join("broken/cat/b.png")).unwrap();
    write(folder.path(), "loop/cat/a.png", b"x");
    symlink("..", folder.path().join("loop/cat/up")).unwrap();
    let message = |location: &str, shape| {
        let error = resolve(&store, folder.path(), location, shape).unwrap_err();
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "…")
    };
    insta::assert_snapshot!([
        message("absent", images(None, None)),
        message("photos/README.md", images(None, None)),
        message("photos", images(None, None)),
        message("photos", images(Some(&["cta"]), None)),
        message("bare", images(None, None)),
        message("bare", SourceShape::Tree),
        message("photos", SourceShape::File),
        message("broken", images(None, None)),
        message("loop", images(None, None)),
        message("", SourceShape::Environment(vec!["RIBFLOW_NEVER_SET".to_string()])),
    ].join("\n"), @r"
    …/absent does not exist
    …/photos/README.md is not a folder
    the class folder …/photos/empty contains no images (.jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp)
    …/photos has no class folder `cta`: did you mean `cat`?
    …/bare has no class folders: expected one sub-folder for each class
    …/bare contains no files
    …/photos is not a file
    …/broken/cat/b.png does not exist
    …/loop/cat/up is a link to one of its parent folders
    the environment variable RIBFLOW_NEVER_SET is not set
    ");
}

/// Sets a file's time of modification, as `cp -p` does.
fn set_modified(path: &Path, time: SystemTime) {
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

#[test]
fn an_edit_is_seen_whatever_the_clock_says() {
    let (folder, store) = new_store();
    let file = folder.path().join("photos/cat/a.png");
    let digest = || {
        resolve(&store, folder.path(), "photos", images(None, None))
            .unwrap()
            .digest
    };
    let cached = |content: &[u8]| {
        write(folder.path(), "photos/cat/a.png", content);
        set_modified(
            &file,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
        );
        let cache = StatCache::open(&store);
        let source = Source {
            name: "folder".to_string(),
            location: "photos".into(),
            shape: images(None, None),
            sealed: false,
        };
        let resolved = cache.resolve(&source, folder.path()).unwrap();
        cache.save().unwrap();
        resolved.digest
    };
    // Same size, same time of modification, within the same second.
    let first = cached(b"one");
    let second = cached(b"two");
    assert_ne!(first, second);
    assert_eq!(second, digest());
    // The young file was not remembered at all; once it has rested it is.
    assert!(!store.root().join("index.stat").exists());
    std::thread::sleep(Duration::from_millis(2100));
    let cache = StatCache::open(&store);
    let source = Source {
        name: "folder".to_string(),
        location: "photos".into(),
        shape: images(None, None),
        sealed: false,
    };
    cache.resolve(&source, folder.path()).unwrap();
    cache.save().unwrap();
    let index = fs::read_dir(store.root().join("index.stat"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(second, digest());

    // A remembered file that changes without changing its size or its times is the one case
    // that a stat cache can't see; this shows that the index is what answers.
    let poisoned = fs::read(&index).unwrap();
    let at = poisoned
        .windows(32)
        .position(|window| window == Digest::of(b"two").as_bytes())
        .unwrap();
    let mut forged = poisoned[..poisoned.len() - 32].to_vec();
    forged[at..at + 32].copy_from_slice(Digest::of(b"forged").as_bytes());
    let torn = forged.clone();
    forged.extend(Digest::of(&forged).as_bytes());
    fs::write(&index, &forged).unwrap();
    assert_ne!(second, digest());
    // Torn, without its seal, or another folder's: not believed.
    for bad in [&torn[..], &forged[..40], b"", b"ribflow stat 2\n"] {
        fs::write(&index, bad).unwrap();
        assert_eq!(second, digest());
    }
    let other = resolve(&store, folder.path(), "photos/cat/a.png", SourceShape::File).unwrap();
    fs::write(&index, &forged).unwrap();
    fs::rename(
        &index,
        index.with_file_name(Digest::of(other.root.to_str().unwrap().as_bytes()).to_hex()),
    )
    .unwrap();
    assert_eq!(
        resolve(&store, folder.path(), "photos/cat/a.png", SourceShape::File)
            .unwrap()
            .digest,
        other.digest
    );
}

#[test]
fn an_index_brings_its_shards_and_nothing_else() {
    let (space, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(store.path()).unwrap();
    let index = r#"{"weight_map": {"a": "2.bin", "b": "1.bin", "c": "2.bin"}}"#;
    for (path, content) in [
        ("w/all.index.json", index),
        ("w/1.bin", "one"),
        ("w/2.bin", "two"),
        ("w/notes.txt", "stray"),
        ("w/out.index.json", r#"{"weight_map": {"a": "../secret"}}"#),
        ("w/odd.index.json", "[]"),
    ] {
        write(space.path(), path, content.as_bytes());
    }
    let names = || SourceShape::Sharded(vec!["absent".to_string(), "all.index.json".to_string()]);
    let found = |location: &str| resolve(&store, space.path(), location, names());
    let all = found("w").unwrap();
    assert_eq!(paths(&all), ["1.bin", "2.bin", "all.index.json"]);
    assert_eq!(all.digest, found("w/all.index.json").unwrap().digest);
    assert_eq!(paths(&found("w/1.bin").unwrap()), ["1.bin"]);
    for odd in ["w/out.index.json", "w/odd.index.json"] {
        let error = found(odd).unwrap_err();
        assert!(matches!(error, SourceError::NotAnIndex(_)), "{error}");
    }
    write(space.path(), "empty/x", b"");
    let error = found("empty").unwrap_err();
    assert!(matches!(error, SourceError::NoPlace { .. }), "{error}");
}
