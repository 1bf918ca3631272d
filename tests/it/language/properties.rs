//! What holds for every workflow: no text makes the language panic, and the order of a file
//! changes nothing that enters a key.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ribflow::workflow::graph::Graph;
use ribflow::workflow::{Limits, LoadOptions, load};
use serde_yaml::{Mapping, Value};

use super::{file, kinds::test_kinds};

fn real(name: &str) -> String {
    std::fs::read_to_string(file("language").join(name)).unwrap()
}

/// Pieces of the language, put where they do not belong.
const PIECES: &[&str] = &[
    "${",
    "}",
    "${source}",
    "${params.x}",
    "${axes.test}",
    "${env.A?b}",
    "?",
    "[",
    "]",
    "[*]",
    "=",
    "|",
    "*",
    "\"",
    "'",
    "not ",
    " and ",
    " in ",
    "==",
    "(",
    ")",
    ":",
    "\n",
    "\n  ",
    "- ",
    "{",
    ",",
    "0",
    "-1",
    "1e9",
    "true",
    "null",
    "é",
    "source",
    "domain",
    "method.of",
    "tuned",
    "images[test=domain]",
    "use: average",
    "each: [source]",
    "skip: source",
    "cases:",
    "with:",
    "needs:",
    ".",
    "id: ",
    "#",
];

fn mutated() -> impl Strategy<Value = String> {
    let files: Vec<String> = [
        "mini-rib.yaml",
        "imagenet-c.yaml",
        "my-images.yaml",
        "design-example.yaml",
    ]
    .map(real)
    .into();
    let edit = (
        any::<prop::sample::Index>(),
        0_usize..16,
        prop::sample::select(PIECES),
    );
    let edits = prop::collection::vec(edit, 1..4);
    (prop::sample::select(files), edits).prop_map(|(text, edits)| {
        let mut letters: Vec<char> = text.chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(letters.len() + 1);
            let end = (at + cut).min(letters.len());
            letters.splice(at..end, piece.chars());
        }
        letters.into_iter().collect()
    })
}

/// What enters keys, by node: kind, parameters, and inputs member by member. Ids are written with
/// their axes by name, as the order of `each` must not matter either.
fn meaning(graph: &Graph) -> BTreeMap<String, String> {
    let id = |node: &ribflow::workflow::graph::Node| {
        let axes: BTreeMap<&String, &String> =
            node.axes.iter().map(|(axis, id)| (axis, id)).collect();
        format!("{}{axes:?}", node.stage)
    };
    let nodes = graph.dag.node_weights().map(|node| {
        let mut text = format!("{} {}\n", node.kind.name(), node.with);
        for input in &node.inputs {
            text += &format!("{} {}\n", input.name, input.many);
            for member in &input.members {
                text += &format!(
                    "  {} {} {:?}\n",
                    id(&graph.dag[member.node]),
                    member.port,
                    member.axes
                );
            }
        }
        (id(node), text)
    });
    nodes.collect()
}

fn load_text(text: &str, limits: Limits) -> Result<Graph, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("workflow.yaml");
    std::fs::write(&path, text).unwrap();
    let options = LoadOptions {
        limits,
        ..LoadOptions::default()
    };
    match load(&path, &options, &test_kinds()) {
        Ok((graph, _)) => Ok(graph),
        Err(problems) => Err(problems.render(true)),
    }
}

/// Reorders `items` by `seed`.
fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for end in (1..items.len()).rev() {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        items.swap(end, (*seed >> 33) as usize % (end + 1));
    }
}

/// Every map of `value` in another order; lists keep theirs.
fn reorder_maps(value: &mut Value, seed: &mut u64) {
    match value {
        Value::Mapping(map) => {
            let mut entries: Vec<(Value, Value)> = std::mem::take(map).into_iter().collect();
            shuffle(&mut entries, seed);
            entries
                .iter_mut()
                .for_each(|(_, value)| reorder_maps(value, seed));
            *map = Mapping::from_iter(entries);
        }
        Value::Sequence(items) => items.iter_mut().for_each(|item| reorder_maps(item, seed)),
        _ => {}
    }
}

/// The same workflow with its maps, its axes' values and every `each` in another order.
fn reordered(text: &str, mut seed: u64) -> String {
    let mut value: Value = serde_yaml::from_str(text).unwrap();
    reorder_maps(&mut value, &mut seed);
    let axes = value.get_mut("axes").and_then(Value::as_mapping_mut);
    for (_, list) in axes.unwrap().iter_mut() {
        shuffle(list.as_sequence_mut().unwrap(), &mut seed);
    }
    let stages = value.get_mut("stages").and_then(Value::as_mapping_mut);
    for (_, stage) in stages.unwrap().iter_mut() {
        if let Some(each) = stage.get_mut("each").and_then(Value::as_sequence_mut) {
            shuffle(each, &mut seed);
        }
    }
    serde_yaml::to_string(&value).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn no_file_makes_the_language_panic(text in mutated()) {
        let limits = Limits { nodes: 3000, ..Limits::default() };
        if let Err(told) = load_text(&text, limits) {
            prop_assert!(told.contains("error["));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(24)
    })]

    #[test]
    fn the_order_of_a_file_changes_no_key(seed in any::<u64>()) {
        for name in ["mini-rib.yaml", "imagenet-c.yaml"] {
            let text = real(name);
            let plain = load_text(&text, Limits::default()).unwrap();
            let other = load_text(&reordered(&text, seed), Limits::default());
            prop_assert_eq!(meaning(&plain), meaning(&other.unwrap()));
        }
    }
}
