//! Worker processes: starts them, sends them a job, receives the outcome, ends them. Knows only the
//! current job, no other nodes, no claims and no records.

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
use crate::memory;
use crate::process::{self, Family, OwnedChild};

/// The time that a worker has after the grace of its job to end remaining child processes and
/// report.
const REPORT: Duration = Duration::from_secs(2);
/// The time that a worker without a job has to end once its input is closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
/// The number of bytes at the end of a log that the message about a worker's death quotes.
const LOG_TAIL: usize = 2000;

/// The idle workers, and how to start more.
pub(super) struct Pool {
    command: Vec<OsString>,
    /// Receives what workers print before they have a job.
    log: PathBuf,
    /// Cores of the run; all workers together, including idle ones, use at most this many.
    cores: usize,
    /// Cores of the workers with a job.
    in_use: usize,
    /// Idle workers, longest idle first.
    idle: Vec<Worker>,
    leaving: JoinSet<()>,
}

/// A worker process, without a job.
pub(super) struct Worker {
    child: Child,
    /// Held until it has been waited for.
    known: OwnedChild,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Its number of cores, which is fixed because the thread pools of its libraries are.
    threads: usize,
    /// Receives what it prints before it has a job.
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

    /// A worker for a job on `threads` cores, which are in use until [`back`](Self::back) is
    /// called.
    pub fn take(&mut self, threads: usize) -> io::Result<Worker> {
        while self.leaving.try_join_next().is_some() {}
        let fits = |worker: &Worker| worker.threads == threads;
        let worker = match self.idle.iter().rposition(fits) {
            Some(index) => self.idle.remove(index),
            None => Worker::start(&self.command, threads, &self.log)?,
        };
        self.in_use += threads;
        self.trim_idle();
        Ok(worker)
    }

    /// Ends a job on `threads` cores; keeps its worker for the next one if possible.
    pub fn back(&mut self, threads: usize, worker: Option<Worker>) {
        self.in_use -= threads;
        self.idle.extend(worker);
        self.trim_idle();
    }

    /// Ends idle workers that exceed the cores of the run together with busy ones: an idle worker
    /// still holds its memory.
    fn trim_idle(&mut self) {
        let free = self.cores.saturating_sub(self.in_use);
        let mut wide: usize = self.idle.iter().map(|worker| worker.threads).sum();
        while wide > free {
            let oldest = self.idle.remove(0);
            wide -= oldest.threads;
            self.leaving.spawn(oldest.shut_down());
        }
    }

    /// Ends every worker.
    pub async fn close(mut self) {
        for worker in self.idle.drain(..) {
            self.leaving.spawn(worker.shut_down());
        }
        while self.leaving.join_next().await.is_some() {}
    }
}

/// Limits at which a job is stopped.
pub(super) struct Limits {
    pub timeout: Option<Duration>,
    /// The time that a job has to stop on its own after cancellation.
    pub grace: Duration,
    /// Becomes true when the run is interrupted.
    pub cancelled: watch::Receiver<bool>,
}

