//! `ribflow lock`: branches and tags written down as commits, without a download.

use crate::hub::Hub;
use crate::space::TestSpace;

const WORKFLOW: &str = "ribflow: 1
name: x
axes: { source: [{ id: one, hub: lab/vit_mini }] }
stages:
  model:
    each: [source]
    use: checkpoint
    with: { hub: \"${source.hub}\", revision: main }
profiles:
  more: { axes: { source: [\"${axes.source}\", { id: two, hub: other/vit_mini }] } }
";

fn run(space: &TestSpace, hub: &Hub, arguments: &[&str]) -> crate::space::Outcome {
    let mut command = space.command(arguments);
    space.finish(
        command
            .env("HF_ENDPOINT", &hub.endpoint)
            .env("HF_TOKEN", "secret"),
    )
}

#[test]
fn moving_names_are_written_down_as_commits() {
    let space = TestSpace::new();
    let hub = Hub::serving(Vec::new())
        .named(&"d".repeat(64))
        .asking_for("secret");
    space.write("x.yaml", WORKFLOW);
    let loose = run(&space, &hub, &["run", "x.yaml"]);
    assert!(
        loose
            .stderr
            .contains("warning: 1 checkpoint of model may change"),
        "{loose}"
    );

    let before = hub.seen().len();
    let said = run(&space, &hub, &["lock", "x.yaml"]).expect(0);
    insta::assert_snapshot!(space.read("x.yaml.lock"));
    assert!(said.stdout.contains("x.yaml.lock: 2 checkpoints"), "{said}");
    let asked: Vec<String> = hub.seen()[before..]
        .iter()
        .map(|it| it.path.clone())
        .collect();
    let path = |owner: &str| format!("/{owner}/vit_mini/resolve/main/model.safetensors");
    assert_eq!(asked, [path("lab"), path("other")], "nothing is downloaded");

    // The commit and the digest are in the key, and what is fetched is fetched at the commit.
    let plan = run(&space, &hub, &["why", "x.yaml", "model", "--json"])
        .expect(0)
        .stdout;
    assert!(
        plan.contains(&"c".repeat(40)) && plan.contains(&"d".repeat(64)),
        "{plan}"
    );
    let before = hub.seen().len();
    let pinned = run(&space, &hub, &["run", "x.yaml"]).expect(1);
    assert!(!pinned.stderr.contains("may change"), "{pinned}");
    let first = hub.seen()[before].path.clone();
    assert!(first.contains(&"c".repeat(40)), "{first}");

    // What is written down stays, until it is asked for anew.
    let before = hub.seen().len();
    run(&space, &hub, &["lock", "x.yaml"]).ok();
    assert_eq!(hub.seen().len(), before);
    run(&space, &hub, &["lock", "x.yaml", "--update"]).ok();
    assert_eq!(hub.seen().len(), before + 2);

    space.write("x.yaml.lock", "ribflow_lock: 2\ncheckpoints: []\n");
    let later = run(&space, &hub, &["plan", "x.yaml"]).expect(2);
    assert!(later.stderr.contains("has format 2"), "{later}");
    space.write("x.yaml.lock", "checkpoints: {");
    let broken = run(&space, &hub, &["plan", "x.yaml"]).expect(2);
    assert!(broken.stderr.contains("is not a lock file"), "{broken}");
    // A lock is a stranger's as often as not: what the language leaves out is left out here, too.
    for (text, told) in [
        ("ribflow_lock: &a 1\ncheckpoints: []\n", "line 1: anchors"),
        ("ribflow_lock: 1\ncheckpoints: !x []\n", "line 2: tags"),
        (
            "ribflow_lock: 1\nribflow_lock: 1\n",
            "line 2: `ribflow_lock` occurs here",
        ),
        (
            "ribflow_lock: 1\n---\nribflow_lock: 1\n",
            "a second one begins here",
        ),
        (
            "ribflow_lock: 1\nsuorces: []\n",
            "line 2: unknown field `suorces`",
        ),
        (
            &format!("ribflow_lock: 1\nsources: {}", "[".repeat(5000)),
            "nested more than",
        ),
    ] {
        space.write("x.yaml.lock", text);
        let refused = run(&space, &hub, &["plan", "x.yaml"]).expect(2);
        let is_told =
            refused.stderr.contains("is not a lock file") && refused.stderr.contains(told);
        assert!(is_told, "{told}: {refused}");
    }
}

#[test]
fn what_the_hub_does_not_have_leaves_no_lock() {
    let space = TestSpace::new();
    let hub = Hub::serving(Vec::new());
    space.write(
        "x.yaml",
        WORKFLOW.replace("lab/vit_mini", "absent/vit_mini"),
    );
    let refused = run(&space, &hub, &["lock", "x.yaml"]).expect(1);
    assert!(
        refused.stderr.contains("there is no such file"),
        "{refused}"
    );
    assert!(!space.path("x.yaml.lock").exists());
}
