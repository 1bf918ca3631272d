//! A stand-in for a worker, and the loop of a coordinator around a launcher.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ribflow::cluster::slurm::{Calls, Pace, Patience, SlurmLauncher, SlurmSettings};
use ribflow::cluster::supply::Limits;
use ribflow::cluster::{
    ClusterError, Demand, Joined, Launcher, Notice, NoticeKind, PlaceClass, Presence, Programs,
    WorkerLine,
};

use super::private_slurm::PrivateSlurm;
use crate::space::TestSpace;

/// The worker: `worker.sh FOLDER --name NAME …`. It writes `NAME.pid` when it joins, `NAME.claimed` when
/// it claims a node, `NAME.left` when it leaves. What it does is in `FOLDER/does` when it begins: serve
/// (until `FOLDER/enough` exists), stubborn (the same, deaf to the warning), die, join-and-die,
/// claim-and-die, silent.
const WORKER: &str = r#"#!/bin/bash
folder=$1; shift
line="$*"
while [ $# -gt 0 ]; do
    [ "$1" = --name ] && name=$2
    shift
done
does=$(cat "$folder/does")
echo "I am $name and shall $does"
[ "$does" = die ] && { echo "no such file: libribflow.so" >&2; exit 127; }
[ "$does" = silent ] && exec sleep 600
echo "$line" >"$folder/$name.line"
echo "node ${SLURMD_NODENAME:-none} gpus ${CUDA_VISIBLE_DEVICES:-none}" >"$folder/$name.place"
echo $$ >"$folder/$name.new"; mv "$folder/$name.new" "$folder/$name.pid"
[ "$does" = join-and-die ] && exit 1
touch "$folder/$name.claimed"
[ "$does" = claim-and-die ] && exit 1
leave() { echo "$1" >"$folder/$name.leaves"; mv "$folder/$name.leaves" "$folder/$name.left"; exit 0; }
if [ "$does" = stubborn ]; then trap '' USR1; else trap 'leave warned' USR1; fi
while ! [ -e "$folder/enough" ]; do sleep 0.2; done
leave enough
"#;

/// A folder in which workers say what they do.
pub struct Workplace {
    pub space: TestSpace,
}

impl Workplace {
    pub fn new(does: &str) -> Self {
        let space = TestSpace::new();
        space.write("worker.sh", WORKER);
        let place = Self { space };
        place.shall(does);
        place
    }

    /// What workers that begin from now on do.
    pub fn shall(&self, does: &str) {
        self.space.write("state/does", does);
    }

    /// The workers that serve leave.
    pub fn enough(&self) {
        self.space.write("state/enough", "");
    }

    pub fn state(&self) -> PathBuf {
        self.space.path("state")
    }

    pub fn line(&self, run: &str) -> WorkerLine {
        let script = self.space.path("worker.sh").display().to_string();
        WorkerLine {
            run: run.to_string(),
            words: vec![
                "bash".to_string(),
                script,
                self.state().display().to_string(),
            ],
            folder: self.space.root(),
            logs: self.space.path("logs"),
        }
    }

    /// What the store would say. A heart beats as long as the process lives.
    pub fn joined(&self) -> Vec<Joined> {
        let mut joined = Vec::new();
        for (name, process) in self.files("pid") {
            let has = |what: &str| self.state().join(format!("{name}.{what}")).exists();
            let lives = Path::new("/proc").join(process.trim()).exists();
            // In this order: a worker says that it leaves before it ends.
            let presence = match (lives, has("left")) {
                (_, true) => Presence::Left,
                (true, false) => Presence::Here,
                (false, false) => Presence::Lost,
            };
            joined.push(Joined {
                claimed: has("claimed"),
                presence,
                name,
            });
        }
        joined
    }

    /// The content of `NAME.END` by name.
    pub fn files(&self, end: &str) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.state()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let paths = paths.filter(|path| path.extension().is_some_and(|it| it == end));
        paths
            .map(|path| {
                let name = path.file_stem().unwrap().to_str().unwrap().to_string();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect()
    }

    /// How many workers are present.
    pub fn here(&self) -> usize {
        let joined = self.joined();
        let here = joined.iter().filter(|one| one.presence == Presence::Here);
        here.count()
    }
}

/// Times for tests: seconds instead of minutes.
pub fn pace() -> Pace {
    Pace {
        limits: Limits {
            workers: 8,
            batch: 4,
            apart: 0.3,
            first_pause: 1.0,
            longest_pause: 2.0,
            ..Limits::default()
        },
        patience: Patience {
            settle: 1.5,
            doubt: 3.0,
            join: 5.0,
        },
        calls: Calls {
            burst: 1000.0,
            per_hour: 3600.0,
        },
    }
}

pub fn settings() -> SlurmSettings {
    SlurmSettings {
        poll: 1,
        ..SlurmSettings::default()
    }
}

pub fn class(name: &str, cpus: u32) -> PlaceClass {
    PlaceClass {
        name: name.to_string(),
        cpus,
        mem: Some(100 << 20),
        ..PlaceClass::default()
    }
}

pub fn demand(class: PlaceClass, ready: usize) -> Demand {
    Demand {
        class,
        ready,
        seconds: None,
    }
}

/// A coordinator around a launcher.
pub struct Coordinator<'a> {
    pub launcher: Box<dyn Launcher>,
    pub notices: Vec<Notice>,
    place: &'a Workplace,
}

impl<'a> Coordinator<'a> {
    pub fn new(launcher: impl Launcher + 'static, place: &'a Workplace) -> Self {
        Self {
            launcher: Box::new(launcher),
            notices: Vec::new(),
            place,
        }
    }

    pub fn slurm(slurm: &PrivateSlurm, place: &'a Workplace, settings: SlurmSettings) -> Self {
        Self::with(slurm.programs(), place, settings)
    }

    pub fn with(programs: Programs, place: &'a Workplace, settings: SlurmSettings) -> Self {
        let line = place.line("r1");
        Self::new(SlurmLauncher::new(line, settings, pace(), programs), place)
    }

    pub fn step(&mut self, demands: &[Demand]) -> Result<(), ClusterError> {
        let notices = self.launcher.supply(demands, &self.place.joined())?;
        self.notices.extend(notices);
        Ok(())
    }

    /// Goes on until `is_done`, for at most a minute and a half.
    #[track_caller]
    pub fn until(&mut self, demands: &[Demand], is_done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_done(self) {
            if let Err(error) = self.step(demands) {
                panic!("{error}\n{:#?}", self.notices);
            }
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{:#?}",
                self.notices
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Goes on for some seconds.
    #[track_caller]
    pub fn go_on(&mut self, demands: &[Demand], seconds: u64) {
        let begun = Instant::now();
        self.until(demands, |_| begun.elapsed() >= Duration::from_secs(seconds));
    }

    /// Goes on until the launcher gives up.
    #[track_caller]
    pub fn until_error(&mut self, demands: &[Demand]) -> ClusterError {
        let begun = Instant::now();
        loop {
            if let Err(error) = self.step(demands) {
                return error;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{:#?}",
                self.notices
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The messages of one kind.
    pub fn said(&self, kind: NoticeKind) -> Vec<&str> {
        let notices = self.notices.iter().filter(|notice| notice.kind == kind);
        notices.map(|notice| notice.message.as_str()).collect()
    }

    pub fn has_said(&self, kind: NoticeKind, words: &str) -> bool {
        self.said(kind)
            .iter()
            .any(|message| message.contains(words))
    }
}
