//! Launch lines: a process of this machine, a detached one, and lines that fail.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ribflow::cluster::{ClusterError, CommandLauncher, LaunchSettings, NoticeKind, Programs};

use super::runs::GRID;
use super::stand_in::{Coordinator, Workplace, class, demand, pace};
use crate::space::{RUN, TestSpace};

pub fn launcher(place: &Workplace, launch: &str, join: f64) -> CommandLauncher {
    launcher_that_notices(place, launch, join, 600.0)
}

fn launcher_that_notices(
    place: &Workplace,
    launch: &str,
    join: f64,
    notice: f64,
) -> CommandLauncher {
    let settings = LaunchSettings {
        launch: launch.to_string(),
        join,
        notice,
        mem: None,
        time: Some(3600),
        limits: pace().limits,
    };
    CommandLauncher::new(place.line("r1"), settings, Programs::default()).unwrap()
}

/// A launch line may live as long as its worker (`ssh`), or end at once (`qsub`).
#[test]
fn workers_are_launched_in_the_foreground_and_detached() {
    for launch in [
        "{worker}",
        "sh -c 'setsid {worker} >{log} 2>&1 </dev/null &'",
    ] {
        let place = Workplace::new("serve");
        let mut coordinator = Coordinator::new(launcher(&place, launch, 30.0), &place);
        let demands = [demand(class("cpu", 2), 3)];
        coordinator.until(&demands, |_| place.here() == 3);
        coordinator.go_on(&demands, 2);
        assert_eq!(place.files("pid").len(), 3);
        let line = place.files("line").values().next().unwrap().clone();
        assert!(
            line.contains("--cpus 2 --gpus 0 --mem 104857600 --time 3600"),
            "{line}"
        );
        place.enough();
        coordinator.until(&[], |_| place.here() == 0);
        coordinator.go_on(&[], 1);
        let kinds: Vec<NoticeKind> = coordinator.notices.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [NoticeKind::Submitted], "{:?}", coordinator.notices);
    }
}

/// A line that fails is a refusal, which pauses and in the end ends the run.
#[test]
fn a_launch_line_that_fails_is_a_refusal() {
    let place = Workplace::new("serve");
    let line = "sh -c 'echo no such queue: {name} >&2; exit 3' {worker}";
    let mut coordinator = Coordinator::new(launcher(&place, line, 30.0), &place);
    let error = coordinator.until_error(&[demand(class("cpu", 1), 1)]);
    assert!(matches!(error, ClusterError::Launch { .. }), "{error}");
    assert!(error.to_string().contains("no such queue: cpu-"), "{error}");
    assert!(coordinator.has_said(NoticeKind::Refused, "exit status: 3"));

    // However many workers are asked for at once, they are refused once.
    let mut several = Coordinator::new(launcher(&place, line, 30.0), &place);
    several.until_error(&[demand(class("cpu", 1), 3)]);
    let submitted = several.said(NoticeKind::Submitted);
    assert!(submitted[0].starts_with("3 workers"), "{submitted:?}");
    assert_eq!(submitted.len(), 4, "{submitted:?}");
    assert_eq!(
        several.said(NoticeKind::Refused).len(),
        4,
        "{:?}",
        several.notices
    );

    let mut missing = Coordinator::new(launcher(&place, "ribflow-none {worker}", 30.0), &place);
    let error = missing.until_error(&[demand(class("cpu", 1), 1)]);
    assert!(matches!(error, ClusterError::Launch { .. }), "{error}");
}

/// A run that waits for a place says why, in another terminal, too.
#[test]
fn status_shows_the_refusal_that_a_run_waits_after() {
    let space = TestSpace::new();
    space.write("grid.yaml", GRID);
    let launch = "sh -c 'echo no such queue >&2; exit 3' {worker}";
    let words = ["--executor", "command", "--launch", launch];
    let mut run = space.command(&[&RUN[..], &words].concat());
    let log = fs::File::create(space.path("run.log")).unwrap();
    let mut run = run.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        let status = space.run(&["status", "grid.yaml", "--store", "store", "--json"]);
        let status = status.expect(0).json();
        let news = status["news"].as_str().unwrap_or_default();
        if news.contains("no such queue") || begun.elapsed() > Duration::from_secs(60) {
            break status;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    run.kill().unwrap();
    run.wait().unwrap();
    let news = status["news"].as_str().unwrap_or_default();
    assert!(
        news.starts_with("the launch line failed (exit status: 3): no such queue"),
        "{status}"
    );
}

/// Accepted, and never seen: lost, and after three of them the run ends.
#[test]
fn launched_workers_that_never_join_end_the_launching() {
    let place = Workplace::new("serve");
    let mut coordinator = Coordinator::new(launcher(&place, "echo {worker}", 0.5), &place);
    let error = coordinator.until_error(&[demand(class("cpu", 1), 1)]);
    assert!(
        matches!(error, ClusterError::NeverJoined { count: 3, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("worker.sh"), "{error}");
    assert!(coordinator.has_said(NoticeKind::Lost, "has not joined within"));
}

/// A line that ends well and starts nothing is reported once, long before its worker is lost.
#[test]
fn a_launch_line_that_starts_nothing_is_reported_once() {
    let place = Workplace::new("serve");
    let line = "sh -c 'echo usage: launch QUEUE; echo see the manual' {worker}";
    let launcher = launcher_that_notices(&place, line, 60.0, 0.2);
    let mut coordinator = Coordinator::new(launcher, &place);
    let demands = [demand(class("cpu", 1), 2)];
    coordinator.until(&demands, |it| !it.said(NoticeKind::Waiting).is_empty());
    coordinator.go_on(&demands, 1);
    let notices = coordinator.said(NoticeKind::Waiting);
    let expected = format!(
        "no worker has joined yet: the launch line `{line}` has ended well; its last line: see the manual"
    );
    assert_eq!(notices, [expected]);
}

/// Workers die before they claim a node.
#[test]
fn launched_workers_that_claim_nothing_end_the_launching() {
    let place = Workplace::new("join-and-die");
    let mut coordinator = Coordinator::new(launcher(&place, "{worker}", 30.0), &place);
    let error = coordinator.until_error(&[demand(class("cpu", 1), 5)]);
    assert!(matches!(error, ClusterError::Died { .. }), "{error}");
    assert!(error.to_string().contains("shall join-and-die"), "{error}");
}
