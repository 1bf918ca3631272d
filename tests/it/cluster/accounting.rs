//! `sacct` explains jobs that the controller has forgotten, where it works; elsewhere nothing waits
//! for it. The programs are fakes: an accounting needs a database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ribflow::cluster::{ClusterError, NoticeKind, Programs};

use super::stand_in::{Coordinator, Workplace, class, demand, settings};

/// A cluster that forgets jobs at once, with this `sacct`.
fn forgetful(place: &Workplace, sacct: &str) -> Programs {
    let root = place.space.root().display().to_string();
    let fakes = [
        ("squeue", "true".to_string()),
        ("scontrol", "echo 'MaxArraySize = 1001'".to_string()),
        ("scancel", "true".to_string()),
        // The worker begins and ends, as its log shows.
        (
            "sbatch",
            r#"while [ $# -gt 0 ]; do
    case $1 in
        -J) name=${2#rf-r1-} ;;
        -o) log=$2 ;;
    esac
    shift
done
echo "cannot read the store" > "$(dirname "$log")/$name-0.log"
echo "rf-r1-$name" >> ROOT/names
echo 1"#
                .to_string(),
        ),
        (
            "sacct",
            format!("echo \"$*\" >> ROOT/asked\nname=$(tail -n 1 ROOT/names)\n{sacct}"),
        ),
    ];
    for (name, body) in fakes {
        let script = format!("#!/bin/sh\n{body}\n").replace("ROOT", &root);
        let path = place.space.write(&format!("bin/{name}"), script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{root}/bin:/usr/bin:/bin");
    Programs {
        limit: Duration::from_secs(2),
        variables: vec![("PATH".into(), path.into())],
    }
}

#[test]
fn the_accounting_tells_the_machine_from_the_worker() {
    let place = Workplace::new("serve");
    let programs = forgetful(&place, "echo \"1_0|PREEMPTED|0:15|n1|$name\"");
    let mut coordinator = Coordinator::with(programs, &place, settings());
    let demands = [demand(class("cpu", 1), 1)];
    // Far more than three, none of them dead of itself.
    coordinator.until(&demands, |it| it.said(NoticeKind::Lost).len() >= 5);
    assert!(
        coordinator
            .said(NoticeKind::Lost)
            .iter()
            .all(|it| it.contains("was preempted"))
    );
    let asked = place.space.read("asked");
    assert!(asked.contains("--starttime"), "{asked}");
}

#[test]
fn without_accounting_the_log_tells_that_a_worker_began() {
    for sacct in [
        "echo 'Slurm accounting storage is disabled' >&2; exit 1",
        "sleep 60",
        "exit 1",
    ] {
        let place = Workplace::new("serve");
        let mut coordinator = Coordinator::with(forgetful(&place, sacct), &place, settings());
        let error = coordinator.until_error(&[demand(class("cpu", 1), 1)]);
        assert!(
            matches!(error, ClusterError::Died { count: 3, .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("cannot read the store"),
            "{error}"
        );
        // An accounting that does not work is not asked for each job.
        assert_eq!(place.space.read("asked").lines().count(), 1, "{sacct}");
    }
}
