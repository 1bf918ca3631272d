//! The worker: a process that executes one job after another for the process that started it.
//!
//! Requests arrive on standard input, messages leave on standard output, as lines of JSON
//! ([`super::job`]). Both are moved to other descriptors before a task starts: it sees an empty
//! standard input, and its output goes to the job's log.
//!
//! A worker does not outlive its coordinator: when standard input ends, or when the parent dies, a
//! worker with a job ends with every process that the job started, including those that have left
//! its group. A worker without a job exits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candle_core::Device;
use rustix::process::Signal;

use super::device::{self, DeviceError};
use super::execute::Executor;
use super::job::{Job, Outcome, Request, WorkerMessage};
use crate::diag::secrets::masked;
use crate::fsx;
use crate::process::{self, Family};
use crate::stages::registry::Registry;
use crate::stages::task::Progress;
use crate::store::Store;

/// The minimum interval between progress messages.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// The maximum time to wait for killed processes before this one ends too.
const DEATH: Duration = Duration::from_secs(5);
/// After the grace of a job that a signal cancelled: the time to end remaining processes and
/// report.
const REPORT: Duration = Duration::from_secs(2);

/// Executes jobs from standard input until it ends. Returns `false` after an error, which is on
/// standard error.
pub fn serve_worker(store: &Store, registry: &Registry) -> bool {
    let served = serve(store, registry);
    if let Err(error) = &served {
        log_line(&format!("ribflow worker: {error}"));
    }
    served.is_ok()
}

fn serve(store: &Store, registry: &Registry) -> io::Result<()> {
    process::adopt_orphans();
    let requests = take_stdin()?;
    let messages = Messages(Arc::new(Mutex::new(take_stdout()?)));
    let flags = Arc::new(Flags::default());
    watch_parent(Arc::clone(&flags))?;
    let mut devices = HashMap::new();
    messages.send(&WorkerMessage::Ready)?;
    for job in listen(requests, Arc::clone(&flags)) {
        // The first job sets the width of the global pool, which can't change later.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(job.threads)
            .build_global();
        let ready = redirect_output(&job.log)
            .map_err(|error| format!("its log {}: {error}", job.log.display()));
        let device = ready.and_then(|()| {
            let device = open(&mut devices, &job.device);
            device.map_err(|error| error.to_string())
        });
        let outcome = match device {
            Err(error) => Outcome::failed(error),
            Ok(device) => Executor {
                store,
                registry,
                device,
                progress: &Reported {
                    messages: &messages,
                    last: Mutex::new(None),
                },
                cancelled: &flags.cancelled,
            }
            .execute(&job),
        };
        flags.busy.store(false, Ordering::SeqCst);
        messages.send(&WorkerMessage::Finished(outcome))?;
        if flags.cancelled.load(Ordering::SeqCst) {
            break;
        }
    }
    Ok(())
}

/// State that the threads of a worker share.
#[derive(Default)]
struct Flags {
    /// A job is waiting or running.
    busy: AtomicBool,
    /// The job is asked to stop.
    cancelled: AtomicBool,
    /// The grace of the job in seconds.
    grace: AtomicU64,
}

/// Opening a GPU is slow and loads its kernels again, so each is opened once.
fn open(devices: &mut HashMap<String, Device>, name: &str) -> Result<Device, DeviceError> {
    if let Some(device) = devices.get(name) {
        return Ok(device.clone());
    }
    let device = device::open(name)?;
    devices.insert(name.to_string(), device.clone());
    Ok(device)
}

/// The jobs that arrive on `requests`. A separate thread reads them, so that a cancellation is
/// received while a job runs. Ends with the requests.
fn listen(requests: File, flags: Arc<Flags>) -> Receiver<Job> {
    let (jobs, receiver) = channel();
    std::thread::spawn(move || {
        if let Err(error) = read_requests(BufReader::new(requests), &jobs, &flags) {
            log_line(&format!("ribflow worker: {error}"));
        }
        if flags.busy.load(Ordering::SeqCst) {
            die();
        }
    });
    receiver
}

