//! The workflows that run on images of one's own, in small: from end to end, with their claims put
//! to the test.

use std::path::PathBuf;

use serde_json::Value;

use crate::space::{Outcome, TestSpace};

fn copy(space: &TestSpace, files: &[&str]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workflows");
    for file in files {
        space.write(file, std::fs::read(folder.join(file)).unwrap());
    }
}

/// `cifar10/train` and `cifar10/test`, six drawn images of each class in a folder of its own.
fn lay_cifar(space: &TestSpace) {
    space.write(
        "pictures.yaml",
        "ribflow: 1
name: pictures
axes: { split: [train, test] }
stages:
  drawn:
    each: [split]
    use: dataset
    with: { builtin: mini-rib, domain: rich, split: \"${split}\", images: 60 }
",
    );
    space.run(&["run", "pictures.yaml", "-q"]).ok();
    for split in ["train", "test"] {
        let (node, place) = (format!("drawn[split={split}]"), format!("cifar10/{split}"));
        space
            .run(&["get", "pictures.yaml", &node, "-o", &place])
            .ok();
    }
}

fn verdicts(outcome: &Outcome) -> Vec<String> {
    // Models this small may contradict the paper: 3.
    assert!(matches!(outcome.code, Some(0 | 3)), "{outcome}");
    let found = outcome.json();
    let claims = found["claims"].as_array().unwrap().iter();
    let verdict = |claim: &Value| claim["verdict"].as_str().unwrap().to_string();
    claims.map(verdict).collect()
}

const JUDGED: [&str; 3] = ["same", "opposite", "indistinguishable"];

#[test]
fn cifar_runs_in_small_and_a_further_method_runs_alone() {
    let space = TestSpace::new();
    lay_cifar(&space);
    let file = "cifar10-rib.yaml";
    copy(&space, &[file, "published/claims-in-small.yaml"]);
    let run = |words: &[&str], method: &str| {
        let changes = [
            "params.epochs=1",
            "params.tune=4",
            "params.try=4",
            "axes.source=[{ id: few, images: 4, epochs: 1 }, { id: many, images: 6, epochs: 1 }]",
            "axes.domain=[contrast, pixelate, drawing]",
            method,
        ];
        let mut arguments = vec![words[0], file, "--profile", "quick", "--json"];
        for change in changes {
            arguments.extend(["--set", change]);
        }
        arguments.extend(&words[1..]);
        let mut command = space.command(&arguments);
        command.env("CIFAR10", space.path("cifar10"));
        space.finish(&mut command)
    };
    let (two, three) = ("axes.method=[ft, wise]", "axes.method=[ft, wise, lp]");
    let done = run(&["run"], two).expect(0);
    let nodes = done.json_lines().pop().unwrap()["nodes"].clone();
    let claims = verdicts(&run(&["verify"], two));
    assert!(
        claims[..4]
            .iter()
            .all(|claim| JUDGED.contains(&claim.as_str())),
        "{claims:?}"
    );
    // Two sources, two seeds, three domains: twelve models, each tested on its own set and on the
    // two other domains; two means of them, and the report.
    let more = run(&["run"], three).expect(0).json_lines().pop().unwrap();
    assert_eq!(more["ran"], 12 + 12 * 3 + 2 + 1);
    assert_eq!(
        more["reused"].as_u64().unwrap() + 1,
        nodes.as_u64().unwrap()
    );
}

#[test]
fn the_dispute_puts_its_claims_to_the_test() {
    let space = TestSpace::new();
    let file = "dispute.yaml";
    copy(&space, &[file, "published/dispute.yaml"]);
    let sizes = "axes.size=[{ id: few, images: 20 }, { id: all, images: 40 }]";
    let rates = "axes.lr=[usual]";
    let grid = [file, "--profile", "quick", "--set", sizes, "--set", rates];
    space.run(&[&["run", "-q"], &grid[..]].concat()).ok();
    let verify = [&["verify", "--json"], &grid[..]].concat();
    let claims = verdicts(&space.run(&verify));
    assert_eq!(claims.len(), 8);
    // The low and the high rate are left out.
    let (unrun, judged): (Vec<&String>, Vec<&String>) =
        claims.iter().partition(|claim| *claim == "not_run");
    assert_eq!(unrun.len(), 2, "{claims:?}");
    assert!(
        judged.iter().all(|claim| JUDGED.contains(&claim.as_str())),
        "{claims:?}"
    );
}

/// A selection of nodes leaves few values of an axis; what the file says of the axis is unchanged.
#[test]
fn a_selection_of_nodes_makes_no_axis_idle() {
    let space = TestSpace::new();
    copy(&space, &["mini-rib.yaml"]);
    for targets in [&[][..], &["tuned[method=ft]"]] {
        let arguments = [&["plan", "mini-rib.yaml"], targets].concat();
        let planned = space.run(&arguments);
        assert!(!planned.stderr.contains("idle-axis"), "{planned}");
        assert!(!planned.stdout.contains("idle-axis"), "{planned}");
    }
}
