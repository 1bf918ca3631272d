//! Which runs stand for a workflow when a store is cleaned: two projects are two, also where their
//! workflows have one name, and an edit leaves a workflow what it is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ribflow::store::Store;
use serde_json::Value;

use crate::space::TestSpace;

/// A workflow whose one node says `word`.
fn workflow(word: &str) -> String {
    format!(
        "ribflow: 1\nname: grid\nparams: {{ word: {word} }}\nstages:\n  said: {{ use: command, \
         with: {{ run: \"echo ${{params.word}} > out/said\", outputs: [said] }} }}\n\
         profiles:\n  loud: {{ params: {{ word: {word}-loud }} }}\n"
    )
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        }
        all.push(path);
    }
    all
}

/// A space in which projects share the store `cache`.
struct Shared(TestSpace);

impl Shared {
    fn run(&self, project: &str, more: &[&str]) {
        let file = format!("{project}/grid.yaml");
        let words = [&["run", &file, "--store", "cache", "--quiet"], more].concat();
        self.0.run(&words).ok();
    }

    /// As if so many days had gone by.
    fn age(&self, days: u64) {
        for path in everything(&self.0.path("cache")) {
            let file = File::open(&path).unwrap();
            let before = file.metadata().unwrap().modified().unwrap();
            file.set_modified(before - Duration::from_secs(days * 86400))
                .unwrap();
        }
    }

    /// How many records a cleaning takes, and whose they are.
    fn clean(&self, more: &[&str]) -> (usize, Vec<String>) {
        let words = [&["cache", "gc", "--store", "cache", "--json"], more].concat();
        let gone = self.0.run(&words).expect(0).json();
        let of = gone["of"].as_array().unwrap().iter();
        let of = of.map(|one| one["workflow"].as_str().unwrap_or("no run").to_string());
        (gone["records"].as_array().unwrap().len(), of.collect())
    }
}

fn shared() -> Shared {
    let space = TestSpace::new();
    space.write("one/grid.yaml", workflow("one"));
    space.write("two/grid.yaml", workflow("two"));
    Shared(space)
}

#[test]
fn another_project_of_the_same_name_keeps_its_results() {
    let shared = shared();
    shared.run("one", &[]);
    shared.age(40);
    shared.run("two", &[]);
    assert_eq!(shared.clean(&[]), (0, vec![]));
    // Unless nothing is to be kept for the sake of its being the newest.
    let told = shared.0.run(&[
        "cache",
        "gc",
        "--store",
        "cache",
        "--keep-runs",
        "0",
        "--dry-run",
    ]);
    let told = told.expect(0);
    assert!(
        told.stdout.contains("Of grid: 1 record; its last run is "),
        "{told}"
    );
    let file = "; its file is one/grid.yaml.";
    assert!(told.stdout.contains(file), "{told}");
    // Another user knows no path of it, and still tells it from others.
    let mut elsewhere = shared
        .0
        .command(&["cache", "gc", "--keep-runs", "0", "--dry-run"]);
    elsewhere
        .args(["--store", "cache"])
        .env("HOME", shared.0.path("other"));
    let told = shared.0.finish(&mut elsewhere).expect(0);
    let file = "; its file is not known here, ";
    assert!(told.stdout.contains(file), "{told}");
    assert_eq!(
        shared.clean(&["--keep-runs", "0"]),
        (1, vec!["grid".to_string()])
    );
}

