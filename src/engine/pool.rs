//! Worker processes: starting them, giving them a job, hearing what comes of it, ending them.
//! Knows no node but the job at hand, no claim and no record.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::job::{Job, Outcome, Request, WorkerMessage};
use crate::fsx;
use crate::process::{self, Family, OwnedChild};

/// A worker has this long, beyond the grace of its job, to end what a command left and to say so.
const REPORT: Duration = Duration::from_secs(2);
/// A worker without a job has this long to end once its input is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
/// So much of the end of a log goes into the message of a worker's death.
const LOG_TAIL: usize = 2000;

/// The idle workers, and how to start another.
pub(super) struct Pool {
    command: Vec<OsString>,
    /// What workers print before they have a job.
    log: PathBuf,
    /// Cores of the run; the workers, idle ones too, are together no wider.
    cores: usize,
    /// Cores of the workers that have a job.
    in_use: usize,
    /// The one that has been idle for longest first.
    idle: Vec<Worker>,
    leaving: JoinSet<()>,
}

/// A worker process, without a job.
pub(super) struct Worker {
    child: Child,
    /// While it has not been waited for.
    known: OwnedChild,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Its cores, for life: the pools of its libraries are as wide.
    threads: usize,
    /// What it prints before it has a job.
    log: PathBuf,
    ready: bool,
}

impl Pool {
    pub fn new(command: Vec<OsString>, cores: usize, log: PathBuf) -> Self {
        Self {
            command,
            log,
            cores,
            in_use: 0,
            idle: Vec::new(),
            leaving: JoinSet::new(),
        }
    }

    /// A worker for a job on `threads` cores, which are in use until it is given [back](Self::back).
    pub fn take(&mut self, threads: usize) -> io::Result<Worker> {
        while self.leaving.try_join_next().is_some() {}
        let fits = |worker: &Worker| worker.threads == threads;
        let worker = match self.idle.iter().rposition(fits) {
            Some(index) => self.idle.remove(index),
            None => Worker::start(&self.command, threads, &self.log)?,
        };
        self.in_use += threads;
        self.send_away();
        Ok(worker)
    }

    /// A job on `threads` cores is over; its worker is kept for the next one, if it can be.
    pub fn back(&mut self, threads: usize, worker: Option<Worker>) {
        self.in_use -= threads;
        self.idle.extend(worker);
        self.send_away();
    }

    /// Ends idle workers that would be too many beside those that work: an idle one still holds
    /// its memory.
    fn send_away(&mut self) {
        let free = self.cores.saturating_sub(self.in_use);
        let mut wide: usize = self.idle.iter().map(|worker| worker.threads).sum();
        while wide > free {
            let oldest = self.idle.remove(0);
            wide -= oldest.threads;
            self.leaving.spawn(oldest.leave());
        }
    }

    /// Ends every worker.
    pub async fn close(mut self) {
        for worker in self.idle.drain(..) {
            self.leaving.spawn(worker.leave());
        }
        while self.leaving.join_next().await.is_some() {}
    }
}

/// When a job is stopped.
pub(super) struct Limits {
    pub timeout: Option<Duration>,
    /// What a job has, once cancelled, to stop by itself.
    pub grace: Duration,
    /// Becomes true when the run is interrupted.
    pub cancelled: watch::Receiver<bool>,
}

