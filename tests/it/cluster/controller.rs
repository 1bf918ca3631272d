//! Controllers that die, that do not answer, and submissions without an answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ribflow::cluster::{NoticeKind, Programs};

use super::private_slurm::PrivateSlurm;
use super::runs::GRID;
use super::stand_in::{Coordinator, Workplace, class, demand, settings};
use crate::space::{RUN, TestSpace};

/// The controller dies within seconds of a submission: it has never written it down, and gives the
/// number to the next job. That is noticed, and the workers are asked for again.
#[test]
fn a_submission_that_slurm_forgets_is_made_again() {
    let Some(slurm) = PrivateSlurm::start(&[("NODES", "1"), ("CPUS", "1"), ("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    // Someone else has the node: nothing starts, so no file of a worker shows what happened.
    let other = ["--parsable", "-c", "1", "-o", "/dev/null", "-J", "other"];
    let other = [&other[..], &["--wrap", "sleep 600"]].concat();
    slurm.ask("sbatch", &other);
    // Until the controller has written that down.
    std::thread::sleep(Duration::from_secs(7));
    let demands = [demand(class("cpu", 1), 1)];
    coordinator.until(&demands, |it| !it.said(NoticeKind::Submitted).is_empty());
    let first = coordinator.said(NoticeKind::Submitted)[0].to_string();
    slurm.control(&["kill-controller"]);
    slurm.control(&["start"]);
    let forgotten = slurm.jobs("rf-r1-").is_empty();
    let again = slurm.ask("sbatch", &other);
    coordinator.go_on(&demands, 6);
    if forgotten {
        // The same number, for another job.
        assert!(
            first.contains(&format!("job {}:", again.trim())),
            "{first} {again}"
        );
        let lost = coordinator.said(NoticeKind::Lost);
        assert!(
            lost[0].contains("was forgotten by Slurm before it started"),
            "{lost:?}"
        );
        coordinator.until(&demands, |it| it.said(NoticeKind::Submitted).len() == 2);
    }
    assert_eq!(slurm.jobs("rf-r1-").len(), 1);
    slurm.ask("scancel", &["--name", "other"]);
    coordinator.until(&demands, |_| place.here() == 1);
    coordinator.launcher.close(true);
}

/// While the controller is away nothing is concluded, nothing submitted; workers go on.
#[test]
fn a_controller_that_is_away_means_nothing() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let programs = Programs {
        limit: Duration::from_secs(5),
        ..slurm.programs()
    };
    let mut coordinator = Coordinator::with(programs, &place, settings());
    coordinator.until(&[demand(class("cpu", 1), 2)], |_| place.here() == 2);
    slurm.control(&["kill-controller"]);
    let more = [demand(class("cpu", 1), 3)];
    coordinator.until(&more, |it| {
        it.has_said(NoticeKind::Unreachable, "does not answer")
    });
    coordinator.go_on(&more, 4);
    assert_eq!(place.here(), 2);
    assert!(coordinator.said(NoticeKind::Lost).is_empty());
    slurm.control(&["start"]);
    coordinator.until(&more, |it| {
        it.has_said(NoticeKind::Unreachable, "answers again")
    });
    coordinator.until(&more, |_| place.here() == 3);
    // The submission in between was either made or not, and is there once.
    coordinator.go_on(&more, 3);
    assert_eq!((place.here(), slurm.jobs("rf-r1-").len()), (3, 3));
    coordinator.launcher.close(true);
}

/// Programs of Slurm that do not end: the run says so before it ends the call, and so does `status`.
#[test]
fn a_call_without_an_answer_is_reported_while_it_lasts() {
    let space = TestSpace::new();
    space.write("grid.yaml", GRID);
    // They end when the folder of the test is removed.
    let hangs = "#!/bin/sh\nwhile [ -e \"$0\" ]; do sleep 0.2; done\n";
    for program in ["sbatch", "squeue", "sacct", "scancel", "scontrol"] {
        let fake = space.write(&format!("bin/{program}"), hangs);
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let words = [&RUN[..], &["--executor", "slurm"]].concat();
    let mut run = space.command(&words);
    run.env(
        "PATH",
        format!("{}:/usr/bin:/bin", space.path("bin").display()),
    );
    let log = fs::File::create(space.path("run.log")).unwrap();
    let mut run = run.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let words = "the scheduler has not answered for 10 s; workers go on";
    let begun = Instant::now();
    while !space.read("run.log").contains(words) {
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "{}",
            space.read("run.log")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = space.run(&["status", "grid.yaml", "--store", "store"]);
    run.kill().unwrap();
    run.wait().unwrap();
    let status = status.expect(0);
    assert!(
        status.stdout.ends_with(&format!("is active.\n{words}\n")),
        "{status}"
    );
    let log = space.read("run.log");
    assert!(!log.contains("Slurm does not answer"), "{log}");
}

/// An `sbatch` that hangs, before it has reached the controller or after.
#[test]
fn a_submission_without_an_answer_is_looked_for() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    for has_reached in [true, false] {
        let place = Workplace::new("serve");
        let real = match has_reached {
            true => "/usr/bin/sbatch \"$@\" >/dev/null",
            false => "true",
        };
        // The first call hangs; the others are as they should be.
        let script = format!(
            "#!/bin/sh\nif mkdir {}/first 2>/dev/null; then {real}; exec sleep 60; fi\nexec /usr/bin/sbatch \"$@\"\n",
            place.space.root().display()
        );
        let fake = place.space.write("bin/sbatch", script);
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let mut programs = slurm.programs();
        programs.limit = Duration::from_secs(2);
        let path = format!("{}:/usr/bin:/bin", place.space.path("bin").display());
        programs.variables.push(("PATH".into(), path.into()));
        let mut coordinator = Coordinator::with(programs, &place, settings());
        let demands = [demand(class("cpu", 1), 2)];
        coordinator.until(&demands, |_| place.here() == 2);
        coordinator.go_on(&demands, 5);
        assert_eq!(place.files("pid").len(), 2, "{:#?}", coordinator.notices);
        let kind = if has_reached {
            NoticeKind::Unreachable
        } else {
            NoticeKind::Refused
        };
        let words = if has_reached {
            "has not answered"
        } else {
            "has not received a submission"
        };
        assert!(
            coordinator.has_said(kind, words),
            "{:#?}",
            coordinator.notices
        );
        coordinator.launcher.close(true);
        coordinator.until(&[], |_| place.here() == 0);
    }
}
