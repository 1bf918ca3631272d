//! GcOptions: what is needed stays whatever happens meanwhile, what is not goes, and a dry run
//! tells which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use ribflow::digest::Digest;
use ribflow::rng::Stream;
use ribflow::store::artifact::Blobs;
use ribflow::store::check::CheckReport;
use ribflow::store::gc::{GcOptions, GcReport, RunUse};
use ribflow::store::pins::{Pin, Pinned};
use ribflow::store::{Record, Store};

use crate::store::{new_store, object, recipe, record};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86400);

fn set_age(path: &Path, age: Duration) {
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn record_file(store: &Store, key: &Digest, record: &Digest) -> PathBuf {
    let hex = key.to_hex();
    let folder = store.root().join("records").join(&hex[..2]).join(&hex);
    folder.join(format!("{record}.json"))
}

fn check(store: &Store) -> CheckReport {
    store.check_all(&|_, _, _| Ok(()), &|_, _| ()).unwrap()
}

fn cleaning(age: Duration, most: Option<u64>) -> GcOptions {
    GcOptions {
        before: SystemTime::now() - age,
        most,
        grace: HOUR,
        dry_run: false,
    }
}

/// Every file of the parts of a store that a cleaning may touch.
fn files(store: &Store) -> BTreeSet<PathBuf> {
    let folders = ["objects", "records", "pins", "derived", "damaged"];
    let mut open: Vec<PathBuf> = folders.map(|name| store.root().join(name)).to_vec();
    let mut files = BTreeSet::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => drop(files.insert(path)),
            }
        }
    }
    files
}

fn bytes(files: &BTreeSet<PathBuf>) -> u64 {
    let files = files
        .iter()
        .filter(|file| !file.to_str().unwrap().contains("/pins/"));
    let sizes = files.filter(|file| !file.ends_with("chosen"));
    sizes.map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// One record of a random store: its key, the blobs that it names, its age and theirs.
#[derive(Clone, Debug)]
struct Made {
    key: usize,
    blobs: BTreeSet<usize>,
    age: usize,
}

/// Young, past the grace, past some runs, past all runs.
const AGES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(10 * 86400),
    Duration::from_secs(40 * 86400),
];

#[derive(Clone, Debug)]
struct Run {
    keys: BTreeSet<usize>,
    age: usize,
    stays: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let blobs = prop::collection::btree_set(0..10usize, 0..4);
    (0..6usize, blobs, 0..4usize).prop_map(|(key, blobs, age)| Made { key, blobs, age })
}

fn run() -> impl Strategy<Value = Run> {
    let keys = prop::collection::btree_set(0..6usize, 0..4);
    (keys, 0..4usize, prop::bool::weighted(0.2)).prop_map(|(keys, age, stays)| Run {
        keys,
        age,
        stays,
    })
}

