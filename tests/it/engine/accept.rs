//! Records of an older version of a kind, accepted in place of today's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use ribflow::digest::Digest;
use ribflow::engine::recompute::{Group, Recomputation, RecomputeOutcome, Recomputed, pick};
use ribflow::engine::{self, Acceptable, Accepting, RemoteRecords, RunOptions, Survey};
use ribflow::store::gc::GcOptions;
use ribflow::store::samples::Sample;
use ribflow::store::{ForeignRecord, RevocationCheck, Signature, Store};
use ribflow::workflow::graph::Graph;
use tokio::sync::{mpsc, watch};

use super::bench::{Bench, words};
use super::probe::later_registry;

const CHAIN: &str = "
    root: { with: { value: 3, tiny: true } }
    left: { needs: { of: [root] }, with: { value: 1, tiny: true } }
    total: { needs: { of: [root, left] }, with: { tiny: true } }
";

fn probe_1() -> Accepting {
    let mut accepting = Accepting::default();
    accepting.add("probe", 1);
    accepting
}

/// The bench as a build sees it in which `probe` is at version 2.
struct Later<'a> {
    bench: &'a Bench,
    graph: Graph,
    store: Arc<Store>,
}

impl<'a> Later<'a> {
    fn of(bench: &'a Bench) -> Self {
        Self {
            bench,
            graph: bench.graph_of(&later_registry()),
            store: bench.store(),
        }
    }

    fn survey(&self, accepting: &Accepting) -> Survey {
        let gathered = RemoteRecords::default();
        engine::survey_with(&self.graph, &self.store, "cpu", &gathered, accepting).unwrap()
    }

    fn acceptable(&self, accepting: &Accepting) -> Vec<Acceptable> {
        engine::acceptable(&self.graph, &self.store, "cpu", accepting).unwrap()
    }

    fn pick(&self, share: f64, accepting: &Accepting) -> Vec<Group> {
        let survey = self.survey(accepting);
        let (graph, store) = (&self.graph, &self.store);
        pick(graph, store, &survey, share, &HashMap::new(), accepting)
    }

    fn recompute(
        &self,
        groups: &[Group],
        accepting: &Accepting,
    ) -> BTreeMap<String, RecomputeOutcome> {
        let survey = self.survey(accepting);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let recomputation = Recomputation::beside(&self.store, &self.graph, &survey).unwrap();
        let (_keep, interrupt) = watch::channel(false);
        let (events, _received) = mpsc::unbounded_channel();
        let nodes: Vec<_> = groups
            .iter()
            .flat_map(|group| group.sample.clone())
            .collect();
        let (registry, options) = (later_registry(), self.bench.options());
        let running = recomputation.run(&registry, &options, &nodes, interrupt, events);
        let Recomputed { outcomes, .. } = runtime.block_on(running).unwrap();
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|(node, came)| (self.graph.dag[node].id.clone(), came))
            .collect()
    }

    fn run(&self, accepting: Accepting) -> [usize; 4] {
        let options = RunOptions {
            accepting,
            ..self.bench.options()
        };
        self.bench.run_by(&later_registry(), &options).counts()
    }

    fn key(&self, node: &str) -> Digest {
        let node = self.graph.select(node).unwrap()[0];
        let survey = self.survey(&probe_1());
        survey.get(node).unwrap().key.unwrap()
    }
}

/// Every file below a folder, with its bytes.
fn files(bench: &Bench, below: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![bench.space.path(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    files.insert(path.display().to_string(), bytes);
                }
            }
        }
    }
    files
}

#[test]
fn accepted_records_are_reused_without_being_accepted_again() {
    let bench = Bench::new(CHAIN);
    let old = bench.run().result.records;
    bench.executed();
    let later = Later::of(&bench);
    assert_eq!(later.run(probe_1()), [0, 3, 0, 0]);
    let again = bench.run_by(&later_registry(), &bench.options());
    assert_eq!(again.counts(), [0, 3, 0, 0]);
    assert!(bench.executed().is_empty());
    for (old, new) in old.values().zip(again.result.records.values()) {
        // The same recipe but for the version, so the key of that, and the same outcome.
        let recipe = old.record.recipe.of_version(2);
        assert_eq!(
            (&new.record.recipe, new.record.key),
            (&recipe, recipe.key())
        );
        assert_eq!(new.record.ports, old.record.ports);
        let [accepted] = &new.record.provenance.accepted[..] else {
            panic!("{:?}", new.record.provenance);
        };
        assert_eq!((&*accepted.kind, accepted.version), ("probe", 1));
        assert_eq!(
            (accepted.key, accepted.record),
            (old.record.key, old.digest)
        );
    }
    // The old ones are as they were, for the build that made them.
    assert_eq!(bench.run().counts(), [0, 3, 0, 0]);
}

