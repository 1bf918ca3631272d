//! The descendants of this process: which of them are alive, and ending them.
//!
//! A process that leaves its group or session, or whose parent ends, stays a descendant as long as
//! one of its ancestors adopts orphans ([`adopt_orphans`]). So descendants are found by their chain
//! of parents, not by their group. On systems without `/proc`, only groups are available.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

/// Whether orphaned descendants become children of this process.
static ADOPTS: AtomicBool = AtomicBool::new(false);
/// Children that this process has started and waits for. The lock is held while a child is started,
/// so that it is not mistaken for an orphan.
static KNOWN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Makes orphaned descendants children of this process from now on. Every child that is not
/// [started](start) through this module counts as an orphan.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok() {
        ADOPTS.store(true, Ordering::SeqCst);
    }
}

/// Whether [`has_no_child`] sees what children of this thread leave behind: it is the main thread, to
/// which orphans come.
pub fn sees_all_children() -> bool {
    #[cfg(target_os = "linux")]
    let is_main = rustix::thread::gettid() == rustix::process::getpid();
    #[cfg(not(target_os = "linux"))]
    let is_main = false;
    is_main && ADOPTS.load(Ordering::SeqCst)
}

/// Whether the calling thread has no child, alive or not waited for. If it
/// [sees all children](sees_all_children), no descendant is left of those that it has waited for.
pub fn has_no_child() -> bool {
    /// `__WNOTHREAD`, see wait(2): not the children of other threads.
    const OF_THIS_THREAD: u32 = 0x2000_0000;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let options = options | WaitIdOptions::from_bits_retain(OF_THIS_THREAD);
    matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// A child that its owner waits for; until then it is not an orphan.
#[derive(Debug)]
pub struct OwnedChild(i32);

impl OwnedChild {
    pub fn id(&self) -> Option<Pid> {
        Pid::from_raw(self.0)
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        known().remove(&self.0);
    }
}

/// Starts a child. The caller keeps the [`OwnedChild`] until it has waited for the child.
pub fn start<T>(
    start: impl FnOnce() -> io::Result<T>,
    id: impl FnOnce(&T) -> Option<u32>,
) -> io::Result<(T, OwnedChild)> {
    let mut known = known();
    let child = start()?;
    let id = id(&child).and_then(|id| i32::try_from(id).ok());
    let id = id.ok_or_else(|| io::Error::other("a child without a number"))?;
    known.insert(id);
    Ok((child, OwnedChild(id)))
}

fn known() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    // The set is consistent even if a thread panicked.
    KNOWN.lock().unwrap_or_else(|held| held.into_inner())
}

/// Processes that are ended together.
#[derive(Clone, Debug)]
pub enum Family {
    /// Every descendant of this process, but not the process itself.
    Below(Pid),
    /// The members of a group, the descendants of a child, and all orphans that this process has
    /// adopted; excludes the process that watches the group.
    Line { group: Pid, child: Pid, guard: Pid },
    /// The orphans that this process has adopted, and their descendants.
    Orphans,
    /// All descendants of this process.
    Mine,
}

impl Family {
    /// Whether any of them is alive. Reaps orphans that have ended.
    pub fn is_alive(&self) -> bool {
        !self.living().is_empty()
    }

    /// Sends `signal` to those that are not in `group`.
    pub fn signal_outside(&self, group: Pid, signal: Signal) {
        for process in self.living() {
            if process.group != group.as_raw_pid() {
                process.signal(signal);
            }
        }
    }

    /// Sends `signal` to all of them.
    pub fn signal(&self, signal: Signal) {
        for process in self.living() {
            process.signal(signal);
        }
    }

    /// Kills them until none is left, for at most `patience`; returns whether none is left.
    ///
    /// A process that this user may not signal (`sudo`) is left alone.
    pub fn end(&self, patience: Option<Duration>) -> bool {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let mut left = self.living();
            left.retain(|process| process.signal(Signal::KILL));
            if left.is_empty() {
                return true;
            }
            if patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn living(&self) -> Vec<ProcessEntry> {
        // No child is started while the list is made: it would look like an orphan.
        let known = known();
        let me = rustix::process::getpid();
        for _ in 0..ATTEMPTS {
            let seen = Snapshot::take();
            let members = self.members(&seen, &known, me.as_raw_pid());
            for orphan in &members {
                let mine = orphan.parent == me.as_raw_pid() && !known.contains(&orphan.id);
                if orphan.ended && mine && ADOPTS.load(Ordering::SeqCst) {
                    orphan.reap();
                }
            }
            let living: Vec<ProcessEntry> = members.into_iter().filter(|one| !one.ended).collect();
            // A parent that ended while the list was made hides its children from it.
            if seen.is_whole() || !living.is_empty() {
                return living;
            }
        }
        Vec::new()
    }

    fn members(&self, seen: &Snapshot, known: &BTreeSet<i32>, me: i32) -> Vec<ProcessEntry> {
        let below = |root: i32| seen.below(&[root]);
        let orphans = || {
            let mine = seen.0.values().filter(|one| one.parent == me);
            let orphans = mine.filter(|one| !known.contains(&one.id));
            let orphans: Vec<i32> = orphans.map(|one| one.id).collect();
            match ADOPTS.load(Ordering::SeqCst) {
                true => &seen.below(&orphans) | &orphans.into_iter().collect(),
                false => HashSet::new(),
            }
        };
        let mut members = match self {
            Self::Below(root) => below(root.as_raw_pid()),
            Self::Mine => below(me),
            Self::Orphans => orphans(),
            Self::Line {
                group,
                child,
                guard,
            } => {
                let in_group = seen.0.values();
                let in_group = in_group.filter(|one| one.group == group.as_raw_pid());
                let mut members = orphans();
                members.extend(in_group.map(|one| one.id));
                members.extend(below(child.as_raw_pid()));
                members.insert(child.as_raw_pid());
                members.remove(&guard.as_raw_pid());
                members
            }
        };
        members.remove(&me);
        let found = members.iter().filter_map(|id| seen.0.get(id));
        found.copied().collect()
    }
}

/// The number of attempts to get a consistent list.
const ATTEMPTS: usize = 3;

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessEntry {
    id: i32,
    parent: i32,
    group: i32,
    /// The start time. Together with the process number, it identifies one process.
    begun: u64,
    /// A zombie: it has ended and has not been reaped.
    ended: bool,
}

impl ProcessEntry {
    /// Sends a signal to this process, not to another that has reused its number; returns whether
    /// that is allowed.
    #[cfg(target_os = "linux")]
    fn signal(&self, signal: Signal) -> bool {
        use rustix::process::{PidfdFlags, kill_process, pidfd_open, pidfd_send_signal};
        let Some(id) = Pid::from_raw(self.id) else {
            return false;
        };
        let same = || ProcessEntry::read(self.id).is_some_and(|now| now.begun == self.begun);
        let sent = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(process) => same().then(|| pidfd_send_signal(process, signal)),
            // The kernel has no pidfd.
            Err(Errno::NOSYS) => same().then(|| kill_process(id, signal)),
            Err(_) => None,
        };
        sent != Some(Err(Errno::PERM))
    }

