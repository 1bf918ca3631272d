//! A real HyperQueue: workers in its queue, and a whole run.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ribflow::cluster::NoticeKind;

use super::commands::launcher;
use super::runs::GRID;
use super::stand_in::{Coordinator, Workplace, class, demand};
use crate::servers::own_tool;
use crate::space::TestSpace;

/// A server and a worker of HyperQueue, and a stand-in for `hq submit`, which its Python package does
/// not have: each file in a folder is a command line to submit.
const HYPERQUEUE: &str = r#"
import os, shlex, sys, time
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

folder = sys.argv[1]
with LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=2))
    client = cluster.client()
    print("ready", flush=True)
    while not os.path.exists(f"{folder}/stop"):
        for name in sorted(os.listdir(folder)):
            if name.endswith(".job"):
                path = f"{folder}/{name}"
                words = open(path).read().split("\0")[:-1]
                job = Job()
                job.program(words, stdout=f"{path}.out", stderr=f"{path}.err")
                client.submit(job)
                os.rename(path, f"{path}.submitted")
        time.sleep(0.1)
"#;

/// Writes a command line into the folder.
const SUBMIT: &str = "#!/bin/sh\nfolder=$1; shift; [ \"$1\" = -- ] && shift\n\
    printf '%s\\0' \"$@\" > \"$folder/new-$$\" && mv \"$folder/new-$$\" \"$folder/$$.job\"\n";

struct HyperQueue {
    process: Child,
    spool: PathBuf,
    launch: String,
}

impl HyperQueue {
    /// `None`: its package is not installed.
    fn start(space: &TestSpace) -> Option<Self> {
        let how = "target/test-tools/venv/bin/pip install hyperqueue";
        let python = own_tool(&["hyperqueue-python"], how)?;
        let server = space.write("server.py", HYPERQUEUE);
        let spool = space.path("spool");
        fs::create_dir_all(&spool).unwrap();
        let submit = space.write("submit.sh", SUBMIT);
        let process = Command::new(python)
            .arg(&server)
            .arg(&spool)
            .current_dir(space.root())
            // Workers get the environment of the server, whose folder of its own stays behind.
            .env("HOME", space.path("home"))
            .env("TMPDIR", &spool)
            .stdin(Stdio::null())
            .stdout(File::create(space.path("server.log")).unwrap())
            .stderr(File::create(space.path("server.err")).unwrap())
            .spawn()
            .unwrap();
        let launch = format!("sh {} {} -- {{worker}}", submit.display(), spool.display());
        Some(Self {
            process,
            spool,
            launch,
        })
    }

    fn stop(mut self) {
        fs::write(self.spool.join("stop"), "").unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_launch_line_reaches_hyperqueue() {
    let place = Workplace::new("serve");
    let Some(server) = HyperQueue::start(&place.space) else {
        return;
    };
    let mut coordinator = Coordinator::new(launcher(&place, &server.launch, 60.0), &place);
    // Two cores: two workers run, the third waits for one of them.
    let demands = [demand(class("cpu", 1), 3)];
    coordinator.until(&demands, |_| place.here() == 2);
    coordinator.go_on(&demands, 2);
    assert_eq!(place.here(), 2);
    place.enough();
    coordinator.until(&[], |_| place.files("left").len() == 3);
    server.stop();
    let kinds: Vec<NoticeKind> = coordinator.notices.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [NoticeKind::Submitted], "{:?}", coordinator.notices);
}

/// The workflow that Slurm's tests run, too.
#[test]
fn a_run_through_hyperqueue_has_the_results_of_a_local_one() {
    let space = TestSpace::new();
    let Some(server) = HyperQueue::start(&space) else {
        return;
    };
    space.write("grid.yaml", GRID);
    let site = "workers: 3\ncommand: { time: 10m }\n";
    space.write("home/.config/ribflow/cluster.yaml", site);
    let run = [
        "run",
        "grid.yaml",
        "--executor",
        "command",
        "--launch",
        &server.launch,
    ];
    space.run(&run).ok();
    server.stop();
    let ran = space.read("home/ran");
    let mut nodes: Vec<&str> = ran.lines().collect();
    assert_eq!(nodes.len(), 17, "{ran}");
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 17, "{ran}");
    let local = ["run", "grid.yaml", "--store", "alone", "--out", "out-alone"];
    space.run(&local).ok();
    let results = |folder: &str| space.read(&format!("{folder}/grid/results.json"));
    assert_eq!(results("out"), results("out-alone"));
}
