//! What status, the report and the counts of a run say of its workers.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::{Crew, GRID, Member, WAITING};

#[test]
fn a_failure_in_a_worker_fails_the_run_with_its_log() {
    let failing = GRID.replace("cat x", "echo looking; test ${i} != 3; cat x");
    let crew = Crew::new(&failing);
    let mut run = crew.coordinator(&["--keep-going"]);
    let mut workers = [crew.worker("w0", &[]), crew.worker("w1", &[])];
    assert_eq!(run.end(), Some(1));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    let log = crew.space.read("run.log");
    assert!(log.contains("failed   second[i=3]"), "{log}");
    let line = log.lines().find(|line| line.contains("log: ")).expect(&log);
    let path = line.split("log: ").nth(1).unwrap();
    assert!(crew.space.path(path).is_file(), "{path}");
    assert_eq!(
        crew.ran().get("second-3"),
        Some(&1),
        "it is not tried by each worker"
    );
    assert_eq!(crew.ran().len(), 12);
}

/// Forty nodes that take no time, and one that reads them all.
const SHORT: &str = r#"
ribflow: 1
name: grid
axes: { i: [NUMBERS] }
stages:
  part:
    each: [i]
    use: command
    with: { run: "echo ${i} > out/x", outputs: [x] }
  copy:
    each: [i]
    use: command
    needs: { x: part }
    with: { run: "cat x/x > out/x", outputs: [x] }
"#;

#[test]
fn what_workers_have_run_counts_as_run_and_not_as_reused() {
    let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let crew = Crew::new(&SHORT.replace("NUMBERS", &numbers.join(", ")));
    let out = fs::File::create(crew.space.path("events")).unwrap();
    let mut command = crew.command(&[&WAITING, &["--json"][..]].concat());
    let mut run = crew.spawn(command.stdout(out), "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let mut workers: Vec<Member> = (1..=3)
        .map(|index| crew.worker(&format!("w{index}"), &[]))
        .collect();
    assert_eq!(run.end(), Some(0));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    let events = crew.space.read("events");
    let summary: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["ran"], &summary["reused"]),
        (&Value::from(80), &Value::from(0))
    );
}

#[test]
fn status_names_the_workers_and_watches_until_the_run_ends() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &["--idle", "1s"]);
    crew.until("node", || !crew.ran().is_empty());
    let watch = ["status", "grid.yaml", "--store", "store", "--watch"];
    let watched = crew.space.run(&watch).expect(0);
    assert_eq!(run.end(), Some(0));
    assert_eq!(worker.end(), Some(0));
    assert!(watched.stdout.contains("]  on w at "), "{watched}");
    let ends = watched.stdout.rsplit("Run ").next().unwrap();
    assert!(ends.contains("ended after"), "{watched}");
}