#[test]
fn without_the_word_for_it_an_older_record_is_only_pointed_at() {
    let bench = Bench::new(CHAIN);
    bench.run();
    let later = Later::of(&bench);
    let plain = words(&later.graph, &later.survey(&Accepting::default()));
    let (state, why) = &plain["root"];
    assert_eq!(state, "would_run");
    assert_eq!(
        why,
        "only the version of `probe` differs: 1 → 2; `--accept probe@1` takes its record of \
         version 1"
    );
    assert_eq!(plain["total"].0, "unknown");
    let accepting = words(&later.graph, &later.survey(&probe_1()));
    for node in ["root", "left", "total"] {
        let (state, why) = &accepting[node];
        assert_eq!(state, "reused");
        assert_eq!(why, "its record of version 1 of `probe` is accepted");
    }
    assert_eq!(later.run(Accepting::default()), [3, 0, 0, 0]);
}

#[test]
fn what_becomes_known_in_the_course_of_a_run_is_accepted_too() {
    let bench = Bench::new(CHAIN);
    bench.run();
    let later = Later::of(&bench);
    // Only the records of some may be taken: `root` runs, gives the same bytes, and so the older
    // records of the others fit.
    let found = later.acceptable(&probe_1());
    let root = later.graph.select("root").unwrap()[0];
    let others = found.iter().filter(|one| one.node != root);
    let only: HashSet<Digest> = others.map(|one| one.older.digest).collect();
    assert_eq!((found.len(), only.len()), (3, 2));
    bench.executed();
    assert_eq!(later.run(probe_1().only(only)), [1, 2, 0, 0]);
    assert_eq!(bench.executed(), ["root"]);
}

#[test]
fn forced_nodes_run_in_spite_of_an_accepted_record() {
    let bench = Bench::new(CHAIN);
    bench.run();
    bench.executed();
    let later = Later::of(&bench);
    let options = RunOptions {
        accepting: probe_1(),
        force: later.graph.select("left").unwrap(),
        ..bench.options()
    };
    let ran = bench.run_by(&later_registry(), &options);
    assert_eq!(ran.counts(), [1, 2, 0, 0]);
    assert_eq!(bench.executed(), ["left"]);
}

#[test]
fn a_sample_is_recomputed_and_leaves_no_trace() {
    let bench = Bench::new(CHAIN);
    bench.run();
    bench.executed();
    let later = Later::of(&bench);
    let before = [
        files(&bench, "store/records"),
        files(&bench, "store/objects"),
    ];
    let groups = later.pick(1.0, &probe_1());
    let came = later.recompute(&groups, &probe_1());
    assert_eq!(bench.executed(), ["left", "root", "total"]);
    let equal = ["left", "root", "total"].map(|node| (node.to_string(), RecomputeOutcome::Equal));
    assert_eq!(came, BTreeMap::from(equal));
    let after = [
        files(&bench, "store/records"),
        files(&bench, "store/objects"),
    ];
    assert!(before == after, "the store has changed");
}

#[test]
fn each_node_is_recomputed_with_the_inputs_of_its_record() {
    // The first one gives other bytes each time; what reads it must not see those.
    let bench = Bench::new(
        "
        drift: { with: { mode: drift, tiny: true } }
        after: { needs: { read: [drift.files] }, with: { tiny: true } }
        ",
    );
    let recorded = bench.run().result.records;
    let later = Later::of(&bench);
    let groups = later.pick(1.0, &probe_1());
    let came = later.recompute(&groups, &probe_1());
    assert_eq!(came["after"], RecomputeOutcome::Equal);
    let RecomputeOutcome::Different(differences) = &came["drift"] else {
        panic!("{came:?}");
    };
    assert_eq!(differences, &["files has other bytes"]);
    assert_eq!(bench.run().result.records, recorded);
}