#[test]
fn two_projects_have_a_pin_of_one_name_each() {
    let shared = shared();
    let cache = |words: &[&str]| {
        let words = [&["cache"], words, &["--store", "cache"]].concat();
        shared.0.run(&words)
    };
    for project in ["one", "two"] {
        shared.run(project, &[]);
        cache(&["pin", &format!("{project}/grid.yaml")]).ok();
    }
    let again = cache(&["pin", "one/grid.yaml"]).expect(0);
    assert!(again.stdout.contains("This replaces a pin"), "{again}");
    let listed = cache(&["pins", "--json"]).expect(0).json();
    let places = listed["pins"].as_array().unwrap().iter();
    let places: Vec<&str> = places.map(|pin| pin["place"].as_str().unwrap()).collect();
    let labels: Vec<String> = places
        .iter()
        .map(|it| format!("grid@{}", &it[..8]))
        .collect();
    let told = cache(&["pins"]).expect(0);
    let expected = format!(
        "{}: 1 node of grid (one/grid.yaml)\n{}: 1 node of grid (two/grid.yaml)\n",
        labels[0], labels[1]
    );
    assert_eq!(told.stdout, expected);

    // Both keep what they name.
    shared.age(40);
    assert_eq!(shared.clean(&["--keep-runs", "0"]), (0, vec![]));
    let unclear = cache(&["unpin", "grid"]).expect(2);
    for label in &labels {
        assert!(unclear.stderr.contains(label), "{unclear}");
    }
    let forget = cache(&["forget", "two/grid.yaml", "said", "--yes"]).expect(2);
    let unpin = format!("ribflow cache unpin {}", labels[1]);
    assert!(forget.stderr.contains(&unpin), "{forget}");
    cache(&["unpin", &labels[0]]).ok();
    assert_eq!(shared.clean(&["--keep-runs", "0"]).0, 1);
    // The only one of the name is meant by the name, and stays where it is when it is renewed.
    cache(&["pin", "two/grid.yaml"]).ok();
    assert_eq!(
        cache(&["pins"]).expect(0).stdout,
        "grid: 1 node of grid (two/grid.yaml)\n"
    );
    cache(&["unpin", "grid"]).ok();
}

/// One that knows no file may be another project's.
#[test]
fn a_pin_of_an_earlier_version_is_replaced_only_where_nothing_of_it_is_lost() {
    let shared = shared();
    let cache = |words: &[&str]| {
        let words = [&["cache"], words, &["--store", "cache"]].concat();
        shared.0.run(&words).expect(0)
    };
    for project in ["one", "two"] {
        shared.run(project, &[]);
    }
    let _ = cache(&["pin", "one/grid.yaml"]);
    let path = shared.0.path("cache/pins/grid.json");
    let mut old: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let fields = old.as_object_mut().unwrap();
    assert!(fields.remove("place").is_some() && fields.remove("check").is_some());
    fields["format"] = 1.into();
    fs::write(&path, old.to_string()).unwrap();

    let told = cache(&["pin", "two/grid.yaml"]);
    assert!(!told.stdout.contains("This replaces"), "{told}");
    let listed = cache(&["pins"]).stdout;
    assert!(
        listed.contains("grid@unknown: 1 node of grid\n"),
        "{listed}"
    );
    let told = cache(&["pin", "one/grid.yaml"]);
    assert!(told.stdout.contains("This replaces a pin"), "{told}");
    let listed = cache(&["pins"]).stdout;
    assert!(!listed.contains("unknown"), "{listed}");
    assert_eq!(listed.lines().count(), 2);
}

#[test]
fn another_profile_and_another_value_keep_their_results() {
    let shared = shared();
    shared.run("one", &[]);
    shared.run("one", &["--profile", "loud"]);
    shared.run("one", &["--set", "params.word=set"]);
    shared.age(40);
    shared.run("one", &[]);
    assert_eq!(shared.clean(&[]), (0, vec![]));
    let (gone, of) = shared.clean(&["--keep-runs", "0"]);
    assert_eq!(gone, 2);
    assert_eq!(of, ["grid --profile loud", "grid --set params.word=set"]);
}

#[test]
fn an_edit_leaves_a_workflow_what_it_is() {
    let shared = shared();
    shared.run("one", &[]);
    shared.age(40);
    shared.0.write("one/grid.yaml", workflow("edited"));
    shared.run("one", &[]);
    assert_eq!(shared.clean(&[]), (1, vec!["grid".to_string()]));
}