impl Worker {
    fn start(command: &[OsString], threads: usize, log: &Path) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let errors = fsx::append_shared(log)?;
        let (name, value) = memory::huge_pages();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::from(errors))
            // Ctrl-C in a terminal reaches only the coordinator, and the child processes of a job
            // can be ended with its worker.
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

    /// Executes `job` and reports its progress (done, total, unit). Returns the worker if it can
    /// take another job.
    pub async fn execute(
        mut self,
        job: Job,
        mut limits: Limits,
        progress: impl Fn(u64, u64, String),
    ) -> (Outcome, Option<Self>) {
        let log = job.log.clone();
        let request = match encoded(&Request::Run(Box::new(job))) {
            Ok(request) => request,
            // The worker has not received it.
            Err(error) => {
                let message = format!("its job can't be passed to a worker: {error}");
                return (Outcome::failed(message), Some(self));
            }
        };
        let outcome = match self.send(&request).await {
            Err(_) => self.died(&log).await,
            Ok(()) => match self.end(&mut limits, progress).await {
                End::Finished(outcome @ Outcome::Done(_)) => return (outcome, Some(self)),
                // A worker that has failed or was cancelled may be in a bad state.
                End::Finished(outcome) => {
                    self.shut_down().await;
                    outcome
                }
                End::Died => self.died(&log).await,
                End::Nonsense(line) => {
                    self.kill().await;
                    Outcome::failed(format!("its worker said `{line}`"))
                }
                End::Unresponsive => {
                    self.kill().await;
                    Outcome::Cancelled
                }
                End::Overdue(timeout) => {
                    self.kill().await;
                    let seconds = timeout.as_secs();
                    Outcome::failed(format!("stopped after its `timeout` of {seconds} s"))
                }
            },
        };
        (outcome, None)
    }

    /// Waits for the end of a job, and cancels it on request.
    async fn end(&mut self, limits: &mut Limits, progress: impl Fn(u64, u64, String)) -> End {
        let timeout = limits.timeout.unwrap_or(FOREVER);
        let overdue = tokio::time::sleep(timeout);
        let grace = tokio::time::sleep(FOREVER);
        tokio::pin!(overdue, grace);
        let mut cancelling = false;
        loop {
            tokio::select! {
                line = self.output.next_line() => match line {
                    Ok(Some(line)) => match self.parse_line(&line) {
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
                    // If it can't be written to, it is dead, which is detected above.
                    if let Ok(request) = encoded(&Request::Cancel) {
                        let _ = self.send(&request).await;
                    }
                }
                () = &mut grace, if cancelling => return End::Unresponsive,
                () = &mut overdue => return End::Overdue(timeout),
            }
        }
    }

    async fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.input.write_all(line).await?;
        self.input.flush().await
    }

    fn parse_line(&mut self, line: &str) -> WorkerLine {
        match serde_json::from_str(line) {
            Ok(WorkerMessage::Ready) => {
                self.ready = true;
                WorkerLine::Nothing
            }
            Ok(WorkerMessage::Progress { done, total, unit }) => {
                WorkerLine::Progress(done, total, unit)
            }
            Ok(WorkerMessage::Finished(outcome)) => WorkerLine::Finished(outcome),
            // A wrapper around the worker may print before the worker starts.
            Err(_) if !self.ready => WorkerLine::Nothing,
            Err(_) => WorkerLine::Nonsense,
        }
    }

    /// The outcome of a job whose worker ended without reporting one.
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

    /// Kills the worker, if it is still alive, and all processes that its job started; returns once
    /// none is left.
    async fn kill(&mut self) -> Option<ExitStatus> {
        if let Some(id) = self.known.id() {
            // While the stopped worker exists, its descendants can be found, and it starts no more
            // of them.
            let _ = kill_process_group(id, Signal::STOP);
            end(Family::Below(id)).await;
            let _ = kill_process_group(id, Signal::KILL);
        }
        let status = self.child.wait().await.ok();
        // Processes that it had started if it died on its own.
        end(Family::Orphans).await;
        status
    }

    /// Lets a worker without a job end on its own, so that it can clean up.
    async fn shut_down(self) {
        let Self {
            mut child,
            known,
            input,
            ..
        } = self;
        drop(input);
        let ended = tokio::time::timeout(FAREWELL, child.wait()).await.is_ok();
        if let Some(id) = known.id() {
            // Kills processes that its jobs left running. The number of a group with members is not
            // reused for another process, so the signal reaches only that group.
            let _ = kill_process_group(id, Signal::KILL);
        }
        if !ended {
            let _ = child.wait().await;
        }
    }
}

/// Ends processes without blocking the runtime.
async fn end(family: Family) {
    // Only a panic in the closure is an error, and the run continues.
    let _ = tokio::task::spawn_blocking(move || family.end(None)).await;
}

/// A request as a line of JSON.
fn encoded(request: &Request) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    Ok(line)
}

/// How a worker's job ended.
enum End {
    Finished(Outcome),
    /// The worker ended without reporting an outcome.
    Died,
    Nonsense(String),
    /// It was cancelled and did not stop.
    Unresponsive,
    Overdue(Duration),
}

/// A parsed line of output from a worker.
enum WorkerLine {
    Nothing,
    Nonsense,
    Progress(u64, u64, String),
    Finished(Outcome),
}

/// Returns once the value is true; never returns if the sender is gone.
pub(super) async fn until_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed (SIGKILL), perhaps because memory ran out".to_string(),
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