#[test]
fn failures_and_missing_files_are_not_differences() {
    let stages = "
        root: { with: { tiny: true } }
        reader: { needs: { read: [root.files] }, with: { tiny: true } }
        fragile: { with: { value: 1, tiny: true, data: things } }
    ";
    let bench = Bench::new(stages);
    bench.space.write("things/a", "1");
    bench.run();
    let later = Later::of(&bench);
    std::fs::remove_dir_all(bench.space.path("store/objects")).unwrap();
    let groups = later.pick(1.0, &probe_1());
    let [group] = &groups[..] else {
        panic!("{groups:?}");
    };
    let ids = |nodes: Vec<NodeIndex>| -> HashSet<&str> {
        let ids = nodes.into_iter().map(|node| &*later.graph.dag[node].id);
        ids.collect()
    };
    let unable = group.unable.iter().map(|(node, _)| *node).collect();
    assert_eq!(
        ids(group.sample.clone()),
        HashSet::from(["root", "fragile"])
    );
    assert_eq!(ids(unable), HashSet::from(["reader"]));
    let why = &group.unable[0].1;
    assert_eq!(why, "the files of `root` are not here");
}

#[test]
fn a_draw_follows_from_the_records_and_a_larger_one_holds_it() {
    let bench = Bench::new("many: { each: [n], with: { value: '${n}', tiny: true } }");
    bench.run();
    let later = Later::of(&bench);
    let drawn = |share| later.pick(share, &probe_1())[0].sample.clone();
    assert_eq!(drawn(0.01).len(), 1);
    assert_eq!(drawn(0.25).len(), 2);
    assert_eq!(drawn(0.26).len(), 3);
    assert_eq!(drawn(1.0).len(), 8);
    assert_eq!(drawn(0.5), drawn(0.5));
    for (small, large) in [(0.01, 0.25), (0.25, 0.5), (0.5, 1.0)] {
        assert!(drawn(large).starts_with(&drawn(small)));
    }
    // One that is not asked for has no part in it.
    let mut other = Accepting::default();
    other.add("probe", 7);
    assert!(later.pick(1.0, &other).is_empty());
    // Without a word about versions it is drawn from what is reused: nothing yet.
    assert!(later.pick(1.0, &Accepting::default()).is_empty());
    later.run(probe_1());
    let groups = later.pick(1.0, &Accepting::default());
    let [group] = &groups[..] else {
        panic!("{groups:?}");
    };
    assert_eq!((&*group.kind, group.from), ("probe", Some(1)));
    assert_eq!(group.sample.len(), 8);
}

/// Somebody who has taken back records that they have signed.
#[derive(Debug)]
struct Revocation {
    signer: Digest,
    records: Vec<Digest>,
}

impl RevocationCheck for Revocation {
    fn is_none(&self) -> bool {
        self.records.is_empty()
    }

    fn is_revoked(&self, record: &Digest, signers: &[Digest]) -> bool {
        self.records.contains(record) && signers.contains(&self.signer)
    }
}

/// Somebody's signature beside a record.
fn sign(store: &Store, key: &Digest, record: &Digest, signer: Digest) {
    let envelope = b"a word".to_vec();
    let signature = Signature { signer, envelope };
    store.add_signature(key, record, &signature).unwrap();
}

#[test]
fn revoked_records_are_not_accepted() {
    let bench = Bench::new(CHAIN);
    let old = bench.run().result.records;
    let later = Later::of(&bench);
    let root = old.values().find(|one| one.record.recipe.inputs.is_empty());
    let root = root.unwrap();
    let signer = Digest::of(b"somebody");
    sign(&later.store, &root.record.key, &root.digest, signer);
    assert_eq!(later.acceptable(&probe_1()).len(), 3);
    let records = vec![root.digest];
    later
        .store
        .set_revocation_check(Arc::new(Revocation { signer, records }));
    // Nor is anything below it: its key is not known.
    assert!(later.acceptable(&probe_1()).is_empty());
}

#[test]
fn an_accepted_record_gives_way_when_its_origin_is_revoked() {
    let bench = Bench::new(CHAIN);
    let old = bench.run().result.records;
    let later = Later::of(&bench);
    let root = old.values().find(|one| one.record.recipe.inputs.is_empty());
    let root = root.unwrap();
    let signer = Digest::of(b"somebody");
    sign(&later.store, &root.record.key, &root.digest, signer);
    assert_eq!(later.run(probe_1()), [0, 3, 0, 0]);
    // Whoever is gone has still signed: the accepted record says so itself.
    later.store.forget(&root.record.key, &root.digest).ok();
    let key = later.key("root");
    let accepted = later.store.chosen(&key).unwrap().unwrap();
    assert_eq!(accepted.record.provenance.accepted[0].signers, [signer]);
    let records = vec![root.digest];
    later
        .store
        .set_revocation_check(Arc::new(Revocation { signer, records }));
    assert!(later.store.is_revoked(&key, &accepted.digest).unwrap());
    // Another outcome of that key takes its place.
    let mut other = accepted.record.clone();
    other.provenance.accepted.clear();
    other.provenance.started += 1;
    let foreign = ForeignRecord {
        record: other.clone(),
        signatures: Vec::new(),
    };
    later.store.adopt(&[foreign]).unwrap();
    let chosen = later.store.chosen(&key).unwrap().unwrap();
    assert_eq!(chosen.digest, other.digest());
}