#[test]
fn a_run_that_was_cut_off_does_not_stand_for_those_before_it() {
    let shared = shared();
    shared.run("one", &[]);
    shared.age(40);
    // The next run names no key: it was killed before it came to one.
    shared.0.write("one/grid.yaml", workflow("edited"));
    shared.run("one", &[]);
    let runs = shared.0.path("cache/runs");
    let mut runs: Vec<PathBuf> = everything(&runs);
    runs.retain(|path| path.ends_with("journal.jsonl"));
    runs.sort();
    let newest = runs.pop().unwrap();
    let text = fs::read_to_string(&newest).unwrap();
    fs::write(&newest, text.lines().next().unwrap().to_string() + "\n").unwrap();
    assert_eq!(shared.clean(&[]).0, 0);
}

#[test]
fn journals_of_an_earlier_version_count_by_their_names() {
    let shared = shared();
    for project in ["one", "two"] {
        shared.run(project, &[]);
        shared.age(40);
    }
    for path in everything(&shared.0.path("cache/runs")) {
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            fields.remove("place");
            assert!(fields.remove("check").is_some());
            format!("{line}\n")
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
        File::open(&path).unwrap().set_modified(time).unwrap();
    }
    // The newer one of the name stays, as it did before.
    assert_eq!(shared.clean(&[]), (1, vec!["grid".to_string()]));
}

#[test]
fn no_path_can_be_read_from_a_journal() {
    let shared = shared();
    shared.run("one", &[]);
    let journals = everything(&shared.0.path("cache/runs"));
    let journal = journals.iter().find(|path| path.ends_with("journal.jsonl"));
    let text = fs::read_to_string(journal.unwrap()).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let place = header["place"].as_str().unwrap();
    assert!(!text.contains(&shared.0.root().display().to_string()));
    let id = Store::open(&shared.0.path("cache")).unwrap().id().unwrap();
    let path = shared.0.path("one/grid.yaml");
    let mut hasher = blake3::Hasher::new_keyed(id.as_bytes());
    hasher.update(b"place of a workflow\n");
    hasher.update(path.as_os_str().as_encoded_bytes());
    assert_eq!(place, hasher.finalize().to_hex().as_str());
}

/// A damaged line must not make a cleaning forget what a run has used.
#[test]
fn no_flipped_bit_in_a_journal_lets_a_cleaning_take_more() {
    let shared = shared();
    shared.run("one", &[]);
    shared.age(40);
    shared.run("one", &["--force", "said"]);
    let journals = everything(&shared.0.path("cache/runs"));
    let files = journals
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    for path in files {
        let whole = fs::read(path).unwrap();
        // A bit in every 37th byte.
        for at in (0..whole.len()).step_by(37) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(path, bytes).unwrap();
            let store = Store::open(&shared.0.path("cache")).unwrap();
            let runs = ribflow::engine::journal::seen(&store);
            let uses = runs.and_then(|runs| ribflow::engine::journal::uses(&runs, 1));
            assert!(uses.is_err(), "byte {at} of {}", path.display());
        }
        fs::write(path, whole).unwrap();
    }
    let one = journals
        .iter()
        .find(|path| path.ends_with("journal.jsonl"))
        .unwrap();
    let text = fs::read_to_string(one).unwrap();
    fs::write(one, text.replacen("node_", "nodf_", 1)).unwrap();
    let told = shared.0.run(&["cache", "gc", "--store", "cache"]).expect(1);
    assert!(told.stderr.contains("journal.jsonl is damaged"), "{told}");
    let told = shared
        .0
        .run(&["cache", "verify", "--store", "cache", "--json"])
        .expect(1);
    let told = told.json();
    assert_eq!(told["faults"][0]["what"], "damaged_file");
    // One that ends in the middle of a line was cut off, which is no damage.
    fs::write(one, &text[..text.len() - 40]).unwrap();
    shared.0.run(&["cache", "gc", "--store", "cache"]).ok();
}
