//! Faults for tests: a chosen call to the file system fails, is cut short, is the last one of its
//! process, or the last one before a power failure.
//!
//! A test arms one fault for the calls below one folder, so tests beside it do not notice. Nothing
//! outside of tests arms one; then every call only finds that [`armed`] is false.

mod disk;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use disk::Disk;

/// How many faults are armed in this process.
static ARMED: AtomicUsize = AtomicUsize::new(0);
static PLANS: RwLock<Vec<Arc<Plan>>> = RwLock::new(Vec::new());

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Opens a file or folder that exists.
    Open,
    /// Creates and opens a file.
    Create,
    Read,
    Write,
    Truncate,
    /// Makes a file, or the names in a folder, durable.
    Sync,
    /// Makes a whole file system durable.
    SyncAll,
    Rename,
    Link,
    Remove,
    MakeFolder,
    List,
    Stat,
    /// Changes permissions or times.
    Permit,
    Lock,
}

impl Call {
    /// Whether the call takes space on the disk.
    pub fn grows(self) -> bool {
        use Call::{Create, Link, MakeFolder, Write};
        matches!(self, Create | Write | Link | MakeFolder)
    }

    /// Whether a signal may interrupt the call.
    pub fn may_be_interrupted(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Lock)
    }

    /// Whether the call moves bytes, and may so move fewer than asked for.
    pub fn moves_bytes(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// What happens at the call with a number, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the calls are counted.
    None,
    /// It fails with EIO; the next attempt succeeds.
    Disk { at: usize },
    /// It and all later calls of its kind fail with EIO.
    Broken { at: usize },
    /// The disk is full from then on. A write just before that is cut short.
    Full { at: usize },
    /// It fails with EINTR.
    Interrupted { at: usize },
    /// It reads or writes half of its bytes.
    Short { at: usize },
    /// The process dies in it: a write has written half of its bytes. Later calls do nothing.
    Killed { at: usize },
    /// The process really ends in it, as by `kill -9`: a write has written half of its bytes.
    Ends { at: usize },
    /// As [`Fault::Killed`], and the disk keeps of what was not synced only `survives`.
    Power { at: usize, survives: Survives },
}

/// What a power failure leaves of the changes that were not synced. It always leaves all that were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    Nothing,
    /// All names, with none of the bytes written since.
    Names,
    /// Names and bytes by chance, each on its own: the order of the changes means nothing.
    Some {
        seed: u64,
    },
}

/// An armed fault; disarmed on drop.
#[derive(Debug)]
pub struct Armed(Arc<Plan>);

/// The calls that were made while a fault was armed.
#[derive(Debug)]
pub struct Seen {
    /// The calls until the process died.
    pub calls: Vec<Call>,
    /// How many of them failed or were cut short.
    pub fired: usize,
    /// Paths whose state does not follow from the calls: something changed them past this layer.
    pub strangers: Vec<PathBuf>,
}

#[derive(Debug)]
struct Plan {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    calls: Vec<Call>,
    fired: usize,
    /// Receives the first call that the fault meets.
    met: Option<fn(Call)>,
    broken: Option<Call>,
    dead: bool,
    /// `None`: no one asks for the state of the disk.
    disk: Option<Disk>,
}

/// Arms `fault` for all calls below `root` by any thread of this process.
pub fn arm(root: &Path, fault: Fault) -> io::Result<Armed> {
    let root = root.canonicalize()?;
    let disk = match fault {
        Fault::None | Fault::Power { .. } => Some(Disk::read(&root)?),
        _ => None,
    };
    Ok(armed_with(root, fault, disk, None))
}

/// Arms `fault` for all calls below `root` for the rest of this process, which only tests are. `met`
/// receives the first call that meets it.
pub fn arm_process(root: &Path, fault: Fault, met: fn(Call)) -> io::Result<()> {
    std::mem::forget(armed_with(root.canonicalize()?, fault, None, Some(met)));
    Ok(())
}