fn read_requests(requests: impl BufRead, jobs: &Sender<Job>, flags: &Flags) -> io::Result<()> {
    for line in requests.lines() {
        match serde_json::from_str(&line?)? {
            Request::Run(job) => {
                flags.grace.store(job.grace, Ordering::SeqCst);
                flags.busy.store(true, Ordering::SeqCst);
                if jobs.send(*job).is_err() {
                    break;
                }
            }
            Request::Cancel => flags.cancelled.store(true, Ordering::SeqCst),
        }
    }
    Ok(())
}

/// Stops when the parent dies, or when a signal asks for it.
fn watch_parent(flags: Arc<Flags>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let parent = rustix::process::getppid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let entered = runtime.enter();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    // The kernel watches the *thread* that started this process, so the signal proves nothing: only
    // a changed parent does.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::HUP))?;
    if rustix::process::getppid() != parent {
        die();
    }
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = hangup.recv() => {
                        if rustix::process::getppid() != parent {
                            die();
                        }
                    }
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                }
            }
        });
        flags.cancelled.store(true, Ordering::SeqCst);
        if flags.busy.load(Ordering::SeqCst) {
            let grace = Duration::from_secs(flags.grace.load(Ordering::SeqCst));
            std::thread::sleep(grace + REPORT);
        }
        die();
    });
    Ok(())
}

/// Ends every descendant of this process, then the process itself and, if it leads a group, every
/// process in it.
fn die() -> ! {
    Family::Mine.end(Some(DEATH));
    let me = rustix::process::getpid();
    if rustix::process::getpgrp() == me {
        // Does not return on success.
        let _ = rustix::process::kill_process_group(me, Signal::KILL);
    }
    std::process::exit(0)
}

/// Writes a line to standard error, which is the log of the job. On a full disk the line is lost,
/// and the job continues.
fn log_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Takes the original standard output; other writes to it go to standard error from now on.
fn take_stdout() -> io::Result<File> {
    let kept = io::stdout().as_fd().try_clone_to_owned()?;
    replace(1, io::stderr().as_fd())?;
    Ok(File::from(kept))
}

/// Takes the original standard input; other reads from it find its end.
fn take_stdin() -> io::Result<File> {
    let kept = io::stdin().as_fd().try_clone_to_owned()?;
    replace(0, File::open("/dev/null")?)?;
    Ok(File::from(kept))
}

/// Appends all output of this process and its children to `log`.
fn redirect_output(log: &Path) -> io::Result<()> {
    let file = fsx::append_shared(log)?;
    io::stdout().flush()?;
    replace(1, &file)?;
    replace(2, &file)
}

/// Makes the descriptor `standard` (0, 1 or 2) refer to `file`.
fn replace(standard: i32, file: impl AsFd) -> io::Result<()> {
    // SAFETY: the standard descriptors stay open for the life of a process, and this owner, which
    // is never dropped, does not close it.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(standard) });
    Ok(rustix::io::dup2(file, &mut target)?)
}

/// The channel to the coordinator.
#[derive(Clone)]
struct Messages(Arc<Mutex<File>>);

impl Messages {
    fn send(&self, message: &WorkerMessage) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        // A thread that panicked while it held the lock has written a whole line or nothing.
        let mut file = self.0.lock().unwrap_or_else(|held| held.into_inner());
        file.write_all(&line)
    }
}

/// Sends the progress of one job, at a limited rate.
struct Reported<'a> {
    messages: &'a Messages,
    last: Mutex<Option<Instant>>,
}

impl Progress for Reported<'_> {
    fn advance(&self, done: u64, total: u64, unit: &'static str) {
        let mut last = self.last.lock().unwrap_or_else(|held| held.into_inner());
        let due = last.is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if due || done >= total {
            *last = Some(Instant::now());
            // A coordinator that is gone is detected at the end of standard input.
            let _ = self.messages.send(&WorkerMessage::Progress {
                done,
                total,
                unit: unit.to_string(),
            });
        }
    }

    fn log(&self, line: &str) {
        log_line(&masked(line));
    }
}
