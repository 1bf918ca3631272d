//! `ribflow slurm check`, at a real Slurm.

use std::process::Command;

use super::private_slurm::PrivateSlurm;
use crate::space::{Outcome, TestSpace};

const WORKFLOW: &str = r#"ribflow: 1
name: w
axes: { n: [1, 2] }
stages:
  small:
    each: [n]
    use: command
    with: { run: "echo ${n} > out/x", outputs: { x: files } }
    resources: { cpus: 2, mem: 1GiB, gpus: 1, time: 10m }
  large:
    each: [n]
    use: command
    with: { run: "echo ${n} > out/x", outputs: { x: files } }
    resources: { cpus: 99 }
"#;

fn command(slurm: &PrivateSlurm, space: &TestSpace, words: &[&str]) -> Command {
    let mut command = space.command(&[&["slurm", "check"], words].concat());
    command.env("SLURM_CONF", slurm.configuration());
    command
}

fn check(slurm: &PrivateSlurm, space: &TestSpace, site: &str, words: &[&str]) -> Outcome {
    space.write("home/.config/ribflow/cluster.yaml", site);
    space.finish(&mut command(slurm, space, words))
}

#[test]
fn mistakes_are_found_before_anything_is_submitted() {
    let Some(slurm) = PrivateSlurm::start(&[]) else {
        return;
    };
    let space = TestSpace::new();
    let fine = check(&slurm, &space, "", &[]).expect(0);
    assert!(fine.stdout.contains("3 nodes in 8 partitions"), "{fine}");
    assert!(fine.stdout.ends_with("nothing is wrong\n"), "{fine}");
    for (site, expected) in [
        (
            "slurm: { partition: mian }",
            "there is no partition `mian`\nhint: did you mean `main`?",
        ),
        ("slurm: { partition: down }", "partition `down` is down"),
        (
            "slurm: { partition: short }",
            "ask for 4 h 00 min; partition `short` gives at most 2 min",
        ),
        (
            "slurm: { partition: private, account: lab }",
            "does not allow the account `lab`",
        ),
        (
            "slurm: { constraint: avx512 }",
            "no node of partition `main` has the feature `avx512`",
        ),
        (
            "slurm: { options: [--licenses=matlab] }",
            "Slurm refuses workers for one CPU: ",
        ),
    ] {
        let outcome = check(&slurm, &space, site, &[]).expect(1);
        assert!(outcome.stdout.contains(expected), "{site}:\n{outcome}");
    }
    let wrong = check(&slurm, &space, "slurm: { partiton: main }", &[]).expect(2);
    assert!(
        wrong.stderr.contains("did you mean `partition`?"),
        "{wrong}"
    );

    space.write("grid.yaml", WORKFLOW);
    let outcome = check(&slurm, &space, "", &["grid.yaml"]).expect(1);
    let expected = "no node of partition `main` has 99 CPUs for stage `large`; the largest has 4";
    assert!(outcome.stdout.contains(expected), "{outcome}");
    let json = check(&slurm, &space, "", &["grid.yaml", "--json"])
        .expect(1)
        .json();
    assert_eq!(json["findings"][0]["severity"], "error");
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
    // Nothing was submitted.
    assert!(slurm.jobs("").is_empty());
}

#[test]
fn a_job_looks_whether_its_node_sees_the_store() {
    let Some(slurm) = PrivateSlurm::start(&[]) else {
        return;
    };
    let space = TestSpace::new();
    let missing = check(&slurm, &space, "", &["--submit"]).expect(2);
    assert!(missing.stderr.contains("there is no store"), "{missing}");
    space.write("cache/store.json", "{}");
    let fine = check(&slurm, &space, "", &["--submit"]).expect(0);
    assert!(
        fine.stdout.contains("/cache and runs this program"),
        "{fine}"
    );
    let site = "slurm: { setup: [\"echo hello\", \"module-that-is-missing load cuda\"] }";
    let outcome = check(&slurm, &space, site, &["--submit"]).expect(1);
    assert!(
        outcome.stdout.contains("a line of `setup:` fails on "),
        "{outcome}"
    );
    // No node has both: the job waits, and is cancelled.
    slurm.ask(
        "scontrol",
        &["update", "nodename=n1,n2,n3", "state=drain", "reason=test"],
    );
    let outcome = check(&slurm, &space, "", &["--submit", "--wait", "5s"]).expect(0);
    assert!(outcome.stdout.contains("are away now: "), "{outcome}");
    assert!(
        outcome.stdout.contains("the job has not started in time ("),
        "{outcome}"
    );
    let left = slurm.jobs("rf-check-");
    assert!(left.iter().all(|job| !job.contains("PENDING")), "{left:?}");
    let files = std::fs::read_dir(space.path("cache/tmp")).unwrap();
    assert_eq!(files.count(), 0);
}

#[test]
fn without_slurm_the_check_says_where_to_run_it() {
    let space = TestSpace::new();
    let mut command = space.command(&["slurm", "check"]);
    let outcome = space.finish(command.env("PATH", space.root())).expect(1);
    assert!(
        outcome.stderr.contains("`scontrol` can't be started"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("a login node"), "{outcome}");
}