fn armed_with(root: PathBuf, fault: Fault, disk: Option<Disk>, met: Option<fn(Call)>) -> Armed {
    let state = State {
        fault,
        calls: Vec::new(),
        fired: 0,
        met,
        broken: None,
        dead: false,
        disk,
    };
    let plan = Arc::new(Plan {
        root,
        state: Mutex::new(state),
    });
    let mut plans = PLANS.write().unwrap_or_else(|held| held.into_inner());
    plans.push(Arc::clone(&plan));
    ARMED.fetch_add(1, Ordering::SeqCst);
    Armed(plan)
}

/// Makes no call below `root` fail and counts none, but spares the disk: nothing is synced.
pub fn idle(root: &Path) -> io::Result<Armed> {
    Ok(armed_with(root.canonicalize()?, Fault::None, None, None))
}

impl Armed {
    /// Disarms it. After a power failure this leaves the files as the disk has them; everything
    /// that had them open must be dropped.
    pub fn finish(self) -> io::Result<Seen> {
        let mut state = self.0.state();
        let disk = state.disk.take();
        let mut strangers = Vec::new();
        match (state.fault, disk) {
            (Fault::Power { survives, .. }, Some(disk)) if state.dead => disk.cut(survives)?,
            (_, Some(disk)) => strangers = disk.strangers()?,
            _ => {}
        }
        Ok(Seen {
            calls: std::mem::take(&mut state.calls),
            fired: state.fired,
            strangers,
        })
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let mut plans = PLANS.write().unwrap_or_else(|held| held.into_inner());
        plans.retain(|plan| !Arc::ptr_eq(plan, &self.0));
        ARMED.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The files that a call concerns.
#[derive(Debug)]
pub struct Step {
    path: PathBuf,
    other: Option<PathBuf>,
    handle: Option<i32>,
}

impl Step {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
            other: None,
            handle: None,
        }
    }

    pub(super) fn between(from: &Path, to: &Path) -> Self {
        Self {
            other: Some(Self::at(to).path),
            ..Self::at(from)
        }
    }

    pub(super) fn of(handle: BorrowedFd) -> Self {
        Self {
            path: place_of(handle),
            other: None,
            handle: Some(handle.as_raw_fd()),
        }
    }

    pub(super) fn inside(above: BorrowedFd, name: &OsStr) -> Self {
        Self::at(&in_folder(above, name))
    }

    pub(super) fn inside_both(from: (BorrowedFd, &OsStr), to: (BorrowedFd, &OsStr)) -> Self {
        Self::between(&in_folder(from.0, from.1), &in_folder(to.0, to.1))
    }

    fn is_below(&self, root: &Path) -> bool {
        let other = self.other.as_deref();
        self.path.starts_with(root) || other.is_some_and(|other| other.starts_with(root))
    }
}

fn in_folder(above: BorrowedFd, name: &OsStr) -> PathBuf {
    match above.as_raw_fd() == rustix::fs::CWD.as_raw_fd() {
        true => PathBuf::from(name),
        false => place_of(above).join(name),
    }
}

/// The path of an open file; empty where the system does not say it.
fn place_of(handle: BorrowedFd) -> PathBuf {
    std::fs::read_link(disk::handle_path(handle.as_raw_fd())).unwrap_or_default()
}

/// Whether any test of this process has armed a fault.
#[inline]
pub(super) fn armed() -> bool {
    ARMED.load(Ordering::Relaxed) != 0
}

/// Makes a call unless a fault prevents it.
#[inline]
pub(super) fn around<T>(
    call: Call,
    step: impl FnOnce() -> Step,
    act: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    match armed() {
        false => act(),
        true => watched(call, step(), 0, |_| act()),
    }
}

/// As [`around`], for a call that makes something durable. While a fault is armed the call is only
/// noted: what a power failure leaves is a matter of the model, and the disk's time would be most of
/// a test's.
#[inline]
pub(super) fn syncing(
    call: Call,
    step: impl FnOnce() -> Step,
    act: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if !armed() {
        return act();
    }
    let step = step();
    match plan_of(&step) {
        Some(_) => watched(call, step, 0, |_| Ok(())),
        None => act(),
    }
}

