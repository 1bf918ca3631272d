//! What the machine does to workers: preemption, drained and lost nodes, limits of time.

use std::time::{Duration, Instant};

use ribflow::cluster::NoticeKind;
use ribflow::cluster::slurm::{Request, SlurmSettings};

use super::private_slurm::PrivateSlurm;
use super::stand_in::{Coordinator, Workplace, class, demand, settings};

fn in_partition(partition: &str, time: u64) -> SlurmSettings {
    SlurmSettings {
        request: Request {
            partition: Some(partition.to_string()),
            time,
            ..Request::default()
        },
        ..settings()
    }
}

/// Under `PreemptMode=CANCEL` nothing is requeued, under `REQUEUE` a job without it is cancelled, too.
#[test]
fn preempted_workers_are_asked_for_again() {
    let Some(slurm) = PrivateSlurm::start(&[("NODES", "1"), ("CPUS", "2"), ("GPUS", "0")]) else {
        return;
    };
    for partition in ["low-cancel", "low-requeue"] {
        let place = Workplace::new("stubborn");
        let mut coordinator = Coordinator::slurm(&slurm, &place, in_partition(partition, 3600));
        let demands = [demand(class("cpu", 1), 2)];
        coordinator.until(&demands, |_| place.here() == 2);
        let urgent = ["-p", "high", "-c", "2", "-o", "/dev/null", "-J", "urgent"];
        let urgent = [&urgent[..], &["--wrap", "sleep 600"]].concat();
        slurm.ask("sbatch", &urgent);
        // The workers of the partition before may still be in the queue, as cancelled.
        coordinator.until(&demands, |it| {
            let lost = it.said(NoticeKind::Lost);
            let preempted = lost.iter().filter(|said| said.contains("was preempted"));
            preempted.count() == 2
        });
        slurm.ask("scancel", &["--name", "urgent"]);
        coordinator.until(&demands, |_| place.here() == 2);
        assert_eq!(place.files("pid").len(), 4);
        coordinator.launcher.close(true);
        coordinator.until(&[], |_| place.here() == 0);
    }
}

/// Workers on a drained node go on; new ones come on other nodes. Someone cancels a worker.
#[test]
fn drained_nodes_and_cancelled_workers() {
    let Some(slurm) = PrivateSlurm::start(&[("NODES", "2"), ("CPUS", "2"), ("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("stubborn");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    coordinator.until(&[demand(class("cpu", 1), 2)], |_| place.here() == 2);
    let node_of = |jobs: &[String], at: usize| jobs[at].split(' ').nth(2).unwrap().to_string();
    let first = node_of(&slurm.jobs("rf-r1-"), 0);
    let state = [
        "update",
        &format!("nodename={first}"),
        "state=drain",
        "reason=test",
    ];
    slurm.ask("scontrol", &state);
    let demands = [demand(class("cpu", 1), 4)];
    coordinator.until(&demands, |_| {
        place.here() == 4 || slurm.jobs("rf-r1-").len() > 4
    });
    coordinator.go_on(&demands, 2);
    let jobs = slurm.jobs("rf-r1-");
    let on_first = jobs.iter().filter(|job| job.ends_with(&first)).count();
    assert!(on_first <= 2, "{jobs:?}");
    assert!(coordinator.said(NoticeKind::Lost).is_empty());
    // Cancelled by hand: the machine's doing.
    let name = jobs[0].split(' ').next().unwrap();
    slurm.ask("scancel", &["--name", name]);
    coordinator.until(&demands, |it| {
        it.has_said(NoticeKind::Lost, "was cancelled")
    });
    coordinator.launcher.close(true);
}

/// The warning comes 90 s before the end: with a minute, at the start.
#[test]
fn a_worker_is_warned_before_its_time_is_up() {
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("serve");
    let mut coordinator = Coordinator::slurm(&slurm, &place, in_partition("main", 60));
    let demands = [demand(class("cpu", 1), 1)];
    let warned = |how: &String| how.trim() == "warned";
    coordinator.until(&demands, |_| place.files("left").values().any(warned));
    coordinator.launcher.close(true);
}

/// A worker that is deaf to the warning is ended at the limit, which is not its failure. Slurm takes two
/// minutes for it: on request, by `RIBFLOW_TEST_SLURM=1`.
#[test]
fn a_worker_that_stays_beyond_its_time_is_lost() {
    if std::env::var_os("RIBFLOW_TEST_SLURM").is_none() {
        println!("skipped: takes minutes; RIBFLOW_TEST_SLURM=1 runs it");
        return;
    }
    let Some(slurm) = PrivateSlurm::start(&[("GPUS", "0")]) else {
        return;
    };
    let place = Workplace::new("stubborn");
    let mut coordinator = Coordinator::slurm(&slurm, &place, in_partition("main", 60));
    let demands = [demand(class("cpu", 1), 1)];
    let begun = Instant::now();
    while !coordinator.has_said(NoticeKind::Lost, "reached its time limit") {
        coordinator.go_on(&demands, 1);
        assert!(
            begun.elapsed() < Duration::from_secs(240),
            "{:#?}",
            coordinator.notices
        );
    }
    coordinator.until(&demands, |_| place.here() == 1);
    assert!(coordinator.said(NoticeKind::Died).is_empty());
    coordinator.launcher.close(true);
}

/// A node that stops answering: its worker is lost, and another comes elsewhere.
#[test]
fn a_lost_node_takes_its_worker_along() {
    let Some(slurm) =
        PrivateSlurm::start(&[("NODES", "2"), ("GPUS", "0"), ("SLURMD_TIMEOUT", "10")])
    else {
        return;
    };
    let place = Workplace::new("stubborn");
    let mut coordinator = Coordinator::slurm(&slurm, &place, settings());
    let demands = [demand(class("cpu", 1), 1)];
    coordinator.until(&demands, |_| place.here() == 1);
    let node = place.files("place").values().next().unwrap().clone();
    let node = node.split(' ').nth(1).unwrap();
    slurm.control(&["kill-node", node]);
    coordinator.until(&demands, |it| !it.said(NoticeKind::Lost).is_empty());
    coordinator.until(&demands, |_| place.here() == 1);
    assert!(
        coordinator.said(NoticeKind::Died).is_empty(),
        "{:?}",
        coordinator.notices
    );
    coordinator.launcher.close(true);
}
