//! A tiny job that looks whether a node of the cluster sees what a worker needs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ask::{self, Submitted};
use super::check::Finding;
use super::queue::State;
use super::settings::SlurmSettings;
use super::submission::Submission;
use crate::cluster::ClusterError;
use crate::cluster::call::Programs;
use crate::cluster::launch_line::quoted;
use crate::cluster::nonce::nonce;
use crate::cluster::place::{PlaceClass, WorkerLine};

/// What the job looks for.
#[derive(Clone, Debug)]
pub struct Sights {
    pub store: PathBuf,
    pub program: PathBuf,
    /// Where the job runs and writes its answer.
    pub folder: PathBuf,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The job ran on this node.
    Seen {
        node: String,
        findings: Vec<Finding>,
    },
    Failed(Finding),
    /// It has not started in time, for this reason.
    Waits(String),
}

/// Submits the job and waits for it, for at most `patience`.
///
/// # Errors
/// A program of Slurm is missing, or the folder can't be written.
pub fn probe(
    programs: &Programs,
    settings: &SlurmSettings,
    class: &PlaceClass,
    sights: &Sights,
    patience: Duration,
) -> Result<Probed, ClusterError> {
    let nonce = nonce();
    let line = WorkerLine {
        run: "check".to_string(),
        words: Vec::new(),
        folder: sights.folder.clone(),
        logs: sights.folder.clone(),
    };
    let submission = Submission {
        line: &line,
        settings,
        class,
        nonce: &nonce,
        workers: 1,
        is_array: false,
    };
    let answer = sights.folder.join(format!("check-{nonce}"));
    let script = sights.folder.join(format!("check-{nonce}.sh"));
    let failed = |source| ClusterError::Io {
        path: script.clone(),
        source,
    };
    std::fs::create_dir_all(&sights.folder).map_err(failed)?;
    std::fs::write(&script, text(settings, class, sights, &answer)).map_err(failed)?;
    let job_name = submission.job_name();
    let probed = match ask::submit(programs, submission.options(), &script)? {
        Submitted::Refused(message) | Submitted::Doubtful(message) => {
            let cure = "what cluster.yaml asks for must be what the cluster gives";
            Probed::Failed(Finding::error(
                format!("Slurm refuses the job: {message}"),
                cure,
            ))
        }
        Submitted::Accepted(_) => wait(programs, &job_name, &answer, sights, patience)?,
    };
    if matches!(probed, Probed::Waits(_)) {
        ask::cancel(programs, &job_name, None, false);
    }
    for file in [
        answer,
        script,
        line.log(&format!("{}-{nonce}-0", class.name)),
    ] {
        // It may not exist.
        let _ = std::fs::remove_file(file);
    }
    Ok(probed)
}

/// The script: one line for each thing, and a last one when all are there.
fn text(settings: &SlurmSettings, class: &PlaceClass, sights: &Sights, answer: &Path) -> String {
    let word = |path: &Path| quoted(&[path.display().to_string()]);
    let setup = settings.request(class).setup;
    let shell = if setup.is_empty() {
        "#!/bin/sh"
    } else {
        "#!/bin/bash -l"
    };
    let setup: String = setup
        .iter()
        .map(|line| format!("{line} || echo setup >>\"$new\"\n"))
        .collect();
    format!(
        "{shell}\nanswer={answer}\nnew=$answer.new\nhostname >\"$new\"\n{setup}\
         [ -d {store} ] || echo store >>\"$new\"\n\
         {program} --version >/dev/null 2>&1 || echo program >>\"$new\"\n\
         mv \"$new\" \"$answer\"\n",
        answer = word(answer),
        store = word(&sights.store),
        program = word(&sights.program),
    )
}

fn wait(
    programs: &Programs,
    job_name: &str,
    answer: &Path,
    sights: &Sights,
    patience: Duration,
) -> Result<Probed, ClusterError> {
    let begun = Instant::now();
    let mut reason = String::new();
    let mut has_ended = false;
    let mut asked = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(answer) {
            return Ok(seen(&text, sights));
        }
        if has_ended {
            let folder = sights.folder.display();
            return Ok(Probed::Failed(Finding::error(
                format!("the job has ended without an answer: its node does not see {folder}"),
                "a store on a file system that all machines share: `--store`",
            )));
        }
        if begun.elapsed() >= patience {
            return Ok(Probed::Waits(reason));
        }
        std::thread::sleep(Duration::from_millis(500));
        // A person waits: more often than a run.
        if asked.elapsed() < Duration::from_secs(3) {
            continue;
        }
        asked = Instant::now();
        if let Ok(jobs) = ask::queue(programs, job_name)? {
            let job = jobs.first();
            has_ended = job.is_none_or(|job| job.state.has_ended());
            let waits = job.filter(|job| job.state == State::Queued);
            reason = waits.map_or(reason, |job| job.reason.clone());
            if has_ended {
                // A shared file system may show the answer late.
                std::thread::sleep(Duration::from_secs(2));
            }
        }
    }
}

fn seen(text: &str, sights: &Sights) -> Probed {
    let mut lines = text.lines();
    let node = lines.next().unwrap_or_default().to_string();
    let findings = lines.filter_map(|line| {
        let not_seen = |what: &Path| format!("{node} does not see {}", what.display());
        Some(match line {
            "store" => Finding::error(
                not_seen(&sights.store),
                "a store on a file system that all machines share: `--store`",
            ),
            "program" => Finding::error(
                format!("{node} can't run {}", sights.program.display()),
                "its processor or its libraries differ: build ribflow for the oldest of the machines",
            ),
            "setup" => Finding::error(
                format!("a line of `setup:` fails on {node}"),
                "run it there: srun --pty bash -l",
            ),
            _ => return None,
        })
    });
    let findings = findings.collect();
    Probed::Seen { node, findings }
}