impl Worker {
    fn start(command: &[OsString], threads: usize, log: &Path) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let errors = fsx::append_shared(log)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C in a terminal reaches the coordinator only, and whatever a job starts can
            // be ended with its worker.
            .process_group(0);
        let (mut child, known) = process::start(|| command.spawn(), Child::id)?;
        let missing = || io::Error::other("a worker without pipes");
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self {
            known,
            input: child.stdin.take().ok_or_else(missing)?,
            output: output.lines(),
            child,
            threads,
            log: log.to_path_buf(),
            ready: false,
        })
    }

    /// Has `job` executed, and reports its progress (done, total, unit). The worker comes back if
    /// it can take another job.
    pub async fn execute(
        mut self,
        job: Job,
        mut limits: Limits,
        progress: impl Fn(u64, u64, String),
    ) -> (Outcome, Option<Self>) {
        let log = job.log.clone();
        let request = match encoded(&Request::Run(Box::new(job))) {
            Ok(request) => request,
            // The worker has not heard of it.
            Err(error) => {
                let message = format!("its job can't be passed to a worker: {error}");
                return (Outcome::failed(message), Some(self));
            }
        };
        let outcome = match self.send(&request).await {
            Err(_) => self.died(&log).await,
            Ok(()) => match self.end(&mut limits, progress).await {
                End::Finished(outcome @ Outcome::Done(_)) => return (outcome, Some(self)),
                // One that has seen a failure or was cancelled may be the worse for it.
                End::Finished(outcome) => {
                    self.leave().await;
                    outcome
                }
                End::Died => self.died(&log).await,
                End::Nonsense(line) => {
                    self.kill().await;
                    Outcome::failed(format!("its worker said `{line}`"))
                }
                End::Deaf => {
                    self.kill().await;
                    Outcome::Cancelled
                }
                End::Overdue(timeout) => {
                    self.kill().await;
                    let seconds = timeout.as_secs();
                    Outcome::failed(format!("stopped after {seconds} s, its `timeout`"))
                }
            },
        };
        (outcome, None)
    }

    /// Waits for the end of a job, and cancels it where that is asked for.
    async fn end(&mut self, limits: &mut Limits, progress: impl Fn(u64, u64, String)) -> End {
        let timeout = limits.timeout.unwrap_or(FOREVER);
        let overdue = tokio::time::sleep(timeout);
        let grace = tokio::time::sleep(FOREVER);
        tokio::pin!(overdue, grace);
        let mut cancelling = false;
        loop {
            tokio::select! {
                line = self.output.next_line() => match line {
                    Ok(Some(line)) => match self.hear(&line) {
                        WorkerLine::Progress(done, total, unit) => progress(done, total, unit),
                        WorkerLine::Finished(outcome) => return End::Finished(outcome),
                        WorkerLine::Nothing => {}
                        WorkerLine::Nonsense => return End::Nonsense(line),
                    },
                    Ok(None) | Err(_) => return End::Died,
                },
                () = until_true(&mut limits.cancelled), if !cancelling => {
                    cancelling = true;
                    grace.as_mut().reset(tokio::time::Instant::now() + limits.grace + REPORT);
                    // One that can't be told is dead, which is noticed above.
                    if let Ok(request) = encoded(&Request::Cancel) {
                        let _ = self.send(&request).await;
                    }
                }
                () = &mut grace, if cancelling => return End::Deaf,
                () = &mut overdue => return End::Overdue(timeout),
            }
        }
    }

    async fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.input.write_all(line).await?;
        self.input.flush().await
    }

    fn hear(&mut self, line: &str) -> WorkerLine {
        match serde_json::from_str(line) {
            Ok(WorkerMessage::Ready) => {
                self.ready = true;
                WorkerLine::Nothing
            }
            Ok(WorkerMessage::Progress { done, total, unit }) => {
                WorkerLine::Progress(done, total, unit)
            }
            Ok(WorkerMessage::Finished(outcome)) => WorkerLine::Finished(outcome),
            // What a wrapper around the worker prints before it starts is not ours to judge.
            Err(_) if !self.ready => WorkerLine::Nothing,
            Err(_) => WorkerLine::Nonsense,
        }
    }

    /// The outcome of the job of a worker that has gone without a word on it.
    async fn died(mut self, log: &Path) -> Outcome {
        let status = self.kill().await;
        let how = match status {
            Some(status) => describe(status),
            None => "could not be waited for".to_string(),
        };
        let tail = tail(if self.ready { log } else { &self.log }).await;
        Outcome::failed(match tail.is_empty() {
            true => format!("its worker {how}"),
            false => format!("its worker {how}; its log ends with:\n{tail}"),
        })
    }

    /// Kills the worker, if it still lives, with whatever its job started, and returns once
    /// nothing is left.
    async fn kill(&mut self) -> Option<ExitStatus> {
        if let Some(id) = self.known.id() {
            // While it lives, what its job started is found below it. It starts nothing more.
            let _ = kill_process_group(id, Signal::STOP);
            end(Family::Below(id)).await;
            let _ = kill_process_group(id, Signal::KILL);
        }
        let status = self.child.wait().await.ok();
        // What it had started when it died by itself.
        end(Family::Orphans).await;
        status
    }

    /// Lets a worker without a job end by itself, so that it can tidy up.
    async fn leave(self) {
        let Self {
            mut child,
            known,
            input,
            ..
        } = self;
        drop(input);
        let ended = tokio::time::timeout(FAREWELL, child.wait()).await.is_ok();
        if let Some(id) = known.id() {
            // What its jobs left running. A number that a group still bears is not given to
            // another process, so this reaches that group or nobody.
            let _ = kill_process_group(id, Signal::KILL);
        }
        if !ended {
            let _ = child.wait().await;
        }
    }
}

/// Ends processes without holding up what else goes on here.
async fn end(family: Family) {
    // Only a panic in there is an error, and the run goes on without.
    let _ = tokio::task::spawn_blocking(move || family.end(None)).await;
}

/// A request as a line.
fn encoded(request: &Request) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    Ok(line)
}

/// How a worker's job came to its end.
enum End {
    Finished(Outcome),
    /// Without a word.
    Died,
    Nonsense(String),
    /// It was cancelled and went on.
    Deaf,
    Overdue(Duration),
}

/// What a line from a worker means.
enum WorkerLine {
    Nothing,
    Nonsense,
    Progress(u64, u64, String),
    Finished(Outcome),
}

/// Returns once the value is true; never, if nobody can make it so any more.
pub(super) async fn until_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed (SIGKILL), perhaps for want of memory".to_string(),
        (Some(signal), _) => match signal_name(signal) {
            Some(name) => format!("died of signal {signal} ({name})"),
            None => format!("died of signal {signal}"),
        },
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_string(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return None,
    })
}

async fn tail(log: &Path) -> String {
    let bytes = tokio::fs::read(log).await.unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(LOG_TAIL)..];
    String::from_utf8_lossy(end).trim().to_string()
}