fn content(blob: usize) -> Vec<u8> {
    format!("blob {blob}").into_bytes().repeat(100 + 300 * blob)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_reached_stays_and_what_is_not_goes(
        all in prop::collection::vec(made(), 1..9),
        runs in prop::collection::vec(run(), 0..4),
        pinned in prop::collection::btree_set(0..6usize, 0..2),
        orphans in prop::collection::vec((10..14usize, 0..4usize), 0..4),
        most in prop::option::of(0u64..60_000),
    ) {
        let (_folder, store) = new_store();
        let key = |number: usize| recipe(&number.to_string()).key();
        let mut published: BTreeMap<Digest, (Made, Record)> = BTreeMap::new();
        for (index, one) in all.iter().enumerate() {
            let contents: Vec<Vec<u8>> = one.blobs.iter().map(|blob| content(*blob)).collect();
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            let record = record(&store, &one.key.to_string(), &contents, index as f64);
            let digest = store.publish(std::slice::from_ref(&record)).unwrap()[0];
            published.insert(digest, (one.clone(), record));
        }
        // A blob is as old as the record that names it last in this order.
        for (digest, (one, _)) in &published {
            set_age(&record_file(&store, &key(one.key), digest), AGES[one.age]);
            for blob in &one.blobs {
                set_age(&object(&store, &Digest::of(&content(*blob))), AGES[one.age]);
            }
        }
        for (blob, age) in &orphans {
            let digest = store.write(&content(*blob)).unwrap().digest;
            set_age(&object(&store, &digest), AGES[*age]);
        }
        let there = |number: &&usize| !store.record_names(&key(**number)).unwrap().is_empty();
        let nodes: Vec<Pinned> = pinned
            .iter()
            .filter(there)
            .map(|number| Pinned { id: number.to_string(), key: key(*number) })
            .collect();
        store.pin(&Pin::new("paper", "test", 0, nodes.clone())).unwrap();
        let uses: Vec<RunUse> = runs
            .iter()
            .map(|run| RunUse {
                folder: store.runs().join("none"),
                keys: run.keys.iter().map(|number| key(*number)).collect(),
                last: SystemTime::now() - AGES[run.age],
                stays: run.stays,
            })
            .collect();
        let how = cleaning(30 * DAY, most);

        let before = files(&store);
        let bytes_before = bytes(&before);
        let dry = GcOptions { dry_run: true, ..how };
        let told = store.clean(&dry, || Ok(uses.clone())).unwrap();
        prop_assert_eq!(&files(&store), &before);
        let gone = store.clean(&how, || Ok(uses.clone())).unwrap();
        prop_assert_eq!(&told, &gone);
        let after = files(&store);
        prop_assert!(after.is_subset(&before));
        prop_assert_eq!(bytes(&after), gone.left);
        prop_assert_eq!(bytes_before - bytes(&after), gone.bytes());
        prop_assert!(check(&store).faults.is_empty());

        let gone_records: BTreeSet<Digest> = gone.records.iter().map(|one| one.record).collect();
        for (digest, (one, _)) in &published {
            let key = key(one.key);
            let path = record_file(&store, &key, digest);
            prop_assert_eq!(path.exists(), !gone_records.contains(digest));
            let firm = nodes.iter().any(|node| node.key == key)
                || uses.iter().any(|run| run.stays && run.keys.contains(&key));
            let used = uses.iter().zip(&runs).any(|(one, run)| {
                run.age < 3 && one.keys.contains(&key)
            });
            let young = one.age == 0;
            if firm || young || (most.is_none() && (used || one.age < 3)) {
                prop_assert!(path.exists());
            }
            if !firm && !used && one.age == 3 {
                prop_assert!(!path.exists());
            }
        }
        for (blob, age) in orphans.iter().rev() {
            let later = orphans.iter().rfind(|(other, _)| other == blob).unwrap();
            if later == &(*blob, *age) {
                let path = object(&store, &Digest::of(&content(*blob)));
                prop_assert_eq!(path.exists(), *age == 0);
            }
        }
        if most.is_some_and(|most| gone.left > most) {
            prop_assert!(gone.too_much);
        }
        // What is over is over: nothing more goes.
        let again = store.clean(&how, || Ok(uses.clone())).unwrap();
        prop_assert_eq!(again.bytes(), 0);
    }
}

/// An old store of `count` records with two blobs each, all of which may go.
fn old_store(store: &Store, count: usize, name: &str) -> Vec<Record> {
    let records: Vec<Record> = (0..count)
        .map(|index| {
            let contents = [format!("{name} {index}"), format!("{name} {}", index / 2)];
            let contents: Vec<&[u8]> = contents.iter().map(|one| one.as_bytes()).collect();
            record(store, &format!("{name} {index}"), &contents, 1.0)
        })
        .collect();
    store.publish(&records).unwrap();
    for path in files(store) {
        set_age(&path, 40 * DAY);
    }
    records
}

#[test]
fn a_budget_takes_what_was_used_longest_ago() {
    let (_folder, store) = new_store();
    let records = old_store(&store, 10, "r");
    let derived = store.root().join("derived/ab/cd/000000");
    fs::create_dir_all(derived.parent().unwrap()).unwrap();
    fs::write(&derived, vec![0; 10_000]).unwrap();
    set_age(&derived, 2 * HOUR);
    let uses = |ages: &[u64]| -> Vec<RunUse> {
        let uses = records.iter().zip(ages);
        uses.map(|(record, age)| RunUse {
            folder: store.runs().join("none"),
            keys: vec![record.key],
            last: SystemTime::now() - Duration::from_secs(age * 86400),
            stays: *age == 0,
        })
        .collect()
    };
    let ages = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
    let all = uses(&ages);
    let whole = store
        .clean(&cleaning(30 * DAY, None), || Ok(all.clone()))
        .unwrap();
    assert_eq!(whole.bytes(), 0);
    // First what can be made again, and while that is enough, nothing else.
    let most = whole.left - 5_000;
    let first = store
        .clean(&cleaning(30 * DAY, Some(most)), || Ok(all.clone()))
        .unwrap();
    assert_eq!((first.derived.count, first.records.len()), (1, 0));
    // Then the records, the oldest use first.
    let most = first.left - first.left / 3;
    let second = store
        .clean(&cleaning(30 * DAY, Some(most)), || Ok(all.clone()))
        .unwrap();
    let gone: Vec<Digest> = second.records.iter().map(|one| one.key).collect();
    let oldest: Vec<Digest> = records.iter().map(|record| record.key).collect();
    assert_eq!(gone, oldest[..gone.len()]);
    assert!(!gone.is_empty() && second.left <= most && !second.too_much);
    // What stays firmly is more than nothing.
    let third = store
        .clean(&cleaning(30 * DAY, Some(0)), || Ok(all.clone()))
        .unwrap();
    assert!(third.too_much);
    assert_eq!(store.keys().unwrap(), [records[9].key]);
    assert!(check(&store).faults.is_empty());
}

