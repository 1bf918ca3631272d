//! What processes and folders take, sampled over a time, and whether it grows.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A run stays while a killed process still counts as one that writes, for a minute, and until it has not
/// been active for a few seconds. Collections are seconds apart.
const OLD: Duration = Duration::from_secs(90);

/// What is measured, and by how much it may vary without growing.
struct Gauge {
    name: String,
    read: Box<dyn Fn() -> Option<u64> + Send>,
    /// The median of the last quarter of the time may be this much higher than that of the second one.
    slack: u64,
    samples: Vec<u64>,
}

#[derive(Default)]
pub struct Gauges(Vec<Gauge>);

impl Gauges {
    /// The memory, the threads and the open files of a process.
    pub fn process(&mut self, name: &str, id: u32) {
        let folder = PathBuf::from(format!("/proc/{id}"));
        let line = |key: &'static str| {
            let status = folder.join("status");
            move || {
                let text = fs::read_to_string(&status).ok()?;
                let line = text.lines().find(|line| line.starts_with(key))?;
                line.split_whitespace().nth(1)?.parse().ok()
            }
        };
        self.add(format!("{name}: memory (KiB)"), 12 << 10, line("VmRSS:"));
        self.add(format!("{name}: threads"), 8, line("Threads:"));
        let open = folder.join("fd");
        self.add(format!("{name}: open files"), 24, move || {
            Some(below(&open, false))
        });
    }

    /// Temporary files, claims and, where results come and go, old runs and bytes of a store. Records do not
    /// count: each execution leaves one.
    ///
    /// Of runs, only old ones count. A collection leaves those of the last minute, and how many these are
    /// depends on the speed of the machine: from 100 to 250 for a lab. Of older ones, the newest of a
    /// workflow stays, and a few more between two collections.
    pub fn store(&mut self, name: &str, store: &Path, is_steady: bool) {
        for (folder, slack) in [("tmp", 60), ("claims", 40)] {
            let path = store.join(folder);
            self.add(format!("{name}: {folder}"), slack, move || {
                Some(below(&path, true))
            });
        }
        if is_steady {
            let path = store.join("runs");
            self.add(format!("{name}: old runs"), 10, move || {
                Some(old_runs(&path))
            });
            let path = store.to_path_buf();
            self.add(format!("{name}: KiB"), 1 << 10, move || {
                Some(kibibytes(&path))
            });
        }
    }

    /// The files in a folder.
    pub fn folder(&mut self, name: &str, folder: &Path) {
        let path = folder.to_path_buf();
        self.add(name.to_string(), 20, move || Some(below(&path, true)));
    }

    fn add(&mut self, name: String, slack: u64, read: impl Fn() -> Option<u64> + Send + 'static) {
        let read = Box::new(read);
        let samples = Vec::new();
        self.0.push(Gauge {
            name,
            read,
            slack,
            samples,
        });
    }

    pub fn sample(&mut self) {
        for gauge in &mut self.0 {
            gauge.samples.extend((gauge.read)());
        }
    }

    pub fn show(&self) {
        for gauge in &self.0 {
            println!("soak: {gauge}");
        }
    }

    /// Fails if anything grew: if its median was a tenth and its slack higher in the last quarter of the
    /// time than in the second one. Peaks come and go with the load of the machine.
    pub fn check(&self) {
        let grown: Vec<String> = self
            .0
            .iter()
            .filter(|gauge| gauge.grows())
            .map(Gauge::to_string)
            .collect();
        assert!(grown.is_empty(), "{grown:#?}");
    }
}

impl Gauge {
    /// The median and the peak of a quarter of the time.
    fn quarter(&self, number: usize) -> (u64, u64) {
        let length = self.samples.len() / 4;
        let mut part = self.samples[number * length..(number + 1) * length].to_vec();
        part.sort_unstable();
        (part[length / 2], part[length - 1])
    }

    fn grows(&self) -> bool {
        let [early, late] = [1, 3].map(|number| self.quarter(number).0);
        late > early + early / 10 + self.slack
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.name)?;
        for number in 0..4 {
            let (median, peak) = self.quarter(number);
            write!(formatter, " {median}/{peak}")?;
        }
        write!(
            formatter,
            " (median/peak of each quarter, {} samples)",
            self.samples.len()
        )
    }
}

/// How many entries a folder has, or everything below it. What goes meanwhile counts or not.
fn below(folder: &Path, everything: bool) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let counts = entries.map(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        1 + if everything && is_folder {
            below(&entry.path(), true)
        } else {
            0
        }
    });
    counts.sum()
}

/// How many folders of runs have a journal that was last written longer ago than [`OLD`].
fn old_runs(runs: &Path) -> u64 {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let written = entries.filter_map(|run| {
        let journal = fs::metadata(run.path().join("journal.jsonl"));
        journal.or_else(|_| run.metadata()).ok()?.modified().ok()
    });
    let is_old = |written: &SystemTime| written.elapsed().is_ok_and(|age| age > OLD);
    written.filter(is_old).count() as u64
}

fn kibibytes(folder: &Path) -> u64 {
    bytes(folder) >> 10
}

fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name != "records" && !name.starts_with("index.")
    });
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() {
            bytes(&entry.path())
        } else {
            metadata.len()
        })
    });
    sizes.sum()
}