/// As [`around`], for a call that moves up to `length` bytes; `act` receives how many it may.
#[inline]
pub(super) fn moving(
    call: Call,
    step: impl FnOnce() -> Step,
    length: usize,
    act: impl FnOnce(usize) -> io::Result<usize>,
) -> io::Result<usize> {
    match armed() {
        false => act(length),
        true => watched(call, step(), length, act),
    }
}

#[cold]
#[inline(never)]
fn watched<T>(
    call: Call,
    step: Step,
    length: usize,
    act: impl FnOnce(usize) -> io::Result<T>,
) -> io::Result<T> {
    let Some(plan) = plan_of(&step) else {
        return act(length);
    };
    let mut state = plan.state();
    // Asked only now: another thread may have made the file or folder meanwhile.
    let call = match call {
        Call::Open if std::fs::symlink_metadata(&step.path).is_err() => Call::Create,
        call => call,
    };
    let (allowed, dies) = match state.judge(call, length) {
        Verdict::Fails(_) if state.ends() => end_process(),
        Verdict::Fails(error) => return Err(error),
        Verdict::Moves(allowed) => (allowed, false),
        Verdict::Dies(written) => (written, true),
    };
    if call == Call::Lock {
        // Whoever holds it needs this state to release it.
        drop(state);
        return act(allowed);
    }
    let done = act(allowed);
    if dies && state.ends() {
        end_process();
    }
    if done.is_ok()
        && let Some(disk) = &mut state.disk
    {
        disk.note(call, &step)?;
    }
    match dies {
        true => Err(dead()),
        false => done,
    }
}

/// What becomes of a call.
enum Verdict {
    /// It is made, with up to this many bytes.
    Moves(usize),
    Fails(io::Error),
    /// It writes this many bytes, and its process dies.
    Dies(usize),
}

impl State {
    /// Whether this process ends now.
    fn ends(&self) -> bool {
        self.dead && matches!(self.fault, Fault::Ends { .. })
    }

    fn judge(&mut self, call: Call, length: usize) -> Verdict {
        if self.dead {
            return Verdict::Fails(dead());
        }
        if self.fault == Fault::None && self.disk.is_none() {
            return Verdict::Moves(length);
        }
        let number = self.calls.len();
        self.calls.push(call);
        let verdict = self.verdict(call, number, length);
        let passes = matches!(verdict, Verdict::Moves(allowed) if allowed == length);
        self.fired += usize::from(!passes);
        if !passes && let Some(met) = self.met.take() {
            met(call);
        }
        verdict
    }

    fn verdict(&mut self, call: Call, number: usize, length: usize) -> Verdict {
        let fails = |error: Errno| Verdict::Fails(error.into());
        match self.fault {
            Fault::Disk { at } if at == number => fails(Errno::IO),
            Fault::Broken { at } if at == number || self.broken == Some(call) => {
                self.broken = Some(call);
                fails(Errno::IO)
            }
            Fault::Full { at } if at == number && call == Call::Write && length > 1 => {
                Verdict::Moves(length / 2)
            }
            Fault::Full { at } if at <= number && call.grows() => fails(Errno::NOSPC),
            Fault::Interrupted { at } if at == number && call.may_be_interrupted() => {
                fails(Errno::INTR)
            }
            Fault::Short { at } if at == number && call.moves_bytes() && length > 1 => {
                Verdict::Moves(length / 2)
            }
            Fault::Killed { at } | Fault::Ends { at } | Fault::Power { at, .. } if at == number => {
                self.dead = true;
                match call == Call::Write && length > 1 {
                    true => Verdict::Dies(length / 2),
                    false => Verdict::Fails(dead()),
                }
            }
            _ => Verdict::Moves(length),
        }
    }
}

fn plan_of(step: &Step) -> Option<Arc<Plan>> {
    let plans = PLANS.read().unwrap_or_else(|held| held.into_inner());
    // The one armed last is asked: an idle one may be around it.
    let plan = plans.iter().rev().find(|plan| step.is_below(&plan.root));
    plan.cloned()
}

/// Ends this process at once, and nothing else with it.
fn end_process() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    // The signal is delivered before the call returns.
    std::process::abort()
}

/// No number of the system, so that nothing attempts the call again.
fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl Plan {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|held| held.into_inner())
    }
}