#[test]
fn nothing_is_lost_beside_publishers() {
    let (_folder, store) = new_store();
    // Orphans that are old enough to go, and that the publishers are about to write again.
    for index in 0..300 {
        let digest = store
            .write(format!("shared {index}").as_bytes())
            .unwrap()
            .digest;
        set_age(&object(&store, &digest), 40 * DAY);
    }
    let root = store.root().to_path_buf();
    drop(store);
    let over = AtomicBool::new(false);
    let published = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|thread| {
                let root = &root;
                scope.spawn(move || {
                    let store = Store::open(root).unwrap();
                    let mut random = Stream::new(thread, "what is published");
                    let mut keys = Vec::new();
                    for round in 0..40 {
                        let shared = format!("shared {}", random.below(300));
                        let own = format!("own {thread} {round}");
                        // Half of the keys are everybody's.
                        let name = match random.below(2) {
                            0 => format!("key {round}"),
                            _ => format!("key {thread} {round}"),
                        };
                        let contents = [shared.as_bytes(), own.as_bytes()];
                        let record = record(&store, &name, &contents, 1.0);
                        store.publish(std::slice::from_ref(&record)).unwrap();
                        keys.push(record.key);
                    }
                    keys
                })
            })
            .collect();
        let cleaner = scope.spawn(|| {
            let store = Store::open(&root).unwrap();
            let mut blobs = 0;
            while !over.load(Ordering::Relaxed) {
                let how = GcOptions {
                    grace: Duration::ZERO,
                    ..cleaning(DAY, None)
                };
                blobs += store.clean(&how, || Ok(Vec::new())).unwrap().blobs.count;
            }
            blobs
        });
        let keys: Vec<Digest> = publishers
            .into_iter()
            .flat_map(|publisher| publisher.join().unwrap())
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(cleaner.join().unwrap() > 0);
        keys
    });
    let store = Store::open(&root).unwrap();
    for key in published {
        let stored = store.chosen(&key).unwrap().unwrap();
        for port in stored.record.ports.values() {
            for blob in store.artifact(port).unwrap().blobs() {
                assert_eq!(store.read(&blob.digest).unwrap().len() as u64, blob.bytes);
            }
        }
    }
    let checked = check(&store);
    assert!(checked.faults.is_empty(), "{:?}", checked.faults);
}

const ROOT: &str = "RIBFLOW_TEST_CLEAN";

/// Not a test of its own: the process that cleans and is killed.
#[test]
fn other_process() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&root).unwrap();
    let how = GcOptions {
        grace: Duration::ZERO,
        ..cleaning(DAY, None)
    };
    store.clean(&how, || Ok(Vec::new())).unwrap();
}

fn start(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "keep::clean::other_process", "--nocapture"])
        .env(ROOT, root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment_a_cleaning_leaves_a_sound_store() {
    let mut random = Stream::new(1, "moments of death");
    let mut cut = 0;
    for _ in 0..12 {
        let (_folder, store) = new_store();
        let root = store.root().to_path_buf();
        let records = old_store(&store, 300, "doomed");
        let files = self::files(&store);
        drop(store);
        // Once this one is gone: a record or a blob.
        let doomed: Vec<PathBuf> = files.into_iter().collect();
        let victim = &doomed[random.below(doomed.len() as u64) as usize];
        let mut cleaner = start(&root);
        let patience = Instant::now();
        while victim.exists() {
            assert!(patience.elapsed() < Duration::from_secs(120));
            std::hint::spin_loop();
        }
        cleaner.kill().unwrap();
        cleaner.wait().unwrap();
        let store = Store::open(&root).unwrap();
        let checked = check(&store);
        assert!(checked.faults.is_empty(), "{:?}", checked.faults);
        let left = checked.records;
        if (1..records.len()).contains(&left) || checked.blobs.count > 0 && left == 0 {
            cut += 1;
        }
        // Whatever was left over goes with the next one.
        let how = GcOptions {
            grace: Duration::ZERO,
            ..cleaning(DAY, None)
        };
        let tmp = root.join("tmp");
        for entry in fs::read_dir(&tmp).unwrap() {
            set_age(&entry.unwrap().path(), 2 * DAY);
        }
        let rest: GcReport = store.clean(&how, || Ok(Vec::new())).unwrap();
        assert_eq!(rest.records.len(), left);
        assert_eq!(self::files(&store).len(), 0);
    }
    assert!(cut > 0, "no cleaning was killed in the middle");
}
