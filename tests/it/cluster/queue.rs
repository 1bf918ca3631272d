//! Submissions, the queue, resumed coordinators, ends.

use std::os::unix::fs::PermissionsExt;

use ribflow::cluster::slurm::{Request, SlurmLauncher, SlurmSettings};
use ribflow::cluster::{ClusterError, NoticeKind, PlaceClass};

use super::private_slurm::PrivateSlurm;
use super::stand_in::{Coordinator, Workplace, class, demand, pace, settings};

/// One array for each class; workers come, claim, leave, and nothing is asked for twice.
#[test]
fn workers_come_where_there_is_work_and_no_more() {
    let Some(slurm) = PrivateSlurm::start(&[]) else {
        return;
    };
    let place = Workplace::new("serve");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    let gpu = PlaceClass {
        gpus: 2,
        ..class("gpu", 1)
    };
    let only = PlaceClass {
        only: Some("train[seed=0]".to_string()),
        ..class("only-1", 2)
    };
    let demands = [demand(class("cpu", 1), 3), demand(gpu, 1), demand(only, 1)];
    coordinator.until(&demands, |_| place.here() == 5);
    coordinator.go_on(&demands, 3);
    let jobs = slurm.jobs("rf-r1-");
    assert_eq!(jobs.len(), 5, "{jobs:?}");
    // Three arrays, one submission each.
    assert_eq!(coordinator.said(NoticeKind::Submitted).len(), 3);
    let places = place.files("place");
    let gpus = places.iter().find(|(name, _)| name.starts_with("gpu-"));
    assert!(gpus.unwrap().1.contains("node n3 gpus 0,1"), "{places:?}");
    let lines = place.files("line");
    let only = lines.iter().find(|(name, _)| name.starts_with("only-1-"));
    let (name, line) = only.unwrap();
    let expected = format!(
        "--name {name} --cpus 2 --gpus 0 --mem 104857600 --time 14400 --only train[seed=0]"
    );
    assert_eq!(line.trim(), expected);
    place.enough();
    coordinator.until(&[], |_| place.here() == 0);
    coordinator.go_on(&[], 3);
    assert_eq!(slurm.jobs("rf-r1-").len(), 5);
    let kinds: Vec<NoticeKind> = coordinator.notices.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [NoticeKind::Submitted; 3]);
}

/// Where all workers have joined, the store says everything: Slurm is not called.
#[test]
fn a_run_whose_workers_are_there_leaves_slurm_alone() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let calls = place.space.path("calls");
    for program in ["sbatch", "squeue", "scontrol", "sacct", "scancel"] {
        let calls = calls.display();
        let script =
            format!("#!/bin/sh\necho {program} >>{calls}\nexec /usr/bin/{program} \"$@\"\n");
        let path = place.space.write(&format!("bin/{program}"), script);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut programs = slurm.programs();
    let path = format!("{}:/usr/bin:/bin", place.space.path("bin").display());
    programs.variables.push(("PATH".into(), path.into()));
    let mut coordinator = Coordinator::with(programs, &place, settings());
    let demands = [demand(class("cpu", 1), 3)];
    coordinator.until(&demands, |_| place.here() == 3);
    let called = || place.space.read("calls");
    let before = called();
    coordinator.go_on(&demands, 4);
    assert_eq!(called(), before);
    assert!(before.starts_with("scontrol\nsqueue\nsbatch\n"), "{before}");
    coordinator.launcher.close(true);
}

