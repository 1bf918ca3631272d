//! Several processes on one store: claims, concurrent publishers, and death at any moment.
//!
//! The other processes are this test binary, run again with a role in its environment.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const ROLE: &str = "RIBFLOW_TEST_ROLE";
const STORE: &str = "RIBFLOW_TEST_STORE";

/// Starts this binary as `role` on `store`.
fn start(role: &str, store: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::processes::other_process", "--nocapture"])
        .env(ROLE, role)
        .env(STORE, store)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test of its own: what the other processes do.
#[test]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = PathBuf::from(std::env::var_os(STORE).unwrap());
    let store = Store::open(&root).unwrap();
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    match role {
        "publish" => publish_for_ever(&store, argument),
        "count" => count(&store),
        "hold" => {
            let _claim = store.claim(&recipe("held").key()).unwrap().unwrap();
            fs::write(root.join("held"), "").unwrap();
            std::thread::sleep(Duration::from_secs(3600));
        }
        "race" => race(&store, argument),
        _ => panic!("no role `{role}`"),
    }
}

/// Publishes batches of records with fresh blobs until it is killed.
fn publish_for_ever(store: &Store, name: &str) {
    for batch in 0.. {
        let records: Vec<Record> = (0..3)
            .map(|index| {
                let name = format!("{name}/{batch}/{index}");
                let contents: Vec<Vec<u8>> = (0..4)
                    .map(|size| {
                        format!("{name}/{size}")
                            .into_bytes()
                            .repeat(1 << (4 * size))
                    })
                    .collect();
                let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
                record(store, &name, &contents, 1.0)
            })
            .collect();
        store.publish(&records).unwrap();
    }
}

/// Every record that can be seen, read in full.
fn verify_all(store: &Store) -> usize {
    let mut found = 0;
    let folders = |path: PathBuf| {
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    for key in folders(store.root().join("records")).flat_map(folders) {
        let key: Digest = key.file_name().unwrap().to_str().unwrap().parse().unwrap();
        for stored in store.records(&key).unwrap() {
            for port in stored.record.ports.values() {
                for blob in store.artifact(port).unwrap().blobs() {
                    assert_eq!(store.read(&blob.digest).unwrap().len() as u64, blob.bytes);
                }
            }
            found += 1;
        }
    }
    found
}

#[test]
fn killed_at_any_moment_every_visible_record_is_whole() {
    let (_folder, store) = new_store();
    let mut pause = ribflow::rng::Stream::new(1, "moments of death");
    let mut found = 0;
    for round in 0..120 {
        if round >= 12 && found > 0 {
            break;
        }
        let mut publisher = start(&format!("publish {round}"), store.root());
        // From before the first record to many batches in; later on a machine so busy that none has
        // appeared.
        let longest = 60_000 * (1 + round / 12);
        let after = Duration::from_micros(500 + pause.below(longest));
        wait_until(|| has_process_folder(&store));
        std::thread::sleep(after);
        publisher.kill().unwrap();
        publisher.wait().unwrap();
        found = verify_all(&store);
        sweep_now(&store);
    }
    assert!(found > 0);
    assert!(!store.root().join("damaged").exists());
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

fn has_process_folder(store: &Store) -> bool {
    fs::read_dir(store.root().join("tmp")).unwrap().count() > 0
}

/// Makes what the dead left old, and starts writing, which sweeps it.
fn sweep_now(store: &Store) {
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    for entry in fs::read_dir(store.root().join("tmp")).unwrap() {
        let folder = fs::File::open(entry.unwrap().path()).unwrap();
        folder.set_modified(long_ago).unwrap();
    }
    let writer = Store::open(store.root()).unwrap();
    writer.scratch().unwrap();
}

/// A process that is suspended for hours is alive: its files stay, and it goes on.
#[test]
fn sweeping_takes_the_dead_and_leaves_the_living() {
    let (_folder, store) = new_store();
    let mut publisher = start("publish living", store.root());
    wait_until(|| has_process_folder(&store));
    let signal = |signal: i32| {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(publisher.id() as i32, signal) }, 0);
    };
    // Past the moment between a folder and its lock.
    std::thread::sleep(Duration::from_millis(200));
    signal(libc::SIGSTOP);
    let folders = || -> Vec<PathBuf> {
        let entries = fs::read_dir(store.root().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let before = folders();
    for _ in 0..3 {
        sweep_now(&store);
    }
    assert_eq!(folders(), before);
    signal(libc::SIGCONT);
    let found = verify_all(&store);
    wait_until(|| verify_all(&store) > found);
    publisher.kill().unwrap();
    publisher.wait().unwrap();
    sweep_now(&store);
    assert_eq!(folders(), Vec::<PathBuf>::new());
    verify_all(&store);
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "nothing happened"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_claim_dies_with_its_process() {
    let (_folder, store) = new_store();
    let key = recipe("held").key();
    let mut holder = start("hold", store.root());
    wait_until(|| store.root().join("held").exists());
    assert!(store.claim(&key).unwrap().is_none());
    assert!(store.claim(&recipe("free").key()).unwrap().is_some());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let claim = store.claim(&key).unwrap().unwrap();
    assert_eq!(claim.key(), &key);
    assert!(store.claim(&key).unwrap().is_none());
    drop(claim);
    assert_eq!(
        fs::read_dir(store.root().join("claims")).unwrap().count(),
        0
    );
}

/// Adds 1 to a number in a file two hundred times, each time under a claim.
fn count(store: &Store) {
    let (file, key) = (store.root().join("count"), recipe("count").key());
    for _ in 0..200 {
        let claim = loop {
            match store.claim(&key).unwrap() {
                Some(claim) => break claim,
                None => std::thread::yield_now(),
            }
        };
        let number: u64 = fs::read_to_string(&file).unwrap().parse().unwrap();
        fs::write(&file, (number + 1).to_string()).unwrap();
        drop(claim);
    }
}

#[test]
fn contenders_never_hold_one_claim_together() {
    let (_folder, store) = new_store();
    fs::write(store.root().join("count"), "0").unwrap();
    let others: Vec<Child> = (0..3).map(|_| start("count", store.root())).collect();
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(
        fs::read_to_string(store.root().join("count")).unwrap(),
        "600"
    );
}

/// Publishes its own outcome of the same fifty keys, and notes which one it then sees as chosen.
fn race(store: &Store, name: &str) {
    let mut seen = String::new();
    for index in 0..50 {
        let seconds: f64 = name.parse().unwrap();
        let outcome = record(store, &format!("race {index}"), &[b"x"], seconds);
        store.publish(std::slice::from_ref(&outcome)).unwrap();
        let chosen = store.chosen(&outcome.key).unwrap().unwrap();
        seen += &format!("{}\n", chosen.digest);
    }
    fs::write(store.root().join(format!("seen-{name}")), seen).unwrap();
}

#[test]
fn concurrent_publishers_agree_on_the_chosen_record() {
    let (_folder, store) = new_store();
    let others: Vec<Child> = (0..3)
        .map(|name| start(&format!("race {name}"), store.root()))
        .collect();
    for mut other in others {
        assert!(other.wait().unwrap().success());
    }
    let seen = [0, 1, 2]
        .map(|name| fs::read_to_string(store.root().join(format!("seen-{name}"))).unwrap());
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let key = recipe("race 0").key();
    assert_eq!(store.records(&key).unwrap().len(), 3);
    assert!(seen[0].starts_with(&store.chosen(&key).unwrap().unwrap().digest.to_hex()));
}
