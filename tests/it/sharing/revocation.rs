//! A lab takes a result back: whoever has it is told everywhere, and it gives way to another.

use serde_json::Value;

use super::{Laboratory, NODES, number};
use crate::space::TestSpace;

const NODE: &str = "baseline[source=narrow,seed=0,test=own]";

/// What a command says of [`NODE`] as one JSON document.
fn node(lab: &Laboratory, command: &[&str]) -> Value {
    let words = [command, &["--profile", "tiny", "--json"]].concat();
    let document = lab.run(&words).expect(0).json();
    let mut nodes = document["nodes"].as_array().unwrap().iter();
    nodes.find(|node| node["id"] == NODE).unwrap().clone()
}

fn record(lab: &Laboratory) -> String {
    let why = node(lab, &["why", "mini-rib.yaml", NODE]);
    why["record"].as_str().unwrap().to_string()
}

/// The line of [`NODE`] in `provenance.json`.
fn provenance(lab: &Laboratory) -> Value {
    let document = lab.space.read("out/mini-rib-tiny/provenance.json");
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut nodes = document["nodes"].as_array().unwrap().iter();
    nodes.find(|node| node["id"] == NODE).unwrap().clone()
}

fn page(lab: &Laboratory) -> String {
    lab.space.read("out/mini-rib-tiny/report.html")
}

#[test]
fn a_revocation_is_reported_everywhere_and_the_record_gives_way() {
    let place = TestSpace::new();
    let url = format!("file://{}", place.path("shared").display());
    let [a, b] = [Laboratory::new(), Laboratory::new()];
    let key = a.key("aachen");
    a.add_remote("shared", &url, &["--write"]);
    a.mini_rib(&["--remote", "shared"]);
    b.run(&["trust", "add", &key]).ok();
    b.add_remote("aachen", &url, &[]);
    b.mini_rib(&["--remote", "aachen"]);
    assert!(!page(&b).contains("Revoked"));
    let results = b.results();

    let old = record(&a);
    let reason = "the test images were in the training set";
    a.run(&["revoke", "--record", &old, "--reason", reason])
        .ok();
    // B has nothing else: it goes on with it, and says so wherever it is seen.
    let words = ["run", "mini-rib.yaml", "--profile", "tiny", "--json"];
    let run = b.run(&[&words[..], &["--remote", "aachen"]].concat());
    let events = run.expect(0).json_lines();
    let [.., warning, summary] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(number(summary, "reused"), NODES);
    assert!(warning["message"].to_string().contains(reason), "{warning}");
    assert_eq!(record(&b), old);
    let expected = serde_json::json!([{ "by": "aachen", "reason": reason }]);
    assert_eq!(provenance(&b)["taken_back"], expected);
    assert_eq!(node(&b, &["plan", "mini-rib.yaml"])["taken_back"], expected);
    let why = ["why", "mini-rib.yaml", NODE];
    assert_eq!(node(&b, &why)["taken_back"], expected);
    for command in [&["plan", "mini-rib.yaml"][..], &why] {
        let told = b.run(&[command, &["--profile", "tiny"]].concat()).expect(0);
        assert!(told.stdout.contains(reason), "{told}");
    }
    assert!(page(&b).contains(reason), "rendered anew");
    assert_eq!(b.results(), results, "no provenance in there");

    // A computes it again: what it has made now is used, and shared.
    a.mini_rib(&["--force", NODE]);
    let new = record(&a);
    assert_ne!(new, old);
    assert!(!page(&a).contains("Revoked"));
    let choose = [
        "cache",
        "choose",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        NODE,
    ];
    let refused = a.run(&[&choose[..], &[&old]].concat()).expect(1);
    assert!(refused.stderr.contains("has been revoked"), "{refused}");
    let push = [
        "push",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--remote",
        "shared",
    ];
    a.run(&push).ok();

    // B is offered it in place of the old one, and takes it without computing anything.
    let offered = node(&b, &["plan", "mini-rib.yaml", "--remote", "aachen"]);
    assert_eq!(offered["state"], "remote", "{offered}");
    let (summary, _) = b.mini_rib(&["--remote", "aachen"]);
    assert_eq!(number(&summary, "ran"), 0);
    assert_eq!(record(&b), new);
    assert!(!page(&b).contains("Revoked"));
    let of_node = provenance(&b);
    assert!(of_node["taken_back"].is_null(), "{of_node}");
    assert_eq!(of_node["others"][0]["record"], old.as_str());
    assert_eq!(of_node["others"][0]["signers"][0], "aachen");
    assert_eq!(of_node["others"][0]["outcome"], "equal");
    assert_eq!(b.results(), results);
}
