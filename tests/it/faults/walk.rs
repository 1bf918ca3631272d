//! The walk over all faults of an operation, and what must hold after each.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use ribflow::digest::Digest;
use ribflow::fsx::calls;
use ribflow::fsx::faults::{Armed, Call, Fault, Seen, Survives, arm, idle};
use ribflow::remote::names;
use ribflow::store::check::{CheckReport, Fault as Damage};
use ribflow::store::{ClaimsForm, Record, Store};

use super::operations::{self, Operation};
use super::space::{self, State};

/// What came of a walk.
#[derive(Debug, Default)]
pub struct Walk {
    pub calls: usize,
    pub cases: usize,
    pub fired: usize,
    /// The walk tries one case of this many.
    pub stride: usize,
}

/// The result of the operation without a fault, and the state that it begins with.
struct Scene<'a> {
    operation: &'a Operation,
    folder: tempfile::TempDir,
    /// Between the faults, too, the disk is spared.
    _idle: Armed,
    before: State,
    calls: Vec<Call>,
    expected: BTreeMap<String, Digest>,
    /// As `expected`, without what no record needs.
    needed: BTreeMap<String, Digest>,
}

impl Walk {
    /// `factor`: how many random power failures there are at each call, in units of the default.
    pub fn over(operation: &Operation, factor: u64) -> Self {
        let (scene, calls) = Scene::new(operation);
        let mut walk = Self {
            calls: calls.len(),
            stride: space::stride(scene.folder.path()) * sparse(),
            ..Self::default()
        };
        let mut number = 0;
        for at in 0..=calls.len() {
            let call = calls.get(at).copied();
            for fault in faults(at, call, operation.seeds * factor) {
                if number % walk.stride == 0 {
                    walk.cases += 1;
                    walk.fired += scene.case(fault);
                }
                number += 1;
            }
        }
        walk
    }
}

/// A walk tries one case of every `RIBFLOW_TEST_SPARSE`.
fn sparse() -> usize {
    let given = std::env::var("RIBFLOW_TEST_SPARSE").ok();
    given.map_or(1, |text| text.parse().expect("a number of cases"))
}

/// Every fault that can meet this call; after the last call there can only be a power failure.
fn faults(at: usize, call: Option<Call>, seeds: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(call) = call {
        faults.extend([
            Fault::Disk { at },
            Fault::Broken { at },
            Fault::Killed { at },
        ]);
        if call.grows() {
            faults.push(Fault::Full { at });
        }
        if call.may_be_interrupted() {
            faults.push(Fault::Interrupted { at });
        }
        if call.moves_bytes() {
            faults.push(Fault::Short { at });
        }
    }
    let seeds = (0..seeds).map(|seed| Survives::Some { seed });
    let survivors = [Survives::Nothing, Survives::Names]
        .into_iter()
        .chain(seeds);
    faults.extend(survivors.map(|survives| Fault::Power { at, survives }));
    faults
}

/// The number of the call that a fault meets.
fn number(fault: Fault) -> usize {
    match fault {
        Fault::None => 0,
        Fault::Disk { at }
        | Fault::Broken { at }
        | Fault::Full { at }
        | Fault::Interrupted { at }
        | Fault::Short { at }
        | Fault::Killed { at }
        | Fault::Ends { at }
        | Fault::Power { at, .. } => at,
    }
}

impl<'a> Scene<'a> {
    fn new(operation: &'a Operation) -> (Self, Vec<Call>) {
        let folder = space::folder();
        let root = folder.path().canonicalize().unwrap();
        let idle = idle(&root).unwrap();
        (operation.prepare)(&root);
        let before = State::of(&root);
        let armed = arm(&root, Fault::None).unwrap();
        (operation.act)(&root).unwrap();
        let Seen {
            calls, strangers, ..
        } = armed.finish().unwrap();
        assert!(strangers.is_empty(), "past the layer: {strangers:?}");
        let expected = (operation.outcome)(&root);
        assert!(!expected.is_empty());
        clean_after(&root);
        let needed = (operation.outcome)(&root);
        let scene = Self {
            operation,
            folder,
            _idle: idle,
            before,
            calls: calls.clone(),
            expected,
            needed,
        };
        (scene, calls)
    }

    /// Tries one fault; returns how many calls it met.
    fn case(&self, fault: Fault) -> usize {
        let root = self.folder.path().canonicalize().unwrap();
        self.before.restore(&root);
        let tried = catch_unwind(AssertUnwindSafe(|| self.try_out(&root, fault)));
        match tried {
            Ok(fired) => fired,
            Err(panic) => {
                let calls = &self.calls;
                let met = calls.get(number(fault));
                eprintln!("{}: {fault:?}, {met:?}", self.operation.name);
                std::panic::resume_unwind(panic)
            }
        }
    }