/// The cluster is full: a short queue waits, and another coordinator of the run counts it.
#[test]
fn a_full_cluster_gets_a_short_queue_that_a_resumed_run_finds() {
    let Some(slurm) = PrivateSlurm::start(&[("NODES", "1"), ("CPUS", "2"), ("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let demands = [demand(class("cpu", 1), 100)];
    let mut first = Coordinator::slurm(&slurm, &place, settings());
    first.until(&demands, |_| place.here() == 2);
    first.go_on(&demands, 3);
    // Eight workers at most: 4 and 4.
    assert_eq!(slurm.jobs("rf-r1-").len(), 8);
    drop(first);

    let mut second = Coordinator::slurm(&slurm, &place, settings());
    second.go_on(&demands, 4);
    assert_eq!(slurm.jobs("rf-r1-").len(), 8, "{:?}", second.notices);
    assert!(second.has_said(
        NoticeKind::Found,
        "8 workers of this run found in the queue"
    ));

    // What waits is cancelled; what runs stays.
    second.launcher.close(false);
    let running = |slurm: &PrivateSlurm| {
        let jobs = slurm.jobs("rf-r1-");
        let running = jobs.iter().filter(|job| job.contains(" RUNNING "));
        let pending = jobs.iter().filter(|job| job.contains(" PENDING "));
        (running.count(), pending.count())
    };
    assert_eq!(running(&slurm), (2, 0));
    second.launcher.close(true);
    assert_eq!(running(&slurm).0, 0);
}

/// An array is not larger than the cluster allows.
#[test]
fn arrays_obey_the_limit_of_the_cluster() {
    let Some(slurm) = PrivateSlurm::start(&[("MAX_ARRAY", "2"), ("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    let demands = [demand(class("cpu", 1), 3)];
    coordinator.until(&demands, |_| place.here() == 3);
    let sizes = coordinator.said(NoticeKind::Submitted);
    assert!(
        sizes[0].contains(": 2 workers of class cpu for 4 h"),
        "{sizes:?}"
    );
    assert!(
        sizes[1].contains(": 1 worker of class cpu for 4 h"),
        "{sizes:?}"
    );
    coordinator.launcher.close(true);
}

#[test]
fn three_workers_that_die_without_claiming_end_the_submitting() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    for (run, does, words) in [
        ("r1", "die", "no such file: libribflow.so"),
        ("r2", "join-and-die", "shall join-and-die"),
    ] {
        let place = Workplace::new(does);
        let launcher = SlurmLauncher::new(place.line(run), settings(), pace(), slurm.programs());
        let mut coordinator = Coordinator::new(launcher, &place);
        let error = coordinator.until_error(&[demand(class("cpu", 1), 50)]);
        assert!(matches!(error, ClusterError::Died { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("one after another without claiming"),
            "{message}"
        );
        assert!(message.contains(words), "{message}");
        assert!(coordinator.has_said(NoticeKind::Died, "failed before it claimed a node"));
        // No more than the short queue that was there before the first death was known.
        let submitted = coordinator.said(NoticeKind::Submitted).len();
        assert!(submitted <= 2, "{:#?}", coordinator.notices);
    }
}

/// Workers that had claimed nodes do not count as dead, and the user hears of them.
#[test]
fn workers_that_fail_after_they_claimed_are_replaced() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("claim-and-die");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    let demands = [demand(class("cpu", 1), 2)];
    coordinator.until(&demands, |it| it.said(NoticeKind::Failed).len() >= 4);
    place.shall("serve");
    coordinator.until(&demands, |_| place.here() == 2);
    coordinator.launcher.close(true);
}

/// A job that can't start is explained, one that is refused is not asked for for ever.
#[test]
fn impossible_wishes_are_refused_or_explained() {
    let Some(slurm) = PrivateSlurm::start(&[]) else {
        return;
    };
    let place = Workplace::new("serve");
    let in_partition = |partition: &str| SlurmSettings {
        request: Request {
            partition: Some(partition.to_string()),
            ..settings().request
        },
        ..settings()
    };
    let demands = [demand(class("cpu", 1), 1)];
    let mut coordinator = Coordinator::slurm(&slurm, &place, in_partition("mian"));
    let error = coordinator.until_error(&demands);
    let message = error.to_string();
    assert!(
        message.contains("Invalid partition name specified"),
        "{message}"
    );
    assert!(error.hint().contains("ribflow slurm check"));
    assert!(coordinator.said(NoticeKind::Refused).len() >= 4);
    // Four hours in a partition of two minutes.
    let mut coordinator = Coordinator::slurm(&slurm, &place, in_partition("short"));
    coordinator.until(&demands, |it| {
        it.has_said(NoticeKind::Waiting, "(PartitionTimeLimit)")
    });
    coordinator.launcher.close(true);
    assert_eq!(
        slurm
            .jobs("rf-r1-")
            .iter()
            .filter(|job| job.contains("PENDING"))
            .count(),
        0
    );
}

/// A job runs, but its worker does not join: the user hears of it.
#[test]
fn a_worker_that_never_joins_is_mentioned() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("silent");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    let demands = [demand(class("cpu", 1), 1)];
    let words = "runs, but the worker has not joined";
    coordinator.until(&demands, |it| it.has_said(NoticeKind::Waiting, words));
    assert_eq!(slurm.jobs("rf-r1-").len(), 1);
    coordinator.launcher.close(true);
}