#[test]
fn status_and_the_report_say_where_each_node_ran_and_waited() {
    // The second node of each chain waits for the first, which takes half a second.
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 0.5")
            .replace(", 3, 4, 5, 6]", "]"),
    );
    let mut run = crew.coordinator(&[]);
    let mut workers = [crew.worker("w0", &[]), crew.worker("w1", &[])];
    crew.all_end(&mut run, &mut workers);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();

    let status = ["status", "grid.yaml", "--store", "store"];
    let shown = crew.space.run(&status).expect(0).stdout;
    let line = shown
        .lines()
        .find(|line| line.starts_with("w0 "))
        .expect(&shown);
    assert!(line.contains(&host), "{shown}");
    let status = crew.space.run(&[&status[..], &["--json"]].concat()).json();
    let workers = status["workers"].as_array().unwrap();
    let names: Vec<&Value> = workers.iter().map(|worker| &worker["name"]).collect();
    assert_eq!(names, ["w0", "w1"]);
    let ran: u64 = workers
        .iter()
        .map(|worker| worker["ran"].as_u64().unwrap())
        .sum();
    assert_eq!(ran, 4);
    for worker in workers {
        assert_eq!(
            (&worker["host"], &worker["state"]),
            (&Value::from(host.as_str()), &Value::from("gone"))
        );
        let busy = worker["busy_seconds"].as_f64().unwrap();
        assert!(busy >= 0.5 * worker["ran"].as_f64().unwrap(), "{worker}");
    }
    for node in status["nodes"].as_array().unwrap() {
        assert!(names.contains(&&node["worker"]), "{node}");
        assert_eq!(node["host"], host.as_str());
        assert!(node["seconds"].as_f64().unwrap() >= 0.5, "{node}");
        assert!(node["waited_seconds"].as_f64().unwrap() >= 0.0, "{node}");
    }

    let provenance: Value =
        serde_json::from_str(&crew.space.read("out/grid/provenance.json")).unwrap();
    assert_eq!(provenance["workers"].as_array().unwrap().len(), 2);
    for node in provenance["nodes"].as_array().unwrap() {
        assert!(names.contains(&&node["worker"]), "{node}");
        assert!(node["waited_seconds"].is_number(), "{node}");
    }
    let page = crew.space.read("out/grid/report.html");
    assert!(
        page.contains(&format!("<td>{host}</td>")),
        "no machine on the page"
    );

    let trace = ["trace", "--store", "store"];
    let trace = crew.space.run(&trace).json();
    let events = trace["traceEvents"].as_array().unwrap();
    let spans: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(spans.len(), 4, "{trace}");
    let span = |id: &str| {
        let found = spans.iter().find(|span| span["name"] == id).unwrap();
        let [from, lasts] = ["ts", "dur"].map(|field| found[field].as_i64().unwrap());
        (from, lasts)
    };
    for chain in [1, 2] {
        let (from, lasts) = span(&format!("first[i={chain}]"));
        // Half a second, as the line of the node says, in microseconds.
        assert!(lasts >= 500_000, "{trace}");
        assert!(
            span(&format!("second[i={chain}]")).0 >= from + lasts,
            "{trace}"
        );
    }
    let text = trace.to_string();
    for name in ["w0", "w1"] {
        assert!(text.contains(&format!("\"{name} on {host}\"")), "{text}");
    }

    // A later run with nothing to do reports the machines of the run that has run the nodes.
    let again = ["run", "grid.yaml", "--store", "store", "--out", "out-again"];
    crew.command(&again).status().unwrap();
    let again: Value =
        serde_json::from_str(&crew.space.read("out-again/grid/provenance.json")).unwrap();
    assert_eq!(again["workers"], provenance["workers"]);

    // Nothing of it is in results, and nothing of it is in the report of a run without workers.
    let results = crew.space.read("out/grid/results.json");
    crew.is_complete();
    assert_eq!(crew.space.read("out-alone/grid/results.json"), results);
    let alone = crew.space.read("out-alone/grid/provenance.json");
    assert!(
        !alone.contains("waited") && !alone.contains("workers"),
        "{alone}"
    );
    let alone = crew.space.read("out-alone/grid/report.html");
    assert!(!alone.contains("waited"), "{alone}");
}

/// A second coordinator has a journal of its own, and the workers are those of the first.
#[test]
fn waiting_counts_from_the_last_input_and_from_the_start_of_the_run() {
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 0.6")
            .replace(", 2, 3, 4, 5, 6]", "]"),
    );
    let run = crew.coordinator(&[]);
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(700));
    let before = begun.elapsed().as_secs_f64();
    let mut worker = crew.worker("w", &[]);
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::KILL);
    drop(run);
    let mut resumed = crew.waiting("resumed.log", &[]);
    assert_eq!(resumed.end(), Some(0), "{}", crew.space.read("resumed.log"));
    assert_eq!(worker.end(), Some(0));
    let total = begun.elapsed().as_secs_f64();
    let status = ["status", "grid.yaml", "--store", "store", "--json"];
    let status = crew.space.run(&status).json();
    let waited = |stage: &str| {
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["stage"] == stage).unwrap();
        node["waited_seconds"].as_f64().unwrap()
    };
    assert!(waited("first") >= before, "{status}");
    // It did not wait while its input was made.
    assert!(waited("second") <= total - before - 1.2, "{status}");
}