    fn try_out(&self, root: &Path, fault: Fault) -> usize {
        let operation = self.operation;
        let armed = arm(root, fault).unwrap();
        let acted = (operation.act)(root);
        let is_power = matches!(fault, Fault::Power { .. });
        if is_power {
            // The call after the last one, in case the failure comes only then.
            let _ = calls::metadata(root);
        }
        let seen = armed.finish().unwrap();
        let done = acted.is_ok() && (!is_power || operation.is_durable);
        if done && operation.is_exact {
            same(&(operation.outcome)(root), &self.expected, "done");
        }
        // A push that can't find out what may leave sends the records without it, and says so.
        let said = acted.as_ref().err().map(ToString::to_string);
        if !said.is_some_and(|said| said.contains("withheld")) {
            check_remote(&root.join("lab"));
        }
        check_after(root, is_power, operation.fetches);
        if let Err(error) = (operation.act)(root) {
            panic!("repeated: {error}; before: {acted:?}");
        }
        check_remote(&root.join("lab"));
        same(&(operation.outcome)(root), &self.expected, "repeated");
        clean_after(root);
        same(&(operation.outcome)(root), &self.needed, "cleaned");
        seen.fired
    }
}

/// Fails with what differs.
fn same(found: &BTreeMap<String, Digest>, expected: &BTreeMap<String, Digest>, when: &str) {
    let differs = |(name, digest): &(&String, &Digest)| expected.get(*name) != Some(*digest);
    let more: Vec<_> = found.iter().filter(differs).collect();
    let less = expected.keys().filter(|name| !found.contains_key(*name));
    let less: Vec<_> = less.collect();
    assert!(
        more.is_empty() && less.is_empty(),
        "{when}: there is {more:?}, and {less:?} is missing"
    );
}

/// Every store below `root` is sound: no record lacks a blob, nothing damaged is in use, and what
/// the check finds is gone afterwards.
///
/// After a power failure there may be damaged blobs: bytes that were never synced. No record names
/// them, except where it `fetches` its blobs from another store, and can do so again.
pub fn check_after(root: &Path, is_power: bool, fetches: bool) {
    for folder in stores(root) {
        let checked = check(&folder);
        for damage in &checked.faults {
            match damage {
                Damage::Blob { .. } if is_power => {}
                Damage::Missing { digest, .. }
                    if is_power
                        && fetches
                        && checked.faults.contains(&Damage::Blob { digest: *digest }) => {}
                _ if operations::is_planted(damage) => {}
                _ => panic!("{}: {:?}", folder.display(), checked.faults),
            }
        }
        assert!(checked.kept.is_empty(), "{:?}", checked.kept);
        let again = check(&folder).faults;
        let stays = |damage: &Damage| match damage {
            Damage::Missing { .. } if is_power && fetches => true,
            damage => operations::stays(damage),
        };
        assert!(again.iter().all(stays), "{again:?}");
    }
}

/// At a remote, too, the blobs of every record are there and whole.
fn check_remote(folder: &Path) {
    let files = space::files(folder, |path| path.ends_with(".json"));
    for path in files.keys().filter(|path| path.starts_with("records/")) {
        let bytes = fs::read(folder.join(path)).unwrap();
        let record: Record = serde_json::from_slice(&bytes).unwrap();
        let artifacts = record
            .ports
            .values()
            .filter_map(|port| port.inline.as_ref());
        for blob in artifacts.flat_map(|artifact| artifact.blobs()) {
            let path = folder.join(names::object(&blob.digest));
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(_) => {
                    let packed = fs::read(folder.join(names::compressed(&blob.digest))).unwrap();
                    zstd::bulk::decompress(&packed, 1 << 20).unwrap()
                }
            };
            assert_eq!(Digest::of(&bytes), blob.digest, "at the remote");
        }
    }
}

fn check(folder: &Path) -> CheckReport {
    let store = Store::open(folder).unwrap();
    store.check_all(&|_, _, _| Ok(()), &|_, _| ()).unwrap()
}

/// The folders below `root` that are stores, or remotes, which are laid out alike.
fn stores(root: &Path) -> Vec<std::path::PathBuf> {
    let folders = ["store", "lab", "import/cache"].map(|name| root.join(name));
    let folders = folders.into_iter();
    folders
        .filter(|folder| folder.join("store.json").exists())
        .collect()
}

/// What died without saying whose it is was seen for long enough.
fn wait_for_the_dead(store: &Store) {
    let begun = Instant::now();
    while !store.users().unwrap().is_empty() {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", store.users());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Garbage collection keeps what is in use, and no temporary file outlives its process.
pub fn clean_after(root: &Path) {
    for folder in stores(root) {
        space::age(&folder.join("tmp"), false);
        space::age(&folder.join("objects"), true);
        space::age(&folder.join("records"), true);
        let store = Store::open(&folder).unwrap();
        if store.claims_form() == ClaimsForm::Lease {
            wait_for_the_dead(&store);
        }
        operations::clean(&store, |_| true).unwrap();
        drop(store);
        let left: Vec<_> = fs::read_dir(folder.join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let faults = check(&folder).faults;
        assert!(faults.iter().all(operations::stays), "{faults:?}");
    }
}
