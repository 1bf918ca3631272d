//! Bits that flip in a store, a remote or a bundle: each is detected on use or by a check, repaired
//! from a copy, and never another answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ribflow::digest::Digest;
use ribflow::fsx::faults::{Armed, idle};
use ribflow::remote::bundle::BundleReader;
use ribflow::rng::Stream;
use ribflow::store::check::CheckReport;
use ribflow::store::{Blobs, Store};

use crate::faults::operations::{self, Done, KEYS};
use crate::faults::space::{self, State};

/// What came of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// When the content was used.
    OnUse,
    ByCheck,
    /// Harmless: nothing that is read depends on the bit.
    Nothing,
}

/// A folder with the content of a lab, and what it was.
struct Lab {
    folder: tempfile::TempDir,
    /// Nothing is synced: no power failure is tried here.
    _idle: Armed,
    before: State,
    content: BTreeMap<String, Digest>,
}

impl Lab {
    fn new(prepare: fn(&Path)) -> Self {
        let folder = space::folder();
        let idle = idle(folder.path()).unwrap();
        prepare(folder.path());
        Self {
            _idle: idle,
            before: State::of(folder.path()),
            content: content(folder.path()),
            folder,
        }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Tries flips of one bit in one file below `part`, all files being equally likely. At most a
    /// fifth of them may be harmless.
    fn walk(&self, part: &str, flips: usize, try_out: impl Fn(&Path) -> Found) {
        let mut chance = Stream::new(0, part);
        // Without a flip nothing is found.
        assert_eq!(try_out(&self.restored(part, &mut chance)), Found::Nothing);
        let tried = (0..flips / space::stride(self.root())).map(|_| {
            let path = self.restored(part, &mut chance);
            flip(&path, &mut chance);
            try_out(&path)
        });
        let tried: Vec<Found> = tried.collect();
        let count = |wanted: Found| tried.iter().filter(|found| **found == wanted).count();
        let harmless = count(Found::Nothing);
        println!(
            "rot: {part}: {} flips, {} found on use, {} by the check, {harmless} harmless",
            tried.len(),
            count(Found::OnUse),
            count(Found::ByCheck),
        );
        assert!(harmless * 5 < tried.len());
    }

    /// The state before, and one of the files below `part` that are not empty.
    fn restored(&self, part: &str, chance: &mut Stream) -> PathBuf {
        self.before.restore(self.root());
        let mut files = paths(&self.root().join(part));
        files.retain(|path| fs::metadata(path).unwrap().len() > 0);
        files.sort();
        files.swap_remove(chance.below(files.len() as u64) as usize)
    }
}

fn flip(path: &Path, chance: &mut Stream) {
    let mut bytes = fs::read(path).unwrap();
    let at = chance.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << chance.below(8);
    overwrite(path, &bytes);
}

/// Objects and records, a compressed object by what is in it: its frame has bits that mean nothing.
fn content(root: &Path) -> BTreeMap<String, Digest> {
    let mut content = operations::content(root);
    for (path, digest) in &mut content {
        if path.ends_with(".zst") {
            let packed = fs::read(root.join(path)).unwrap();
            let plain = zstd::bulk::decompress(&packed, 1 << 20);
            *digest = Digest::of(&plain.unwrap_or(packed));
        }
    }
    content
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_path_buf()];
    }
    let entries = fs::read_dir(folder).unwrap();
    entries
        .flat_map(|entry| paths(&entry.unwrap().path()))
        .collect()
}

/// Changes a sealed file in its place.
fn overwrite(path: &Path, bytes: &[u8]) {
    let permissions = fs::metadata(path).unwrap().permissions();
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, permissions).unwrap();
}

