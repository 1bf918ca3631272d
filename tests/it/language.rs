//! The workflow language: the real files expand to their counts, and every class of mistake has
//! a file in `tests/bad` with a snapshot of what is said about it.

mod bad;
mod kinds;
mod meaning;
mod numbers;
mod properties;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ribflow::workflow::graph::Graph;
use ribflow::workflow::{LoadOptions, load};

use kinds::test_kinds;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

fn options(profiles: &[&str], sets: &[&str]) -> LoadOptions {
    LoadOptions {
        profiles: profiles.iter().map(|name| name.to_string()).collect(),
        sets: sets.iter().map(|set| set.to_string()).collect(),
        environment: BTreeMap::new(),
        ..LoadOptions::default()
    }
}

fn graph(name: &str, profiles: &[&str], sets: &[&str]) -> Graph {
    match load(&file(name), &options(profiles, sets), &test_kinds()) {
        Ok((graph, _)) => graph,
        Err(problems) => panic!("{name}:\n{}", problems.render(false)),
    }
}

#[test]
fn the_real_files_expand_to_their_counts() {
    let counts = [
        ("mini-rib", None, 495),
        ("mini-rib", Some("tiny"), 32),
        ("imagenet-rib", None, 18_439),
        ("imagenet-rib", Some("all"), 56_684),
        ("imagenet-rib", Some("smoke"), 1_800),
        ("my-images", None, 10),
        ("imagenet-c", None, 80),
    ];
    for (name, profile, expected) in counts {
        let profiles: Vec<&str> = profile.into_iter().collect();
        let graph = graph(&format!("language/{name}.yaml"), &profiles, &[]);
        assert_eq!(graph.dag.node_count(), expected, "{name} {profile:?}");
        assert_eq!(graph.order.len(), expected, "{name} {profile:?}");
    }
}