#[test]
fn damaged_and_unfitting_records_are_not_accepted() {
    let bench = Bench::new(CHAIN);
    let old = bench.run().result.records;
    let later = Later::of(&bench);
    let root = old.values().find(|one| one.record.recipe.inputs.is_empty());
    let root = root.unwrap();
    let hex = root.record.key.to_hex();
    let path = format!("store/records/{}/{hex}/{}.json", &hex[..2], root.digest);
    let path = bench.space.path(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert!(later.acceptable(&probe_1()).is_empty());
    // An outcome of the key that lacks an output.
    let mut lacking = root.record.clone();
    lacking.ports.remove("files");
    later.store.publish(&[lacking]).unwrap();
    assert!(later.acceptable(&probe_1()).is_empty());
}

#[test]
fn samples_are_kept_whole_and_go_with_their_records() {
    let bench = Bench::new(CHAIN);
    bench.run();
    let later = Later::of(&bench);
    let found = later.acceptable(&probe_1());
    let records: Vec<Digest> = found.iter().map(|one| one.older.digest).collect();
    let sample = Sample::new("probe", [1, 2], "cpu", 17);
    let sample = sample.of(records[..1].to_vec(), records.clone());
    later.store.keep_sample(&sample).unwrap();
    let all: HashSet<Digest> = records.iter().copied().collect();
    assert_eq!(later.store.sampled("probe", 1, 2).unwrap(), all);
    assert!(later.store.sampled("probe", 1, 3).unwrap().is_empty());
    assert!(later.store.sampled("other", 1, 2).unwrap().is_empty());
    // One flipped bit, and it stands for nothing.
    let path = std::fs::read_dir(bench.space.path("store/samples")).unwrap();
    let path = path.flatten().next().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, flipped).unwrap();
        assert!(later.store.sampled("probe", 1, 2).unwrap().is_empty());
    }
    later.store.keep_sample(&sample).unwrap();
    assert_eq!(
        later.store.drop_samples_of(&Digest::of(b"none")).unwrap(),
        0
    );
    assert_eq!(later.store.drop_samples_of(&records[2]).unwrap(), 1);
    assert!(later.store.sampled("probe", 1, 2).unwrap().is_empty());
}

#[test]
fn a_cleaning_keeps_the_origin_of_what_it_keeps() {
    let bench = Bench::new(CHAIN);
    let old = bench.run().result.records;
    let later = Later::of(&bench);
    later.run(probe_1());
    let found: Vec<Digest> = old.values().map(|one| one.digest).collect();
    let sample = Sample::new("probe", [1, 2], "cpu", 17).of(Vec::new(), found);
    later.store.keep_sample(&sample).unwrap();
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let cleaning = GcOptions {
        before: soon,
        most: None,
        grace: std::time::Duration::ZERO,
        dry_run: false,
    };
    let keys: Vec<Digest> = old
        .values()
        .map(|one| one.record.recipe.of_version(2).key())
        .collect();
    let uses = |keys: Vec<Digest>| ribflow::store::gc::RunUse {
        folder: bench.space.path("store/runs/none"),
        keys,
        last: soon,
        stays: true,
    };
    std::thread::sleep(std::time::Duration::from_millis(20));
    // Whoever may be writing keeps what is young.
    drop(later.store);
    let store = bench.store();
    store.clean(&cleaning, || Ok(vec![uses(keys)])).unwrap();
    for one in old.values() {
        assert!(
            store
                .record(&one.record.key, &one.digest)
                .unwrap()
                .is_some()
        );
    }
    assert!(!store.sampled("probe", 1, 2).unwrap().is_empty());
    store.clean(&cleaning, || Ok(Vec::new())).unwrap();
    assert!(store.keys().unwrap().is_empty());
    assert!(store.sampled("probe", 1, 2).unwrap().is_empty());
}