/// Reads every record, signature and blob of the two keys; an error or something missing is what
/// is found. Wrong content is a failure of the test.
fn used(store: &Store, expected: &BTreeMap<String, Digest>) -> Done {
    for key in operations::keys_of(KEYS) {
        let records = store.records(&key)?;
        let stored = records.first().ok_or("a record is missing")?;
        let name = format!("{}.json", stored.digest);
        assert!(
            expected.keys().any(|path| path.ends_with(&name)),
            "another record: {name}"
        );
        let signatures = store.signatures(&key, &stored.digest)?;
        let signature = signatures.first().ok_or("a signature is missing")?;
        operations::judge(&stored.record, &stored.digest, signature)?;
        for port in stored.record.ports.values() {
            for blob in store.artifact(port)?.blobs() {
                let bytes = store.read(&blob.digest)?;
                assert_eq!(Digest::of(&bytes), blob.digest, "another blob");
            }
        }
    }
    Ok(())
}

fn check(store: &Store) -> CheckReport {
    store.check_all(&operations::judge, &|_, _| ()).unwrap()
}

/// A flip in a store: found, and mended by a pull.
#[test]
fn a_flipped_bit_in_a_store_is_found_and_repaired_from_a_remote() {
    let lab = Lab::new(operations::with_store_and_lab);
    lab.walk("store", 5000, |path| {
        let open = || Store::open(&lab.root().join("store"));
        let store = match open() {
            Ok(store) => store,
            Err(error) => {
                // Of another format, or damaged.
                assert!(path.ends_with("store.json"), "{path:?}: {error}");
                return Found::OnUse;
            }
        };
        let on_use = used(&store, &lab.content).is_err();
        let checked = check(&store);
        assert!(checked.kept.is_empty(), "{:?}", checked.kept);
        operations::pull_into(&store, lab.root()).unwrap();
        drop(store);
        let store = open().unwrap();
        used(&store, &lab.content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(content(lab.root()), lab.content, "{path:?}");
        assert_eq!(check(&store).faults, [], "{path:?}");
        match (on_use, checked.faults.is_empty()) {
            (true, _) => Found::OnUse,
            (false, true) => Found::Nothing,
            (false, false) => Found::ByCheck,
        }
    });
}

/// A flip at a remote: never served as another answer, and mended by a push.
#[test]
fn a_flipped_bit_at_a_remote_is_refused_and_mended_by_a_push() {
    let lab = Lab::new(operations::with_store_and_lab);
    lab.walk("lab", 3000, |path| {
        // Another lab pulls.
        let other = lab.root().join("store-of-another");
        let store = Store::open(&other).unwrap();
        let pulled = operations::pull_into(&store, lab.root());
        let whole = pulled.and_then(|()| used(&store, &lab.content));
        assert_eq!(check(&store).faults, [], "{path:?}");
        drop(store);
        fs::remove_dir_all(&other).unwrap();
        operations::push_to_lab(lab.root()).unwrap();
        assert_eq!(content(lab.root()), lab.content, "{path:?}");
        on_use(whole)
    });
}

/// A flip in a bundle: the bundle is refused, or what it gives is what went in.
#[test]
fn a_flipped_bit_in_a_bundle_gives_nothing_else() {
    let mut lab = Lab::new(operations::with_bundle);
    lab.content = content(Lab::new(operations::with_store_and_lab).root());
    lab.walk("bundle", 2000, |path| {
        let Ok(reader) = BundleReader::open(path) else {
            return Found::OnUse;
        };
        let files = reader.workflow_files().unwrap();
        assert_eq!(files["grid.yaml"], operations::WORKFLOW, "{path:?}");
        assert_eq!(files.len(), 1);
        let store = Store::open(&lab.root().join("store")).unwrap();
        let keys = operations::keys_of(KEYS).to_vec();
        let pulled = operations::pull_from(&store, Box::new(reader), keys);
        let whole = pulled.and_then(|()| used(&store, &lab.content));
        assert_eq!(check(&store).faults, [], "{path:?}");
        on_use(whole)
    });
}

fn on_use(whole: Done) -> Found {
    match whole {
        Err(_) => Found::OnUse,
        Ok(()) => Found::Nothing,
    }
}
