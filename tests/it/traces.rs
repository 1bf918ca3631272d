//! What `trace` and `stats` say of a run.

use serde_json::Value;

use crate::space::TestSpace;

const WORKFLOW: &str = r#"
ribflow: 1
name: timed
params: { last: ok }
axes: { i: [1, 2, 3] }
stages:
  slow:
    each: [i]
    use: command
    with: { run: "sleep 0.3; echo ${i} > out/x", outputs: [x] }
  quick:
    each: [i]
    use: command
    needs: { x: slow }
    with: { run: "test ${params.last} = ok -o ${i} != 3; cat x/x > out/y", outputs: [y] }
"#;

fn stage<'a>(stats: &'a Value, name: &str) -> &'a Value {
    let stages = stats["stages"].as_array().unwrap();
    let found = stages.iter().find(|stage| stage["stage"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {stats}"))
}

#[test]
fn what_ran_was_reused_and_failed_is_counted_by_stage() {
    let space = TestSpace::new();
    space.write("timed.yaml", WORKFLOW);
    let none = space.run(&["stats"]).stderr;
    assert!(none.contains("no run"), "{none}");
    let _ = space.run(&["run", "timed.yaml"]).expect(0);
    let first = space.run(&["stats", "--json"]).json();
    let slow = stage(&first, "slow");
    assert_eq!((&slow["ran"], &slow["reused"]), (&3.into(), &0.into()));
    assert!(slow["seconds"].as_f64().unwrap() >= 0.9, "{first}");
    assert_eq!(slow["saved_seconds"], 0.0);
    assert!(
        first["slowest"][0]["node"]
            .as_str()
            .unwrap()
            .starts_with("slow")
    );

    let other = [
        "run",
        "timed.yaml",
        "--set",
        "params.last=no",
        "--keep-going",
    ];
    let _ = space.run(&other).expect(1);
    let second = space.run(&["stats", "--json"]).json();
    assert_ne!(second["run"], first["run"]);
    let (slow, quick) = (stage(&second, "slow"), stage(&second, "quick"));
    assert_eq!((&slow["ran"], &slow["reused"]), (&0.into(), &3.into()));
    // What they took when they ran.
    assert!(slow["saved_seconds"].as_f64().unwrap() >= 0.9, "{second}");
    assert_eq!((&quick["ran"], &quick["failed"]), (&2.into(), &1.into()));

    // An earlier run by its id, and a run that is not there.
    let id = first["run"].as_str().unwrap();
    assert_eq!(space.run(&["stats", id, "--json"]).json(), first);
    let text = space.run(&["stats"]).expect(0).stdout;
    assert!(text.contains("the store saved"), "{text}");
    let missing = space
        .run(&["trace", "20260101-000000-000-000000"])
        .expect(1)
        .stderr;
    assert!(missing.contains("has no run"), "{missing}");

    let traced = space.run(&["trace", "-o", "trace.json"]).expect(0);
    assert!(traced.stdout.contains("3 executions"), "{traced}");
    let trace: Value = serde_json::from_str(&space.read("trace.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let ends = |end: &str| {
        events
            .iter()
            .filter(|event| event["args"]["end"] == end)
            .count()
    };
    assert_eq!((ends("done"), ends("failed")), (2, 1), "{trace}");
    let mut running = events.iter().filter(|event| event["name"] == "running");
    assert_eq!(running.next_back().unwrap()["args"]["nodes"], 0);
}
