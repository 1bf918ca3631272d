//! Writing back, computing again, and what moves of a model that shares its tensors.

use serde_json::Value;

use super::{Laboratory, NODES, number};
use crate::space::TestSpace;

#[test]
fn what_is_made_is_written_back_and_some_of_it_is_computed_again() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let a = Laboratory::new();
    let key = a.key("aachen");
    a.add_remote("shared", &url, &["--write"]);
    let (ran, _) = a.mini_rib(&["--remote", "shared"]);
    assert!(number(&ran, "ran") > 0);
    let push = [
        "push",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--remote",
        "shared",
        "--json",
    ];
    let left: Value = serde_json::from_str(&a.run(&push).expect(0).stdout).unwrap();
    assert_eq!(
        (&left["records"], &left["blobs"]),
        (&0.into(), &0.into()),
        "{left}"
    );

    let b = Laboratory::new();
    b.run(&["trust", "add", &key]).ok();
    b.add_remote("aachen", &url, &["--recheck", "100%"]);
    let (summary, said) = b.mini_rib(&["--remote", "aachen"]);
    assert_eq!(number(&summary, "failed"), 0);
    assert!(number(&summary, "ran") > NODES / 2, "{summary}");
    // This build and this machine give the same bytes.
    assert!(!said.contains("other bytes"), "{said}");
    assert_eq!(b.results(), a.results());
}

#[test]
fn a_linear_probe_moves_without_its_backbone() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let a = Laboratory::new();
    a.key("aachen");
    a.add_remote("shared", &url, &["--write"]);
    a.mini_rib(&[]);
    let push = |nodes: &[&str]| -> Value {
        let words = [
            "push",
            "mini-rib.yaml",
            "--profile",
            "tiny",
            "--remote",
            "shared",
            "--json",
        ];
        let outcome = a.run(&[&words[..], nodes].concat()).expect(0);
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    push(&["images", "pool"]);
    let whole = push(&["pretrained"]);
    let probe = push(&["tuned[method=lp]"]);
    let fine = push(&["tuned[method=ft]"]);
    let sent = |pushed: &Value| pushed["sent"].as_u64().unwrap();
    // Two probes of two models of a megabyte each: their classifiers and records. (A model of
    // 86 million parameters is in docs/performance.md.)
    assert!(sent(&probe) * 20 < sent(&whole), "{probe} {whole}");
    assert!(sent(&fine) > sent(&probe) * 10, "{fine} {probe}");
    assert!(probe["spared"].as_u64().unwrap() > 0, "{probe}");
}