    #[cfg(not(target_os = "linux"))]
    fn signal(&self, _signal: Signal) -> bool {
        false
    }

    fn reap(&self) {
        if let Some(id) = Pid::from_raw(self.id) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // Another thread may have reaped it.
            let _ = waitid(WaitId::Pid(id), options);
        }
    }

    fn read(id: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
        Self::parse(id, &stat)
    }

    /// `id (name) state parent group …`: the name may contain any character.
    fn parse(id: i32, stat: &[u8]) -> Option<Self> {
        let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self {
            id,
            parent,
            group,
            // Field 20 is the number of threads: the main thread may have ended before the others.
            // Field 22 is the start time.
            ended: fields.nth(14)?.parse::<u32>().ok()? < 2 && matches!(state, "Z" | "X" | "x"),
            begun: fields.nth(1)?.parse().ok()?,
        })
    }
}

/// All processes that this user can see.
struct Snapshot(HashMap<i32, ProcessEntry>);

impl Snapshot {
    fn take() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let seen = ids.filter_map(ProcessEntry::read);
        Self(seen.map(|one| (one.id, one)).collect())
    }

    /// Whether the parent of every process, except the first, is in the list.
    fn is_whole(&self) -> bool {
        let has_parent = |one: &ProcessEntry| one.parent == 0 || self.0.contains_key(&one.parent);
        self.0.values().all(has_parent)
    }

    /// The descendants of `roots`.
    fn below(&self, roots: &[i32]) -> HashSet<i32> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for one in self.0.values() {
            children.entry(one.parent).or_default().push(one.id);
        }
        let mut found = HashSet::new();
        let mut open = roots.to_vec();
        while let Some(id) = open.pop() {
            for child in children.get(&id).into_iter().flatten() {
                if found.insert(*child) {
                    open.push(*child);
                }
            }
        }
        found
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail instead of ending the process.
pub fn fail_beyond_file_limit() {
    // If this fails, the limit ends the process, as before.
    catch(libc::SIGXFSZ);
}

/// Makes Ctrl-C and Ctrl-\ in a terminal end only the program that has the terminal, which is in the
/// same process group.
pub fn leave_interrupts_to_child() {
    catch(libc::SIGINT);
    catch(libc::SIGQUIT);
}

/// Whether one of the signals of [`note_end_signals`] has arrived.
static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT, SIGTERM and SIGHUP (unless it is ignored, as under `nohup`) do not end this
/// process, but set the flag that is returned.
pub fn note_end_signals() -> &'static AtomicBool {
    extern "C" fn note(_: libc::c_int) {
        ASKED_TO_END.store(true, Ordering::SeqCst);
    }
    handle(libc::SIGINT, note);
    handle(libc::SIGTERM, note);
    if !is_ignored(Signal::HUP) {
        handle(libc::SIGHUP, note);
    }
    &ASKED_TO_END
}

/// Gives `signal` a handler that does nothing.
fn catch(signal: libc::c_int) {
    extern "C" fn nothing(_: libc::c_int) {}
    handle(signal, nothing);
}

/// Gives `signal` a handler, which may only set an atomic value. Child programs get the default
/// again: `exec` resets handlers, but would keep an ignored signal.
fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: a zeroed `sigaction` is valid. The handlers of this module touch nothing but an atomic
    // value, so they may run at any point of any thread.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// Whether this process was started with `signal` ignored (`nohup`).
pub fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// proc_pid_stat(5): the name is in parentheses and may contain parentheses and spaces.
    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let line = b"17 (a) R 1 (b) S 4 5 6 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 4711 8192 3";
        let seen = ProcessEntry::parse(17, line).unwrap();
        assert_eq!((seen.parent, seen.group, seen.begun), (4, 5, 4711));
        assert!(!seen.ended);
        assert!(ProcessEntry::parse(17, b"17 (a) Z 4 5").is_none());
    }
}
