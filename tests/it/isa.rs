//! The cap on instruction sets: what it says, what it holds, what it leaves alone.

use std::process::Command;

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: capped
stages:
  images: { use: dataset, with: { builtin: mini-rib, domain: narrow, split: test } }
  model: { use: pretrain, needs: { data: images }, with: { arch: vit_mini, epochs: 1, batch: 32, lr: 0.001 } }
  same: { use: ot, needs: { model: model, a: images, b: images }, with: { distance: otdd, samples: 60 } }
";

fn under(space: &TestSpace, cap: &str, arguments: &[&str]) -> crate::space::Outcome {
    let mut command: Command = space.command(arguments);
    space.finish(command.env("RIBFLOW_ISA", cap))
}

/// Whether this machine can hold a process to `cap`. Where it can't, the test prints the reason and
/// skips, under `RIBFLOW_TEST_ALL` as well: nothing that could be installed would help.
fn holds(space: &TestSpace, cap: &str) -> bool {
    let outcome = under(space, cap, &["models"]);
    if outcome.code == Some(2) && outcome.stderr.contains("can't be held here") {
        println!("skipped: {}", outcome.stderr);
        return false;
    }
    true
}

fn classes(space: &TestSpace) -> Vec<String> {
    let page = space.read("out/capped/provenance.json");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let nodes = page["nodes"].as_array().unwrap().iter();
    let classes = nodes.map(|node| node["device_class"].as_str().unwrap().to_string());
    classes.collect()
}

#[test]
fn a_cap_of_another_name_is_refused() {
    let space = TestSpace::new();
    space.write("capped.yaml", WORKFLOW);
    for cap in ["avx2", "x86-64-v5", "3"] {
        let outcome = under(&space, cap, &["run", "capped.yaml"]).expect(2);
        if cfg!(target_arch = "x86_64") {
            assert!(outcome.stderr.contains("`x86-64-v3`"), "{}", outcome.stderr);
        }
        let outcome = under(&space, cap, &["run", "capped.yaml", "--json"]).expect(2);
        assert!(outcome.stdout.contains("RIBFLOW_ISA"), "{}", outcome.stdout);
    }
    // None is no cap.
    let _ = under(&space, "", &["validate", "capped.yaml"]).expect(0);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn a_cap_is_the_device_class_and_no_part_of_keys() {
    let space = TestSpace::new();
    if !holds(&space, "x86-64-v3") {
        return;
    }
    space.write("capped.yaml", WORKFLOW);
    let _ = under(&space, "x86-64-v3", &["run", "capped.yaml", "-q"]).expect(0);
    // Records of the workers, which have it from the coordinator.
    let capped = classes(&space);
    assert!(
        !capped.is_empty() && capped.iter().all(|it| it == "cpu/x86-64-v3"),
        "{capped:?}"
    );
    // The same keys without it and under another one: all is there already.
    for cap in ["", "x86-64-v4", "x86-64-v2"] {
        if holds(&space, cap) {
            let outcome = under(&space, cap, &["run", "capped.yaml", "--json"]).expect(0);
            assert!(
                outcome.stdout.contains("\"ran\":0"),
                "{cap}: {}",
                outcome.stdout
            );
            // And at a glance.
            let _ = under(&space, cap, &["run", "capped.yaml"]).expect(0);
        }
    }
    // A cap that is none is refused by a run that has nothing to do, too.
    let _ = under(&space, "x86-64-v9", &["run", "capped.yaml"]).expect(2);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn under_strict_determinism_a_cap_is_part_of_keys() {
    let space = TestSpace::new();
    if !(holds(&space, "x86-64-v3") && holds(&space, "x86-64-v2")) {
        return;
    }
    space.write(
        "capped.yaml",
        WORKFLOW.replace("name: capped", "name: capped\ndeterminism: strict"),
    );
    let _ = under(&space, "x86-64-v3", &["run", "capped.yaml", "-q"]).expect(0);
    let again = under(&space, "x86-64-v3", &["run", "capped.yaml", "--json"]).expect(0);
    assert!(again.stdout.contains("\"ran\":0"), "{}", again.stdout);
    let other = under(&space, "x86-64-v2", &["run", "capped.yaml", "--json"]).expect(0);
    assert!(other.stdout.contains("\"ran\":3"), "{}", other.stdout);
    assert!(classes(&space).iter().all(|it| it == "cpu/x86-64-v2"));
}
